"""The forms in which verdicts are printed: on stdout, what ends with ``end`` once all of them were told."""

import argparse
import shlex
import sys
import time

from fastnet import __version__
from fastnet.cli.output import one_line, print_json
from fastnet.sweep import ALIVE, INACTIVE, NOT_PROBED, UNREACHABLE, SweepResult, Verdict
from fastnet.targets import Targets


class Table:
    """A line for each verdict, or only the address of those in one state."""

    def __init__(self, targets: Targets, only: str | None) -> None:
        self._width = 39 if targets.ipv6 else 15
        self._only = only

    def verdict(self, verdict: Verdict, round: int) -> None:
        if self._only:
            sys.stdout.write(f"{verdict.address}\n")
            return
        rtt = "" if verdict.rtt_ms is None else f"{verdict.rtt_ms:.3f} ms"
        words = (f"{verdict.state:12}", f"{verdict.reason or rtt:12}", verdict.mac or "")
        print(f"{verdict.address:{self._width}} {' '.join(words)}".rstrip())

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Json:
    """JSON Lines."""

    def __init__(self) -> None:
        import json  # noqa: F401  now: without privileges it might not be readable any more

    def verdict(self, verdict: Verdict, round: int) -> None:
        print_json({"round": round, **verdict._asdict()})

    def end(self, result: SweepResult) -> None:
        pass


class Csv:
    """Comma-separated values (RFC 4180) under a line of headings."""

    def __init__(self) -> None:
        import csv

        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(("round", *Verdict._fields))

    def verdict(self, verdict: Verdict, round: int) -> None:
        self._writer.writerow((round, *verdict))

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Xml:
    """One document of nmap's form (nmap.dtd), as far as a sweep has something to say in it."""

    def __init__(self, engine: str) -> None:
        from xml.sax.saxutils import quoteattr

        self._quoted = quoteattr
        self._begun = time.time()
        self._statuses = {
            ALIVE: ("up", "tcp-response" if engine == "tcp" else "echo-reply"),
            INACTIVE: ("down", "no-response"),
            UNREACHABLE: ("down", "host-unreach"),
            NOT_PROBED: ("skipped", "unknown-response"),
        }
        args = one_line(shlex.join(["fastnet", *sys.argv[1:]]))
        print('<?xml version="1.0" encoding="UTF-8"?>')
        print(
            f'<nmaprun scanner="fastnet" args={quoteattr(args)} start="{self._begun:.0f}" '
            f'version="{__version__}" xmloutputversion="1.05">'
        )

    def verdict(self, verdict: Verdict, round: int) -> None:
        state, reason = self._statuses[verdict.state]
        comment = f" comment={self._quoted(verdict.reason)}" if verdict.reason else ""
        kind = "ipv6" if ":" in verdict.address else "ipv4"
        if verdict.mac:
            reason = "nd-response" if kind == "ipv6" else "arp-response"
        print(f'<host{comment}><status state="{state}" reason="{reason}" reason_ttl="0"/>', end="")
        print(f'<address addr="{verdict.address}" addrtype="{kind}"/>', end="")
        if verdict.mac:
            print(f'<address addr="{verdict.mac.upper()}" addrtype="mac"/>', end="")
        if verdict.rtt_ms is not None:
            print(f'<times srtt="{verdict.rtt_ms * 1000:.0f}" rttvar="0" to="0"/>', end="")
        print("</host>")

    def end(self, result: SweepResult) -> None:
        counts, now = result.counts, time.time()
        status = 'exit="success"' if result.complete else 'exit="error" errormsg="interrupted"'
        print(
            f'<runstats><finished time="{now:.0f}" elapsed="{now - self._begun:.2f}" {status}/>'
            f'<hosts up="{counts.alive}" down="{counts.inactive + counts.unreachable}" '
            f'total="{len(result) - len(result.decided_before)}"/></runstats>'
        )
        print("</nmaprun>", flush=True)


Output = Table | Json | Csv | Xml


def output_for(args: argparse.Namespace, targets: Targets) -> Output:
    if args.json:
        return Json()
    if args.csv:
        return Csv()
    return Xml(args.engine) if args.xml else Table(targets, args.only)
