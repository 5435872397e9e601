"""Walk through every feature on this machine's own interfaces and loopback, with real sockets."""

import argparse

from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import bold, print_json
from fastnet.tour import tour


def configure(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    failed = 0
    stop = ""
    for visit in tour():
        failed += not visit.ok
        if args.json:
            print_json(visit._asdict())
            continue
        if visit.stop != stop:
            stop = visit.stop
            print(bold(f"\n{stop}") + f"  ({visit.implementation})")
        mark = "ok" if visit.ok else "FAILED"
        privilege = "" if visit.privilege == "none" else f", {visit.privilege}"
        print(f"  {mark}  {visit.did}: {visit.result}  [{visit.took_ms:.1f} ms{privilege}]", flush=True)
    if not args.json:
        print(f"\n{f'{failed} failed' if failed else 'every stop answered'}")
    return exits.NO if failed else exits.YES
