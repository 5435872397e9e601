"""Forwarding: a page fetched through a forwarder that rewrites the Host, and bytes counted by a relay."""

import http.client
import http.server
import socket
import threading
import time
from _collections_abc import Iterator

from fastnet._contract.values import counted
from fastnet._forward import Forwarder, relay
from fastnet.tour import Sight

TOPIC = "relay"

_BULK = bytes(16 << 20)


class _Web(http.server.BaseHTTPRequestHandler):
    """Answers with the Host that it was asked for, or with bulk."""

    def do_GET(self) -> None:
        body = _BULK if self.path == "/bulk" else self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the tour has its own output."""


def _fetch(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _megabytes_a_second(port: int) -> float:
    started = time.perf_counter()
    size = len(_fetch(port, "/bulk"))
    return size / (time.perf_counter() - started) / 1e6


def visit() -> Iterator[Sight]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield from _forwarded(f"127.0.0.1:{web.server_port}", web.server_port)
        finally:
            web.shutdown()
            thread.join()

    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    with a, d:
        a.sendall(b"question")
        a.shutdown(socket.SHUT_WR)
        d.sendall(b"late answer")
        d.shutdown(socket.SHUT_WR)
        moved = relay(b, c)
    done = (moved.from_a, moved.from_b) == (8, 11)
    yield Sight(
        "relay between two sockets, one direction ending first",
        f"{moved.from_a} and {counted(moved.from_b, 'byte')}",
        done,
    )


def _forwarded(upstream: str, direct_port: int) -> Iterator[Sight]:
    with Forwarder("localhost:0", upstream, rewrite_host=True) as forwarder:
        host = _fetch(forwarder.port, "/").decode()
        did = f"fetch http://127.0.0.1:{forwarder.port}/ through a forwarder that rewrites the Host"
        yield Sight(did, f"Host: {host}", host == upstream)
        through, direct = _megabytes_a_second(forwarder.port), _megabytes_a_second(direct_port)
        yield Sight("fetch 16 MiB through it and directly", f"{through:.0f} and {direct:.0f} MB/s")
