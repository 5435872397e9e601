"""Channels: whole messages, with open file descriptors, over a connected socket."""

import _socket as socket  # socket makes enumerations, which takes long
import errno
import os
import time
from _collections_abc import AsyncIterator, Iterator, Sequence

from fastnet._contract.values import counted
from fastnet._limits import bounded, check_timeout, check_type, quoted, several
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, WRITABLE, Steps, Wait, deadline_in, run, run_async
from fastnet._system import unix_peer as _core
from fastnet._system.unix_address import Address, unix_address
from fastnet._typing import Any, NamedTuple, Self, TypeAlias
from fastnet.errors import BadMessage, InvalidArgument, WaitTimeout

MAX_MESSAGE = 1 << 20
"""Maximum message length in bytes, unless another ``max_message`` is given."""
MAX_FDS = 253
"""Maximum descriptors in one message (SCM_MAX_FD)."""

_LENGTH_BYTES = 4
_LARGEST_FD = (1 << 31) - 1
_READ_BYTES = 1 << 18
_FULL_SECONDS = 0.01
"""Seconds between two connects to a server whose queue is full."""
_NOBODY = frozenset({errno.ENOENT, errno.ECONNREFUSED})

Buffer: TypeAlias = bytes | bytearray | memoryview


class Credentials(NamedTuple):
    """The process that connected, listened or created the pair, from the kernel."""

    pid: int
    uid: int
    gid: int

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Channel:
    """Whole messages over a connected Unix-domain stream socket, of which it takes ownership.

    ``timeout`` limits each send and receive, in seconds; None is no limit. One thread or task may send
    while another receives. Raises InvalidArgument for any other kind of socket.
    """

    def __init__(
        self, sock: socket.socket, *, max_message: int = MAX_MESSAGE, timeout: float | None = None
    ) -> None:
        check_type("sock", sock, socket.socket, "a socket")
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise InvalidArgument(f"sock: {_kind_of(sock)}: expected a stream socket of AF_UNIX")
        check_max_message(max_message)
        check_timeout("timeout", timeout)
        sock.setblocking(False)
        self._sock = sock
        self._frame = bytearray()
        self._fds: list[int] = []
        self.max_message = max_message
        self.timeout = timeout

    def send(self, message: Buffer, fds: Sequence[int] = ()) -> None:
        """Send one message, with copies of open file descriptors.

        Raises InvalidArgument for a message over ``max_message``, BrokenPipeError if the peer has closed,
        and WaitTimeout; after a partial send the channel is closed, since the rest would be misread.
        """
        run(self._send(message, fds))

    async def send_async(self, message: Buffer, fds: Sequence[int] = ()) -> None:
        """``send`` as a coroutine."""
        await run_async(self._send(message, fds))

    def recv(self) -> bytes | None:
        """The next message, or None if the peer sends no more.

        Descriptors that come with it are closed. Raises BadMessage if the peer announces more than
        ``max_message`` bytes or ends within a message, and WaitTimeout, after which it can be called again.
        """
        return run(self._recv())

    async def recv_async(self) -> bytes | None:
        """``recv`` as a coroutine."""
        return await run_async(self._recv())

    def recv_fds(self, limit: int = MAX_FDS) -> tuple[bytes, list[int]] | None:
        """The next message and the descriptors that came with it, which are the caller's to close.

        They are not inherited by programs that this process runs. Raises as ``recv`` does, and BadMessage for
        more than ``limit`` descriptors (none of them stays open).
        """
        return run(self._recv_fds(limit))

    async def recv_fds_async(self, limit: int = MAX_FDS) -> tuple[bytes, list[int]] | None:
        """``recv_fds`` as a coroutine."""
        return await run_async(self._recv_fds(limit))

    def finish(self) -> None:
        """Send no more: after those sent so far the peer's ``recv`` returns None; receiving goes on."""
        self._sock.shutdown(socket.SHUT_WR)

    @property
    def peer(self) -> Credentials:
        """The process at the other end. For both ends of a pair it is the process that created it."""
        return Credentials(*_core.credentials(self._sock))

    def fileno(self) -> int:
        """The socket's descriptor, for ``select`` and the like; -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket, and the descriptors of a message that was not received whole."""
        self._sock.close()
        _close_all(self._fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Each message until the peer sends no more."""
        while (message := self.recv()) is not None:
            yield message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.recv_async()) is not None:
            yield message

    def _send(self, message: Buffer, fds: Sequence[int]) -> Steps[None]:
        if not isinstance(message, bytes | bytearray | memoryview):
            raise InvalidArgument(f"message {quoted(message)}: expected bytes")
        for fd in several("fds", fds, "a list of descriptors"):
            bounded("fds", fd, 0, _LARGEST_FD)
        body = memoryview(message).cast("B")
        if len(body) > self.max_message:
            raise InvalidArgument(
                f"a message of {counted(len(body), 'byte')}: at most {self.max_message} are allowed"
            )
        if len(fds) > MAX_FDS:
            raise InvalidArgument(
                f"{counted(len(fds), 'descriptor')}: at most {MAX_FDS} travel with one message"
            )
        data = memoryview(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        deadline = deadline_in(self.timeout)
        sent = 0
        try:
            while sent < len(data):
                try:
                    if fds and not sent:
                        sent = _send_fds(self._sock, data, list(fds))
                    else:
                        sent += self._sock.send(data[sent:])
                except BlockingIOError:
                    if not (yield Wait(self.fileno(), WRITABLE, deadline)):
                        raise WaitTimeout(
                            f"the peer took {sent} of {counted(len(data), 'byte')} in {self.timeout:g} s"
                        ) from None
        finally:
            if 0 < sent < len(data):
                self.close()

    def _recv(self) -> Steps[bytes | None]:
        received = yield from self._recv_fds(0)
        return None if received is None else received[0]

    def _recv_fds(self, limit: int) -> Steps[tuple[bytes, list[int]] | None]:
        bounded("limit", limit, 0, MAX_FDS)
        deadline = deadline_in(self.timeout)
        while missing := self._missing():
            try:
                data = self._read(min(missing, _READ_BYTES), limit)
            except BlockingIOError:
                if not (yield Wait(self.fileno(), READABLE, deadline)):
                    raise WaitTimeout(f"no whole message came in {self.timeout:g} s") from None
                continue
            if not data:
                if self._frame:
                    raise BadMessage("the peer ended within a message")
                return None
            self._frame += data
        message, self._frame = bytes(self._frame[_LENGTH_BYTES:]), bytearray()
        fds, self._fds = self._fds, []
        return message, fds

    def _missing(self) -> int:
        """The bytes to read now: never past the message, since the kernel ties descriptors to their bytes."""
        if len(self._frame) < _LENGTH_BYTES:
            return _LENGTH_BYTES - len(self._frame)
        length = int.from_bytes(self._frame[:_LENGTH_BYTES], "big")
        if length > self.max_message:
            raise BadMessage(
                f"the peer announces a message of {counted(length, 'byte')}: "
                f"at most {self.max_message} are taken"
            )
        return _LENGTH_BYTES + length - len(self._frame)

    def _read(self, size: int, limit: int) -> bytes:
        if not limit:
            return self._sock.recv(size)
        data, fds, more = _core.receive(self._sock, size, limit)
        self._fds += fds
        if more or len(self._fds) > limit:
            _close_all(self._fds)
            raise BadMessage(f"the peer sent more descriptors than asked for, {limit}")
        return data


def pair(*, max_message: int = MAX_MESSAGE, timeout: float | None = None) -> tuple[Channel, Channel]:
    """Two connected channels (socketpair(2))."""
    check_max_message(max_message)
    check_timeout("timeout", timeout)
    one, other = socket.socketpair()
    return (
        Channel(one, max_message=max_message, timeout=timeout),
        Channel(other, max_message=max_message, timeout=timeout),
    )


def _kind_of(sock: socket.socket) -> str:
    from socket import AddressFamily, SocketKind  # only here: it takes long to load

    return f"{AddressFamily(sock.family).name} {SocketKind(sock.type).name}"


def _send_fds(sock: socket.socket, data: memoryview, fds: list[int]) -> int:
    from socket import send_fds  # only here: it takes long to load

    return send_fds(sock, [data], fds)  # type: ignore[arg-type]


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def check_max_message(size: int) -> None:
    """Raise InvalidArgument for a limit that the length field can't hold."""
    bounded("max_message", size, 1, (1 << 8 * _LENGTH_BYTES) - 1)


def connect(address: Address, *, max_message: int = MAX_MESSAGE, timeout: float | None = None) -> Channel:
    """A channel to the server at a path, or with a leading ``@`` at an abstract name.

    ``timeout`` limits the connect, and then each send and receive. Raises FileNotFoundError or
    ConnectionRefusedError if no server listens, PermissionError, and WaitTimeout if it does not accept.
    """
    return run(_connect(address, max_message, timeout))


async def connect_async(
    address: Address, *, max_message: int = MAX_MESSAGE, timeout: float | None = None
) -> Channel:
    """``connect`` as a coroutine."""
    return await run_async(_connect(address, max_message, timeout))


def _connect(address: Address, max_message: int, timeout: float | None) -> Steps[Channel]:
    where = unix_address(address)
    check_max_message(max_message)
    deadline = deadline_in(timeout)
    channel = Channel(
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), max_message=max_message, timeout=timeout
    )
    connected = False
    try:
        while code := channel._sock.connect_ex(where):
            if code != errno.EAGAIN:
                reason = (
                    f"no server listens there ({os.strerror(code)})" if code in _NOBODY else os.strerror(code)
                )
                raise OSError(code, reason, os.fsdecode(address))
            # The server's queue is full, and Linux has no event for room in it.
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{os.fsdecode(address)}: the server took on nobody in {timeout:g} s")
            yield Wait(-1, 0, deadline_in(_FULL_SECONDS))
        connected = True
        return channel
    finally:
        if not connected:
            channel.close()
