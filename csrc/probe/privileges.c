#define _GNU_SOURCE
#include "probe/privileges.h"

#include <errno.h>
#include <unistd.h>

#include <linux/capability.h>
#include <sys/syscall.h>

int fn_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct nothing[_LINUX_CAPABILITY_U32S_3] = {0};
    const gid_t group = getgid();
    const uid_t user = getuid();

    if (setresgid(group, group, group) < 0 || setresuid(user, user, user) < 0 ||
        syscall(SYS_capset, &header, nothing) < 0)
        return -errno;
    return 0;
}
