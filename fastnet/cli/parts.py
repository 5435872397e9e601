"""Common parts of the records of several commands."""

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet import _records as records
    from fastnet._distributed import Vantage
    from fastnet._ping import PathMTU, PingResult
    from fastnet._portscan import PortState
    from fastnet.interfaces import InterfaceAddress

__all__ = ["interface_address", "path_mtu", "rounded", "scanned_port", "statistics", "vantage"]


def interface_address(found: "InterfaceAddress") -> "records.InterfaceAddress":
    return {
        "interface": found.interface,
        "label": found.label,
        "version": found.version,
        "address": found.address,
        "prefix_length": found.prefix_length,
        "network": found.network,
        "scope": found.scope,
    }


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
