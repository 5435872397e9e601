"""Names that the system gives to addresses and interfaces; no rule makes them UTF-8."""

import _socket as socket
import os

from fastnet._typing import Any

__all__ = ["host_by_system"]


def host_by_system(address: tuple[Any, ...], flags: int) -> str:
    """The host of a socket address, by getnameinfo(3): bytes that are no text are surrogates (PEP 383).

    Raises socket.gaierror.
    """
    try:
        return socket.getnameinfo(address, flags)[0]
    except UnicodeDecodeError as error:
        return os.fsdecode(error.object)
