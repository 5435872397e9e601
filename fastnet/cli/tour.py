"""Walk through every feature on this machine's own interfaces and loopback, with real sockets."""

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_heading, print_json, print_line
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.tour import Visit, tour

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    add_json(parser)


def run(args: Arguments) -> int:
    failed = 0
    stop = ""
    for visit in tour():
        failed += not visit.ok
        if args.json:
            print_visit_json(visit)
            continue
        if visit.stop != stop:
            stop = visit.stop
            print_line("")
            print_heading(stop, f"({visit.implementation})")
        mark = "ok" if visit.ok else "FAILED"
        privilege = "" if visit.privilege == "none" else f", {visit.privilege}"
        print_line(f"  {mark}  {visit.did}: {visit.result}  [{visit.took_ms:.1f} ms{privilege}]")
    if not args.json:
        print_line("")
        print_line(f"{failed} failed" if failed else "every stop answered")
    return exits.NO if failed else exits.YES


def print_visit_json(visit: Visit) -> None:
    record: records.Visit = {
        "kind": "visit",
        "time": now(),
        "stop": visit.stop,
        "did": visit.did,
        "result": visit.result,
        "ok": visit.ok,
        "implementation": visit.implementation,
        "privilege": visit.privilege,
        "took_ms": visit.took_ms,
    }
    print_json(record)
