"""Common parts of the records of several commands."""

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet import _records as records
    from fastnet._distributed import Vantage
    from fastnet._ping import PathMTU, PingResult
    from fastnet._portscan import PortState
    from fastnet.interfaces import Interface, InterfaceStatus, Route

__all__ = [
    "interface_fields",
    "path_mtu",
    "restrictions",
    "rounded",
    "route_fields",
    "scanned_port",
    "statistics",
    "summary",
    "vantage",
]


def interface_fields(link: "Interface") -> dict[str, Any]:
    """All fields of an interface, under their names in records."""
    fields = link.as_dict()
    return {"link_kind": fields.pop("kind"), "mtu_bytes": fields.pop("mtu"), **fields}


def route_fields(route: "Route") -> dict[str, Any]:
    """All fields of a route, under their names in records."""
    fields = route.as_dict()
    return {"mtu_bytes": fields.pop("mtu"), **fields}


def restrictions(route: "Route") -> tuple[str, ...]:
    """The packets that a route is for, if it is not for all to its destination, in the words of ip(8)."""
    found = {"from": route.sources, "tos": f"{route.tos:#04x}" if route.tos else None}
    return tuple(f"{word} {value}" for word, value in found.items() if value)


def path_mtu(found: "PathMTU") -> "records.PathMTU":
    return {
        "host": found.host,
        "address": found.address,
        "engine": found.engine,
        "mtu_bytes": found.mtu,
        "limits": [{"router": router, "mtu_bytes": mtu} for router, mtu in found.limits],
        "error": found.error,
    }


def scanned_port(found: "PortState") -> "records.ScannedPort":
    return {"port": found.port, "state": found.state, "reason": found.reason}


def statistics(summary: "PingResult") -> "records.Statistics":
    return {
        "time": now(),
        "host": summary.host,
        "address": summary.address,
        "engine": summary.engine,
        "sent": summary.sent,
        "not_sent": summary.not_sent,
        "received": summary.received,
        "waiting": summary.waiting,
        "duplicates": summary.duplicates,
        "loss_percent": summary.loss_percent,
        "error": summary.error,
        "rtt_min_ms": rounded(summary.rtt_min_ms),
        "rtt_avg_ms": rounded(summary.rtt_avg_ms),
        "rtt_max_ms": rounded(summary.rtt_max_ms),
        "rtt_stddev_ms": rounded(summary.rtt_stddev_ms),
        "rtt_p50_ms": rounded(summary.rtt_p50_ms),
        "rtt_p90_ms": rounded(summary.rtt_p90_ms),
        "rtt_p99_ms": rounded(summary.rtt_p99_ms),
        "jitter_ms": rounded(summary.jitter_ms),
        "outage_s": round(summary.outage_s, 6),
    }


def vantage(found: "Vantage") -> "records.Vantage":
    return {
        "kind": "vantage",
        "time": now(),
        "name": found.name,
        "labels": dict(found.labels),
        "problem": found.problem,
        "shards": found.shards,
        "sent": found.sent,
        "alive": found.alive,
    }


def rounded(value: float | None) -> float | None:
    """A time, rounded to its significant digits."""
    return None if value is None else round(value, 6)


def summary(status: "InterfaceStatus") -> str:
    """Whether an interface is up, its state, and the reason: ``down (no carrier): turned on, but ...``."""
    word = "up" if status.up else "down"
    state = "" if status.state == word else f" ({status.state})"
    return f"{word}{state}: {status.reason}"
