"""Random HTTP conversations: pipelined requests, bodies of all framings, and what is due of each."""

from __future__ import annotations

import random
from typing import NamedTuple

from .ends import Step
from .lives import chances, size
from .streams import Segment, Stream, literal


class Site(NamedTuple):
    """How Hosts are to be rewritten in this round."""

    listener: bytes
    """``localhost:PORT``, which clients ask for."""
    upstream: bytes
    always: bool
    responses: bool

    def due_host(self, host: bytes) -> bytes:
        return self.upstream if self.always or host == self.listener else host

    def due_location(self, host: bytes) -> bytes:
        """Where a Location at the upstream leads after a request for this host."""
        return host if self.responses and self.due_host(host) != host else self.upstream


class Conversation(NamedTuple):
    """What both ends do."""

    client: tuple[Step, ...]
    upstream: tuple[Step, ...]
    refused: bool
    """The last request must be answered 400, by the forwarder itself."""


class Exchange(NamedTuple):
    request: tuple[Segment, ...]
    response: tuple[Segment, ...]


BAD = (
    b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nA\x01: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET / HTTP/3.7\r\nHost: a.example\r\n\r\n",
)
BODILESS = (b"204 No Content", b"304 Not Modified")


class Writer:
    """Writes the exchanges of one conversation."""

    def __init__(self, dice: random.Random, streams: tuple[Stream, Stream], site: Site, scale: float) -> None:
        self._dice = dice
        self._site = site
        self._scale = scale
        self._names = [b"X-Stream: /" + stream.name + b"\r\n" for stream in streams]

    def plain(self) -> Exchange:
        """A request and its response."""
        dice, site = self._dice, self._site
        host = dice.choice((site.listener, site.listener, b"other.example"))
        method = dice.choice((b"GET", b"GET", b"POST", b"POST", b"HEAD"))
        framing, body = self._body() if method == b"POST" else (b"", ())
        request = self._request(method + b" /a?b", host, framing + self._filler())
        return Exchange((request, *body), self._response(method, host))

    def upgrade(self) -> Exchange:
        fields = b"Upgrade: raw\r\nConnection: Upgrade\r\n"
        request = self._request(b"GET /raw", self._site.listener, fields)
        return Exchange((request,), (literal(self._status(b"101 Switching Protocols") + fields + b"\r\n"),))

    def connect(self) -> Exchange:
        host = b"tunnel.example:443"
        request = self._request(b"CONNECT " + host, host, b"")
        return Exchange((request,), (literal(self._status(b"200 OK") + b"\r\n"),))

    def _request(self, line: bytes, host: bytes, fields: bytes) -> Segment:
        before = line + b" HTTP/1.1\r\n" + self._names[0] + b"Host: "
        after = b"\r\n" + fields + b"\r\n"
        return literal(before + host + after, before + self._site.due_host(host) + after)

    def _status(self, status: bytes) -> bytes:
        return b"HTTP/1.1 " + status + b"\r\n" + self._names[1]

    def _response(self, method: bytes, host: bytes) -> tuple[Segment, ...]:
        dice = self._dice
        interim = (literal(self._status(b"100 Continue") + b"\r\n"),) if dice.random() < 0.1 else ()
        if dice.random() < 0.15:
            return (*interim, literal(self._status(dice.choice(BODILESS)) + b"\r\n"))
        framing, body = self._body()
        if method == b"HEAD":
            body = ()
        start = self._status(b"200 OK") + framing + self._filler()
        if dice.random() < 0.2:
            before, after = start + b"Location: http://", b"/there\r\n\r\n"
            site = self._site
            head = literal(before + site.upstream + after, before + site.due_location(host) + after)
        else:
            head = literal(start + b"\r\n")
        return (*interim, head, *body)

    def _filler(self) -> bytes:
        dice = self._dice
        long = dice.random() < 0.2
        return b"".join(
            b"X-%d: %s\r\n" % (i, b"v" * dice.randrange(900 if long else 30))
            for i in range(dice.randrange(9))
        )

    def _body(self) -> tuple[bytes, tuple[Segment, ...]]:
        """Its framing fields, and the body."""
        dice = self._dice
        n = size(dice, self._scale)
        if dice.random() < 0.5:
            return b"Content-Length: %d\r\n" % n, (Segment(bulk=n),)
        chunks: list[Segment] = []
        for _ in range(dice.randrange(1, 5)):
            part = max(1, n // 4)
            extension = dice.choice((b"", b"", b";a=b", b';a="b c"'))
            chunks += [literal(b"%x%s\r\n" % (part, extension)), Segment(bulk=part), literal(b"\r\n")]
        trailer = dice.choice((b"", b"", b"X-Trailer: 1\r\n"))
        return b"Transfer-Encoding: chunked\r\n", (*chunks, literal(b"0\r\n" + trailer + b"\r\n"))


def total(segments: tuple[Segment, ...]) -> int:
    return sum(segment.size for segment in segments)


def converse(seed: str, streams: tuple[Stream, Stream], site: Site, scale: float) -> Conversation:
    """The conversation of the life whose client and upstream send these streams."""
    dice = random.Random(f"{seed}/conversation {streams[0].number}")
    writer = Writer(dice, streams, site, scale)
    last = chances(dice, plain=8, refused=2, upgrade=1, connect=0 if site.always else 1)
    client: list[Step] = []
    upstream: list[Step] = []
    asked = answered = 0
    for left in range(dice.randrange(0 if last == "refused" else 1, 5), 0, -1):
        raw = left == 1 and last in ("upgrade", "connect")
        exchange: Exchange = getattr(writer, last)() if raw else writer.plain()
        client.append(Step("say", segments=exchange.request))
        early = exchange.request[0].size if dice.random() < 0.2 else total(exchange.request)
        upstream.append(Step("until", asked + early))
        asked += total(exchange.request)
        answered += total(exchange.response)
        if dice.random() < 0.1:
            upstream.append(Step("pause", dice.randrange(1, 60)))
        upstream.append(Step("say", segments=exchange.response))
        if raw:
            client += [Step("until", answered), Step("send", size(dice, scale))]
            upstream.append(Step("send", size(dice, scale)))
        elif dice.random() < 0.4:
            client.append(Step("until", answered))
        elif dice.random() < 0.1:
            client.append(Step("stall", dice.randrange(1, 80)))
    if last == "refused":
        client.append(Step("say", segments=(literal(dice.choice(BAD), b""),)))
        # What is due comes first, and then there is no more upstream.
        upstream.append(Step("hold"))
    elif dice.random() < 0.2:
        upstream.append(Step(dice.choice(("reset", "close", "hold"))))
    return Conversation((*client, *_ending(dice, last)), tuple(upstream), last == "refused")


def _ending(dice: random.Random, last: str) -> list[Step]:
    end = chances(dice, receive=6, fin=2, reset=2, close=1, partial=2 if last == "plain" else 0)
    if end == "receive":
        return [Step("receive", 1 << 40)]
    if end == "partial":
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"[: dice.randrange(1, 30)]
        return [
            Step("say", segments=(literal(head, b""),)),
            Step(dice.choice(("hold", "fin", "reset", "close"))),
        ]
    return [Step(end)]
