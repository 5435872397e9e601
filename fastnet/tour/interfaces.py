"""The interfaces of this machine: the list, each one's address, and its status."""

from collections.abc import Iterator

from fastnet.interfaces import get_ip_address, get_mtu, get_netmask, list_interfaces, list_status
from fastnet.tour import Sight

TOPIC = "netif"


def visit() -> Iterator[Sight]:
    names = list_interfaces()
    yield Sight("list the interfaces that have an IPv4 address (SIOCGIFCONF)", ", ".join(names) or "none")

    for name in names:
        told = f"{get_ip_address(name)}, netmask {get_netmask(name)}, MTU {get_mtu(name)}"
        yield Sight(f"ask for the first address, the netmask and the MTU of {name}", told)

    judged = [f"{status.interface} {status.state} ({status.reason})" for status in list_status()]
    yield Sight("show of every interface whether it is really up", ", ".join(judged), ok=bool(judged))
