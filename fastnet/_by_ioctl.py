"""Interfaces and addresses without netlink: the ioctl calls of netdevice(7), and /proc/net/if_inet6.

glibc's getifaddrs(3) asks netlink too, and fails where that is denied.
"""

from _collections_abc import Iterator

from fastnet._addresses import describe_address, prefix_length_of
from fastnet._backend import netif as _netif
from fastnet._contract.netif import interface_names
from fastnet._contract.rtnetlink import Interface, InterfaceAddress
from fastnet._contract.rtnetlink_names import link_flags
from fastnet.errors import NoAddress, NoSuchInterface


def interfaces() -> Iterator[Interface]:
    """Every interface, with what the ioctl calls return of it."""
    own = [*addresses()]
    for name in interface_names():
        try:
            index = _netif.get_index(name)
            mtu, flags = _netif.get_mtu(name), link_flags(_netif.get_flags(name))
            try:
                mac = _netif.get_hardware_address(name)
            except NoAddress:
                mac = None
        except NoSuchInterface:
            continue  # It was removed after it was listed.
        yield Interface(
            index,
            name,
            mac=mac,
            mtu=mtu,
            flags=flags,
            operational_state=None,
            addresses=tuple(each for each in own if each.ifindex == index),
        )


def addresses() -> Iterator[InterfaceAddress]:
    """Every address: of IPv4 in the kernel's order, then of IPv6."""
    for label, address in _netif.list_ipv4():
        try:
            index, netmask = _netif.get_index(label), _netif.get_netmask(label, address)
        except (NoSuchInterface, NoAddress):
            continue  # It was removed after it was listed.
        found = describe_address(label, address, prefix_length_of(netmask))
        yield found._replace(ifindex=index, broadcast=_broadcast(label, address))
    for name, address, prefix_length, _ in sorted(_netif.list_ipv6()):
        try:
            index = _netif.get_index(name)
        except NoSuchInterface:
            continue
        yield describe_address(name, address, prefix_length)._replace(ifindex=index)


def _broadcast(label: str, address: str) -> str | None:
    try:
        found: str = _netif.get_broadcast(label, address)
    except (NoSuchInterface, NoAddress):
        return None
    return found
