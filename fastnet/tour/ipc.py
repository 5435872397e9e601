"""Messages to a forked child over a socket pair, and through a Unix-domain server."""

import os
import tempfile
from _collections_abc import Iterator

from fastnet import ipc
from fastnet.errors import AddressInUse
from fastnet.tour import Sight


def visit() -> Iterator[Sight]:
    with ipc.fork(_shout) as child:
        child.channel.send(b"hello")
        reply = child.channel.recv()
    yield Sight(
        f"message to the forked child {child.pid} over a socket pair",
        f"{reply!r}, exit status {child.status}",
        ok=reply == b"HELLO" and child.status == 0,
    )

    with tempfile.TemporaryDirectory(prefix="fastnet-") as directory:
        path = os.path.join(directory, "shout")
        with ipc.UnixServer(path, _shout), ipc.connect(path) as channel:
            channel.send(b"hello")
            reply = channel.recv()
            mode = os.stat(path).st_mode & 0o777
            yield Sight(
                f"message to a Unix-domain server run by uid {channel.peer.uid}",
                f"{reply!r}, socket mode {mode:o}",
                ok=reply == b"HELLO" and mode == 0o600,
            )
            yield _second_server(path)
        left = os.listdir(directory)
        yield Sight("what the server left behind", f"{left}", ok=not left)


def _second_server(path: str) -> Sight:
    did = "a second server at the same path"
    try:
        with ipc.UnixServer(path, _shout):
            return Sight(did, "took the path of a live server", ok=False)
    except AddressInUse:
        return Sight(did, "refused: a server listens there")


def _shout(channel: ipc.Channel) -> None:
    for message in channel:
        channel.send(message.upper())
