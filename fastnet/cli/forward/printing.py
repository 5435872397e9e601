"""Prints where the command listens, and at the end a summary."""

from fastnet._clock import now
from fastnet._contract.values import counted
from fastnet._forward import Forwarder, Rule, Stats
from fastnet._typing import TYPE_CHECKING
from fastnet.cli.output import print_json, print_line
from fastnet.endpoints import Endpoint

if TYPE_CHECKING:
    from fastnet import _records as records


def print_rules(rules: list[Rule], as_json: bool) -> None:
    """The rules as parsed."""
    for rule in rules:
        listed = _listed(rule, [str(rule.listen)])
        if as_json:
            record: records.Rule = {"kind": "rule", **listed}
            print_json(record)
        else:
            _print_listed(listed)


def print_listening(forwarder: Forwarder, as_json: bool) -> None:
    """The addresses of the listeners, once they are open."""
    for rule in forwarder.rules:
        listed = _listed(rule, [str(address) for address in forwarder.addresses_of(rule)])
        if as_json:
            record: records.Listening = {"kind": "listening", **listed}
            print_json(record)
        else:
            _print_listed(listed)


def print_metrics(addresses: list[Endpoint], as_json: bool) -> None:
    """The address of the metrics."""
    urls = [f"http://{address}/metrics" for address in addresses]
    if as_json:
        record: records.Metrics = {"kind": "metrics", "time": now(), "urls": urls}
        print_json(record)
    else:
        print_line(f"metrics at {', '.join(urls)}")


def print_reloaded(forwarder: Forwarder, path: str, as_json: bool) -> None:
    """The file's rules are in force; where it listens now."""
    count = len(forwarder.rules)
    if as_json:
        record: records.Reloaded = {"kind": "reloaded", "time": now(), "rules": count}
        print_json(record)
    else:
        print_line(f"reloaded {path}: {counted(count, 'rule')}")
    print_listening(forwarder, as_json)


def _listed(rule: Rule, addresses: list[str]) -> "records.RuleAddresses":
    return {
        "time": now(),
        "rule": rule.name,
        "protocol": rule.protocol,
        "addresses": addresses,
        "upstreams": [str(upstream) for upstream in rule.upstreams],
    }


def _print_listed(listed: "records.RuleAddresses") -> None:
    protocol = "" if listed["protocol"] == "tcp" else f"{listed['protocol']} "
    print_line(f"forwarding {protocol}{', '.join(listed['addresses'])} to {', '.join(listed['upstreams'])}")


def print_summary(forwarder: Forwarder, seconds: float, as_json: bool) -> None:
    """The summary: for each rule, if there are several, and in all."""
    show = _print_json if as_json else _print_text
    if len(forwarder.rules) > 1:
        for rule in forwarder.rules:
            show(rule, forwarder.stats(rule), seconds)
    show(None, forwarder.stats(), seconds)


def _print_json(rule: Rule | None, stats: Stats, seconds: float) -> None:
    record: records.ForwardSummary = {
        "kind": "forward_summary",
        "time": now(),
        "rule": rule.name if rule else None,
        "connections": stats.accepted,
        "unreachable": stats.unreachable,
        "refused": stats.refused,
        "denied": stats.denied,
        "resets": stats.resets,
        "timed_out": stats.timed_out,
        "sent_up_bytes": stats.sent_up,
        "sent_down_bytes": stats.sent_down,
        "ran_s": round(seconds, 3),
    }
    print_json(record)


def _print_text(rule: Rule | None, stats: Stats, seconds: float) -> None:
    failures = {
        "unreachable": stats.unreachable,
        "refused": stats.refused,
        "denied": stats.denied,
        "reset": stats.resets,
        "timed out": stats.timed_out,
    }
    failed = ", ".join(f"{count} {what}" for what, count in failures.items() if count)
    print_line(
        f"{f'{rule.name}: ' if rule else ''}"
        f"{counted(stats.accepted, 'connection')}{f' ({failed})' if failed else ''}, "
        f"{counted(stats.sent_up, 'byte')} up, {counted(stats.sent_down, 'byte')} down in {seconds:.1f} s"
    )
