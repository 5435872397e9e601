"""The forms in which verdicts are printed: on stdout, what ends with ``end`` after all of them.

``line`` formats a verdict. ``templates`` are for the core, which formats verdicts with neither a reason nor a
responder: two for alive targets, the second without a time, and one for inactive ones.
"""

import io
import sys
import time

from fastnet import __version__
from fastnet._clock import now
from fastnet._sweep import ALIVE, INACTIVE, NOT_PROBED, UNREACHABLE, SweepResult, Verdict
from fastnet._typing import TYPE_CHECKING, Protocol, TypeAlias
from fastnet.cli.output import escaped, padded, print_line
from fastnet.cli.quick_parser import Arguments
from fastnet.targets import Targets

if TYPE_CHECKING:
    from fastnet import _records as records
    from fastnet._contract.lines import Template

    Templates: TypeAlias = tuple[Template, Template, Template]

END, ADDRESS, MS, NUMBER, US, MAC, UPPER_MAC = map(chr, range(7))
"""The core's fields, as characters in the text of a template."""


class Output(Protocol):
    """One form."""

    def line(self, verdict: Verdict, round: int) -> str:
        """The line of a verdict, escaped; empty if it has none."""
        ...

    def templates(self, round: int, is_ipv6: bool, has_macs: bool) -> "Templates": ...

    def end(self, result: SweepResult) -> None: ...


def template(text: str, width: int = 0, ms_width: int = 0) -> "Template":
    """The template of a line, with fields among its text."""
    widths = {ADDRESS: width, MS: ms_width}
    pieces, literal = [], ""
    for character in f"{text}\n{END}":
        if character in (END, ADDRESS, MS, NUMBER, US, MAC, UPPER_MAC):
            pieces.append((literal.encode(), ord(character), widths.get(character, 0)))
            literal = ""
        else:
            literal += character
    return pieces


class Table:
    """One line per verdict, or only the addresses in one state."""

    def __init__(self, targets: Targets, only: str | None) -> None:
        self._width = 39 if targets.ipv6 else 15
        self._only = only

    def line(self, verdict: Verdict, round: int) -> str:
        if self._only:
            return escaped(verdict.address)
        rtt = "" if verdict.rtt_ms is None else f"{verdict.rtt_ms:.3f} ms"
        whose = f"from {verdict.responder}" if verdict.responder else verdict.mac or ""
        words = (f"{verdict.state:12}", f"{verdict.reason or rtt:12}", whose)
        return escaped(f"{padded(escaped(verdict.address), self._width)} {' '.join(words)}".rstrip())

    def templates(self, round: int, is_ipv6: bool, has_macs: bool) -> "Templates":
        if self._only:
            address = template(ADDRESS)
            return address, address, address
        mac = f" {MAC}" if has_macs else ""
        untimed = f"{ADDRESS} {ALIVE:12} {'':12}{mac}" if has_macs else f"{ADDRESS} {ALIVE}"
        return (
            template(f"{ADDRESS} {ALIVE:12} {MS}{mac}", self._width, 12 if has_macs else 0),
            template(untimed, self._width),
            template(f"{ADDRESS} {INACTIVE}", self._width),
        )

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Json:
    """JSON Lines."""

    def __init__(self) -> None:
        from json import JSONEncoder  # now: without privileges it might not be readable any more

        self._encode = JSONEncoder().encode

    def line(self, verdict: Verdict, round: int) -> str:
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
        return self._encode(record)

    def templates(self, round: int, is_ipv6: bool, has_macs: bool) -> "Templates":
        begin = (
            f'{{"kind": "verdict", "time": "{now()}", "round": {round}, "address": "{ADDRESS}", "state": "'
        )
        mac = f'"{MAC}"' if has_macs else "null"
        alive = f'{begin}{ALIVE}", "rtt_ms": %s, "reason": null, "mac": {mac}, "responder": null}}'
        inactive = f'{begin}{INACTIVE}", "rtt_ms": null, "reason": null, "mac": null, "responder": null}}'
        return template(alive % NUMBER), template(alive % "null"), template(inactive)

    def end(self, result: SweepResult) -> None:
        sys.stdout.flush()


class Csv:
    """Comma-separated values (RFC 4180) under a line of headings."""

    def __init__(self) -> None:
        import csv

        self._row = io.StringIO()
        self._writer = csv.writer(self._row, lineterminator="")
        print_line(self._text(("round", *Verdict._fields)), at_once=False)

    def _text(self, cells: tuple[object, ...]) -> str:
        self._row.seek(0)
        self._row.truncate()
        self._writer.writerow(cells)
        return self._row.getvalue()

    def line(self, verdict: Verdict, round: int) -> str:
        address, state, rtt_ms, reason, mac, responder = verdict
        texts = escaped(address), state, rtt_ms, reason and escaped(reason), mac, responder
        return self._text((round, *texts))

    def templates(self, round: int, is_ipv6: bool, has_macs: bool) -> "Templates":
        mac = MAC if has_macs else ""
        alive = f"{round},{ADDRESS},{ALIVE},"
        inactive = f"{round},{ADDRESS},{INACTIVE},,,,"
        return template(f"{alive}{NUMBER},,{mac},"), template(f"{alive},,{mac},"), template(inactive)

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

    def line(self, verdict: Verdict, round: int) -> str:
        if verdict.address in self._unresolved:
            return ""  # nmap omits such a host too
        state, reason = self._statuses[verdict.state]
        remark = verdict.reason or (f"replied from {verdict.responder}" if verdict.responder else "")
        comment = f" comment={self._quoted(remark)}" if remark else ""
        kind = "ipv6" if ":" in verdict.address else "ipv4"
        if verdict.mac:
            reason = self._arrival(kind)
        times = "" if verdict.rtt_ms is None else _times(f"{verdict.rtt_ms * 1000:.0f}")
        mac = _mac(verdict.mac.upper()) if verdict.mac else ""
        return escaped(_host(comment, state, reason, verdict.address, kind, f"{mac}{times}"))

    def templates(self, round: int, is_ipv6: bool, has_macs: bool) -> "Templates":
        kind = "ipv6" if is_ipv6 else "ipv4"
        state, reason = self._statuses[ALIVE]
        if has_macs:
            reason = self._arrival(kind)
        mac = _mac(UPPER_MAC) if has_macs else ""
        return (
            template(_host("", state, reason, ADDRESS, kind, f"{mac}{_times(US)}")),
            template(_host("", state, reason, ADDRESS, kind, mac)),
            template(_host("", *self._statuses[INACTIVE], ADDRESS, kind, "")),
        )

    @staticmethod
    def _arrival(kind: str) -> str:
        """The reason of a host that answered on a link."""
        return "nd-response" if kind == "ipv6" else "arp-response"

    def end(self, result: SweepResult) -> None:
        counts, now = result.counts, time.time()
        status = 'exit="success"' if result.complete else 'exit="error" errormsg="interrupted"'
        print_line(
            f'<runstats><finished time="{now:.0f}" elapsed="{now - self._begun:.2f}" {status}/>'
            f'<hosts up="{counts.alive}" down="{counts.inactive + counts.unreachable}" '
            f'total="{len(result) - len(result.decided_before) - len(self._unresolved)}"/></runstats>'
        )
        print_line("</nmaprun>")


def _host(comment: str, state: str, reason: str, address: str, kind: str, more: str) -> str:
    host = f'<host{comment}><status state="{state}" reason="{reason}" reason_ttl="0"/>'
    return f'{host}<address addr="{address}" addrtype="{kind}"/>{more}</host>'


def _mac(mac: str) -> str:
    return f'<address addr="{mac}" addrtype="mac"/>'


def _times(microseconds: str) -> str:
    return f'<times srtt="{microseconds}" rttvar="0" to="0"/>'


def output_for(args: Arguments, targets: Targets) -> Output:
    if args.json:
        return Json()
    if args.csv:
        return Csv()
    return Xml(targets, args.engine) if args.xml else Table(targets, args.only)
