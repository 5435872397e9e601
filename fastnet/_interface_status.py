"""Whether an interface is up, and why: see ``interface_status``."""

import errno
from _collections_abc import Iterable

from fastnet._contract.netif import check_ifname, failure
from fastnet._contract.rtnetlink import Interface, InterfaceAddress
from fastnet._engines import PortEngine
from fastnet._kernel import all
from fastnet._results import as_dict, shown
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastnet._portscan import PortState

_UP = ("up", "no address")
_BY_OPERATIONAL_STATE = {
    "dormant": ("dormant", "there is a carrier, but it waits for an event, such as 802.1X authentication"),
    "lowerlayerdown": ("no carrier", "the interface beneath it is not running"),
    "testing": ("testing", "it is under test"),
    "notpresent": ("not present", "a part of it is missing"),
    "down": ("down", "its operational state is down"),
}
"""State and reason by the states of RFC 2863, section 3.1.13, other than up and unknown."""


class InterfaceStatus(NamedTuple):
    """Whether an interface is up, and the reason; see ``interface_status``."""

    interface: str
    state: str
    reason: str
    administratively_up: bool
    operational_state: str | None
    carrier: bool | None
    addresses: tuple[InterfaceAddress, ...]
    ports: tuple["PortState", ...] | None = None

    @property
    def up(self) -> bool:
        """Whether it is turned on and running, with or without an address."""
        return self.state in _UP

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def list_status() -> list[InterfaceStatus]:
    """The status of every interface, including those without an address, in the order of their indexes."""
    found = sorted(all(), key=lambda link: link.ifindex)
    return [status_of(link, found) for link in found]


def interface_status(
    ifname: str,
    *,
    ports: str | Iterable[int] | None = None,
    engine: PortEngine = "connect",
    timeout: float = 2.0,
) -> InterfaceStatus:
    """Whether an interface is up: turned on by its administrator, and running.

    ``ifname`` is a name, an alternative name, or the label of an alias, whose addresses are then the only
    ones. ``state``, which ``reason`` explains, is one of:

    - ``up``: turned on, running (the kernel's operational state of RFC 2863 is up, or unknown as on
      loopback), and with a usable address
    - ``no address``: the same without one, which a port of a bridge does not need either; ``up`` is True
    - ``down``: turned off
    - ``no carrier``: turned on, but there is no link, or the interface beneath is not running
    - ``dormant``, ``testing``, ``not present``: as the driver reports

    ``ports`` (``"21-23,80"``) also scans those ports of the interface's first usable address, as
    ``fastnet.portscan`` does with this engine and timeout. The scan finds the listeners on the address, not
    whether the interface is up: a host connects to its own address through loopback. Without an address, or
    if the interface is turned off, nothing is scanned and ``ports`` of the result is empty; it is None if no
    scan was requested.

    Raises NoSuchInterface, and the errors of ``portscan``.
    """
    check_ifname(ifname)
    links = all()
    status = status_of(find_interface(ifname, links), links)
    return status if ports is None else status._replace(ports=_scan(status, ports, engine, timeout))


def find_interface(ifname: str, links: Iterable[Interface]) -> Interface:
    """The interface of a name or an alternative name; that of an alias label, with only its addresses.

    Raises NoSuchInterface.
    """
    for link in links:
        if ifname == link.name or ifname in link.altnames:
            return link
    for link in links:
        if labelled := tuple(each for each in link.addresses if each.label == ifname):
            return link._replace(addresses=labelled)
    raise failure(ifname, errno.ENODEV, "")


def status_of(link: Interface, links: Iterable[Interface]) -> InterfaceStatus:
    """The status of one of the interfaces of a network namespace."""
    state, reason = _link_state(link, links)
    if state == "up" and not usable(link.addresses):
        state, reason = "no address", f"{reason}, but {_no_address(link.addresses)}"
    return InterfaceStatus(
        interface=link.name,
        state=state,
        reason=reason,
        administratively_up=link.administratively_up,
        operational_state=link.operational_state,
        carrier=link.carrier,
        addresses=link.addresses,
    )


def _link_state(link: Interface, links: Iterable[Interface]) -> tuple[str, str]:
    if not link.administratively_up:
        return "down", "turned off"
    if link.carrier is False:
        return "no carrier", f"turned on, but there is no carrier{_why_no_carrier(link, links)}"
    if found := _BY_OPERATIONAL_STATE.get(link.operational_state or ""):
        state, reason = found
        return state, f"turned on, but {reason}"
    if link.carrier is None and "RUNNING" not in link.flags:
        return "no carrier", "turned on, but not running: no carrier, or dormant"
    return "up", "turned on and running"


def _why_no_carrier(link: Interface, links: Iterable[Interface]) -> str:
    """What this namespace shows of the reason: the other end, or the ports."""
    if link.kind in ("bridge", "bond", "team"):
        return "" if any(each.master_ifindex == link.ifindex for each in links) else ": it has no port"
    if link.peer_ifindex is None or link.link_namespace is not None:
        return ""
    peers = (each for each in links if each.ifindex == link.peer_ifindex)
    return next((f": {each.name} is turned off" for each in peers if not each.administratively_up), "")


def usable(addresses: Iterable[InterfaceAddress]) -> list[InterfaceAddress]:
    """The addresses that packets are sent from: not duplicates, and not those still under detection."""
    return [each for each in addresses if not _flaw(each)]


def _flaw(address: InterfaceAddress) -> str:
    """Why nothing is sent from an address; empty if it is usable (RFC 4862, section 5.4; RFC 4429)."""
    flags = address.flags or ()
    if "dadfailed" in flags:
        return "a duplicate on the link"
    return "still under duplicate detection" if "tentative" in flags and "optimistic" not in flags else ""


def _no_address(addresses: Iterable[InterfaceAddress]) -> str:
    return next((f"{each.address} is {_flaw(each)}" for each in addresses), "it has no address")


def _scan(
    status: InterfaceStatus, ports: str | Iterable[int], engine: PortEngine, timeout: float
) -> "tuple[PortState, ...]":
    from fastnet._portscan import portscan  # only here: most callers scan nothing

    # An address of an interface that is turned off may be routed to another host.
    addresses = usable(status.addresses)
    if not (status.administratively_up and addresses):
        return ()
    return portscan(addresses[0].text, ports, engine=engine, timeout=timeout).ports
