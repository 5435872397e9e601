"""Ping hosts: by ICMP echo if that is permitted, else by UDP or TCP, which need no privilege."""

import os
import sys
import time
from _collections_abc import Callable, Iterable, Sequence
from _operator import attrgetter

from fastnet._backend import probe as _core
from fastnet._clock import now
from fastnet._contract.values import counted, inf
from fastnet._escape import escaped
from fastnet._ping import (
    ENGINES,
    MAX_BACKOFF,
    MAX_COUNT,
    MAX_ENOUGH,
    MAX_RETRIES,
    MAX_SIZE,
    Destination,
    MTUSearch,
    PathMTU,
    Pinger,
    PingResult,
    Reply,
    Session,
    Summary,
    one_host,
    reason_of,
    source_of,
)
from fastnet._ping.counting import Count, can_count
from fastnet._ping.engines import INSTEAD, check_tcp
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import (
    add_family,
    add_json,
    add_way,
    check_files,
    chosen,
    duration,
    integer,
    number,
    separate_way,
    tos,
)
from fastnet.cli.cluster import ONLY_DISTRIBUTED, add_cluster, check_cluster
from fastnet.cli.interrupts import HeldInterrupt, NoticedInterrupt
from fastnet.cli.output import print_json, print_line, print_lines, remark
from fastnet.cli.parts import path_mtu, statistics
from fastnet.cli.ping.ending import PossibleTOS, deadline, every, plan_of, timeout
from fastnet.cli.plotting import add_plot, picture_of
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.cli.textfile import add_textfile, settled, textfile_of
from fastnet.errors import InvalidArgument, NameNotResolved

if TYPE_CHECKING:
    from fastnet import _records as records
    from fastnet._ping.metrics import PingMetrics
    from fastnet._plots.ping import PingPlot

INTERMIXED = True
FRAGMENT = {"no": True, "yes": False, "do": True, "dont": False, "want": None, "probe": True}
"""Whether it is forbidden: our words, and those of ping(8)."""
TYPED = {"size": "-s", "pattern": "-p", "dont_fragment": "-M", "mark": "-m"}
"""Options that TCP lacks, as they are typed."""
ABOUT_FALLBACK = {
    INSTEAD["udp"]: "a host answers about one a second, and a firewall may drop it: silence is no proof; "
    "--engine tcp is another way, --engine icmp names cures",
    INSTEAD["tcp"]: "a firewall may drop it: silence is no proof; --engine icmp names cures",
}
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
OPTIONS = (
    *("size", "pattern", "ttl", "tos", "source", "interface", "mark"),
    *("family", "all_addresses", "engine"),
)
FILES = ("textfile", "plot")
"""What is written."""
NEVER_DISTRIBUTED = ("mtu", "loop", "deadline", "flood", "every", "enough", "timestamps", *FILES)
_SLICE = 0.1
"""Seconds until an interrupt is noticed at the latest."""
Key = tuple[str, str]
"""A host as it was given, and its address."""
TIMES = ("min", "avg", "max", "stddev", "p50", "p90", "p99")
_times_of = attrgetter(*(f"rtt_{name}_ms" for name in TIMES))
_TIMES_FORM = f", rtt {'/'.join(TIMES)} = {'/'.join(['%.3f'] * len(TIMES))} ms"


def configure(parser: Parser) -> None:
    parser.usage = "%(prog)s [options] HOST [HOST ...]"
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="name or address, such as fe80::1%%eth0")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="file of more hosts; - is stdin; may be repeated",
    )
    add_timing(parser)
    add_packet(parser)
    add_output(parser)
    add_cluster(parser.add_argument_group("from many vantages"))


def add_timing(parser: Parser) -> None:
    count = parser.add_mutually_exclusive_group()
    count.add_argument(
        "-c",
        "--count",
        type=integer(1, MAX_COUNT),
        metavar="N",
        help="number of requests to each host (4); with -w, of replies",
    )
    count.add_argument("-l", "--loop", action="store_true", help="requests until Ctrl-C")
    parser.add_argument(
        "-w", "--deadline", type=deadline, metavar="TIME", help="time until it ends, whatever is sent by then"
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "-i",
        "--interval",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="time between two requests to a host (1s)",
    )
    pace.add_argument(
        "-f", "--flood", action="store_true", help="requests as fast as replies come back; summary only"
    )
    parser.add_argument(
        "-W",
        "--timeout",
        type=timeout,
        default=1.0,
        metavar="TIME",
        help="time to wait for a reply (1s); auto: adapted to the round-trip times",
    )
    parser.add_argument(
        "-r",
        "--retries",
        type=integer(0, MAX_RETRIES),
        default=0,
        metavar="N",
        help="number of retries of an unanswered request (0)",
    )
    parser.add_argument(
        "-B",
        "--backoff",
        type=number(1, MAX_BACKOFF),
        default=1.5,
        metavar="FACTOR",
        help="factor of the timeout for each retry (1.5)",
    )
    parser.add_argument(
        "-x",
        "--enough",
        type=integer(1, MAX_ENOUGH),
        metavar="N",
        help="number of hosts that must answer to stop early, with success",
    )


def add_packet(parser: Parser) -> None:
    parser.add_argument(
        "-s", "--size", type=integer(0, MAX_SIZE), default=56, metavar="BYTES", help="payload size (56)"
    )
    parser.add_argument(
        "-t", "--ttl", type=integer(1, 255), metavar="TTL", help="TTL or hop limit of requests"
    )
    parser.add_argument(
        "-p", "--pattern", type=pattern, default=b"", metavar="HEX", help="bytes that fill the payload"
    )
    parser.add_argument(
        "-M",
        "--fragment",
        choices=FRAGMENT,
        help="whether packets may be fragmented: no (do, probe), yes (dont), or want, the kernel's choice",
    )
    parser.add_argument("--mtu", action="store_true", help="path MTU to each host, instead of pinging it")
    add_way(parser, ("-m", "--mark"), ("--tos",))
    add_family(parser)
    parser.add_argument(
        "--all-addresses", action="store_true", help="all addresses of a name, not only the first"
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="way to ask (default auto)")


def add_output(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="summary only")
    parser.add_argument(
        "-Q", "--every", type=every, metavar="TIME", help="interval of reports, printed instead of each reply"
    )
    parser.add_argument(
        "-O", "--outstanding", action="store_true", help="requests without an answer too, as always"
    )
    parser.add_argument(
        "-n", "--numeric", action="store_true", help="addresses without their names, as always"
    )
    parser.add_argument("-D", "--timestamps", action="store_true", help="time of day before each reply")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="resolved addresses and kind of socket, on stderr"
    )
    add_textfile(parser)
    add_plot(parser, "the round-trip times, percentiles and losses")
    add_json(parser)


def pattern(text: str) -> bytes:
    """Up to 16 bytes in hex, as ping(8) takes them."""
    if not text or len(text) % 2 or len(text) > 32 or not {*text} <= HEXADECIMAL:
        raise InvalidArgument(f"{text!r}: expected 1 to 16 bytes in hex, as ff00")
    return bytes.fromhex(text)


def run(args: Arguments) -> int:
    check_cluster(args, ONLY_DISTRIBUTED, NEVER_DISTRIBUTED)
    check_files(args, FILES, read=("file",))
    separate_way(args)
    refuse_values(args)
    args.hosts = hosts_of(args)
    if args.mtu:
        for name in FILES:
            if getattr(args, name) is not None:
                raise InvalidArgument(f"--{name}: not with --mtu")
        return find_mtus(args)
    options = chosen(args, OPTIONS) | {"dont_fragment": FRAGMENT.get(args.fragment)}
    if args.engine == "tcp":
        check_tcp(options, TYPED)
    if args.distributed is not None:
        from fastnet.cli.ping.distributed import ping_from_vantages

        options |= chosen(args, ("count", "interval", "timeout", "retries", "backoff"))
        return ping_from_vantages(args, options)
    metrics, plot = metrics_of(args), plot_of(args)
    with Pinger(**options, transmit_timestamps=not args.flood) as pinger:
        destinations = pinger.resolve(args.hosts)
        printer = Printer(destinations, args, metrics, plot)
        # What is not loaded yet may not be readable without capabilities.
        _ = _core.Conversation, _core.RoundTrips
        begin(args, destinations, pinger.notes, [pinger.fallback])
        if metrics:
            metrics.begin(destinations)
        if plot:
            plot.begin(destinations)
        return settled(converse(pinger, destinations, printer, args), metrics)


def hosts_of(args: Arguments) -> list[str]:
    """The hosts of the command line and of files."""
    hosts: list[str] = args.hosts
    if args.file:
        from fastnet.cli.listing import Listing  # only here: rarely needed

        hosts = Listing(hosts, args.file).texts
    if not hosts:
        raise InvalidArgument("no hosts: give some, or a file of them with --file")
    return hosts


def refuse_values(args: Arguments) -> None:
    """Raises InvalidArgument where ``-l`` or ``-O`` has the value that another program's takes."""
    for word in args.hosts:
        if args.loop and word.isascii() and word.isdigit():
            raise InvalidArgument(f"-l takes no value, as that of fping: ping's -l {word} has no equivalent")
        if args.outstanding and _is_tos(word):
            raise InvalidArgument(f"-O takes no value, as that of ping(8): fping's -O {word} is --tos {word}")


def _is_tos(word: str) -> bool:
    try:
        tos(word)
    except InvalidArgument:
        return False
    return True


def metrics_of(args: Arguments) -> "PingMetrics | None":
    """What ``--textfile`` counts. Raises InvalidArgument for options that do not go together with it."""
    textfile = textfile_of(args, "ping")
    if textfile is None:
        return None
    if args.loop and args.every is None:
        raise InvalidArgument("--textfile: with --loop also --every TIME, the time between two writes")
    from fastnet._ping.metrics import PingMetrics  # only here: rarely needed

    return PingMetrics(textfile)


def plot_of(args: Arguments) -> "PingPlot | None":
    """What ``--plot`` draws."""
    picture = picture_of(args)
    if picture is None:
        return None
    from fastnet._plots.ping import PingPlot  # only here: rarely needed

    return PingPlot(picture, 0.0 if args.flood else args.interval)


def begin(
    args: Arguments,
    hosts: Sequence[Destination | MTUSearch | PathMTU],
    notes: Sequence[str],
    fallbacks: Iterable[str | None],
) -> None:
    """Drop the capabilities, which are not needed once the sockets are open, and print the kind of sockets.

    Prints also what is used instead of ICMP, and the hosts without a socket.
    """
    if args.json:
        import json  # noqa: F401 - what is not loaded yet may not be readable without capabilities
    _core.drop_capabilities()
    if isinstance(args.every, PossibleTOS):
        remark(f"fastnet ping: {args.every.meanings}")
    for fallback in filter(None, dict.fromkeys(fallbacks)):
        remark(f"fastnet ping: {fallback} ({ABOUT_FALLBACK[fallback]})")
    for each in hosts:
        if not isinstance(each, MTUSearch) and not each.address:
            remark(f"fastnet ping: {each.host or repr(each.host)}: {each.error}")
            if args.flood and (each.host == "-" or os.path.isfile(each.host)):
                remark(f"fastnet ping: -f is a flood, as in ping(8): a file of hosts is --file {each.host}")
        elif args.verbose:
            remark(f"{each.host} is {each.address}, by a {each.engine} socket")
    for note in dict.fromkeys(notes) if args.verbose else ():
        remark(note)


def find_mtus(args: Arguments) -> int:
    """Find the path MTU of one host after the other."""
    seconds = 1.0 if args.timeout == "auto" else args.timeout
    options = chosen(args, ("tos", "source", "interface", "mark", "family", "engine"))
    source = source_of(args.source, args.family)
    from contextlib import ExitStack  # only here: it takes long to load

    hosts: list[MTUSearch | PathMTU] = []
    with ExitStack() as opened:
        for host in dict.fromkeys(args.hosts):
            try:
                to = one_host(host, source, args.interface or "")
            except (NameNotResolved, InvalidArgument) as error:
                hosts.append(PathMTU(host, "", "", None, (), reason_of(error, host)))
            else:
                hosts.append(opened.enter_context(MTUSearch(host, to=to, **options)))
        searches = [each for each in hosts if isinstance(each, MTUSearch)]
        notes = [note for each in searches for note in each.notes]
        found: list[PathMTU] = []
        try:
            begin(args, hosts, notes, [each.fallback for each in searches])
            for each in hosts:
                found.append(search_mtu(each, seconds, args.json))
        except KeyboardInterrupt:
            remark(f"interrupted: {len(found)} of {counted(len(hosts), 'path MTU')} known")
            return exits.INTERRUPTED
    if not all(each.address for each in found):
        return exits.USAGE
    return exits.YES if all(each.mtu for each in found) else exits.NO


def search_mtu(host: MTUSearch | PathMTU, seconds: float, as_json: bool) -> PathMTU:
    found = host.run(seconds) if isinstance(host, MTUSearch) else host
    if as_json:
        print_mtu_json(found)
    elif found.address:
        print_line(f"{name_of(found)}: {found}")
    return found


def print_mtu_json(found: PathMTU) -> None:
    record: records.MTU = {"kind": "mtu", "time": now(), **path_mtu(found)}
    print_json(record)


def converse(pinger: Pinger, destinations: list[Destination], printer: "Printer", args: Arguments) -> int:
    """Ping to the end, printing each reply and then the summary."""
    plan = plan_of(args, len([each for each in destinations if each.address]))
    if not printer.needs_replies and args.deadline is None and can_count(destinations, plan):
        return count(Count(pinger, destinations, plan), args.json)
    session = Session(pinger, destinations, plan)
    try:
        with HeldInterrupt() as interrupt:
            while session.unfinished:
                pinger.advance(session, printer.seconds_left())
                for reply in session.take_news():
                    interrupt.whole(printer.take, reply)  # A request that is half counted would look lost.
                interrupt.whole(printer.end_interval, session)  # An awaited request would count twice.
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, OSError) as error:
        for reply in session.take_news():  # replies of the last moment
            printer.take(reply)
        printer.summarize(session)
        if isinstance(error, KeyboardInterrupt):
            return exits.INTERRUPTED
        raise
    printer.summarize(session)
    if not all(each.address for each in destinations):
        return exits.USAGE
    needed = plan.replies or 1
    answering = sum(each.result().received >= needed for each in printer.whole.values())
    return exits.YES if answering >= (args.enough or len(destinations)) else exits.NO


def count(counting: Count, json: bool) -> int:
    """Ping to the end, printing the summary only."""
    failure: OSError | None = None
    finished = False
    with NoticedInterrupt() as interrupt:
        while not (finished or interrupt.came or failure):
            try:
                finished = counting.run(_SLICE)
            except OSError as error:
                failure = error
    results = list(counting.results())
    print_totals(results, print_summary if json else None)
    if failure:
        raise failure
    if interrupt.came:
        return exits.INTERRUPTED
    if not all(each.address for each in results):
        return exits.USAGE
    return exits.YES if all(each.alive for each in results) else exits.NO


class Printer:
    """Prints replies as they come, intervals, and the summary."""

    def __init__(
        self,
        destinations: list[Destination],
        args: Arguments,
        metrics: "PingMetrics | None" = None,
        plot: "PingPlot | None" = None,
    ) -> None:
        self._destinations = destinations
        self._whole: dict[Key, Summary] | None = None
        self._interval = 0.0 if args.flood else args.interval
        self._json = args.json
        self._timestamps = args.timestamps
        self._every: float | None = args.every
        self._each = not (args.quiet or args.flood) and args.every is None
        self._until = inf if args.every is None else time.monotonic() + args.every
        self._metrics, self._plot = metrics, plot
        self.needs_replies = self._each or args.every is not None or bool(metrics or plot)
        self._prints_intervals = not (args.quiet and metrics)
        self._begin_interval([])

    @property
    def whole(self) -> dict[Key, Summary]:
        """The summary of each host."""
        if self._whole is None:
            self._whole = self._summaries({})
        return self._whole

    def _summaries(self, carried: dict[Key, int]) -> dict[Key, Summary]:
        keys = {(each.host, each.address): each.engine for each in self._destinations}
        return {
            key: Summary(*key, engine, self._interval, carried.get(key, 0)) for key, engine in keys.items()
        }

    def take(self, reply: Reply) -> None:
        self.whole[reply.host, reply.address].add(reply)
        if self._metrics:
            self._metrics.add(reply)
        if self._plot:
            self._plot.add(reply)
        if self._each and (reply.address or self._json):
            if self._json:
                print_reply_json(reply)
            else:
                print_reply(reply, f"{now()} " if self._timestamps else "")
        if self._every is not None:
            self._now[reply.host, reply.address].add(reply)
            self._any_now = True

    def seconds_left(self) -> float:
        """The time until the interval ends."""
        return max(0.0, self._until - time.monotonic()) if self._every else inf

    def end_interval(self, session: Session) -> None:
        """Print the interval if it is over."""
        now = time.monotonic()
        if self._every and now >= self._until:
            if self._metrics:
                self._metrics.write()
            self._print_interval([*session.waiting()])
            self._until += self._every * ((now - self._until) // self._every + 1)

    def summarize(self, session: Session) -> None:
        if self._metrics:
            self._metrics.write()
        waiting = [*session.waiting()]
        if self._every and (self._any_now or waiting):
            self._print_interval(waiting)
        self._print(self.whole, print_summary, waiting)
        if self._plot and (note := self._plot.write([each.result() for each in self.whole.values()])):
            remark(f"fastnet ping: --plot: {note}")

    def _begin_interval(self, waiting: list[Reply]) -> None:
        """Begin the next interval of ``--every``, with the requests that await a reply."""
        carried: dict[Key, int] = {}
        for reply in waiting:
            carried[reply.host, reply.address] = carried.get((reply.host, reply.address), 0) + 1
        self._now = {} if self._every is None else self._summaries(carried)
        self._any_now = False

    def _print_interval(self, waiting: list[Reply]) -> None:
        if self._prints_intervals:
            if not self._json and any(address for _, address in self._now):
                moment = now() if self._timestamps else time.strftime("[%H:%M:%S]")
                print_line(moment, at_once=False)
            self._print(self._now, print_interval, waiting)
        self._begin_interval(waiting)

    def _print(
        self, summaries: dict[Key, Summary], as_json: Callable[[PingResult], None], waiting: list[Reply]
    ) -> None:
        for reply in waiting:
            summaries[reply.host, reply.address].add(reply, waiting=True)
        results = (summary.result() for summary in summaries.values())
        print_totals(results, as_json if self._json else None)


def print_totals(results: Iterable[PingResult], as_json: Callable[[PingResult], None] | None) -> None:
    if as_json:
        for each in results:
            as_json(each)
    else:
        lines = [f"{escaped(line(each))}\n" for each in results if each.address]
        print_lines("".join(lines).encode())
    sys.stdout.flush()


def name_of(named: Reply | PingResult | PathMTU) -> str:
    return named.host if named.host == named.address else f"{named.host} ({named.address})"


def print_reply(reply: Reply, moment: str) -> None:
    ttl = "" if reply.ttl is None else f" ttl={reply.ttl}"
    news = reply.error if reply.rtt_ms is None else f"rtt={reply.rtt_ms:.3f} ms{ttl}"
    notes = f" from {reply.responder}" if reply.responder else ""
    notes += " (duplicate)" if reply.duplicate else ""
    if reply.tries > 1:
        notes += f" ({counted(reply.tries, 'try')})"
    print_line(f"{moment}{name_of(reply)}: seq={reply.seq} {news}{notes}")


def print_reply_json(reply: Reply) -> None:
    record: records.Reply = {
        "kind": "reply",
        "time": now(),
        "host": reply.host,
        "address": reply.address,
        "seq": reply.seq,
        "rtt_ms": reply.rtt_ms,
        "ttl": reply.ttl,
        "error": reply.error,
        "duplicate": reply.duplicate,
        "tries": reply.tries,
        "responder": reply.responder,
    }
    print_json(record)


def print_interval(summary: PingResult) -> None:
    record: records.Interval = {"kind": "interval", **statistics(summary)}
    print_json(record, at_once=False)


def print_summary(summary: PingResult) -> None:
    record: records.Summary = {"kind": "summary", **statistics(summary)}
    print_json(record, at_once=False)


def line(summary: PingResult) -> str:
    text = f"{name_of(summary)}: {summary.sent} sent, {summary.received} received"
    if summary.loss_percent is not None:
        text += f", {summary.loss_percent:g}% loss"
    if summary.waiting:
        text += f", {summary.waiting} still awaited"
    if summary.not_sent:
        refused = (summary.error or "").startswith("not sent: ")
        text += f", {summary.not_sent} {summary.error if refused else 'not sent'}"
    if summary.duplicates:
        text += f", {counted(summary.duplicates, 'duplicate')}"
    if summary.outage_s:
        text += f", {summary.outage_s:g} s outage"
    if summary.alive:
        text += _TIMES_FORM % _times_of(summary)
        if summary.jitter_ms is not None:
            text += f", jitter {summary.jitter_ms:.3f} ms"
    return text
