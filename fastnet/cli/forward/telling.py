"""What the command prints of itself: where it listens, and in the end what it did."""

from typing import Any

from fastnet.cli.output import print_json
from fastnet.endpoints import Endpoint
from fastnet.forward import Forwarder, Rule, Stats


def tell_rules(rules: list[Rule], as_json: bool) -> None:
    """The rules as they were understood."""
    for rule in rules:
        _tell_rule("rule", rule, [str(rule.listen)], as_json)


def tell_listening(forwarder: Forwarder, as_json: bool) -> None:
    """Where it listens, once it does."""
    for rule in forwarder.rules:
        _tell_rule("listening", rule, [str(address) for address in forwarder.addresses_of(rule)], as_json)


def tell_metrics(addresses: list[Endpoint], as_json: bool) -> None:
    """Where metrics are served."""
    urls = [f"http://{address}/metrics" for address in addresses]
    if as_json:
        print_json({"event": "metrics", "urls": urls})
    else:
        print(f"metrics at {', '.join(urls)}", flush=True)


def tell_reloaded(forwarder: Forwarder, path: str, as_json: bool) -> None:
    """That the file's rules are in force, and where it listens now."""
    count = len(forwarder.rules)
    if as_json:
        print_json({"event": "reloaded", "rules": count})
    else:
        print(f"reloaded {path}: {count} rules", flush=True)
    tell_listening(forwarder, as_json)


def _tell_rule(event: str, rule: Rule, addresses: list[str], as_json: bool) -> None:
    upstreams = [str(upstream) for upstream in rule.upstreams]
    if as_json:
        named = {"event": event, "rule": rule.name, "protocol": rule.protocol}
        print_json({**named, "addresses": addresses, "upstreams": upstreams})
    else:
        kind = "" if rule.protocol == "tcp" else f"{rule.protocol} "
        print(f"forwarding {kind}{', '.join(addresses)} to {', '.join(upstreams)}", flush=True)


def tell_summary(forwarder: Forwarder, seconds: float, as_json: bool) -> None:
    """What was done: of each rule, where there are several, and in all."""
    tell = _print_json if as_json else _print_text
    if len(forwarder.rules) > 1:
        for rule in forwarder.rules:
            tell(rule, forwarder.stats(rule), seconds)
    tell(None, forwarder.stats(), seconds)


def _print_json(rule: Rule | None, stats: Stats, seconds: float) -> None:
    whose: dict[str, Any] = {"event": "rule summary", "rule": rule.name} if rule else {"event": "summary"}
    print_json(
        {
            **whose,
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
    )


def _print_text(rule: Rule | None, stats: Stats, seconds: float) -> None:
    failures = {
        "unreachable": stats.unreachable,
        "refused": stats.refused,
        "denied": stats.denied,
        "reset": stats.resets,
        "timed out": stats.timed_out,
    }
    failed = ", ".join(f"{count} {what}" for what, count in failures.items() if count)
    print(
        f"{f'{rule.name}: ' if rule else ''}{stats.accepted} connections{f' ({failed})' if failed else ''}, "
        f"{stats.sent_up} bytes up, {stats.sent_down} bytes down in {seconds:.1f} s",
        flush=True,
    )
