"""Send whole messages over socket pairs and Unix-domain sockets.

A message follows its length in 4 bytes, big-endian. PATH may be @NAME, in the abstract namespace. The server
sends each message back and stops after DONE, on Ctrl-C or on SIGTERM; it refuses the path of a live server.
"""

import os

from fastnet import ipc
from fastnet._clock import now
from fastnet._contract.values import counted
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_json, duration, integer
from fastnet.cli.output import print_json, print_line, remark
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from fastnet import _records as records

DONE = b"DONE"


def configure(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    pair = actions.add_parser("pair", help="message to a forked child over a socket pair, and its reply")
    pair.add_argument("--message", default="Hello from the parent", help="text of the message to the child")
    add_json(pair)

    serve = actions.add_parser("serve", help="echo server on a Unix-domain socket, until a message is DONE")
    serve.add_argument("path", metavar="PATH", help="path to listen at, or @NAME")
    serve.add_argument("--mode", type=_mode, default=0o600, help="mode of the socket, in octal (default 600)")
    serve.add_argument(
        "--max-connections",
        type=integer(1, 1024),
        default=64,
        metavar="N",
        help="number of open connections; more wait (default 64)",
    )
    add_max_message(serve)
    serve.add_argument(
        "--timeout", type=duration, metavar="TIME", help="idle time after which a connection is closed"
    )
    add_json(serve)

    send = actions.add_parser("send", help="messages to such a server, and its replies")
    send.add_argument("path", metavar="PATH", help="path of the server, or @NAME")
    send.add_argument("message", metavar="MESSAGE", nargs="+", help="text of a message")
    add_max_message(send)
    send.add_argument(
        "-W", "--timeout", type=duration, default=5.0, metavar="TIME", help="time for each reply (default 5s)"
    )
    add_json(send)


def add_max_message(parser: Parser) -> None:
    parser.add_argument(
        "--max-message",
        type=integer(1, (1 << 32) - 1),
        default=ipc.MAX_MESSAGE,
        metavar="BYTES",
        help=f"maximum message size (default {ipc.MAX_MESSAGE})",
    )


def _mode(text: str) -> int:
    if not text or len(text) > 4 or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise InvalidArgument(f"{text!r}: expected an octal mode, as 600 or 0660")
    return int(text, 8)


def run(args: Arguments) -> int:
    return {"pair": run_pair, "serve": run_serve, "send": run_send}[args.action](args)


def run_pair(args: Arguments) -> int:
    def answer(channel: ipc.Channel) -> None:
        for message in channel:
            channel.send(b"The child got: " + message)

    message = os.fsencode(args.message)
    with ipc.fork(answer) as child:
        child.channel.send(message)
        reply = _text(child.channel.recv() or b"")
    if args.json:
        record: records.Pair = {
            "kind": "pair",
            "time": now(),
            "message": _text(message),
            "reply": reply,
            "pid": child.pid,
            "status": child.status,
        }
        print_json(record)
    else:
        print_line(f"sent     {_text(message)}")
        print_line(f"reply    {reply}")
        print_line(f"child    pid {child.pid}, exit status {child.status}")
    return exits.YES


def run_serve(args: Arguments) -> int:
    from contextlib import ExitStack  # only here, as what follows: the other actions need none of it

    from fastnet.cli.serving import Ending, use_all_descriptors
    from fastnet.cli.streams import queued_streams

    ending = Ending()
    use_all_descriptors()

    def echo(channel: ipc.Channel) -> None:
        for message in channel:
            channel.send(message)
            _print_message(args.json, channel.peer, message)
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
    with queued_streams("fastnet ipc"):
        with ExitStack() as stack:
            with ending.opening():
                stack.enter_context(server)
            ending.follow(server.wait)
            remark(f"listening on {args.path}")
            code = ending.wait()
        stats = server.stats
        remark(
            f"stopped: {counted(stats.accepted, 'connection')}, "
            f"{stats.failed} failed, {stats.refused} refused"
        )
    return code


def _print_message(as_json: bool, peer: ipc.Credentials, message: bytes) -> None:
    if not as_json:
        print_line(f"pid {peer.pid} uid {peer.uid}: {_text(message)}")
        return
    record: records.Message = {
        "kind": "message",
        "time": now(),
        "pid": peer.pid,
        "uid": peer.uid,
        "gid": peer.gid,
        "message_bytes": len(message),
        "message": _text(message),
    }
    print_json(record)


def run_send(args: Arguments) -> int:
    with ipc.connect(args.path, max_message=args.max_message, timeout=args.timeout) as channel:
        for text in args.message:
            message = os.fsencode(text)
            channel.send(message)
            reply = channel.recv()
            if reply is None:
                remark(f"fastnet ipc: {args.path}: the server ended the connection without a reply")
                return exits.NO
            _print_reply(args.json, message, reply)
    return exits.YES


def _print_reply(as_json: bool, message: bytes, reply: bytes) -> None:
    if not as_json:
        print_line(_text(reply))
        return
    record: records.IpcReply = {
        "kind": "ipc_reply",
        "time": now(),
        "message": _text(message),
        "reply": _text(reply),
    }
    print_json(record)


def _text(message: bytes) -> str:
    return message.decode(errors="backslashreplace")
