"""Lives that are being led: which ends there are, and whose bytes go where."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

from . import proxy
from .ends import End, Step, greeting, saying
from .exchanges import Conversation, Site, converse
from .lives import BULK, Life, habits, impatience, unknown_upstream
from .options import Row
from .reactor import Reactor
from .streams import Receiver, Stream, Wrong

UNKNOWN = 0x40000000
"""Streams from this number on are those of upstreams that began without a word from their client."""


class Case:
    """One life as it is led."""

    def __init__(
        self, life: Life, conversation: Conversation | None, streams: tuple[Stream, Stream], began: float
    ) -> None:
        self.life = life
        self.began = began
        self.conversation = conversation
        self.streams = streams
        self.client: End | None = None
        self.upstream: End | None = None
        self.address: proxy.Address | None = None
        """Who the client is: by its own address, or the one in its PROXY header."""
        self.garbage = False
        """It speaks no HTTP where HTTP is expected."""
        self.reached_unknown = False
        """Its upstream's end follows a script that is not of this life."""

    def __str__(self) -> str:
        """What both ends were to do."""
        life = self.life
        steps = self.conversation or life
        client, upstream = (", ".join(map(str, some)) for some in (steps.client, steps.upstream))
        marks = f"{life.header and f' PROXY header {life.header};'}{' mute;' if life.mute else ''}"
        return f"life {life.number} from {life.source}:{marks} client: {client} | upstream: {upstream}"

    def link(self, upstream: End) -> None:
        """These are the two ends of one connection."""
        if self.upstream not in (None, upstream) or upstream.peer not in (None, self.client):
            raise Wrong(f"life {self.life.number} reached two upstreams, or two lives one")
        self.upstream = upstream
        upstream.peer = self.client
        assert self.client
        self.client.peer = upstream

    @property
    def ends(self) -> list[End]:
        return [end for end in (self.client, self.upstream) if end]

    @property
    def ended_at(self) -> float:
        return max(end.ended_at for end in self.ends)

    @property
    def wrongs(self) -> list[str]:
        return [str(end.wrong) for end in self.ends if end.wrong]


class World:
    """All streams, ends and cases of a round."""

    def __init__(self, reactor: Reactor, seed: str, scale: float, row: Row) -> None:
        self.reactor = reactor
        self.seed = seed
        self.scale = scale
        self.http = bool(row["rewrite_host"])
        self.bulk = row["traffic"] == "bulk"
        self.send_proxy = bool(row["send_proxy"])
        self.dying = row["upstreams"] == "dying"
        self.site: Site | None = None
        self.streams: dict[int, Stream] = {}
        self.cases: list[Case] = []
        self.upstream_ends: list[End] = []
        self.released = False
        self._case_of: dict[int, Case] = {}
        self._end_of: dict[int, End] = {}
        self._proxied: dict[End, proxy.Address | None] = {}

    # Clients

    def begin(self, life: Life, family: int, place: object, on_done: Callable[[], None]) -> Case:
        """Let a client connect."""
        streams = (Stream(2 * life.number), Stream(2 * life.number + 1))
        for stream in streams:
            self.streams[stream.number] = stream
        dice = random.Random(f"{self.seed}/begin {life.number}")
        conversation = None
        if self.site and dice.random() < 0.9:
            conversation = converse(self.seed, streams, self.site, self.scale)
        case = Case(life, conversation, streams, self.reactor.now)
        case.garbage = self.http and not conversation
        self._case_of[streams[0].number] = case
        sock = socket.socket(family)
        sock.setblocking(False)
        life.habits.apply(sock)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            sock.bind((life.source, 0))
        error = sock.connect_ex(place)  # type: ignore[arg-type]
        client = End(self.reactor, sock, streams[0], Receiver(self.streams), life.habits, connecting=True)
        case.client = client
        if family != socket.AF_UNIX:
            case.address = sock.getsockname()[:2]
        client.on_named = lambda: self._named_upstream(case)
        client.on_done = on_done
        self.cases.append(case)
        if error not in (0, 115):
            client.steps.clear()
            client.fail(OSError(error, "connect"))
            return case
        steps = () if life.header == "partial" else self._client_steps(case)
        client.begin((*self._header(case, dice), *steps))
        return case

    def _header(self, case: Case, dice: random.Random) -> list[Step]:
        life = case.life
        if not life.header:
            return []
        number = life.number
        apparent = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1000 + number % 60000)
        whole = proxy.build(dice.choice((1, 2)), apparent)
        if life.header == "whole":
            case.address = apparent
            cut = dice.randrange(1, len(whole)) if dice.random() < 0.3 else len(whole)
            return [saying(whole[:cut], b""), Step("pause", dice.randrange(20)), saying(whole[cut:], b"")]
        part = whole[: dice.randrange(1, len(whole))]
        return [saying(proxy.spoilt(dice, whole) if life.header == "bad" else part, b"")]

    def _client_steps(self, case: Case) -> tuple[Step, ...]:
        if case.conversation:
            return case.conversation.client
        first = (Step("receive", 1),) if case.life.mute else ()
        return (*first, greeting(case.streams[0]), *case.life.client)

    # Upstreams

    def accept(self, sock: socket.socket) -> None:
        """An upstream's end of somebody's connection."""
        number = len(self.upstream_ends)
        dice = random.Random(f"{self.seed}/accept {number}")
        own = BULK if self.bulk else habits(dice)
        own.apply(sock)
        stream = Stream(UNKNOWN + number)
        end = End(self.reactor, sock, stream, Receiver(self.streams), own)
        self.upstream_ends.append(end)
        if self.send_proxy:
            end.skip = lambda data: self._read_proxy(end, data)
        end.on_named = lambda: self._named_client(end)
        if self.released:
            end.release()
            return
        if self.dying and dice.random() < 0.4:
            self._lead_unknown(end, (Step(dice.choice(("reset", "close"))),))
            return
        if not (self.http or self.bulk) or dice.random() < 0.05:
            wait = impatience(self.seed, number)
            self.reactor.later(wait, lambda: self._grow_impatient(end, number))

    def _grow_impatient(self, end: End, number: int) -> None:
        if not (end.receiver.stream or end.done or end.released):
            steps = unknown_upstream(self.seed, number, self.scale)
            self._lead_unknown(end, (greeting(end.stream), *steps))

    def _lead_unknown(self, end: End, steps: tuple[Step, ...]) -> None:
        self.streams[end.stream.number] = end.stream
        self._end_of[end.stream.number] = end
        end.begin(steps)

    def _read_proxy(self, end: End, data: bytes) -> bytes | None:
        try:
            header = proxy.read(data)
        except ValueError as error:
            raise Wrong(str(error)) from None
        if header is None:
            return None
        self._proxied[end] = header[0]
        return header[1]

    # Who is whose

    def _named_client(self, end: End) -> None:
        """The first bytes that this upstream's end received identify its client."""
        assert end.receiver.stream
        case = self._case_of.get(end.receiver.stream.number)
        if not case:
            raise Wrong(f"an upstream received stream {end.receiver.stream.number}, which is no client's")
        case.link(end)
        if self.send_proxy and case.address and self._proxied.get(end) != tuple(case.address):
            raise Wrong(f"its PROXY header names {self._proxied.get(end)}, the client is {case.address}")
        if end.stream.ended or end.stream.segments:
            case.reached_unknown = True
            return
        end.stream = case.streams[1]
        self._end_of[end.stream.number] = end
        steps = case.conversation.upstream if case.conversation else case.life.upstream
        end.begin(steps if case.conversation else (greeting(end.stream), *steps))

    def _named_upstream(self, case: Case) -> None:
        """The first bytes that this client received identify its upstream."""
        assert case.client
        stream = case.client.receiver.stream
        assert stream
        end = self._end_of.get(stream.number)
        if not end:
            raise Wrong(f"a client received stream {stream.number}, which is no upstream's")
        if end.stream.number >= UNKNOWN:
            case.reached_unknown = True
        case.link(end)

    # All of them

    @property
    def ends(self) -> list[End]:
        return [case.client for case in self.cases if case.client] + self.upstream_ends

    @property
    def all_done(self) -> bool:
        return all(end.done for end in self.ends)

    def release(self) -> None:
        """Bring all to an orderly end, also those who are still to come."""
        self.released = True
        for end in self.ends:
            if not end.done:
                end.release()

    def close(self) -> None:
        for end in self.ends:
            if not end.done:
                end.close()
