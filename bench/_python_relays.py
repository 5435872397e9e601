"""Relays in Python, ours among them.

``python -m bench._python_relays NAME LISTEN_PORT UPSTREAM_PORT [OPTIONS]``; OPTIONS is a JSON
object, for ours: what Forwarder takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import cast

HOST = "127.0.0.1"
MOST_CONNECTIONS = 16384
CHUNK = 262144


class Leg(asyncio.Protocol):
    """One side of a connection: its bytes are sent to the other side, which pauses it while it is full."""

    other: Leg
    transport: asyncio.Transport
    ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        self.other.transport.write_eof()
        if self.other.ended:
            self.transport.close()
            self.other.transport.close()
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.other.transport.close()


class Downstream(Leg):
    """The client's side: bytes that come before the upstream is connected are kept."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()  # which uvloop forgets after this method
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(self._connect(loop))

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        _, upstream = await loop.create_connection(Leg, HOST, self._upstream_port)
        self.other, upstream.other = upstream, self
        self.other.transport.write(self._early)
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if hasattr(self, "other"):
            self.other.transport.write(data)
        else:
            self._early += data


async def protocol(listen_port: int, upstream_port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Downstream(upstream_port), HOST, listen_port, backlog=MOST_CONNECTIONS
    )
    await server.serve_forever()


async def streams(listen_port: int, upstream_port: int) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(HOST, upstream_port)
        try:
            await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))
        except OSError:
            pass  # A client may close at any time.
        finally:
            writer.close()
            up_writer.close()

    server = await asyncio.start_server(serve, HOST, listen_port, backlog=MOST_CONNECTIONS)
    await server.serve_forever()


def with_uvloop(listen_port: int, upstream_port: int) -> None:
    import uvloop

    uvloop.run(protocol(listen_port, upstream_port))


def ours(listen_port: int, upstream_port: int, **options: object) -> None:
    from fastnet import Forwarder

    with Forwarder(
        f"{HOST}:{listen_port}", f"{HOST}:{upstream_port}", max_connections=MOST_CONNECTIONS, **options
    ) as forwarder:
        forwarder.wait()


RELAYS: dict[str, Callable[..., None]] = {
    "protocol": lambda *ports: asyncio.run(protocol(*ports)),
    "streams": lambda *ports: asyncio.run(streams(*ports)),
    "uvloop": with_uvloop,
    "fastnet": ours,
}

if __name__ == "__main__":
    name, listen, upstream, *rest = sys.argv[1:]
    RELAYS[name](int(listen), int(upstream), **json.loads(rest[0] if rest else "{}"))
