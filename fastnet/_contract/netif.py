"""What a question about a network interface raises."""

from __future__ import annotations

import errno
import os
import socket

from fastnet.errors import NoAddress, NoSuchInterface

NAME_SIZE = 16
"""Bytes of an interface's name, its last NUL included (IFNAMSIZ)."""
MAC_TYPES = frozenset({1, 6, 772, 774, 801, 802, 803})
"""Types of if_arp.h with a MAC of six bytes; of others neither the length nor the meaning is known."""


def failure(ifname: str, code: int, what: str) -> OSError:
    """The error for a question about an interface that failed with this errno; ``what`` was asked for."""
    if code == errno.EADDRNOTAVAIL:
        return NoAddress(code, f"{ifname} has no {what}")
    if code == errno.ENODEV:
        wrong = ""
        if not 0 < len(ifname.encode("utf-8", "replace")) < NAME_SIZE:
            wrong = " (a name has 1 to 15 bytes)"
        elif "\0" in ifname or "/" in ifname:
            wrong = " (a name has no NUL and no slash)"
        names = ", ".join(name for _, name in socket.if_nameindex())
        return NoSuchInterface(code, f"no interface {ifname!r}{wrong}: there are {names}")
    return OSError(code, os.strerror(code), ifname)


def check_name(interface: str) -> bytes:
    """An interface's name as the kernel takes it. Raises NoSuchInterface for what can't be one."""
    try:
        name = os.fsencode(interface)
    except UnicodeEncodeError:
        raise failure(interface, errno.ENODEV, "") from None
    # The kernel would cut a longer name to one that there may be.
    if len(name) >= NAME_SIZE or 0 in name:
        raise failure(interface, errno.ENODEV, "")
    return name
