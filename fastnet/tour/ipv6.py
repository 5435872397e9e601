"""IPv6: which support works, the prefix of each address, and what an address is."""

from _collections_abc import Iterator

from fastnet.ipv6 import addresses, explain, prefix, support
from fastnet.tour import Sight

TOPIC = "netif"


def visit() -> Iterator[Sight]:
    found = support()
    loopback = "::1 can be used" if found.loopback else "::1 can't be used"
    yield Sight("try IPv6 out", f"{loopback}; beyond this machine: {'; '.join(found.reasons) or 'works'}")

    listed = [f"{each} on {each.interface}" for each in addresses() if each.version == 6]
    yield Sight("list every IPv6 address with its prefix length", ", ".join(listed) or "there is none")

    text = "fe80::1%eth0/64"
    taken = prefix(text)
    yield Sight(f"take the prefix from {text}", str(taken), ok=str(taken) == "fe80::/64")

    text = "2002:c000:201::1"
    known = explain(text)
    words = ", ".join((known.type, *(each.address for each in known.ipv4)))
    yield Sight(f"explain {text}", words, ok=words == "6to4, 192.0.2.1")
