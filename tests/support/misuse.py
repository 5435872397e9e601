"""What type checkers refuse: each line that ends with ``# wrong``, and no other. Nothing runs this."""

# ruff: noqa: B018

from ipaddress import ip_address, ip_interface

import fastnet
from fastnet import aio, ipv6
from fastnet.echo import EchoServer
from fastnet.packet import UDP, IPv4, parse

fastnet.nonsense  # wrong
aio.nonsense  # wrong
fastnet.ping("h", size=3)
fastnet.ping("h", sizee=3)  # wrong
fastnet.ping("h", size="3")  # wrong
fastnet.ping("h", count="3")  # wrong
fastnet.ping(None)  # wrong
fastnet.ping("h").nonsense  # wrong
fastnet.ping("h").received = 3  # wrong
fastnet.ping("h").as_dict()["received"]
fastnet.sweep("h").engine = "raw"  # wrong
fastnet.multiping(["h"], ttl=3, retries=2)
fastnet.multiping(["h"], tttl=3)  # wrong
fastnet.ping("h", engine="raw", timeout="auto")
fastnet.ping("h", engine="link")  # wrong
fastnet.ping("h", timeout="soon")  # wrong
fastnet.Pinger(engine="sctp")  # wrong
fastnet.multiping(["h"], engine="row")  # wrong
fastnet.path_mtu("h", engine="udp")
fastnet.path_mtu("h", engine="tcp")  # wrong
fastnet.MTUSearch("h", engine="tcp")  # wrong
fastnet.trace("h", engine="icmp")
fastnet.trace("h", engine="auto")  # wrong
fastnet.Tracer("h", engine="auto")  # wrong
fastnet.sweep("h", engine="turbo", timeout="auto")
fastnet.sweep("h", engine="udp")  # wrong
fastnet.sweep("h", timeout="soon")  # wrong
fastnet.Sweep("h", engine="udp")  # wrong
fastnet.sweep_stream("h", engine="udp")  # wrong
fastnet.portscan("h", engine="nmap")
fastnet.portscan("h", engine="mmap")  # wrong
fastnet.Forwarder(0, "h:1", engine="splice")
fastnet.Forwarder(0, "h:1", engine="native")  # wrong
fastnet.interfaces.interface_status("lo", engine="mmap")  # wrong
ipv6.addresses(engine="netifaces")
ipv6.addresses(engine="ifaddr")  # wrong
ipv6.prefix("::1", engine="netifaces")  # wrong
fastnet.path_mtu("h", tos=4)
fastnet.path_mtu("h", toss=4)  # wrong
fastnet.trace("h", mtu=True, size=100)
fastnet.trace("h", mtuu=True)  # wrong
fastnet.Tracer("h", mtuu=True)  # wrong
fastnet.sweep("h", retries=2)
fastnet.sweep("h", retriess=2)  # wrong
fastnet.sweep_stream("h", retriess=2)  # wrong
fastnet.sweep_every("h", 1.0, retriess=2)  # wrong
fastnet.wait("h:1", gone=True)
fastnet.wait("h:1", check="banner")
fastnet.wait("h:1", check="nonsense")  # wrong
fastnet.wait("h:1", gonee=True)  # wrong
fastnet.wait_all("h:1", 3.0, gonee=True)  # wrong
fastnet.portscan("h", [80])
fastnet.portscan("h", portss=[80])  # wrong
fastnet.Forwarder("0", "h:1", policy="round-robin")
fastnet.Forwarder("0", "h:1", policy="nonsense")  # wrong
fastnet.Forwarder("0", "h:1", policyy="round-robin")  # wrong
fastnet.Pinger(sizee=3)  # wrong
fastnet.Forwarder("0", "h:1", tap=3)  # wrong
EchoServer(ip_address("::1"))
EchoServer(port="1")  # wrong
ipv6.prefix(ip_interface("::1/64"))
ipv6.prefix(3)  # wrong
fastnet.checksum("text")  # wrong
IPv4(src="10.0.0.1") / UDP(sport=1)
IPv4(source="10.0.0.1")  # wrong
UDP(sport="http")  # wrong
parse(b"", linkk="ipv4")  # wrong


async def main() -> None:
    await aio.ping("h", size=3)
    await aio.ping("h", sizee=3)  # wrong
    await aio.sweep("h", retriess=3)  # wrong
    await aio.portscan("h", engine="mmap")  # wrong
    async for each in aio.sweep_stream("h"):
        each.address.upper()
        each.nonsense  # wrong
