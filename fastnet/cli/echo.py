"""Echo over TCP: a dual-stack server, and a client that measures latency.

The client's exit code is 0 if all replies were right, 1 if one was wrong or missing.
"""

import os

from fastnet._clock import now
from fastnet._contract.values import counted
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, duration, integer
from fastnet.cli.output import print_json, print_line
from fastnet.cli.parts import rounded
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.echo import MAX_COUNT, MAX_SIZE, EchoResult, EchoServer, EchoStats, Reply, echo
from fastnet.endpoints import Endpoint, parse_endpoint

if TYPE_CHECKING:
    from fastnet import _records as records

TIMES = ("min", "avg", "max", "p50", "p90", "p99")


def configure(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    serve = actions.add_parser("serve", help="echo server, until Ctrl-C or SIGTERM")
    serve.add_argument(
        "--host", default="localhost", help="host to listen at; * is every address (default localhost)"
    )
    serve.add_argument(
        "--port", type=integer(0, 65535), default=0, help="port to listen at; 0, the default, is a free one"
    )
    serve.add_argument(
        "--max-connections",
        type=integer(1, 100_000),
        default=1000,
        metavar="N",
        help="number of open connections; more wait (default 1000)",
    )
    serve.add_argument(
        "--idle-timeout", type=duration, metavar="TIME", help="idle time after which a connection is closed"
    )
    add_family(serve)
    add_json(serve)

    client = actions.add_parser("client", help="echo client that measures round-trip times")
    client.add_argument("endpoint", type=parse_endpoint, metavar="HOST:PORT", help="server, such as [::1]:7")
    client.add_argument(
        "-c", "--count", type=integer(1, MAX_COUNT), default=4, metavar="N", help="number of messages (4)"
    )
    what = client.add_mutually_exclusive_group()
    what.add_argument(
        "-s",
        "--size",
        type=integer(1, MAX_SIZE),
        default=64,
        metavar="BYTES",
        help="size of each message (64)",
    )
    what.add_argument("--message", metavar="TEXT", help="text of each message")
    client.add_argument(
        "-i",
        "--interval",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="time from one message to the next (0)",
    )
    client.add_argument(
        "-W",
        "--timeout",
        type=duration,
        default=5.0,
        metavar="TIME",
        help="time to connect, and for each reply (5s)",
    )
    add_family(client)
    add_json(client)


def run(args: Arguments) -> int:
    return run_server(args) if args.action == "serve" else run_client(args)


def run_server(args: Arguments) -> int:
    from contextlib import ExitStack  # only here, as what follows: a client needs none of it

    from fastnet.cli.serving import Ending, use_all_descriptors
    from fastnet.cli.streams import queued_streams

    ending = Ending()
    use_all_descriptors()
    server = EchoServer(
        args.host,
        args.port,
        family=args.family,
        max_connections=args.max_connections,
        idle_timeout=args.idle_timeout,
    )
    with queued_streams("fastnet echo"):
        with ExitStack() as stack:
            with ending.opening():
                stack.enter_context(server)
            ending.follow(server.wait)
            for address in server.addresses:
                print_listening(address, args.json)
            code = ending.wait()
        print_stats(server.stats, args.json)
    return code


def print_listening(address: Endpoint, as_json: bool) -> None:
    if not as_json:
        print_line(f"listening on {address}")
        return
    record: records.EchoListening = {
        "kind": "echo_listening",
        "time": now(),
        "host": address.host,
        "port": address.port,
    }
    print_json(record)


def print_stats(stats: EchoStats, as_json: bool) -> None:
    if as_json:
        record: records.EchoServed = {
            "kind": "echo_served",
            "time": now(),
            "accepted": stats.accepted,
            "active": stats.active,
            "echoed_bytes": stats.echoed_bytes,
            "timed_out": stats.timed_out,
            "failed": stats.failed,
        }
        print_json(record)
        return
    print_line(
        f"stopped: {counted(stats.accepted, 'connection')}, {counted(stats.echoed_bytes, 'byte')} echoed, "
        f"{stats.timed_out} timed out, {stats.failed} failed"
    )


def run_client(args: Arguments) -> int:
    endpoint: Endpoint = args.endpoint
    replies: list[Reply] = []

    def on_reply_printed(reply: Reply) -> None:
        replies.append(reply)
        print_reply(endpoint, reply, args.json)

    interrupted = False
    try:
        result = echo(
            *endpoint,
            count=args.count,
            size=args.size,
            message=None if args.message is None else os.fsencode(args.message),
            interval=args.interval,
            timeout=args.timeout,
            family=args.family,
            on_reply=on_reply_printed,
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
        record: records.EchoReply = {
            "kind": "echo_reply",
            "time": now(),
            "seq": reply.seq,
            "size_bytes": reply.size,
            "rtt_ms": reply.rtt_ms,
            "error": reply.error,
        }
        print_json(record)
        return
    news = reply.error or f"size={reply.size} rtt={reply.rtt_ms:.3f} ms"
    print_line(f"{endpoint}: seq={reply.seq} {news}")


def print_summary(endpoint: Endpoint, result: EchoResult, as_json: bool) -> None:
    if as_json:
        print_summary_json(result)
        return
    line = f"{endpoint}"
    if result.address != str(endpoint):
        line += f" ({result.address})"
    line += f": {result.sent} sent, {result.received} received"
    if result.received:
        times = "/".join(f"{getattr(result, f'rtt_{name}_ms'):.3f}" for name in TIMES)
        line += f", rtt {'/'.join(TIMES)} = {times} ms"
    print_line(line)


def print_summary_json(result: EchoResult) -> None:
    record: records.EchoSummary = {
        "kind": "echo_summary",
        "time": now(),
        "host": result.host,
        "address": result.address,
        "sent": result.sent,
        "received": result.received,
        "error": result.error,
        "rtt_min_ms": rounded(result.rtt_min_ms),
        "rtt_avg_ms": rounded(result.rtt_avg_ms),
        "rtt_max_ms": rounded(result.rtt_max_ms),
        "rtt_p50_ms": rounded(result.rtt_p50_ms),
        "rtt_p90_ms": rounded(result.rtt_p90_ms),
        "rtt_p99_ms": rounded(result.rtt_p99_ms),
    }
    print_json(record)
