#include "relay/sources.h"

#include "relay/prefixes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SMALLEST 64

/* One source; a slot without connections is free. Slots are found by linear probing from its hash. */
struct fn_source {
    struct fn_ip ip;
    unsigned connections;
};

static size_t home(const struct fn_sources *sources, const struct fn_ip *ip)
{
    return (size_t)fn_siphash(&sources->key, ip, sizeof *ip / sizeof(uint64_t)) & (sources->size - 1);
}

/* The address, or the first one of its prefix; false if it is no IP address. */
static bool source_of(const struct fn_sources *sources, const struct sockaddr *address, struct fn_ip *out)
{
    if (!fn_ip_of(address, out))
        return false;
    if (fn_ip_is_ipv4(out))
        return true;
    for (unsigned bit = sources->ipv6_prefix; bit < 128; bit++)
        out->bytes[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
    return true;
}

/* The slot of this address, or the free one to store it in. */
static struct fn_source *find(const struct fn_sources *sources, const struct fn_ip *ip)
{
    size_t at = home(sources, ip);

    while (sources->table[at].connections && memcmp(&sources->table[at].ip, ip, sizeof *ip) != 0)
        at = (at + 1) & (sources->size - 1);
    return &sources->table[at];
}

static int grow(struct fn_sources *sources)
{
    struct fn_sources larger = *sources;

    larger.size = sources->size ? sources->size * 2 : SMALLEST;
    larger.table = calloc(larger.size, sizeof *larger.table);
    if (!larger.table)
        return -ENOMEM;
    for (size_t i = 0; i < sources->size; i++)
        if (sources->table[i].connections)
            *find(&larger, &sources->table[i].ip) = sources->table[i];
    free(sources->table);
    sources->table = larger.table;
    sources->size = larger.size;
    return 0;
}

/* Frees a slot and moves later entries of its probe sequence back, so that every address is still found. */
static void vacate(struct fn_sources *sources, struct fn_source *source)
{
    const size_t mask = sources->size - 1;
    size_t hole = (size_t)(source - sources->table);

    for (size_t at = (hole + 1) & mask; sources->table[at].connections; at = (at + 1) & mask) {
        const size_t distance = (at - home(sources, &sources->table[at].ip)) & mask;
        if (distance >= ((at - hole) & mask)) {
            sources->table[hole] = sources->table[at];
            hole = at;
        }
    }
    sources->table[hole].connections = 0;
    sources->used--;
}

int fn_sources_init(struct fn_sources *sources)
{
    sources->table = NULL;
    sources->size = sources->used = 0;
    sources->ipv6_prefix = 64;
    if (getrandom(&sources->key, sizeof sources->key, 0) != (ssize_t)sizeof sources->key)
        return -errno;
    return -pthread_mutex_init(&sources->mutex, NULL);
}

void fn_sources_free(struct fn_sources *sources)
{
    free(sources->table);
    pthread_mutex_destroy(&sources->mutex);
}

static int take(struct fn_sources *sources, const struct fn_ip *ip, unsigned limit)
{
    /* At most half of the slots are used: probe sequences stay short. */
    if (sources->used >= sources->size / 2 && grow(sources) != 0)
        return -ENOMEM;
    struct fn_source *source = find(sources, ip);
    if (source->connections >= limit)
        return -EUSERS;
    if (!source->connections) {
        source->ip = *ip;
        sources->used++;
    }
    source->connections++;
    return 0;
}

int fn_sources_take(struct fn_sources *sources, const struct sockaddr *address, unsigned limit)
{
    struct fn_ip ip;

    if (!source_of(sources, address, &ip))
        return 0;
    pthread_mutex_lock(&sources->mutex);
    const int result = take(sources, &ip, limit);
    pthread_mutex_unlock(&sources->mutex);
    return result;
}

void fn_sources_give(struct fn_sources *sources, const struct sockaddr *address)
{
    struct fn_ip ip;

    if (!source_of(sources, address, &ip))
        return;
    pthread_mutex_lock(&sources->mutex);
    struct fn_source *source = find(sources, &ip);
    if (--source->connections == 0)
        vacate(sources, source);
    pthread_mutex_unlock(&sources->mutex);
}
