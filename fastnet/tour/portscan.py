"""The ports of loopback: one that listens, and one that does not."""

import socket
from _collections_abc import Iterator

from fastnet._portscan import portscan
from fastnet.tour import Sight


def visit() -> Iterator[Sight]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        listening, closed = server.getsockname()[1], silent.getsockname()[1]
        scan = portscan("127.0.0.1", [listening, closed])
    states = {port.port: port.state for port in scan.ports}
    yield Sight(
        f"scan port {listening}, which listens, and {closed}, which does not",
        ", ".join(f"{port} {state}" for port, state in states.items()),
        ok=states == {listening: "open", closed: "closed"},
    )
