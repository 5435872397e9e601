"""Both directions of a connection together."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fastnet._contract.http_head import PIPELINE_LIMIT, BadMessage
from fastnet._pure.http_head._hosts import HostRewrite, canonical
from fastnet._pure.http_head._messages import (
    CONNECT,
    HEAD,
    SWITCHES,
    UPGRADE,
    RequestHead,
    ResponseHead,
)
from fastnet._pure.http_head._reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    Pending = deque[tuple[int, bytes]]
    """What each request that waits for its response asks for, and the name that the upstream replaced."""


class _Requests(Reader):
    def __init__(self, rewrite: HostRewrite, reached_at: bytes, pending: Pending) -> None:
        super().__init__()
        self._rewrite = rewrite
        self._reached_at = reached_at
        self._pending = pending
        self._facts = RequestHead()
        self._backlog = b""
        self.switched: bool | None = False

    @property
    def held(self) -> bool:
        """Whether no more may be read now: a response must come first, or the client sent nonsense."""
        waits = self._state == self._head and (self.switched is None or len(self._pending) >= PIPELINE_LIMIT)
        return waits or self.bad is not None

    @property
    def passes(self) -> int:
        return 0 if self._backlog else super().passes

    def feed(self, data: bytes) -> bytes | memoryview:
        data = self._backlog + data if self._backlog else data
        position = 0
        try:
            while position < len(data) and not self.held:
                position = self._state(data, position)
        except BadMessage as error:
            self.bad = str(error)
            if self._state != self._head and self._pending:
                # Its own response can't be waited for: the upstream has only a part of the request.
                self._pending.pop()
        self._backlog = b"" if self.bad else data[position:]
        return self._taken_out()

    def decide(self, switched: bool) -> None:
        """The response to CONNECT or Upgrade has come."""
        self.switched = switched
        if switched and self._state == self._head:
            self._state = self._raw

    def _add(self, line: bytes) -> None:
        self._facts.add(line)

    def _message(self, end: bytes) -> None:
        facts, self._facts = self._facts, RequestHead()
        length, chunked = facts.framing()
        head, asked = facts.rewritten(self._rewrite, self._reached_at)
        self._out.append(head + end)
        self._pending.append((facts.asks, asked if self._rewrite.responses else b""))
        self.switched = None if facts.asks & SWITCHES else False
        self._body(length, chunked)

    def _ended(self) -> None:
        self._state = self._raw if self.switched else self._head


class _Responses(Reader):
    strict = False

    def __init__(self, rewrite: HostRewrite, pending: Pending, decide: Callable[[bool], None]) -> None:
        super().__init__()
        self._rewrite = rewrite
        self._pending = pending
        self._decide = decide
        self._facts = ResponseHead()
        self.has_answered = False

    @property
    def unanswered(self) -> bool:
        """Whether a response is due and none of it was sent on."""
        return bool(self._pending) and self.between_bodies

    @property
    def between_bodies(self) -> bool:
        """Whether the response that was sent on last is complete."""
        return self._state == self._head

    def feed(self, data: bytes) -> bytes | memoryview:
        if self.bad:
            raise BadMessage(self.bad)
        position = 0
        try:
            while position < len(data):
                position = self._state(data, position)
        except BadMessage as error:
            self.bad = str(error)
            error.before = self._taken_out()
            raise
        return self._taken_out()

    def _add(self, line: bytes) -> None:
        self._facts.add(line)

    def _message(self, end: bytes) -> None:
        facts, self._facts = self._facts, ResponseHead()
        if not self._pending:
            raise BadMessage("a response that no request awaits")
        asks, asked = self._pending[0]
        status = facts.status
        switched = (asks & UPGRADE and status == 101) or (asks & CONNECT and 200 <= status < 300)
        if status == 101 and not switched:
            raise BadMessage("a 101 that no request asked for")
        interim = status < 200 and not switched
        bodiless = asks & HEAD or status in (204, 304)
        framing = None if interim or switched or bodiless else facts.framing()
        self._out += facts.rewritten(self._rewrite, asked)
        self._out.append(end)
        if interim:
            return
        self.has_answered = True
        self._pending.popleft()
        if asks & SWITCHES:
            self._decide(bool(switched))
        if framing:
            self._body(*framing)
        elif bodiless and not switched:
            self._ended()
        else:
            self._state = self._raw


class Exchange:
    """The requests and responses of one connection.

    ``rewrite`` is which Host is replaced; ``reached_at`` is the local address at which the client
    reached us, one more name of the listener.
    """

    __slots__ = ("_pending", "_requests", "_responses")

    def __init__(self, rewrite: HostRewrite, reached_at: str = "") -> None:
        if not isinstance(rewrite, HostRewrite):
            raise TypeError(f"rewrite: expected a HostRewrite, not {type(rewrite).__name__}")
        self._pending: Pending = deque()
        self._requests = _Requests(rewrite, canonical(reached_at.encode()), self._pending)
        self._responses = _Responses(rewrite, self._pending, self._requests.decide)

    def request(self, data: bytes = b"") -> bytes | memoryview:
        """What to send upstream for these bytes from the client: whole heads and whatever of bodies there is.

        What comes while ``held`` is kept, and goes out with a later call, as ``request()`` without data.
        Never raises: ``refusal`` has the reason.
        """
        return self._requests.feed(data)

    def response(self, data: bytes) -> bytes | memoryview:
        """What to send to the client for these bytes from the upstream: whole heads, and what came of bodies.

        Raises BadMessage where they can't be followed, with what came before that.
        """
        return self._responses.feed(data)

    @property
    def request_passes(self) -> int:
        """How many of the client's next bytes may be relayed without being shown here; ALL for ever.

        They are a body's, a chunk's, or no HTTP any more. 0: they must go through ``request``.
        """
        return self._requests.passes

    @property
    def response_passes(self) -> int:
        """How many of the upstream's next bytes may be relayed without being shown here; ALL for ever."""
        return self._responses.passes

    def request_passed(self, n: int) -> None:
        """So many bytes of ``request_passes`` were relayed. Raises ValueError for more than those."""
        self._requests.passed(n)

    def response_passed(self, n: int) -> None:
        """So many bytes of ``response_passes`` were relayed. Raises ValueError for more than those."""
        self._responses.passed(n)

    @property
    def held(self) -> bool:
        """Whether to read no more from the client before the next response."""
        return self._requests.held

    @property
    def head_pending(self) -> bool:
        """Whether a request's head has begun and not ended: the time for it is running."""
        return self._requests.in_head and not self._requests.held

    @property
    def awaits_request(self) -> bool:
        """Whether all requests are answered, and the next one has not begun."""
        answered = not self._pending and self._responses.between_bodies
        return answered and self._requests.at_start and not self._requests.bad

    @property
    def refusal(self) -> str | None:
        """The error of the client's last request, which was not passed on; None if there is none."""
        return self._requests.bad

    @property
    def idle(self) -> bool:
        """Whether no response is due or under way: one of our own may be sent."""
        return not self._pending and self._responses.at_start

    @property
    def unfollowed(self) -> str | None:
        """The error of the upstream's bytes, which can't be followed; None if there is none."""
        return self._responses.bad

    @property
    def unanswered(self) -> bool:
        """Whether a response is due and none of it was sent on: one of our own may replace it."""
        return self._responses.unanswered

    @property
    def in_answer(self) -> bool:
        """Whether what the upstream sent so far ends within the head of such a response."""
        return self._responses.unanswered and self._responses.in_head

    @property
    def has_answered(self) -> bool:
        """Whether a response, not only interim ones, was sent on."""
        return self._responses.has_answered
