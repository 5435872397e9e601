#define _GNU_SOURCE
#include "probe/privileges.h"

#include <assert.h>
#include <unistd.h>

#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

int main(void)
{
    int status = 0;
    const pid_t child = fork();

    if (child == 0)
        _exit(left_in_child());
    assert(child > 0);
    assert(waitpid(child, &status, 0) == child);
    assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}
