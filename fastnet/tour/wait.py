"""Waiting: for a service that starts late, for one that is gone, and for a proxy without a service."""

import socket
import threading
from _collections_abc import Iterator

from fastnet._contract.values import counted
from fastnet._wait import wait
from fastnet.errors import WaitTimeout
from fastnet.tour import Sight

_LATE_SECONDS = 0.05


def visit() -> Iterator[Sight]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        target = "{}:{}".format(*server.getsockname())
        threading.Timer(_LATE_SECONDS, server.listen).start()
        ready = wait(target, 5.0, check="connect", interval=0.02)
        yield Sight(
            "wait for a service that listens only after 50 ms",
            f"{counted(ready.attempts, 'attempt')}",
            ready.attempts > 1,
        )

    gone = wait(target, 5.0, gone=True, check="connect")
    yield Sight("wait until it is gone", f"{counted(gone.attempts, 'attempt')}")

    with socket.create_server(("127.0.0.1", 0)) as server:
        # A proxy with nothing behind it: it accepts, and closes at once.
        closing = threading.Thread(target=lambda: server.accept()[0].close())
        closing.start()
        try:
            wait("{}:{}".format(*server.getsockname()), 0.05)
            yield Sight("see through a service that closes at once", "taken for ready", ok=False)
        except WaitTimeout as error:
            yield Sight("see through a service that closes at once", str(error).rpartition(": ")[2])
        closing.join()
