"""The interfaces of this machine: the list, each one's address, its status, and the routes."""

from _collections_abc import Iterator

from fastnet._contract.values import counted
from fastnet.interfaces import (
    all,
    gateways,
    get_ip_address,
    get_mtu,
    get_netmask,
    list_interfaces,
    list_status,
    route_to,
)
from fastnet.tour import Sight

TOPIC = "netif"


def visit() -> Iterator[Sight]:
    names = list_interfaces()
    yield Sight("list the interfaces that have an IPv4 address (SIOCGIFCONF)", ", ".join(names) or "none")

    for name in names:
        seen = f"{get_ip_address(name)}, netmask {get_netmask(name)}, MTU {get_mtu(name)}"
        yield Sight(f"ask for the first address, the netmask and the MTU of {name}", seen)

    judged = [f"{status.interface} {status.state} ({status.reason})" for status in list_status()]
    yield Sight("show of every interface whether it is really up", ", ".join(judged), ok=bool(judged))

    links = [
        f"{link.name} {link.kind or link.link_type}, {counted(len(link.addresses), 'address')}"
        for link in all()
    ]
    yield Sight("read everything of every interface (rtnetlink)", "; ".join(links), ok=bool(links))

    routers = [f"{route.gateway or 'on the link'} by {route.interface}" for route in gateways()]
    yield Sight("list the default routes of all tables", ", ".join(routers) or "none")

    way = route_to("127.0.0.1")
    seen = f"{way.interface}, from {way.source}, MTU {way.mtu}"
    yield Sight("ask the kernel for the route to 127.0.0.1", seen, ok=way.interface == "lo")
