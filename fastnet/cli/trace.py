"""Show each hop on the way to a host: by UDP, which needs no privilege, or by ICMP if permitted."""

from fastnet._backend import probe as _core
from fastnet._clock import now
from fastnet._contract.values import counted
from fastnet._ping import MAX_SIZE
from fastnet._trace import ENGINES, MAX_HOPS, MAX_TRIES, Hop, Tracer, TraceResult, name_of
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, add_way, chosen, duration, integer, separate_way
from fastnet.cli.output import print_json, print_line, remark
from fastnet.cli.parts import path_mtu
from fastnet.cli.plotting import add_plot, picture_of
from fastnet.cli.quick_parser import Arguments, Parser

if TYPE_CHECKING:
    from fastnet import _records as records
    from fastnet._plots.trace import TracePlot

OPTIONS = ("size", "tos", "source", "interface", "mark", "family", "engine")


def configure(parser: Parser) -> None:
    parser.add_argument("host", metavar="HOST", help="name or address")
    parser.add_argument(
        "-m",
        "--max-hops",
        type=integer(1, MAX_HOPS),
        default=30,
        metavar="N",
        help="maximum number of hops (30)",
    )
    parser.add_argument(
        "-c",
        "--tries",
        type=integer(1, MAX_TRIES),
        default=3,
        metavar="N",
        help="number of probes for each hop (3)",
    )
    parser.add_argument(
        "-W",
        "--timeout",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="time to wait for each answer (1s)",
    )
    parser.add_argument(
        "-s", "--size", type=integer(0, MAX_SIZE), default=32, metavar="BYTES", help="payload size (32)"
    )
    parser.add_argument("--mtu", action="store_true", help="path MTU in addition")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--names", action="store_true", help="names of the responders")
    names.add_argument("-n", "--numeric", action="store_true", help="addresses only, the default")
    add_way(parser, ("--mark",), ("-O", "--tos"))
    add_family(parser)
    parser.add_argument("--engine", choices=ENGINES, default="udp", help="kind of probe (udp)")
    parser.add_argument("-v", "--verbose", action="store_true", help="kind of socket, on stderr")
    add_plot(parser, "the round-trip times and losses by hop")
    add_json(parser)


def run(args: Arguments) -> int:
    separate_way(args)
    options = chosen(args, OPTIONS)
    if args.json:
        import json  # noqa: F401 - what is not loaded yet may not be readable without capabilities
    print_one = print_hop_json if args.json else print_hop

    def on_hop(hop: Hop) -> None:
        print_one(hop, args.names)

    plot, interrupted = plot_of(args), False
    with Tracer(args.host, args.max_hops, args.tries, args.timeout, mtu=args.mtu, **options) as tracer:
        _core.drop_capabilities()
        if plot:
            plot.begin()
        try:
            if args.verbose:
                remark(f"{tracer.host} is {tracer.address}, by a {tracer.engine} socket")
                for note in tracer.notes:
                    remark(note)
            print_end(tracer.run(on_hop), args.json)
        except KeyboardInterrupt:
            interrupted = True
            print_end(tracer.break_off(on_hop), args.json, interrupted)
        except BrokenPipeError:
            raise
        except OSError:
            print_end(tracer.result, args.json, interrupted=True)
            raise
        if plot:
            plot.write(tracer.result)
        if interrupted:
            return exits.INTERRUPTED
        return exits.YES if tracer.result.reached else exits.NO


def plot_of(args: Arguments) -> "TracePlot | None":
    """What ``--plot`` draws."""
    picture = picture_of(args)
    if picture is None:
        return None
    from fastnet._plots.trace import TracePlot  # only here: rarely needed

    return TracePlot(picture, known_name if args.names else None)


def known_name(responder: str) -> str | None:
    """The name of a responder, looked up once."""
    if responder not in _known:
        _known[responder] = name_of(responder)
    return _known[responder]


_known: dict[str, str | None] = {}


def print_hop(hop: Hop, names: bool) -> None:
    """A line as traceroute(8) prints it: each responder once, then its times."""
    columns, last = [], ""
    for each in hop.responses:
        if each.responder and each.responder != last:
            last = each.responder
            name = known_name(last) if names else None
            columns.append(f"{name} ({last})" if name else last)
        if each.rtt_ms is not None:
            columns.append(f"{each.rtt_ms:.3f} ms" + (f" {each.mark}" if each.mark else ""))
        columns += ["*"] if not each.responder else []
    reasons = {each.error for each in hop.responses if each.error and each.error.startswith("not sent")}
    columns += [f"({reason})" for reason in sorted(reasons)]
    print_line(f"{hop.ttl:3}  {'  '.join(columns)}")


def print_hop_json(hop: Hop, names: bool) -> None:
    record: records.Hop = {
        "kind": "hop",
        "time": now(),
        "ttl": hop.ttl,
        "responses": [
            {
                "responder": each.responder,
                "rtt_ms": each.rtt_ms,
                "error": each.error,
                "mark": each.mark,
                "name": known_name(each.responder) if names and each.responder else None,
            }
            for each in hop.responses
        ],
    }
    print_json(record)


def print_end(result: TraceResult, as_json: bool, interrupted: bool = False) -> None:
    if as_json:
        print_end_json(result)
        return
    if result.mtu:
        print_line(str(result.mtu))
    if interrupted:
        print_line(f"{result.host}: interrupted after {counted(len(result.hops), 'hop')}")
    elif not result.reached:
        why = f": {result.error}" if result.error else ""
        print_line(f"{result.host}: not reached in {counted(len(result.hops), 'hop')}{why}")
    elif result.error:
        print_line(f"{result.host}: reached: {result.error}")


def print_end_json(result: TraceResult) -> None:
    record: records.TraceSummary = {
        "kind": "trace_summary",
        "time": now(),
        "host": result.host,
        "address": result.address,
        "engine": result.engine,
        "reached": result.reached,
        "error": result.error,
        "hops": len(result.hops),
        "mtu": result.mtu and path_mtu(result.mtu),
    }
    print_json(record)
