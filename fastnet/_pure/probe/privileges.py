"""The way out of privilege, once what needed it is open: capabilities(7)."""

import ctypes
import os

_VERSION_3 = 0x20080522  # linux/capability.h


def drop_capabilities() -> None:
    """Give up every capability, and the user and group that a set-user-ID program borrowed, for good.

    For a program that has opened what it needed them for. It is the calling thread's capabilities that go
    (capset(2)): call it before other threads begin. What is imported or opened later is opened without them.
    Raises OSError.
    """
    os.setresgid(*3 * (os.getgid(),))
    os.setresuid(*3 * (os.getuid(),))
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
