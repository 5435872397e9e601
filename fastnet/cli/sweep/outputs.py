"""The forms in which verdicts are printed: on stdout, what ends with ``end`` after all of them."""

import sys
import time

from fastnet import __version__
from fastnet._clock import now
from fastnet._sweep import ALIVE, INACTIVE, NOT_PROBED, UNREACHABLE, SweepResult, Verdict
from fastnet._typing import TYPE_CHECKING
from fastnet.cli.output import escaped, print_json, print_line
from fastnet.cli.quick_parser import Arguments
from fastnet.targets import Targets

if TYPE_CHECKING:
    from fastnet import _records as records


class Table:
    """One line per verdict, or only the addresses in one state."""

    def __init__(self, targets: Targets, only: str | None) -> None:
        self._width = 39 if targets.ipv6 else 15
        self._only = only

    def verdict(self, verdict: Verdict, round: int) -> None:
        if self._only:
            print_line(verdict.address, at_once=False)
            return
        rtt = "" if verdict.rtt_ms is None else f"{verdict.rtt_ms:.3f} ms"
        whose = f"from {verdict.responder}" if verdict.responder else verdict.mac or ""
        words = (f"{verdict.state:12}", f"{verdict.reason or rtt:12}", whose)
        print_line(f"{escaped(verdict.address):{self._width}} {' '.join(words)}".rstrip(), at_once=False)

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Json:
    """JSON Lines."""

    def __init__(self) -> None:
        import json  # noqa: F401  now: without privileges it might not be readable any more

    def verdict(self, verdict: Verdict, round: int) -> None:
        record: records.Verdict = {
            "kind": "verdict",
            "time": now(),
            "round": round,
            "address": verdict.address,
            "state": verdict.state,
            "rtt_ms": verdict.rtt_ms,
            "reason": verdict.reason,
            "mac": verdict.mac,
            "responder": verdict.responder,
        }
        print_json(record, at_once=False)

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Csv:
    """Comma-separated values (RFC 4180) under a line of headings."""

    def __init__(self) -> None:
        import csv

        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(("round", *Verdict._fields))

    def verdict(self, verdict: Verdict, round: int) -> None:
        address, state, rtt_ms, reason, mac, responder = verdict
        texts = escaped(address), state, rtt_ms, reason and escaped(reason), mac, responder
        self._writer.writerow((round, *texts))

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Xml:
    """One document in nmap's format (nmap.dtd), with the elements that a sweep can fill."""

    def __init__(self, targets: Targets, engine: str) -> None:
        import shlex  # only here: it loads re
        from xml.sax.saxutils import quoteattr

        self._quoted = quoteattr
        self._unresolved = {each.name for each in targets.unresolved}
        self._begun = time.time()
        self._statuses = {
            ALIVE: ("up", "tcp-response" if engine == "tcp" else "echo-reply"),
            INACTIVE: ("down", "no-response"),
            UNREACHABLE: ("down", "host-unreach"),
            NOT_PROBED: ("skipped", "unknown-response"),
        }
        args = escaped(shlex.join(["fastnet", *sys.argv[1:]]))
        print_line('<?xml version="1.0" encoding="UTF-8"?>', at_once=False)
        print_line(
            f'<nmaprun scanner="fastnet" args={quoteattr(args)} start="{self._begun:.0f}" '
            f'version="{__version__}" xmloutputversion="1.05">',
            at_once=False,
        )

    def verdict(self, verdict: Verdict, round: int) -> None:
        if verdict.address in self._unresolved:
            return  # nmap omits such a host too
        state, reason = self._statuses[verdict.state]
        remark = verdict.reason or (f"replied from {verdict.responder}" if verdict.responder else "")
        comment = f" comment={self._quoted(remark)}" if remark else ""
        kind = "ipv6" if ":" in verdict.address else "ipv4"
        if verdict.mac:
            reason = "nd-response" if kind == "ipv6" else "arp-response"
        host = f'<host{comment}><status state="{state}" reason="{reason}" reason_ttl="0"/>'
        host += f'<address addr="{verdict.address}" addrtype="{kind}"/>'
        if verdict.mac:
            host += f'<address addr="{verdict.mac.upper()}" addrtype="mac"/>'
        if verdict.rtt_ms is not None:
            host += f'<times srtt="{verdict.rtt_ms * 1000:.0f}" rttvar="0" to="0"/>'
        print_line(f"{host}</host>", at_once=False)

    def end(self, result: SweepResult) -> None:
        counts, now = result.counts, time.time()
        status = 'exit="success"' if result.complete else 'exit="error" errormsg="interrupted"'
        print_line(
            f'<runstats><finished time="{now:.0f}" elapsed="{now - self._begun:.2f}" {status}/>'
            f'<hosts up="{counts.alive}" down="{counts.inactive + counts.unreachable}" '
            f'total="{len(result) - len(result.decided_before) - len(self._unresolved)}"/></runstats>'
        )
        print_line("</nmaprun>")


Output = Table | Json | Csv | Xml


def output_for(args: Arguments, targets: Targets) -> Output:
    if args.json:
        return Json()
    if args.csv:
        return Csv()
    return Xml(targets, args.engine) if args.xml else Table(targets, args.only)
