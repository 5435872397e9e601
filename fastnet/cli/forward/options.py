"""The command's options. A rule's option is named like the field of ``Rule``, which has its default."""

from fastnet._forward import ENGINES, POLICIES, Rule
from fastnet._forward.access_log import FORMATS, STDOUT
from fastnet._forward.rules_file import load_rules
from fastnet._typing import Any
from fastnet.cli.arguments import add_json, check_files, duration, integer, size
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.endpoints import parse_endpoint
from fastnet.errors import InvalidArgument

_MOST_CONNECTIONS = 1_000_000
_MOST_THREADS = 256
_ALIKE: list[tuple[dict[str, Any], dict[str, str]]] = [
    (
        {"action": "store_true"},
        {
            "rewrite-origin": "HTTP: rewrite Origin and Referer too, if they name the listener",
            "rewrite-responses": "HTTP: rewrite UPSTREAM in responses (Location, Content-Location, "
            "Refresh, Link, Access-Control-Allow-Origin, the Domain of cookies)",
            "transparent": "connect from the client's own address (needs CAP_NET_ADMIN)",
            "reuse-port": "allow other processes of this user to listen there too (SO_REUSEPORT)",
        },
    ),
    (
        {"metavar": "TIME", "type": duration},
        {
            "connect-timeout": "time to connect to one upstream (default 10s)",
            "head-timeout": "time for a request's head, or a PROXY header (default 10s)",
            "keep-alive-timeout": "HTTP: time from a response to the next request (default 75s; 0: no limit)",
            "idle-timeout": "idle time after which a connection is closed (default 0: never; UDP: 60s)",
            "half-closed-timeout": "half-closed time after which a connection is closed (default 0: never)",
            "user-timeout": "time for data to be acknowledged (TCP_USER_TIMEOUT; default 0: the system's)",
            "failure-pause": "time for which a failed upstream is skipped (default 10s)",
            "health-interval": "time between two checks (default 5s)",
            "health-timeout": "time limit of a check's connect, and of its answer (default 1s)",
            "resolve-interval": "time between two look-ups of upstream names (default 30s)",
        },
    ),
    (
        {"metavar": "N", "type": integer(0, _MOST_CONNECTIONS)},
        {
            "max-connections": "number of open connections; more wait (default 4096)",
            "max-per-source": "number of open connections per client; more are reset (default 0: no limit)",
            "max-failures": "number of failed connects in a row after which to skip an upstream (default 3)",
        },
    ),
    (
        {"metavar": "BYTES", "type": size},
        {
            "rate": "total bytes per second (default 0: no limit)",
            "connection-rate": "bytes per second of each connection (default 0: no limit)",
        },
    ),
    (
        {"metavar": "PREFIX", "action": "append"},
        {
            "allow": "prefix of clients to serve; may be repeated",
            "deny": "prefix of clients to refuse; may be repeated",
            "trust-proxy": "prefix of peers whose PROXY header is read; may be repeated",
        },
    ),
]
"""Options of a rule that are parsed alike, with their parser and help."""


def add_options(parser: Parser) -> None:
    parser.usage = "%(prog)s [options] LISTEN UPSTREAM [UPSTREAM ...]\n       %(prog)s [options] -f FILE"
    parser.add_argument(
        "listen", metavar="LISTEN", nargs="?", help="[HOST:]PORT, unix:PATH or systemd:NAME to listen at"
    )
    parser.add_argument(
        "upstreams", metavar="UPSTREAM", nargs="*", help="HOST:PORT or unix:PATH to connect to"
    )
    _add_rule(parser.add_argument_group("options of the rule (in FILE they are keys, with _ for -)"))
    _add_process(parser.add_argument_group("options of the process"))
    _add_output(parser.add_argument_group("output"))


def given_rules(args: Arguments) -> list[Rule]:
    """The rules of the file, or the one rule of the options. Raises InvalidArgument."""
    given = vars(args)
    options = {name: given[name] for name in Rule._fields if given.get(name) is not None}
    places = (options.pop("listen", None), options.pop("upstreams"))
    if args.rules is None:
        if not all(places):
            raise InvalidArgument("expected LISTEN and UPSTREAM, or -f FILE")
        _refuse_socat(args.listen, args.upstreams)
        return [Rule(*places, **options)]
    if any(places):
        raise InvalidArgument(f"LISTEN and UPSTREAM belong in {args.rules}: expected -f FILE without them")
    if options:
        raise InvalidArgument(f"{next(iter(options))} belongs in {args.rules}: expected -f FILE without it")
    check_files(args, () if args.log == STDOUT else ("log",), read=("rules",))
    return load_rules(args.rules)


def _refuse_socat(listen: str, upstreams: list[str]) -> None:
    """Raises InvalidArgument for an address of socat, with what to write instead."""
    if not any(each[:3].upper() in ("TCP", "UDP", "UNI") for each in (listen, *upstreams)):
        return
    from fastnet.cli.habits import address_hint, is_upstream_of_socat  # only here: rarely needed

    if hints := address_hint("forward", listen):
        raise InvalidArgument(f"{listen}: expected [HOST:]PORT{hints}")
    for each in filter(is_upstream_of_socat, upstreams):
        raise InvalidArgument(f"{each}: an address of socat: expected HOST:PORT or unix:PATH")


def _add_rule(group: Any) -> None:
    def add(name: str, text: str, **settings: Any) -> None:
        group.add_argument(f"--{name}", default=None, help=text, **settings)

    add("udp", "UDP datagrams, one flow per client", dest="protocol", action="store_const", const="udp")
    add("policy", "choice of upstream for a connection (default round-robin)", choices=POLICIES)
    rewrite = group.add_mutually_exclusive_group()
    for name, value, text in (
        ("--rewrite-host", True, "HTTP: a Host that names the listener becomes UPSTREAM"),
        ("--rewrite-host-always", "always", "HTTP: every Host becomes UPSTREAM"),
    ):
        rewrite.add_argument(
            name,
            dest="rewrite_host",
            action="store_const",
            const=value,
            default=None,
            help=text,
        )
    for settings, texts in _ALIKE:
        for name, text in texts.items():
            add(name, text, **settings)
    add(
        "keepalive",
        "silence after which the peer is probed; it counts as dead after twice that; or off "
        "(SO_KEEPALIVE; default 60s)",
        metavar="TIME",
        type=lambda text: 0.0 if text == "off" else duration(text),
    )
    add(
        "source-prefix",
        "IPv6 prefix length that --max-per-source counts as one client (default 64)",
        metavar="N",
        type=integer(1, 128),
    )
    add("send-proxy", "version of the PROXY header to send to upstreams", type=int, choices=(1, 2))
    add("congestion", "TCP congestion control of both sides", metavar="NAME")
    add(
        "health",
        "health check of upstreams: connect, stable, banner, http, http:/PATH (default none)",
        metavar="CHECK",
    )


def _add_process(group: Any) -> None:
    group.add_argument("-f", "--rules", metavar="FILE", help="file of rules (TOML), read again on SIGHUP")
    group.add_argument("--dry-run", action="store_true", help="check the rules, print them, and exit")
    group.add_argument(
        "--threads",
        metavar="N",
        type=integer(1, _MOST_THREADS),
        default=1,
        help="number of relay threads (default 1)",
    )
    group.add_argument("--engine", choices=ENGINES, default="auto", help="way to move bytes (default auto)")
    group.add_argument(
        "--spin",
        metavar="TIME",
        type=duration,
        default=0.0,
        help="time to poll before sleeping: lower latency for a busy core (default 0)",
    )
    group.add_argument(
        "--drain",
        metavar="TIME",
        type=duration,
        default=10.0,
        help="time for open connections to end after a stop (default 10s)",
    )
    group.add_argument("--user", metavar="NAME", help="user to become once every socket and file is open")


def _add_output(group: Any) -> None:
    group.add_argument(
        "--log", metavar="FILE", help="access log, one line per connection; - is stdout; SIGUSR1 reopens it"
    )
    group.add_argument(
        "--log-format", choices=FORMATS, help="format of --log (default text; with --json, json)"
    )
    group.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        type=lambda text: parse_endpoint(text, "localhost"),
        help="address of Prometheus metrics, loopback unless HOST is given",
    )
    shown = group.add_mutually_exclusive_group()
    shown.add_argument("--top", action="store_true", help="live table of connections, on a terminal")
    shown.add_argument("--dump", action="store_true", help="print the forwarded bytes (pure engine)")
    add_json(group)
