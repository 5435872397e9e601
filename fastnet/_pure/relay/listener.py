"""A listening socket, and accepting from it."""

from __future__ import annotations

import socket

from fastnet._pure.relay.sockets import SHORTAGES, prepare_listener
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.lane import Lane

_ACCEPTS_A_TURN = 16


class Listener:
    """Accepts a few connections per turn, so that open ones are served, each for the least loaded loop."""

    __slots__ = ("_lane", "sock")

    def __init__(self, lane: Lane, sock: socket.socket) -> None:
        self._lane = lane
        self.sock = sock
        prepare_listener(sock)

    def on_event(self, _events: int) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not (self._lane.accepting and self._accept()):
                return

    def _accept(self) -> bool:
        """Accept one connection; False if there is none, or no more can be accepted now."""
        lane = self._lane
        if not lane.rule._admission.enter(lane):
            lane.pause()
            return False
        spare = None
        try:
            # The upstream's socket first: no client is accepted without a descriptor for its upstream.
            spare = _socket_for(lane.first_family())
            sock, client = self.sock.accept()
        except OSError as error:
            if spare:
                spare.close()
            lane.freed()
            if error.errno in SHORTAGES:
                lane.shortage(error.errno)
            return False
        taker = lane.least_loaded()
        if taker is lane or not taker.inbox.post(lambda: taker.adopt(sock, client, spare)):
            lane.adopt(sock, client, spare)
        return True


def _socket_for(family: int) -> socket.socket | None:
    """A socket of this family; None if this machine lacks the family."""
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return None
