"""Talk over socket pairs and Unix-domain sockets, in whole messages.

A message follows its length in 4 bytes, big-endian. PATH may be @NAME, in the abstract namespace. The server
sends each message back and stops after DONE, on Ctrl-C or on SIGTERM; it refuses the path of a live server.
"""

import argparse
import threading

from fastnet import ipc
from fastnet.cli import exits
from fastnet.cli.arguments import add_json, duration, integer
from fastnet.cli.output import print_json, remark
from fastnet.cli.serving import Ending

DONE = b"DONE"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    pair = actions.add_parser(
        "pair", help="fork a child, send it a message over a socket pair, show its reply"
    )
    pair.add_argument("--message", default="Hello from the parent", help="what the child is sent")
    add_json(pair)

    serve = actions.add_parser("serve", help="echo messages on a Unix-domain socket until one is DONE")
    serve.add_argument("path", metavar="PATH", help="where to listen")
    serve.add_argument("--mode", type=_mode, default=0o600, help="the socket's mode, in octal (default 600)")
    serve.add_argument(
        "--max-connections",
        type=integer(1, 1024),
        default=64,
        metavar="N",
        help="served at once (default 64)",
    )
    add_max_message(serve)
    serve.add_argument("--timeout", type=duration, metavar="TIME", help="end connections idle for so long")
    add_json(serve)

    send = actions.add_parser("send", help="send messages to such a server and show each reply")
    send.add_argument("path", metavar="PATH", help="where the server listens")
    send.add_argument("message", metavar="MESSAGE", nargs="+", help="what to send, one message each")
    add_max_message(send)
    send.add_argument(
        "-W", "--timeout", type=duration, default=5.0, metavar="TIME", help="for each reply (default 5s)"
    )
    add_json(send)


def add_max_message(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-message",
        type=integer(1, (1 << 32) - 1),
        default=ipc.MAX_MESSAGE,
        metavar="BYTES",
        help=f"how long a message may be (default {ipc.MAX_MESSAGE})",
    )


def _mode(text: str) -> int:
    if not text or len(text) > 4 or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an octal mode, as 600 or 0660")
    return int(text, 8)


def run(args: argparse.Namespace) -> int:
    return {"pair": run_pair, "serve": run_serve, "send": run_send}[args.action](args)


def run_pair(args: argparse.Namespace) -> int:
    def answer(channel: ipc.Channel) -> None:
        for message in channel:
            channel.send(b"The child got: " + message)

    with ipc.fork(answer) as child:
        child.channel.send(args.message.encode(errors="surrogateescape"))
        reply = _text(child.channel.recv() or b"")
    if args.json:
        print_json({"message": args.message, "reply": reply, "pid": child.pid, "status": child.status})
    else:
        print(
            f"sent     {args.message}\nreply    {reply}\nchild    pid {child.pid}, exit status {child.status}"
        )
    return exits.YES


def run_serve(args: argparse.Namespace) -> int:
    ending = Ending()

    printing = threading.Lock()

    def echo(channel: ipc.Channel) -> None:
        for message in channel:
            channel.send(message)
            try:
                with printing:
                    _print_message(args.json, channel.peer, message)
            except BrokenPipeError:  # our reader is gone, not the peer
                ending.end(exits.BROKEN_PIPE)
            if message == DONE:
                ending.end(exits.YES)

    server = ipc.UnixServer(
        args.path,
        echo,
        mode=args.mode,
        max_connections=args.max_connections,
        max_message=args.max_message,
        timeout=args.timeout,
    )
    with server:
        remark(f"listening on {args.path}")
        code = ending.wait()
    stats = server.stats
    remark(f"stopped: {stats.accepted} connections, {stats.failed} failed, {stats.refused} refused")
    return code


def _print_message(as_json: bool, peer: ipc.Credentials, message: bytes) -> None:
    if as_json:
        print_json({**peer._asdict(), "bytes": len(message), "message": _text(message)})
    else:
        print(f"pid {peer.pid} uid {peer.uid}: {_text(message)}", flush=True)


def run_send(args: argparse.Namespace) -> int:
    with ipc.connect(args.path, max_message=args.max_message, timeout=args.timeout) as channel:
        for text in args.message:
            channel.send(text.encode(errors="surrogateescape"))
            reply = channel.recv()
            if reply is None:
                remark(f"fastnet ipc: {args.path}: the server ended the connection without a reply")
                return exits.NO
            if args.json:
                print_json({"message": text, "reply": _text(reply)})
            else:
                print(_text(reply), flush=True)
    return exits.YES


def _text(message: bytes) -> str:
    return message.decode(errors="backslashreplace")
