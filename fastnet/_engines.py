"""What ``engine=`` takes, for type checkers and at run time."""

from fastnet._typing import Literal

PingEngine = Literal["auto", "icmp", "raw", "datagram", "udp", "tcp"]
"""``auto`` is the first of ``icmp``, ``udp`` and ``tcp`` that is permitted."""
MTUEngine = Literal["auto", "icmp", "raw", "datagram", "udp"]
TraceEngine = Literal["udp", "icmp", "raw", "datagram"]
"""``icmp`` is the first of ``raw`` and ``datagram`` that is permitted, for ``ping`` and ``path_mtu`` too."""
SweepEngine = Literal["auto", "link", "raw", "datagram", "turbo", "tcp", "scapy"]
PortEngine = Literal["connect", "nmap"]
ForwardEngine = Literal["auto", "copy", "splice", "pure"]
AddressEngine = Literal["fastnet", "netifaces", "netaddr"]
PrefixEngine = Literal["fastnet", "netaddr"]
