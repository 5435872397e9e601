#define _GNU_SOURCE
#include "probe/privileges.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Milliseconds to wait for threads to end: a joined thread may be listed a moment longer. */
enum { ENDING_TIME = 1000 };

/* Root becomes an ordinary user, permanently. */
enum {
    NO_ROOT = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
              SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED
};

static bool has_capabilities(int thread)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = thread};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    if (syscall(SYS_capget, &header, data) < 0)
        return errno != ESRCH;
    return data[0].permitted | data[1].permitted;
}

/* Whether another thread of this process has capabilities, which capset(2) would leave to it. */
static bool others_have_capabilities(void)
{
    const int own = (int)syscall(SYS_gettid);
    const struct dirent *entry;
    bool found = false;
    DIR *threads = opendir("/proc/self/task");

    if (!threads)
        return false;
    while (!found && (entry = readdir(threads))) {
        const int thread = atoi(entry->d_name); /* 0 for "." and ".." */

        found = thread && thread != own && has_capabilities(thread);
    }
    closedir(threads);
    return found;
}

/* Whether it is still so after the time that threads take to end. */
static bool others_keep_capabilities(void)
{
    const struct timespec millisecond = {.tv_nsec = 1000000};

    for (int waited = 0; others_have_capabilities(); waited++) {
        if (waited == ENDING_TIME)
            return true;
        nanosleep(&millisecond, NULL);
    }
    return false;
}

/* 0 if it succeeded, or if only CAP_SETPCAP, which the caller lacks, would permit it. */
static int done_if_permitted(int result)
{
    return result == 0 || errno == EPERM ? 0 : -errno;
}

/* Capabilities that exec(3) could restore: those of root and of files, and the ambient ones. */
static int forbid_new_capabilities(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
        const int code = done_if_permitted(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
        if (code < 0)
            return code;
    }
    return done_if_permitted(prctl(PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0));
}

int fn_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct nothing[_LINUX_CAPABILITY_U32S_3] = {0};
    const gid_t group = getgid();
    const uid_t user = getuid();
    int code;

    if (others_keep_capabilities())
        return -EBUSY;
    code = forbid_new_capabilities();
    if (code < 0)
        return code;
    if (setresgid(group, group, group) < 0 || setresuid(user, user, user) < 0 ||
        syscall(SYS_capset, &header, nothing) < 0)
        return -errno;
    return 0;
}
