"""Echo over TCP, on IPv6 and IPv4: a server, and a client that measures how long each message takes.

::

    with EchoServer() as server:                        # [::1] and 127.0.0.1, on a free port
        result = echo("localhost", server.port, count=10)
        result.ok, result.rtt_avg_ms                    # (True, 0.08)
"""

from fastnet.echo.client import MAX_COUNT, MAX_SIZE, EchoClient, EchoResult, Reply, echo, echo_async
from fastnet.echo.server import EchoServer, EchoStats

__all__ = [
    "MAX_COUNT",
    "MAX_SIZE",
    "EchoClient",
    "EchoResult",
    "EchoServer",
    "EchoStats",
    "Reply",
    "echo",
    "echo_async",
]
