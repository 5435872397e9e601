"""What ``ip -json -details`` prints, as the values of our records."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from typing import Any

from fastnet._contract.rtnetlink import (
    AddressLifetime,
    Interface,
    InterfaceAddress,
    InterfaceCounters,
    Neighbour,
    Route,
)

Value = dict[str, Any]
FOREVER = 0xFFFFFFFF
NOT_FLAGS = {"NO-CARRIER", "RUNNING", "M-DOWN"}
"""Of ip's own; and one that ip leaves out, since NO-CARRIER is its absence."""
ADDRESS_FLAGS = (
    *("secondary", "temporary", "nodad", "optimistic", "dadfailed", "home", "deprecated", "tentative"),
    *("mngtmpaddr", "noprefixroute", "autojoin", "stable-privacy"),
)
SIZES = {"inet": 32, "inet6": 128}


def ip(*words: str, batch: str | None = None) -> list[Value]:
    """What ip prints in the namespace of the calling thread."""
    done = subprocess.run(
        ["ip", *words],
        input=batch,
        capture_output=True,
        check=True,
        text=True,
        errors="surrogateescape",
    )
    found = json.loads(done.stdout, strict=False) if done.stdout.strip() else []
    return [each for each in found if each]


def links(printed: Iterable[Value]) -> dict[int, Value]:
    """Of ``ip -j -d address``."""
    return {each["ifindex"]: link(each) for each in printed}


def link(each: Value) -> Value:
    has_carrier = "LOWER_UP" in each["flags"]
    return {
        "name": each["ifname"],
        "altnames": sorted(each.get("altnames", ())),
        "kind": each.get("linkinfo", {}).get("info_kind"),
        "link_type": each["link_type"],
        "mac": each.get("address"),
        "permanent_mac": each.get("permaddr"),
        "broadcast": each.get("broadcast"),
        "mtu": each["mtu"],
        "flags": sorted({*each["flags"]} - NOT_FLAGS),
        "running": "NO-CARRIER" not in each["flags"],
        "operational_state": each["operstate"].lower(),
        "carrier": has_carrier if "UP" in each["flags"] else None,
        "master": each.get("master"),
        "peer": each.get("link"),
        "peer_ifindex": each.get("link_index"),
        "link_namespace": each.get("link_netnsid"),
        "addresses": sorted((address(own, each["ifname"]) for own in each["addr_info"] if own), key=str),
    }


def our_link(interface: Interface) -> Value:
    up = interface.administratively_up
    return {
        "name": interface.name,
        "altnames": sorted(interface.altnames),
        "kind": interface.kind,
        "link_type": interface.link_type,
        "mac": interface.mac,
        "permanent_mac": None if interface.permanent_mac == interface.mac else interface.permanent_mac,
        "broadcast": interface.broadcast,
        "mtu": interface.mtu,
        "flags": sorted({*interface.flags} - NOT_FLAGS),
        "running": not up or "RUNNING" in interface.flags,
        "operational_state": interface.operational_state,
        "carrier": interface.carrier if up else None,
        "master": interface.master,
        "peer": interface.peer,
        "peer_ifindex": interface.peer_ifindex if interface.peer is None else None,
        "link_namespace": interface.link_namespace,
        "addresses": sorted((our_address(own) for own in interface.addresses), key=str),
    }


def address(own: Value, name: str) -> Value:
    return {
        "interface": name,
        "label": own.get("label", name),
        "address": own["local"],
        "version": {"inet": 4, "inet6": 6}[own["family"]],
        "prefix_length": own["prefixlen"],
        "scope": own["scope"],
        "broadcast": own.get("broadcast"),
        "peer": own.get("address"),
        "flags": sorted(
            [flag for flag in ADDRESS_FLAGS if own.get(flag)] + ([] if own.get("dynamic") else ["permanent"])
        ),
    }


def our_address(own: InterfaceAddress) -> Value:
    wanted = ("interface", "label", "address", "version", "prefix_length", "scope", "broadcast", "peer")
    found = {name: getattr(own, name) for name in wanted}
    return {**found, "flags": sorted(own.flags or ())}  # before iproute2 6.3 ip lacks the protocol


Lifetime = tuple[str, str, int, int | None, int | None]


def lifetimes(printed: Iterable[Value]) -> set[Lifetime]:
    def seconds(value: int) -> int | None:
        return None if value == FOREVER else value

    return {
        (
            each["ifname"],
            own["local"],
            own["prefixlen"],
            seconds(own["preferred_life_time"]),
            seconds(own["valid_life_time"]),
        )
        for each in printed
        for own in each["addr_info"]
        if own
    }


def our_lifetimes(found: Iterable[AddressLifetime]) -> set[Lifetime]:
    return {tuple(each[:5]) for each in found}  # type: ignore[misc]


def routes(printed4: Iterable[Value], printed6: Iterable[Value]) -> list[Value]:
    """Of ``ip -j -d route show table all`` of both families."""
    families = (("inet", printed4), ("inet6", printed6))
    return sorted((route(each, family) for family, printed in families for each in printed), key=str)


def prefix(text: str, family: str) -> str:
    unset = {"inet": "0.0.0.0/0", "inet6": "::/0"}[family]
    return unset if text == "default" else text if "/" in text else f"{text}/{SIZES[family]}"


def number(names: Value, text: object) -> int:
    return int(names.get(text, text))


def gateway(each: Value) -> str | None:
    return each.get("gateway") or each.get("via", {}).get("host")


def route(each: Value, family: str) -> Value:
    legs = [
        (
            leg.get("dev"),
            leg.get("gateway") or leg.get("via", {}).get("host"),
            leg["weight"],
            sorted(leg["flags"]),
        )
        for leg in each.get("nexthops", ())
    ]
    mtu = next((metric["mtu"] for metric in each.get("metrics", ()) if "mtu" in metric), None)
    return {
        "destination": prefix(each["dst"], family),
        "gateway": gateway(each),
        "interface": each.get("dev"),
        "metric": each.get("metric", 0),
        "table": number({"local": 255, "main": 254, "default": 253}, each.get("table", 254)),
        "protocol": each["protocol"],
        "type": each["type"],
        "scope": each["scope"],
        "source": each.get("prefsrc"),
        "sources": prefix(each["from"], family) if "from" in each else None,
        "tos": number({}, int(str(each.get("tos", "0")), 16)),
        "mtu": mtu,
        "flags": sorted(each["flags"]),
        "legs": legs,
        "next_hop_id": each.get("nhid"),
        "encapsulation": each.get("encap"),
        "preference": each.get("pref"),
    }


def our_routes(found: Iterable[Route]) -> list[Value]:
    return sorted(map(our_route, found), key=str)


def our_route(each: Route) -> Value:
    found = {name: value for name, value in each._asdict().items() if name != "ifindex"}
    legs = [(leg.interface, leg.gateway, leg.weight, sorted(leg.flags)) for leg in each.legs]
    return {**found, "flags": sorted(each.flags), "legs": legs}


def neighbours(printed: Iterable[Value]) -> list[tuple[object, ...]]:
    """Of ``ip -j neighbour show nud all``."""
    named = ("use", "self", "master", "proxy", "extern_learn", "offload", "sticky", "router")
    return sorted(
        (
            each["dev"],
            each["dst"],
            each.get("lladdr"),
            "|".join(each["state"]).lower(),
            tuple(sorted({*named} & {*each})),
        )
        for each in printed
    )


def our_neighbours(found: Iterable[Neighbour]) -> list[tuple[object, ...]]:
    return sorted(
        (each.interface, each.address, each.mac, each.state, tuple(sorted(each.flags))) for each in found
    )


def counters(printed: Iterable[Value]) -> dict[str, Value]:
    """Of ``ip -j -s -s link``."""
    return {
        each["ifname"]: {
            f"{way}_{name}": each["stats64"][way][name]
            for way in ("rx", "tx")
            for name in ("packets", "bytes", "errors", "dropped")
        }
        for each in printed
    }


def our_counters(found: Iterable[InterfaceCounters]) -> dict[str, Value]:
    return {
        each.interface: {
            f"{way}_{name}": getattr(each, f"{way}_{name}")
            for way in ("rx", "tx")
            for name in ("packets", "bytes", "errors", "dropped")
        }
        for each in found
    }
