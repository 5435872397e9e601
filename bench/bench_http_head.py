"""HTTP heads with their Host rewritten: one by one (h11), and in a relay (HAProxy and nginx in http mode)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import eq

from bench._case import Case, Contender
from bench._harness import Result
from bench._load import LoadCase, measure_loads
from bench._relays import HTTP_PEERS, ours
from bench.bench_relay import bulk
from bench.bench_relay_latency import rate
from fastnet._backend import http_head

BODY_BYTES = 64 << 20
REQUEST = b"""\
GET /static/fonts/regular.woff2?v=1071 HTTP/1.1\r
Host: %s\r
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r
Accept: application/font-woff2;q=1.0,application/font-woff;q=0.9,*/*;q=0.8\r
Accept-Language: en-US,en;q=0.5\r
Accept-Encoding: identity\r
Connection: keep-alive\r
Referer: http://localhost:8080/static/style.css\r
Cookie: session=4f2a9c1be07d4a6c8d53; theme=dark\r
Sec-Fetch-Dest: font\r
Sec-Fetch-Mode: cors\r
Sec-Fetch-Site: same-origin\r
\r
"""
RESPONSE = b'HTTP/1.1 304 Not Modified\r\nDate: Mon, 05 Oct 2026 07:28:00 GMT\r\nETag: "1071"\r\n\r\n'
LISTENER, UPSTREAM = b"localhost:8080", b"example.com"


def h11_exchange() -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
    """The work of a proxy based on h11: parses the request and writes it again, and parses the response."""
    import h11

    def exchange(request: bytes, response: bytes) -> tuple[bytes, bytes]:
        down, up = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
        down.receive_data(request)
        head = down.next_event()
        headers = [
            (name, UPSTREAM if name.lower() == b"host" else value) for name, value in head.headers.raw_items()
        ]
        sent = up.send(h11.Request(method=head.method, target=head.target, headers=headers))
        up.send(h11.EndOfMessage())
        up.receive_data(response)
        up.next_event()
        return sent, response

    return exchange


def cases() -> Iterator[Case]:
    request = REQUEST % LISTENER

    def ours_alone() -> Contender:
        rewrite = http_head.HostRewrite({"localhost"}, 8080, UPSTREAM.decode())
        exchange = http_head.Exchange(rewrite)
        return Contender(
            "(bytes(exchange.request(request)), bytes(exchange.response(response)))",
            {"exchange": exchange, "request": request, "response": RESPONSE},
        )

    def h11() -> Contender:
        names = {"exchange": h11_exchange(), "request": request, "response": RESPONSE}
        return Contender("exchange(request, response)", names)

    yield Case(
        f"a request's head of {len(request)} B, its Host rewritten, and the response's head",
        ours_alone,
        {"h11": h11},
        partial(eq, (REQUEST % UPSTREAM, RESPONSE)),
    )


def loads() -> Iterator[LoadCase]:
    yield rate("GET requests of 64 connections", "requests", {"connections": 64, "http": 1})
    yield bulk("responses of 64 MiB, one connection", {"http": 1, "bytes": BODY_BYTES})


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    """A relay that rewrites the Host, and one that does not parse."""
    rewriting = [
        relay._replace(name=f"{relay.name}, rewriting", rewrites=True)
        for relay in ours(implementations, rewrite_host=True)
    ]
    relays = [*rewriting, *ours(implementations), *HTTP_PEERS]
    return measure_loads("http_head", relays, list(loads()), rounds)
