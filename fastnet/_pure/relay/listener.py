"""A listening socket, and how its connections are accepted."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from fastnet._pure.relay.connecting import SHORTAGES

if TYPE_CHECKING:
    from fastnet._pure.relay.serving import Serving

_ACCEPTS_A_TURN = 16


class Listener:
    """Accepts a few connections a turn, so that those there are go on, and gives each to the best loop."""

    __slots__ = ("_serving", "sock")

    def __init__(self, serving: Serving, sock: socket.socket) -> None:
        self._serving = serving
        self.sock = sock

    def on_event(self, _events: int) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not (self._serving.accepting and self._accept()):
                return

    def _accept(self) -> bool:
        """Take one connection; False where there is none, or where no more can be had now."""
        serving = self._serving
        if not serving.rule._gate.enter(serving):
            serving.pause()
            return False
        spare = None
        try:
            # First the upstream's socket: a client is not accepted without a descriptor to serve it with.
            spare = _socket_for(serving.first_family())
            sock, client = self.sock.accept()
        except OSError as error:
            if spare:
                spare.close()
            serving.freed()
            if error.errno in SHORTAGES:
                serving.shortage(error.errno)
            return False
        serving.tally.accepted += 1
        taker = serving.least_loaded()
        if taker is serving or not taker.ground.post(lambda: taker.adopt(sock, client, spare)):
            serving.adopt(sock, client, spare)
        return True


def _socket_for(family: int) -> socket.socket | None:
    """A socket of this family; None where this machine lacks the family."""
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return None
