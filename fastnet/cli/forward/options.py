"""The command's options. A rule's option is named like the field of ``Rule``, which has its default."""

import argparse
from typing import Any

from fastnet.cli.arguments import add_json, argument, duration, integer, size
from fastnet.endpoints import parse_endpoint
from fastnet.errors import InvalidArgument
from fastnet.forward import ENGINES, POLICIES, Rule
from fastnet.forward.access_log import FORMATS
from fastnet.forward.rules_file import load_rules

_MOST_CONNECTIONS = 1_000_000
_MOST_THREADS = 256


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [options] LISTEN UPSTREAM [UPSTREAM ...]\n       %(prog)s [options] -f FILE"
    parser.add_argument(
        "listen", metavar="LISTEN", nargs="?", help="[HOST:]PORT, unix:PATH or systemd:NAME to listen at"
    )
    parser.add_argument(
        "upstreams", metavar="UPSTREAM", nargs="*", help="HOST:PORT or unix:PATH to connect to"
    )
    _add_rule(parser.add_argument_group("of the rule (in FILE they are keys, with _ instead of -)"))
    _add_process(parser.add_argument_group("of the whole process"))
    _add_output(parser.add_argument_group("what it tells"))


def given_rules(args: argparse.Namespace) -> list[Rule]:
    """The rules of the file, or the one that the options make. Raises InvalidArgument."""
    options = {name: vars(args)[name] for name in Rule._fields if name in args}
    places = (options.pop("listen"), options.pop("upstreams"))
    if args.rules is None:
        if not all(places):
            raise InvalidArgument("expected LISTEN and UPSTREAM, or -f FILE")
        return [Rule(*places, **options)]
    if any(places):
        raise InvalidArgument(f"LISTEN and UPSTREAM belong in {args.rules}: expected -f FILE without them")
    if options:
        raise InvalidArgument(f"{next(iter(options))} belongs in {args.rules}: expected -f FILE without it")
    return load_rules(args.rules)


def _add_rule(group: Any) -> None:
    def add(name: str, text: str, **settings: Any) -> None:
        group.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text, **settings)

    def add_each(settings: dict[str, Any], texts: dict[str, str]) -> None:
        for name, text in texts.items():
            add(name, text, **settings)

    add("udp", "datagrams, in a flow for each client", dest="protocol", action="store_const", const="udp")
    add("policy", "which upstream a connection takes (default round-robin)", choices=POLICIES)
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
            default=argparse.SUPPRESS,
            help=text,
        )
    add_each(
        {"action": "store_true"},
        {
            "rewrite-responses": "HTTP: and Location and the Domain of cookies back",
            "transparent": "connect from the client's own address (needs CAP_NET_ADMIN)",
            "reuse-port": "let other processes listen there too (SO_REUSEPORT)",
        },
    )
    add_each(
        {"metavar": "TIME", "type": duration},
        {
            "connect-timeout": "to connect to one upstream (default 10s)",
            "head-timeout": "for a request's head, where the Host is rewritten (default 10s)",
            "idle-timeout": "end connections idle for so long (default 0, never; for UDP 60s)",
            "half-closed-timeout": "end connections half-closed for so long (default 0, never)",
            "failure-pause": "how long an upstream that failed rests (default 10s)",
            "health-interval": "from one check to the next (default 5s)",
            "health-timeout": "for one check (default 1s)",
            "resolve-interval": "from one look-up of an upstream's name to the next (default 30s)",
        },
    )
    add_each(
        {"metavar": "N", "type": integer(0, _MOST_CONNECTIONS)},
        {
            "max-connections": "open at once; more wait (default 4096)",
            "max-per-source": "open at once from one address; more are closed (default 0, no limit)",
            "max-failures": "failed connects in a row after which an upstream rests (default 3)",
        },
    )
    add_each(
        {"metavar": "BYTES", "type": size},
        {
            "rate": "a second, of all connections together (default 0, no limit)",
            "connection-rate": "a second, of each connection (default 0, no limit)",
        },
    )
    add_each(
        {"metavar": "PREFIX", "action": "append"},
        {
            "allow": "serve clients of this prefix only; may be repeated",
            "deny": "serve no clients of this prefix; may be repeated",
            "trust-proxy": "peers that begin with a PROXY header; may be repeated",
        },
    )
    add("send-proxy", "send upstreams a PROXY header of this version", type=int, choices=(1, 2))
    add("congestion", "the congestion control of both sides", metavar="NAME")
    add(
        "health",
        "check upstreams: connect, stable, banner, http, http:/PATH (default none)",
        metavar="CHECK",
    )


def _add_process(group: Any) -> None:
    group.add_argument(
        "-f", "--rules", metavar="FILE", help="take the rules from FILE (TOML), and anew on SIGHUP"
    )
    group.add_argument("--dry-run", action="store_true", help="check the rules, print them, and end")
    group.add_argument(
        "--threads",
        metavar="N",
        type=integer(1, _MOST_THREADS),
        default=1,
        help="that relay (default 1)",
    )
    group.add_argument("--engine", choices=ENGINES, default="auto", help="insist on a way to move bytes")
    group.add_argument(
        "--spin",
        metavar="TIME",
        type=duration,
        default=0.0,
        help="poll so long before sleeping: answers sooner, takes a core (default 0)",
    )
    group.add_argument(
        "--drain",
        metavar="TIME",
        type=duration,
        default=10.0,
        help="time that open connections have to end by themselves (default 10s)",
    )
    group.add_argument("--user", metavar="NAME", help="give up root for this user once all is open")


def _add_output(group: Any) -> None:
    group.add_argument(
        "--log", metavar="FILE", help="a line for each connection that ended; - is stdout; SIGUSR1 reopens it"
    )
    group.add_argument("--log-format", choices=FORMATS, help="of --log (default text; with --json, json)")
    group.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        type=argument(lambda text: parse_endpoint(text, "localhost")),
        help="serve Prometheus metrics there, on loopback unless told otherwise",
    )
    shown = group.add_mutually_exclusive_group()
    shown.add_argument("--top", action="store_true", help="a live table of the connections, on a terminal")
    shown.add_argument("--dump", action="store_true", help="print the bytes that pass (pure engine)")
    add_json(group)
