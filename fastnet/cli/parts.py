"""Common parts of the records of several commands."""

from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet import _records as records
    from fastnet._ping import PathMTU
    from fastnet._portscan import PortState
    from fastnet.interfaces import InterfaceAddress

__all__ = ["interface_address", "path_mtu", "rounded", "scanned_port"]


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


def rounded(value: float | None) -> float | None:
    """A time, rounded to its significant digits."""
    return None if value is None else round(value, 6)
