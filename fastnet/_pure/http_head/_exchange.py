"""Both directions of a connection together."""

from __future__ import annotations

from collections import deque

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
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Callable

    Pending = deque[tuple[int, bytes]]
    """For each request without a response: its kind, and the name that the upstream's name replaced."""


class _Requests(Reader):
    def __init__(self, rewrite: HostRewrite, destination: bytes, pending: Pending) -> None:
        super().__init__()
        self._rewrite = rewrite
        self._destination = destination
        self._pending = pending
        self._parsed = RequestHead()
        self._backlog = b""
        self.switched: bool | None = False

    @property
    def held(self) -> bool:
        """Whether to stop reading: a response must come first, or the client sent an invalid request."""
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
                # This request gets no response: the upstream has only a part of it.
                self._pending.pop()
        self._backlog = b"" if self.bad else data[position:]
        return self._taken_out()

    def decide(self, switched: bool) -> None:
        """Continue after the response to CONNECT or Upgrade."""
        self.switched = switched
        if switched and self._state == self._head:
            self._state = self._raw

    def _add(self, line: bytes) -> None:
        self._parsed.add(line)

    def _message(self, end: bytes) -> None:
        parsed, self._parsed = self._parsed, RequestHead()
        length, chunked = parsed.framing()
        head, original_host = parsed.rewritten(self._rewrite, self._destination)
        self._out.append(head + end)
        self._pending.append((parsed.asks, original_host if self._rewrite.responses else b""))
        self.switched = None if parsed.asks & SWITCHES else False
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
        self._parsed = ResponseHead()
        self.has_answered = False

    @property
    def unanswered(self) -> bool:
        """Whether a response is due and no part of it was forwarded."""
        return bool(self._pending) and self.between_bodies

    @property
    def between_bodies(self) -> bool:
        """Whether the response that was forwarded last is complete."""
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
        self._parsed.add(line)

    def _message(self, end: bytes) -> None:
        parsed, self._parsed = self._parsed, ResponseHead()
        if not self._pending:
            raise BadMessage("a response without a request")
        asks, original_host = self._pending[0]
        status = parsed.status
        switched = (asks & UPGRADE and status == 101) or (asks & CONNECT and 200 <= status < 300)
        if status == 101 and not switched:
            raise BadMessage("a 101 without an upgrade request")
        interim = status < 200 and not switched
        bodiless = asks & HEAD or status in (204, 304)
        framing = None if interim or switched or bodiless else parsed.framing()
        self._out += parsed.rewritten(self._rewrite, original_host)
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

    ``rewrite`` has the Host to replace and its replacement. ``destination`` is the local address to which the
    client connected; it also names the listener.
    """

    __slots__ = ("_pending", "_requests", "_responses")

    def __init__(self, rewrite: HostRewrite, destination: str = "") -> None:
        if not isinstance(rewrite, HostRewrite):
            raise TypeError(f"rewrite: expected a HostRewrite, not {type(rewrite).__name__}")
        self._pending: Pending = deque()
        self._requests = _Requests(rewrite, canonical(destination.encode()), self._pending)
        self._responses = _Responses(rewrite, self._pending, self._requests.decide)

    def request(self, data: bytes = b"") -> bytes | memoryview:
        """Parse bytes from the client; return the bytes to send upstream: complete heads and parts of bodies.

        While ``held``, data is kept and returned by a later call, such as ``request()`` without data.
        Never raises: ``refusal`` has the reason.
        """
        return self._requests.feed(data)

    def response(self, data: bytes) -> bytes | memoryview:
        """Parse bytes from the upstream; return the bytes for the client: complete heads and parts of bodies.

        Raises BadMessage if they are invalid; its ``before`` has the valid bytes before the error.
        """
        return self._responses.feed(data)

    @property
    def request_passes(self) -> int:
        """The number of the client's next bytes that may bypass ``request``; ALL if all may.

        They belong to a body or a chunk, or are no longer HTTP. With 0 they must go through ``request``.
        """
        return self._requests.passes

    @property
    def response_passes(self) -> int:
        """The number of the upstream's next bytes that may bypass ``response``; ALL if all may."""
        return self._responses.passes

    def request_passed(self, n: int) -> None:
        """Record that n bytes of ``request_passes`` were relayed. Raises ValueError for more than those."""
        self._requests.passed(n)

    def response_passed(self, n: int) -> None:
        """Record that n bytes of ``response_passes`` were relayed. Raises ValueError for more than those."""
        self._responses.passed(n)

    @property
    def held(self) -> bool:
        """Whether to stop reading from the client until the next response."""
        return self._requests.held

    @property
    def head_pending(self) -> bool:
        """Whether a request's head has begun and not ended: its time limit applies."""
        return self._requests.in_head and not self._requests.held

    @property
    def awaits_request(self) -> bool:
        """Whether all requests have their responses, and the next one has not begun."""
        answered = not self._pending and self._responses.between_bodies
        return answered and self._requests.at_start and not self._requests.bad

    @property
    def refusal(self) -> str | None:
        """The error in the client's last request, which was not forwarded; None without an error."""
        return self._requests.bad

    @property
    def idle(self) -> bool:
        """Whether no response is due or incomplete: one of our own may be sent."""
        return not self._pending and self._responses.at_start

    @property
    def unfollowed(self) -> str | None:
        """The error in the upstream's bytes; None without an error."""
        return self._responses.bad

    @property
    def unanswered(self) -> bool:
        """Whether a response is due and no part of it was forwarded: one of our own may replace it."""
        return self._responses.unanswered

    @property
    def in_answer(self) -> bool:
        """Whether the upstream's bytes so far end within the head of such a response."""
        return self._responses.unanswered and self._responses.in_head

    @property
    def has_answered(self) -> bool:
        """Whether a response, not only interim ones, was forwarded."""
        return self._responses.has_answered
