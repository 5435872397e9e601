"""Both ends of flows of datagrams, each of which names its flow, and the check of what arrives."""

from __future__ import annotations

import errno
import random
import re
import socket
from collections import Counter, defaultdict
from collections.abc import Callable

from .reactor import READ, Reactor
from .streams import PATTERN, PERIOD, Wrong

HEADER = re.compile(rb"([QA])([0-9a-f]{8})\.([0-9a-f]{6})\.([0-9a-f]{2}) ")
"""Question or answer, client, the question's number, and how many answers are wanted or which one it is."""
LARGEST = 60_000
A_TURN = 64
ROOM = 16 << 20
"""Bytes of a socket's receive buffer: what is lost is not to be the driver's fault."""
_SO_RCVBUFFORCE = 33
_GONE = (errno.ECONNREFUSED, errno.EHOSTUNREACH)


def build(kind: bytes, client: int, number: int, part: int, size: int) -> bytes:
    """A datagram of at least so many bytes, which are those of no other."""
    header = b"%b%08x.%06x.%02x " % (kind, client, number, part)
    phase = (client * 7919 + number * 104_729 + part * 31) % PERIOD
    return header + bytes(PATTERN[phase : phase + max(0, size - len(header))])


def parse(data: bytes, kind: bytes) -> tuple[int, int, int]:
    """Client, number and part of a datagram. Raises Wrong for what nobody sent."""
    match = HEADER.match(data)
    if not match or match[1] != kind:
        raise Wrong(f"a datagram that nobody sent: {data[:60]!r}")
    client, number, part = (int(group, 16) for group in match.groups()[1:])
    if data != build(kind, client, number, part, len(data)):
        raise Wrong(f"a datagram of client {client} was changed: {data[:60]!r} of {len(data)} bytes")
    return client, number, part


class Post:
    """A datagram socket, and who reads what comes."""

    def __init__(
        self, reactor: Reactor, host: str, port: int, on_data: Callable[[bytes, object], None]
    ) -> None:
        self._reactor = reactor
        self._on_data = on_data
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM)
        self.sock.setblocking(False)
        self.sock.bind((host, port))
        reactor.watch(self.sock.fileno(), READ, lambda _: self._read())

    def _read(self) -> None:
        for _ in range(A_TURN):
            try:
                data, place = self.sock.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                return
            self._reactor.moved()
            self._on_data(data, place)

    def send(self, data: bytes, place: object) -> bool:
        """False where it was lost here already."""
        try:
            self.sock.sendto(data, place)  # type: ignore[call-overload]
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (*_GONE, errno.ENOBUFS):
                raise
            return False
        return True

    def close(self) -> None:
        self._reactor.forget(self.sock.fileno())
        self.sock.close()


class Upstream:
    """Answers questions; while it is dead, nobody listens at its port."""

    def __init__(self, reactor: Reactor, place: str, world: Flows) -> None:
        self._reactor = reactor
        self._world = world
        self._post: Post | None = None
        self._closed = False
        self.host, self.port = place, 0
        self.revive()

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    def revive(self) -> None:
        if not (self._post or self._closed):
            self._post = Post(self._reactor, self.host, self.port, self._on_data)
            self.port = self._post.sock.getsockname()[1]

    def die(self) -> None:
        if self._post:
            self._post.close()
            self._post = None

    def close(self) -> None:
        self.die()
        self._closed = True

    def _on_data(self, data: bytes, place: object) -> None:
        world = self._world
        with world.watched():
            client, number, answers = parse(data, b"Q")
            world.question(client, number)
            world.users[place].add(client)
            world.received_up += len(data)
            dice = random.Random(f"{client}.{number}")
            for part in range(answers):
                answer = build(b"A", client, number, part, size(dice, world.largest))
                if self._post and self._post.send(answer, place):
                    world.answered.add((client, number, part))


class Client:
    """Sends its questions, and then asks again and again until it is answered once more."""

    def __init__(self, number: int, world: Flows, seed: str, host: str, place: object) -> None:
        self.number = number
        self.served = False
        self.begun = self.asked_since = 0.0
        self._world = world
        self._dice = random.Random(f"{seed}/client {number}")
        self._place = place
        self._post = Post(world.reactor, host, 0, self._on_data)
        self._left = self._dice.randrange(12)
        self.sent = 0

    def __str__(self) -> str:
        return f"client {self.number}: sent {self.sent}, {'served' if self.served else 'not served'}"

    def begin(self) -> None:
        self.begun = self._world.reactor.now
        self._go_on()

    def _go_on(self) -> None:
        if self.served:
            return
        if self._left:
            self._left -= 1
            self._ask(self._dice.choice((0, 1, 1, 2, 5)))
            self._world.reactor.later(self._dice.choice((0, 0, 0.001, 0.01, 0.04)), self._go_on)
            return
        if not self.asked_since:
            self.asked_since = self._world.reactor.now
        self._ask(1)
        self._world.reactor.later(0.1, self._go_on)

    def _ask(self, answers: int) -> None:
        data = build(b"Q", self.number, self.sent, answers, size(self._dice, self._world.largest))
        self.sent += 1
        self._post.send(data, self._place)

    def _on_data(self, data: bytes, _place: object) -> None:
        world = self._world
        with world.watched():
            client, number, part = parse(data, b"A")
            if client != self.number:
                world.misled.append((self.number, client))
                return
            world.answer(client, number, part)
            world.received_down += len(data)
            if self.asked_since:
                self.served = True
                world.on_served(self)

    def close(self) -> None:
        self.served = True
        self._post.close()


def size(dice: random.Random, largest: int) -> int:
    return (
        dice.choice((0, 30, 100, 512, 1400, dice.randrange(1500, 9000), dice.randrange(9000, LARGEST)))
        % largest
    )


class Flows:
    """All clients and upstreams of a round, and what was sent: ``wrongs`` is what should not have arrived."""

    def __init__(self, reactor: Reactor, largest: int) -> None:
        self.reactor = reactor
        self.largest = largest
        self.clients: dict[int, Client] = {}
        self.answered: set[tuple[int, int, int]] = set()
        self.questions: Counter[tuple[int, int]] = Counter()
        self.received_up = self.received_down = 0
        self.wrongs: list[str] = []
        self.denied: set[int] = set()
        self.misled: list[tuple[int, int]] = []
        """Clients that got an answer, and those to whom it was."""
        self.users: defaultdict[object, set[int]] = defaultdict(set)
        """Whose questions came from each address."""
        self.on_served: Callable[[Client], None] = lambda client: None

    def watched(self) -> Watched:
        return Watched(self.wrongs)

    def check_misled(self) -> None:
        """Note who got another's answer, but for a late one to an earlier flow from the same port.

        From which port a question was sent that never came is not known.
        """
        for one, other in self.misled:
            unknown = any(not self.questions[one, number] for number in range(self.clients[one].sent))
            if not unknown and not any(one in users and other in users for users in self.users.values()):
                self.wrongs.append(f"client {one} got an answer to client {other}")

    def question(self, client: int, number: int) -> None:
        """It has come to an upstream."""
        if client not in self.clients or number >= self.clients[client].sent:
            raise Wrong(f"question {number} of client {client} was never sent")
        if client in self.denied:
            raise Wrong(f"question {number} of client {client} came, which must be denied")
        self.questions[client, number] += 1
        if self.questions[client, number] > 1:
            raise Wrong(f"question {number} of client {client} came twice")

    def answer(self, client: int, number: int, part: int) -> None:
        """It has come to its client."""
        try:
            self.answered.remove((client, number, part))
        except KeyError:
            raise Wrong(
                f"answer {part} to question {number} of client {client} came twice, or from nobody"
            ) from None


class Watched:
    """Keeps what is raised as wrong."""

    def __init__(self, wrongs: list[str]) -> None:
        self._wrongs = wrongs

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, Wrong):
            self._wrongs.append(str(error))
        return isinstance(error, Wrong)
