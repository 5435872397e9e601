"""The names of the numbers in the kernel's answers, as ip(8) has them; another number is its own name."""

from _collections_abc import Mapping

from fastnet._typing import lru_cache

SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
"""linux/rtnetlink.h, enum rt_scope_t."""

STATES = dict(
    enumerate(("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")),
)
"""Operational states of RFC 2863 (linux/if.h)."""

ROUTE_TYPES = dict(
    enumerate(
        (
            *("none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable"),
            *("prohibit", "throw", "nat", "xresolve"),
        )
    )
)
PROTOCOLS = {
    **dict(enumerate(("unspec", "redirect", "kernel", "boot", "static"))),
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    18: "keepalived",
    42: "babel",
    99: "openr",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
"""Who added a route or a neighbour (linux/rtnetlink.h)."""
ADDRESS_PROTOCOLS = {0: "unspec", 1: "kernel_lo", 2: "kernel_ra", 3: "kernel_ll"}
ENCAPSULATIONS = {
    1: "mpls",
    2: "ip",
    3: "ila",
    4: "ip6",
    5: "seg6",
    6: "bpf",
    7: "seg6local",
    8: "rpl",
    9: "ioam6",
    10: "xfrm",
}
PREFERENCES = {0: "medium", 1: "high", 3: "low"}
"""RFC 4191, section 2.1."""
DUPLEXES = {0: "half", 1: "full"}

LINK_TYPES = {
    0: "netrom",
    1: "ether",
    2: "eether",
    3: "ax25",
    4: "pronet",
    5: "chaos",
    6: "ieee802",
    7: "arcnet",
    8: "atalk",
    15: "dlci",
    19: "atm",
    23: "metricom",
    24: "ieee1394",
    32: "infiniband",
    256: "slip",
    257: "cslip",
    258: "slip6",
    259: "cslip6",
    260: "rsrvd",
    264: "adapt",
    270: "rose",
    271: "x25",
    272: "hwx25",
    280: "can",
    512: "ppp",
    513: "hdlc",
    516: "lapb",
    517: "ddcmp",
    518: "rawhdlc",
    768: "ipip",
    769: "tunnel6",
    770: "frad",
    771: "skip",
    772: "loopback",
    773: "ltalk",
    774: "fddi",
    775: "bif",
    776: "sit",
    777: "ip/ddp",
    778: "gre",
    779: "pimreg",
    780: "hippi",
    781: "ash",
    782: "econet",
    783: "irda",
    784: "fcpp",
    785: "fcal",
    786: "fcpl",
    787: "fcfb0",
    800: "tr",
    801: "ieee802.11",
    802: "ieee802.11/prism",
    803: "ieee802.11/radiotap",
    804: "ieee802.15.4",
    805: "ieee802.15.4/monitor",
    820: "phonet",
    821: "phonet_pipe",
    822: "caif",
    823: "gre6",
    824: "netlink",
    825: "6lowpan",
    65534: "none",
    65535: "void",
}
"""linux/if_arp.h."""

IPV4_TUNNELS = frozenset({768, 776, 778})
"""Link types whose link-layer addresses are IPv4 addresses: ipip, sit, gre."""
IPV6_TUNNELS = frozenset({769, 823})

_LINK_FLAGS = (
    *("UP", "BROADCAST", "DEBUG", "LOOPBACK", "POINTOPOINT", "NOTRAILERS", "RUNNING", "NOARP", "PROMISC"),
    *("ALLMULTI", "MASTER", "SLAVE", "MULTICAST", "PORTSEL", "AUTOMEDIA", "DYNAMIC", "LOWER_UP", "DORMANT"),
    "ECHO",
)
_ADDRESS_FLAGS = (
    *("secondary", "nodad", "optimistic", "dadfailed", "home", "deprecated", "tentative", "permanent"),
    *("mngtmpaddr", "noprefixroute", "autojoin", "stable-privacy"),
)
_ROUTE_FLAGS = {
    0: "dead",
    1: "pervasive",
    2: "onlink",
    3: "offload",
    4: "linkdown",
    5: "unresolved",
    6: "trap",
    8: "notify",
    10: "equalize",
    11: "prefix",
    14: "rt_offload",
    15: "rt_trap",
    29: "rt_offload_failed",
}
_CLONED = 0x200
_NEIGHBOUR_STATES = ("incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent")
_NEIGHBOUR_FLAGS = (
    *("use", "self", "master", "proxy", "extern_learn", "offload", "sticky", "router", "managed", "locked"),
    "ext_validated",
)


def _named(bits: Mapping[int, str], value: int) -> tuple[str, ...]:
    return tuple(bits.get(bit, hex(1 << bit)) for bit in range(value.bit_length()) if value >> bit & 1)


@lru_cache(1024)
def link_flags(value: int) -> tuple[str, ...]:
    return _named(dict(enumerate(_LINK_FLAGS)), value)


@lru_cache(1024)
def address_flags(version: int, value: int) -> tuple[str, ...]:
    """IFA_F_SECONDARY of IPv4 is the same bit as IFA_F_TEMPORARY of IPv6."""
    names = dict(enumerate(_ADDRESS_FLAGS))
    return _named(names | {0: "temporary"} if version == 6 else names, value)


@lru_cache(1024)
def route_flags(value: int) -> tuple[str, ...]:
    """Of a route in the kernel's cache only the low eight bits: the others are internal (RTCF_...)."""
    return _named(_ROUTE_FLAGS, value & 0xFF if value & _CLONED else value)


@lru_cache(1024)
def neighbour_flags(value: int) -> tuple[str, ...]:
    return _named(dict(enumerate(_NEIGHBOUR_FLAGS)), value)


@lru_cache(1024)
def neighbour_state(value: int) -> str:
    return "|".join(_named(dict(enumerate(_NEIGHBOUR_STATES)), value)) or "none"


def named(table: Mapping[int, str], value: int) -> str:
    return table.get(value) or str(value)
