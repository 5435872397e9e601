"""Which hosts are alive by TCP, as ``ping`` and ``sweep`` ask: those that accept or refuse a connection."""

import errno
import socket

from fastnet._backend import probe as _core
from fastnet._reasons import is_closed_port
from fastnet._system.icmp_errors import queued_error
from fastnet._system.names import host_by_system
from fastnet._typing import Any
from fastnet.endpoints import Resolved

PORTS = (80, 443, 22)
"""The ports to connect to: rarely dropped on the way."""
MAX_CONNECTIONS = 256
"""Maximum connections that are under way at once."""
FROM_THE_HOST = (0, errno.ECONNREFUSED, errno.ECONNRESET)
"""How connecting ends if the host has answered, or an ICMP error came."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
"""No room for one more socket now, until one closes."""


def answer_of(
    sock: socket.socket, destination: tuple[Any, ...], code: int, tag: int, rtt_ns: int
) -> "_core.Answer | None":
    """The host's answer to an attempt that ended with ``code``, or an ICMP error; None without either.

    A port unreachable from the host itself is its answer; from a router, which the system reports as refused
    too, it is an error. The socket must have its errors queued (``request_errors``).
    """
    to = Resolved(sock.family, destination)
    if failed := queued_error(sock):
        reporter = failed.reporter
        if failed.scope:
            reporter = host_by_system((reporter, 0, 0, failed.scope), socket.NI_NUMERICHOST)
        answer = _core.Answer(tag, reporter, rtt_ns, None, failed.error, failed.info)
        if not is_closed_port(to, answer):
            return answer
    elif code not in FROM_THE_HOST:
        return None
    return _core.Answer(tag, to.host, rtt_ns, None, None, 0)
