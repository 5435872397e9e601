"""A system that refuses calls: seccomp(2) filters, for this thread and what it executes.

``python sandbox.py REFUSAL... -- COMMAND...`` runs a command so. A refusal is ``recvmmsg=EPERM``, or
``setsockopt:1:35=ENOPROTOOPT`` where the second and third arguments must be these.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

SANDBOX = Path(__file__)

CALLS = {
    "x86_64": {"recvmmsg": 299, "recvmsg": 47, "setsockopt": 54, "socket": 41},
    "aarch64": {"recvmmsg": 243, "recvmsg": 212, "setsockopt": 208, "socket": 198},
}[platform.machine()]

# linux/prctl.h, seccomp.h, filter.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
AT_NUMBER, AT_ARGUMENTS, ARGUMENT = 0, 16, 8


def refuse(refusal: str) -> None:
    """From now on this call fails in this thread."""
    what, _, code = refusal.partition("=")
    call, *arguments = what.split(":")
    checks = [(AT_NUMBER, CALLS[call])]
    # The lower halves, where numbers begin with their least byte.
    checks += [(AT_ARGUMENTS + ARGUMENT * place, int(value)) for place, value in enumerate(arguments, 1)]
    program = []
    for left, (offset, value) in zip(range(len(checks) - 1, -1, -1), checks, strict=True):
        program += [(LOAD, 0, 0, offset), (JUMP_IF_EQUAL, 0, 2 * left + 1, value)]
    program += [(RETURN, 0, 0, REFUSE | getattr(errno, code)), (RETURN, 0, 0, ALLOW)]
    _install(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))


def _install(program: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    done = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if not done or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, filter_) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def refusing(*refusals: str) -> tuple[str, ...]:
    """The words that run a command where these calls fail."""
    return (sys.executable, str(SANDBOX), *refusals, "--")


if __name__ == "__main__":
    after = sys.argv.index("--")
    for word in sys.argv[1:after]:
        refuse(word)
    os.execvp(sys.argv[after + 1], sys.argv[after + 1 :])
