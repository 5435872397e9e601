"""A service on a Unix-domain socket that knows, from the kernel, which user asks.

python unix_service.py /run/user/1000/whoami.sock serve
python unix_service.py /run/user/1000/whoami.sock ask
"""

import pwd
import sys

from fastnet.ipc import Channel, UnixServer, connect


def answer(channel: Channel) -> None:
    for question in channel:
        user = pwd.getpwuid(channel.peer.uid).pw_name
        channel.send(f"{user} asked {question.decode()!r}".encode())


def main() -> None:
    path, role = sys.argv[1:]
    if role == "ask":
        with connect(path, timeout=5) as channel:
            channel.send(b"who am I?")
            print((channel.recv() or b"no answer").decode())
        return
    with UnixServer(path, answer, mode=0o600, timeout=60):
        print("serving until Enter", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
