#include "relay/sources.h"

#include "relay/prefixes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SMALLEST 64

/* One address; a slot without connections is free. Slots are found by linear probing from the address's hash. */
struct fn_source {
    struct fn_ip ip;
    unsigned connections;
};

/* Keyed, so that nobody can choose addresses that all begin at the same slot. */
static size_t home(const struct fn_sources *sources, const struct fn_ip *ip)
{
    uint64_t halves[2];

    memcpy(halves, ip->bytes, sizeof halves);
    uint64_t hash = (halves[0] ^ sources->key) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32 ^ halves[1]) * UINT64_C(0xd6e8feb86659fd93);
    return (size_t)(hash ^ hash >> 32) & (sources->size - 1);
}

/* The slot of this address, or the free one where it belongs. */
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

/* Frees a slot, and moves what was probed past it back, so that every address is still found. */
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
    /* At most half of the slots are used, so that a free one is near. */
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

    if (!fn_ip_of(address, &ip))
        return 0;
    pthread_mutex_lock(&sources->mutex);
    const int result = take(sources, &ip, limit);
    pthread_mutex_unlock(&sources->mutex);
    return result;
}

void fn_sources_give(struct fn_sources *sources, const struct sockaddr *address)
{
    struct fn_ip ip;

    if (!fn_ip_of(address, &ip))
        return;
    pthread_mutex_lock(&sources->mutex);
    struct fn_source *source = find(sources, &ip);
    if (--source->connections == 0)
        vacate(sources, source);
    pthread_mutex_unlock(&sources->mutex);
}
