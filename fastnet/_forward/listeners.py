"""The listening sockets of a rule, which stay open when the rest of the rule changes."""

import os
import socket
from _collections_abc import Iterable
from contextlib import ExitStack, suppress
from itertools import chain
from weakref import WeakSet

from fastnet._forward.rule import TYPES, Rule
from fastnet._system import unix as _unix
from fastnet.endpoints import Endpoint, InheritedEndpoint, UnixEndpoint, listen, listen_beside, place_of
from fastnet.errors import InvalidArgument

_MODE = 0o600
_BACKLOG = 1024


class Listeners:
    """The sockets of a rule's ``listen``, shared by so many loops.

    TCP and UDP have sockets for each loop, among which the kernel spreads who connects; of a Unix-domain or
    inherited socket each loop has a duplicate. Raises what ``endpoints.listen`` does, AddressInUse for a
    Unix path that a server or another file has, and InvalidArgument for what systemd did not pass on.
    """

    def __init__(self, rule: Rule, loops: int) -> None:
        self._claim: _unix.Claim | None = None
        self._sets: list[list[socket.socket]] = []
        self._loops = loops
        try:
            self._open(rule)
            for sock in chain(*self._sets):
                # Duplicates share the non-blocking flag, and get the socket object's: else they would block.
                sock.setblocking(False)
            self.addresses = [place_of(sock.family, sock.getsockname()) for sock in self._sets[0]]
        except BaseException:
            self.close()
            raise
        _open.add(self)

    def _open(self, rule: Rule) -> None:
        place, type_ = rule.listen, TYPES[rule.protocol]
        if isinstance(place, Endpoint):
            self._sets.append(listen(place, type=type_, reuse_port=rule.reuse_port))
            while len(self._sets) < self._loops:
                self._sets.append(listen_beside(self._sets[0]))
        elif isinstance(place, UnixEndpoint):
            self._claim = _unix.Claim(place.path, _MODE)
            self._sets.append([self._claim.listener])
            self._claim.listener.listen(_BACKLOG)
        else:
            self._inherit(place, type_)

    def _inherit(self, place: InheritedEndpoint, type_: int) -> None:
        from fastnet._forward.systemd import inherited

        sockets = inherited(place.name)
        self._sets.append(sockets)
        for sock in sockets:
            if sock.type != type_:
                raise InvalidArgument(f"{place}: {sock.type.name}: expected {socket.SocketKind(type_).name}")
        if type_ == socket.SOCK_DGRAM and self._loops > 1:
            # Any loop might read a datagram, so its flow would be random.
            raise InvalidArgument(f"{place}: expected one thread for an inherited UDP socket")

    def duplicates(self) -> list[list[socket.socket]]:
        """Sockets for each loop, which are the caller's."""
        sets = self._sets * (self._loops // len(self._sets))
        with ExitStack() as undo:
            copies = [[undo.enter_context(sock.dup()) for sock in listeners] for listeners in sets]
            undo.pop_all()
        return copies

    def close(self) -> None:
        """Close them, and remove the Unix path if it is still this one's. Can be called twice."""
        claim, self._claim = self._claim, None
        try:
            if claim:
                claim.release()
        finally:
            close_all(chain(*self._sets))

    def abandon(self) -> None:
        """In a forked child: close the copies, and touch nothing that is shared with the parent."""
        close_all(chain(*self._sets))


def close_all(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        with suppress(OSError):
            sock.close()


_open: WeakSet[Listeners] = WeakSet()


def _abandon() -> None:
    for listeners in list(_open):
        listeners.abandon()


os.register_at_fork(after_in_child=_abandon)
