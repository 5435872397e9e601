"""Dropping privileges, once everything that needs them is open: another user, or no capabilities(7)."""

import ctypes
import errno
import os
import pwd
import threading
import time

from fastnet.errors import InvalidArgument, NotPermitted

__all__ = ["become", "drop_capabilities", "find_user"]

_VERSION_3 = 0x20080522  # linux/capability.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = (
    23,
    24,
    28,
    38,
    47,
)
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_ENDING_TIME = 1000  # milliseconds to end: a thread that was joined may be listed a moment longer
_NO_ROOT = 0b11_10_11_11  # linux/securebits.h: NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, and all locks


def find_user(name: str) -> pwd.struct_passwd:
    """The account of this name. Raises InvalidArgument if there is none."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a NUL, which no name holds
        raise InvalidArgument(f"no user {name!r}") from None


def become(user: pwd.struct_passwd) -> None:
    """Become this user, irrevocably and in every thread, with the user's groups.

    Raises NotPermitted where this process is not root.
    """
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    try:
        os.setgroups(groups)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except PermissionError:
        who = ", or as ".join(dict.fromkeys(("root", user.pw_name)))
        raise NotPermitted(errno.EPERM, f"only root may become {user.pw_name}: start it as {who}") from None


def drop_capabilities() -> None:
    """Drop, irrevocably, every capability, and the user and group of a set-user-ID program.

    For a program that has opened all that needed them. Later imports and opens are done without
    them, and a program that is executed later has none either, not even as root (no_new_privs,
    capabilities(7)). It is the calling thread's capabilities that go (capset(2)): call it before any other
    thread is started. Raises NotPermitted, with nothing given up, where another thread has capabilities
    (without /proc these are not seen), and OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _refuse_threads(libc)
    _forbid_new_capabilities(libc)
    os.setresgid(*3 * (os.getgid(),))
    os.setresuid(*3 * (os.getuid(),))
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(libc.capset(header, nothing))


def busy_threads() -> NotPermitted:
    """The error of a process whose other threads would keep their capabilities."""
    return NotPermitted(
        errno.EPERM,
        "another thread has capabilities, and would keep them: drop them before any thread is started",
    )


def _refuse_threads(libc: ctypes.CDLL) -> None:
    for _ in range(_ENDING_TIME):
        if not any(_has_capabilities(libc, thread) for thread in _other_threads()):
            return
        time.sleep(0.001)
    raise busy_threads()


def _other_threads() -> list[int]:
    try:
        threads = os.listdir("/proc/self/task")
    except OSError:
        return []
    return [int(thread) for thread in threads if int(thread) != threading.get_native_id()]


def _has_capabilities(libc: ctypes.CDLL, thread: int) -> bool:
    header = (ctypes.c_uint32 * 2)(_VERSION_3, thread)
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(header, data) < 0:
        return ctypes.get_errno() != errno.ESRCH
    return bool(data[1] | data[4])  # the two words that are permitted


def _forbid_new_capabilities(libc: ctypes.CDLL) -> None:
    """What exec(3) could give back: root's capabilities, those of files, and the ambient ones."""

    def prctl(option: int, argument: int) -> int:
        result: int = libc.prctl(option, *map(ctypes.c_ulong, (argument, 0, 0, 0)))
        return result

    _check(prctl(_PR_SET_NO_NEW_PRIVS, 1))
    _check(prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL))
    capability = 0
    while prctl(_PR_CAPBSET_READ, capability) >= 0:
        _check_if_permitted(prctl(_PR_CAPBSET_DROP, capability))
        capability += 1
    _check_if_permitted(prctl(_PR_SET_SECUREBITS, _NO_ROOT))


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _check_if_permitted(result: int) -> None:
    """It was done, or only CAP_SETPCAP, which the caller lacks, would allow it."""
    if ctypes.get_errno() != errno.EPERM:
        _check(result)
