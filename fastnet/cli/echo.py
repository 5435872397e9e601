"""Echo over TCP: a dual-stack server, and a client that measures latency.

The client's exit code is 0 where all came back as it was sent, 1 where a message was wrong or missing.
"""

import argparse

from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, argument, duration, integer
from fastnet.cli.output import print_json
from fastnet.cli.serving import Ending
from fastnet.echo import MAX_COUNT, MAX_SIZE, EchoResult, EchoServer, Reply, echo
from fastnet.endpoints import Endpoint, parse_endpoint


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    serve = actions.add_parser("serve", help="send back what clients send, until Ctrl-C or SIGTERM")
    serve.add_argument(
        "--host", default="localhost", help="where to listen; * is everywhere (default localhost)"
    )
    serve.add_argument("--port", type=integer(0, 65535), default=0, help="0, the default, takes a free one")
    serve.add_argument(
        "--max-connections",
        type=integer(1, 100_000),
        default=1000,
        metavar="N",
        help="at once (default 1000)",
    )
    serve.add_argument(
        "--idle-timeout", type=duration, metavar="TIME", help="end connections idle for so long"
    )
    add_family(serve)
    add_json(serve)

    client = actions.add_parser("client", help="send messages to an echo server and time their return")
    client.add_argument(
        "endpoint", type=argument(parse_endpoint), metavar="HOST:PORT", help="[::1]:7 for IPv6"
    )
    client.add_argument(
        "-c", "--count", type=integer(1, MAX_COUNT), default=4, metavar="N", help="how many messages (4)"
    )
    what = client.add_mutually_exclusive_group()
    what.add_argument(
        "-s", "--size", type=integer(1, MAX_SIZE), default=64, metavar="BYTES", help="of each message (64)"
    )
    what.add_argument("--message", metavar="TEXT", help="send this text")
    client.add_argument(
        "-i",
        "--interval",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="from one message to the next (0)",
    )
    client.add_argument(
        "-W",
        "--timeout",
        type=duration,
        default=5.0,
        metavar="TIME",
        help="to connect, and for each reply (5s)",
    )
    add_family(client)
    add_json(client)


def run(args: argparse.Namespace) -> int:
    return run_server(args) if args.action == "serve" else run_client(args)


def run_server(args: argparse.Namespace) -> int:
    ending = Ending()
    server = EchoServer(
        args.host,
        args.port,
        family=args.family,
        max_connections=args.max_connections,
        idle_timeout=args.idle_timeout,
    )
    with server:
        for address in server.addresses:
            if args.json:
                print_json({"kind": "listening", **address._asdict()})
            else:
                print(f"listening on {address}", flush=True)
        code = ending.wait()
    stats = server.stats
    if args.json:
        print_json({"kind": "summary", **stats._asdict()})
    else:
        print(
            f"stopped: {stats.accepted} connections, {stats.echoed_bytes} bytes echoed, "
            f"{stats.timed_out} timed out, {stats.failed} failed"
        )
    return code


def run_client(args: argparse.Namespace) -> int:
    endpoint: Endpoint = args.endpoint
    replies: list[Reply] = []

    def tell(reply: Reply) -> None:
        replies.append(reply)
        print_reply(endpoint, reply, args.json)

    interrupted = False
    try:
        result = echo(
            *endpoint,
            count=args.count,
            size=args.size,
            message=None if args.message is None else args.message.encode(errors="surrogateescape"),
            interval=args.interval,
            timeout=args.timeout,
            family=args.family,
            on_reply=tell,
        )
    except KeyboardInterrupt:
        interrupted = True
        result = EchoResult(endpoint.host, str(endpoint), tuple(replies))
    print_summary(endpoint, result, args.json)
    if interrupted:
        return exits.INTERRUPTED
    return exits.YES if result.ok else exits.NO


def print_reply(endpoint: Endpoint, reply: Reply, as_json: bool) -> None:
    if as_json:
        print_json({"kind": "reply", **reply._asdict()})
        return
    news = reply.error or f"size={reply.size} rtt={reply.rtt_ms:.3f} ms"
    print(f"{endpoint}: seq={reply.seq} {news}", flush=True)


def print_summary(endpoint: Endpoint, result: EchoResult, as_json: bool) -> None:
    names = ("min", "avg", "max", "p50", "p90", "p99")
    times = {f"rtt_{name}_ms": getattr(result, f"rtt_{name}_ms") for name in names}
    if as_json:
        counts = {name: getattr(result, name) for name in ("host", "address", "sent", "received", "error")}
        rounded = {name: value and round(value, 6) for name, value in times.items()}
        print_json({"kind": "summary", **counts, **rounded})
        return
    line = f"{endpoint}"
    if result.address != str(endpoint):
        line += f" ({result.address})"
    line += f": {result.sent} sent, {result.received} received"
    if result.received:
        line += f", rtt {'/'.join(names)} = {'/'.join(f'{value:.3f}' for value in times.values())} ms"
    print(line)
