"""Addresses of Unix-domain sockets (unix(7)), as texts and for the system; no socket is made."""

import os

from fastnet._contract.values import counted
from fastnet._typing import TypeAlias
from fastnet.errors import InvalidArgument

Address: TypeAlias = str | os.PathLike[str]
"""A path, or with ``@`` before it a name of the abstract namespace (unix(7))."""

_ADDRESS_BYTES = 107


def unix_address(address: Address) -> bytes:
    """The argument for bind and connect: a path, or after ``@`` a name of the abstract namespace."""
    if not isinstance(address, str | bytes | os.PathLike):
        raise InvalidArgument(
            f"address: expected a path, or @ and an abstract name, not {type(address).__name__}"
        )
    try:
        raw = os.fsencode(address)
    except UnicodeEncodeError:
        raise InvalidArgument(f"address {address!r}: not the path of any file") from None
    name = raw.removeprefix(b"@")
    if not name or b"\0" in name:
        raise InvalidArgument(f"address {os.fsdecode(address)!r}: expected a path, or @ and an abstract name")
    if len(name) > _ADDRESS_BYTES:
        raise InvalidArgument(
            f"{os.fsdecode(address)}: {counted(len(name), 'byte')}, and the address of a Unix socket "
            f"has at most {_ADDRESS_BYTES}"
        )
    return raw if raw == name else b"\0" + name
