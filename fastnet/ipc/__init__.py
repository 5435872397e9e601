"""Whole messages between processes: a forked child, and servers and clients on Unix-domain sockets.

A message is 0 to ``max_message`` bytes and arrives as it was sent, however the reads split or merge: on the
wire it follows its length in 4 bytes, big-endian. A message can carry open file descriptors (``fds=``), and
``Channel.peer`` is the process at the other end (unix(7): SCM_RIGHTS, SO_PEERCRED).

Every call that can wait has a coroutine, ``NAME_async``; the context managers are sync and async. ::

    with fork(lambda channel: channel.send(channel.recv().upper())) as child:
        child.channel.send(b"hello")
        child.channel.recv()                        # b"HELLO"

    with UnixServer("/run/user/1000/echo", echo_messages), connect("/run/user/1000/echo") as channel:
        channel.send(b"hello")
        channel.recv()                              # b"hello"
"""

from fastnet._typing import TYPE_CHECKING
from fastnet.ipc.channel import (
    MAX_FDS,
    MAX_MESSAGE,
    Buffer,
    Channel,
    Credentials,
    connect,
    connect_async,
    pair,
)
from fastnet.ipc.child import Child, fork

if TYPE_CHECKING:
    from fastnet.ipc.server import Handler, UnixServer, UnixStats

__all__ = [
    "MAX_FDS",
    "MAX_MESSAGE",
    "Buffer",
    "Channel",
    "Child",
    "Credentials",
    "Handler",
    "UnixServer",
    "UnixStats",
    "connect",
    "connect_async",
    "fork",
    "pair",
]


def __getattr__(name: str) -> object:
    """What servers need is loaded on first use."""
    if name not in {"Handler", "UnixServer", "UnixStats"}:
        raise AttributeError(f"module 'fastnet.ipc' has no attribute {name!r}")
    from fastnet.ipc import server

    value = globals()[name] = getattr(server, name)
    return value
