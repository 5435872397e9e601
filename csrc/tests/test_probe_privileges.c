#define _GNU_SOURCE
#include "probe/privileges.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool has_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    assert(syscall(SYS_capget, &header, data) == 0);
    return data[0].permitted | data[1].permitted;
}

static void *wait_for_end(void *end)
{
    char byte;

    assert(read(*(const int *)end, &byte, 1) == 0);
    return NULL;
}

/* Nothing is given up while a thread lives that would keep it. */
static int refused_in_child(void)
{
    const bool had = has_capabilities();
    pthread_t thread;
    int ends[2];

    assert(pipe(ends) == 0 && pthread_create(&thread, NULL, wait_for_end, ends) == 0);
    if (fn_drop_capabilities() != (had ? -EBUSY : 0) || has_capabilities() != had)
        return 1;
    close(ends[1]);
    assert(pthread_join(thread, NULL) == 0);
    return fn_drop_capabilities() == 0 && !has_capabilities() ? 0 : 2;
}

static int left_in_child(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    unsigned left = 0;

    for (int twice = 0; twice < 2; twice++)
        if (fn_drop_capabilities() != 0)
            return 1;
    if (syscall(SYS_capget, &header, data) < 0)
        return 2;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        left |= data[i].effective | data[i].permitted | data[i].inheritable;
    return left ? 3 : 0;
}

static void expect_success(int (*in_child)(void))
{
    int status = 0;
    const pid_t child = fork();

    if (child == 0)
        _exit(in_child());
    assert(child > 0);
    assert(waitpid(child, &status, 0) == child);
    assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    expect_success(left_in_child);
    expect_success(refused_in_child);
    return 0;
}
