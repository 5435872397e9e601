#include "guard.h"

#include "netif.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LINE "fe80000000000000fc00fffffe000001 02 40 20 80     eth0\n"
#define LONGEST_NAME "00000000000000000000000000000001 7fffffff 80 10 80 abcdefghijklmno\n"

static ssize_t parse(const char *text, size_t len, struct fn_netif_ipv6 *out)
{
    struct guard input = guard_copy(text, len), output = guard_after(sizeof *out);
    memset(output.data, 0xff, sizeof *out);
    const ssize_t size = fn_netif_parse_ipv6((const char *)input.data, len, (struct fn_netif_ipv6 *)output.data);

    memcpy(out, output.data, sizeof *out);
    guard_free(&input);
    guard_free(&output);
    return size;
}

static void test_parse_a_line(void)
{
    static const uint8_t address[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0xfc, 0, 0xff, 0xff, 0xfe, 0, 0, 1};
    struct fn_netif_ipv6 entry;

    assert(parse(LINE LINE, 2 * strlen(LINE), &entry) == (ssize_t)strlen(LINE));
    assert(memcmp(entry.address, address, 16) == 0 && strcmp(entry.name, "eth0") == 0);
    assert(entry.index == 2 && entry.prefix_length == 64 && entry.scope == 0x20 && entry.flags == 0x80);

    assert(parse(LONGEST_NAME, strlen(LONGEST_NAME), &entry) == (ssize_t)strlen(LONGEST_NAME));
    assert(strcmp(entry.name, "abcdefghijklmno") == 0);
    assert(entry.index == 0x7fffffff && entry.prefix_length == 128);
}

static void test_parse_refuses_what_is_no_line(void)
{
    static const char *const wrong[] = {
        "\n",
        "fe80 02 40 20 80 eth0\n",
        "Fe80000000000000fc00fffffe000001 02 40 20 80 eth0\n",
        "fe80000000000000fc00fffffe00000102 40 20 80 eth0\n",
        "fe80000000000000fc00fffffe000001 02 81 20 80 eth0\n",
        "fe80000000000000fc00fffffe000001 02 140 20 80 eth0\n",
        "fe80000000000000fc00fffffe000001 123456789 40 20 80 eth0\n",
        "fe80000000000000fc00fffffe000001 02 40 20 80\n",
        "fe80000000000000fc00fffffe000001 02 40 20 80 \n",
        "fe80000000000000fc00fffffe000001 02 40 20 80 abcdefghijklmnop\n",
        "fe80000000000000fc00fffffe000001 02 40 x 80 eth0\n",
    };
    struct fn_netif_ipv6 entry;

    assert(parse("", 0, &entry) == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert(parse(wrong[i], strlen(wrong[i]), &entry) == -EBADMSG);
    for (size_t len = 1; len < strlen(LINE); len++)
        assert(parse(LINE, len, &entry) == -EBADMSG);
}

static int ask_index(struct fn_netif *netif, const char *name)
{
    struct guard text = guard_copy(name, strlen(name));
    struct ifreq answer = {0};
    const int result = fn_netif_ask(netif, SIOCGIFINDEX, (const char *)text.data, strlen(name), &answer);

    guard_free(&text);
    return result < 0 ? result : answer.ifr_ifindex;
}

static void test_ask(struct fn_netif *netif)
{
    struct ifreq answer = {0};

    assert(ask_index(netif, "lo") == 1);
    assert(ask_index(netif, "") == -ENODEV);
    assert(ask_index(netif, "abcdefghijklmnop") == -ENODEV);
    assert(fn_netif_ask(netif, SIOCGIFINDEX, "lo\0x", 4, &answer) == -ENODEV);
}

static int loopback_address(struct fn_netif *netif, uint32_t *address)
{
    struct ifreq answer = {0};
    const int result = fn_netif_ask(netif, SIOCGIFADDR, "lo", 2, &answer);

    *address = ntohl(((struct sockaddr_in *)&answer.ifr_addr)->sin_addr.s_addr);
    return result;
}

/* A buffer with no room for one more may hide one; the buffer ends where it may be touched. */
static void test_list(struct fn_netif *netif)
{
    const ssize_t count = fn_netif_list(netif, NULL, 0);

    assert(count >= 0);
    for (ssize_t capacity = 0; capacity <= count + 1; capacity++) {
        struct guard out = guard_after((size_t)capacity * sizeof(struct ifreq));
        const ssize_t listed = fn_netif_list(netif, (struct ifreq *)out.data, (size_t)capacity);
        assert(listed == (capacity > count ? count : -ENOBUFS));
        guard_free(&out);
    }
}

/* A file on the descriptor that another has closed is neither asked nor closed. */
static void test_closed_by_another(struct fn_netif *netif)
{
    uint32_t address;

    assert(loopback_address(netif, &address) == 0);
    const int socket = netif->socket, thread_namespace = netif->thread_namespace;
    close(socket);
    close(thread_namespace);
    assert(open("/dev/null", O_RDONLY) == socket && open("/dev/null", O_RDONLY) == thread_namespace);

    assert(loopback_address(netif, &address) == 0 && address == INADDR_LOOPBACK);
    assert(netif->socket != socket);
    assert(close(socket) == 0 && close(thread_namespace) == 0);
}

static void test_close(void)
{
    struct fn_netif netif;
    struct stat status;

    fn_netif_init(&netif);
    fn_netif_close(&netif);
    assert(ask_index(&netif, "lo") == 1);
    const int socket = netif.socket, thread_namespace = netif.thread_namespace;
    fn_netif_close(&netif);
    assert(fstat(socket, &status) != 0 && fstat(thread_namespace, &status) != 0);
    fn_netif_close(&netif);
}

/* In a namespace of its own, loopback has no address until it is turned on. */
static void *move_away(void *unused)
{
    struct fn_netif netif;
    uint32_t address;

    (void)unused;
    fn_netif_init(&netif);
    assert(loopback_address(&netif, &address) == 0);
    assert(unshare(CLONE_NEWNET) == 0);
    assert(loopback_address(&netif, &address) == -EADDRNOTAVAIL);
    assert(fn_netif_list(&netif, NULL, 0) == 0);
    fn_netif_close(&netif);
    return NULL;
}

static void test_namespaces(struct fn_netif *netif)
{
    pthread_t thread;
    uint32_t address;

    if (geteuid() != 0) {
        printf("netif: not root, so no thread moves to another namespace\n");
        return;
    }
    assert(pthread_create(&thread, NULL, move_away, NULL) == 0 && pthread_join(thread, NULL) == 0);
    assert(loopback_address(netif, &address) == 0 && address == INADDR_LOOPBACK);

    const pid_t child = fork();
    if (child == 0) {
        fn_netif_close(netif);
        assert(unshare(CLONE_NEWNET) == 0);
        assert(loopback_address(netif, &address) == -EADDRNOTAVAIL);
        _exit(0);
    }
    int status;
    assert(waitpid(child, &status, 0) == child && status == 0);
    assert(loopback_address(netif, &address) == 0 && address == INADDR_LOOPBACK);
}

int main(void)
{
    struct fn_netif netif;

    test_parse_a_line();
    test_parse_refuses_what_is_no_line();
    test_close();
    fn_netif_init(&netif);
    test_ask(&netif);
    test_list(&netif);
    test_closed_by_another(&netif);
    test_namespaces(&netif);
    fn_netif_close(&netif);
    return 0;
}
