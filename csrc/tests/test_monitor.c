#include "guard.h"

#include "monitor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define MORE_THAN_THE_BUFFER_HOLDS 100

/* Turns loopback on or off, which the kernel sends events on. */
static void turn(int asked, int on)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = on ? IFF_UP : 0};

    assert(ioctl(asked, SIOCSIFFLAGS, &request) == 0);
}

static void test_nothing_is_quiet_before_it_is_renewed(void)
{
    struct fn_monitor monitor;

    fn_monitor_init(&monitor);
    assert(!fn_monitor_is_quiet(&monitor));
    fn_monitor_close(&monitor);
    assert(fn_monitor_renew(&monitor) == 0);
    fn_monitor_close(&monitor);
    assert(!fn_monitor_is_quiet(&monitor));
    fn_monitor_close(&monitor);
}

/* An event and a flood of them, after which the buffer has overflowed, are both seen once. */
static void test_events(int asked)
{
    struct fn_monitor monitor;

    fn_monitor_init(&monitor);
    assert(fn_monitor_renew(&monitor) == 0);
    const int socket = monitor.netif.socket;
    assert(fn_monitor_is_quiet(&monitor) && fn_monitor_is_quiet(&monitor));
    for (int events = 1; events <= MORE_THAN_THE_BUFFER_HOLDS; events += MORE_THAN_THE_BUFFER_HOLDS - 1)
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < events; i++)
                turn(asked, i % 2 == 0);
            assert(!fn_monitor_is_quiet(&monitor) && !fn_monitor_is_quiet(&monitor));
            assert(fn_monitor_renew(&monitor) == 0 && monitor.netif.socket == socket);
            assert(fn_monitor_is_quiet(&monitor));
            turn(asked, 0);
            assert(fn_monitor_renew(&monitor) == 0);
        }
    fn_monitor_close(&monitor);
}

static void test_another_namespace(void)
{
    struct fn_monitor monitor;

    fn_monitor_init(&monitor);
    assert(fn_monitor_renew(&monitor) == 0 && fn_monitor_is_quiet(&monitor));
    assert(unshare(CLONE_NEWNET) == 0);
    assert(!fn_monitor_is_quiet(&monitor));
    assert(fn_monitor_renew(&monitor) == 0 && fn_monitor_is_quiet(&monitor));
    fn_monitor_close(&monitor);
}

/* A silent socket on the number of the one that another has closed is not taken for it, nor closed. */
static void test_closed_by_another(void)
{
    struct fn_monitor monitor;

    fn_monitor_init(&monitor);
    assert(fn_monitor_renew(&monitor) == 0);
    const int number = monitor.netif.socket;
    close(number);
    assert(socket(AF_INET, SOCK_DGRAM, 0) == number);
    assert(!fn_monitor_is_quiet(&monitor));
    assert(fn_monitor_renew(&monitor) == 0 && fn_monitor_is_quiet(&monitor));
    assert(monitor.netif.socket != number && close(number) == 0);
    fn_monitor_close(&monitor);
}

/* qemu-user emulates a kernel without SO_MEMINFO. */
static int is_supported(void)
{
    struct fn_monitor monitor;

    fn_monitor_init(&monitor);
    const int result = fn_monitor_renew(&monitor);
    assert(result == 0 || result == -ENOPROTOOPT || result == -EOPNOTSUPP);
    assert(fn_monitor_is_quiet(&monitor) == (result == 0));
    fn_monitor_close(&monitor);
    return result == 0;
}

int main(void)
{
    if (!is_supported()) {
        printf("monitor: this kernel has no SO_MEMINFO, so nothing is ever quiet\n");
        return 0;
    }
    test_nothing_is_quiet_before_it_is_renewed();
    test_closed_by_another();
    if (unshare(CLONE_NEWNET) != 0) {
        printf("monitor: not root, so there is no namespace whose loopback may be turned on\n");
        return 0;
    }
    const int asked = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert(asked >= 0);
    test_events(asked);
    test_another_namespace();
    close(asked);
    return 0;
}
