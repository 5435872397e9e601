"""A service on a Unix-domain socket that knows, from the kernel, which user asks.

python unix_service.py /run/user/1000/whoami.sock serve
python unix_service.py /run/user/1000/whoami.sock ask
"""

import argparse
import contextlib
import pwd
import sys

from fastnet import FastnetError
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
    with UnixServer(path, answer, mode=0o600, timeout=60), contextlib.suppress(KeyboardInterrupt):
        print("serving until Enter or Ctrl-C", flush=True)
        sys.stdin.readline()


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
    except (FastnetError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
