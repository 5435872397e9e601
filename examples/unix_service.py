"""A service on a Unix-domain socket that knows, from the kernel, which user asks.

python unix_service.py /tmp/whoami.sock serve
python unix_service.py /tmp/whoami.sock ask
"""

import argparse
import pwd
import signal
import sys

from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved
from fastnet.ipc import Channel, UnixServer, connect


def user_name(uid: int) -> str:
    """The name of a user, or the number of one who has none, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def answer(channel: Channel) -> None:
    for question in channel:
        asked = question.decode(errors="replace")
        channel.send(f"{user_name(channel.peer.uid)} asked {asked!r}".encode())


def serve(path: str) -> None:
    """Serve until SIGINT or SIGTERM, and then remove the socket's file."""
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # in the server's threads too, which start below
    # Mode 0666: any user may connect, and answer() distinguishes them. 0600 would be the owner and root only.
    with UnixServer(path, answer, mode=0o666, timeout=60):
        print("serving until Ctrl-C or SIGTERM", flush=True)
        signal.sigwait(signals)


def ask(path: str) -> None:
    with connect(path, timeout=5) as channel:
        channel.send(b"who am I?")
        print((channel.recv() or b"no answer").decode())


def main() -> None:
    parser = argparse.ArgumentParser(description="A service that knows which user asks.")
    parser.add_argument("path", help="path of the socket")
    parser.add_argument("role", choices=["serve", "ask"])
    args = parser.parse_args()
    try:
        serve(args.path) if args.role == "serve" else ask(args.path)
    except (InvalidArgument, NameNotResolved) as error:
        parser.error(str(error))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
