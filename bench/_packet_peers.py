"""How scapy, dpkt, pypacker and impacket build an echo request and take packets apart, each its quick way."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

from bench._packets import DST_MAC, ECHO_DST, ECHO_IDENT, ECHO_PAYLOAD, ECHO_SRC, ICMP, IPV4, SRC_MAC


class Builder(NamedTuple):
    """Bytes of a stack made anew for a sequence number, of a ready one given it, and of that as it is."""

    compose: Callable[[int], bytes]
    following: Callable[[int], bytes]
    again: Callable[[], bytes]


class Parser(NamedTuple):
    """``parse`` gives network layer (None without one), protocol and transport layer; the rest read them."""

    parse: Callable[[bytes], tuple[Any, int | None, Any]]
    ports: Callable[[Any], tuple[int | None, int | None]]
    addresses: Callable[[Any], tuple[str, str]]
    payload: Callable[[Any], bytes]


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def scapy_builder() -> Builder:
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    def stack(seq: int) -> Any:
        return (
            Ether(dst=DST_MAC, src=SRC_MAC)
            / IP(src=ECHO_SRC, dst=ECHO_DST)
            / ICMP(id=ECHO_IDENT, seq=seq)
            / Raw(ECHO_PAYLOAD)
        )

    ready = stack(0)
    message = ready[ICMP]

    def following(seq: int) -> bytes:
        message.seq = seq
        return bytes(ready)

    return Builder(lambda seq: bytes(stack(seq)), following, lambda: bytes(ready))


def dpkt_builder() -> Builder:
    from dpkt.ethernet import Ethernet
    from dpkt.icmp import ICMP as Message
    from dpkt.ip import IP

    dst_mac, src_mac = mac(DST_MAC), mac(SRC_MAC)
    src, dst = socket.inet_aton(ECHO_SRC), socket.inet_aton(ECHO_DST)

    def stack(seq: int) -> Any:
        message = Message(type=8, data=Message.Echo(id=ECHO_IDENT, seq=seq, data=ECHO_PAYLOAD))
        network = IP(src=src, dst=dst, id=1, ttl=64, p=ICMP, data=message)
        return Ethernet(dst=dst_mac, src=src_mac, type=IPV4, data=network)

    ready = stack(0)
    message = ready.data.data

    def following(seq: int) -> bytes:
        message.data.seq = seq
        message.sum = 0
        return bytes(ready)

    return Builder(lambda seq: bytes(stack(seq)), following, lambda: bytes(ready))


def pypacker_builder() -> Builder:
    from pypacker.layer3.icmp import ICMP as Message
    from pypacker.layer3.ip import IP
    from pypacker.layer12.ethernet import Ethernet

    def stack(seq: int) -> Any:
        return (
            Ethernet(dst_s=DST_MAC, src_s=SRC_MAC)
            + IP(src_s=ECHO_SRC, dst_s=ECHO_DST, id=1, ttl=64, p=ICMP)
            + Message(type=8)
            + Message.Echo(id=ECHO_IDENT, seq=seq, body_bytes=ECHO_PAYLOAD)
        )

    ready = stack(0)
    echo = ready[Message.Echo]

    def following(seq: int) -> bytes:
        echo.seq = seq
        return ready.bin()  # type: ignore[no-any-return]

    return Builder(lambda seq: stack(seq).bin(), following, ready.bin)


def impacket_builder() -> Builder:
    from impacket.ImpactPacket import ICMP as Message
    from impacket.ImpactPacket import IP, Data, Ethernet

    dst_mac, src_mac = array("B", mac(DST_MAC)), array("B", mac(SRC_MAC))

    def stack(seq: int) -> tuple[Any, Any]:
        message = Message()
        message.set_icmp_type(8)
        message.set_icmp_id(ECHO_IDENT)
        message.set_icmp_seq(seq)
        message.contains(Data(ECHO_PAYLOAD))
        network = IP()
        network.set_ip_src(ECHO_SRC)
        network.set_ip_dst(ECHO_DST)
        network.set_ip_id(1)
        network.set_ip_ttl(64)
        network.set_ip_p(ICMP)
        network.contains(message)
        frame = Ethernet()
        frame.set_ether_dhost(dst_mac)
        frame.set_ether_shost(src_mac)
        frame.set_ether_type(IPV4)
        frame.contains(network)
        return frame, message

    ready, message = stack(0)

    def following(seq: int) -> bytes:
        message.set_icmp_seq(seq)
        message.set_icmp_cksum(0)
        message.auto_checksum = 1
        return bytes(ready.get_packet())

    return Builder(
        lambda seq: bytes(stack(seq)[0].get_packet()), following, lambda: bytes(ready.get_packet())
    )


def scapy_parser() -> Parser:
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    def parse(data: bytes) -> tuple[Any, int | None, Any]:
        frame = Ether(data)
        if IP in frame:
            network = frame[IP]
            return network, network.proto, network.payload
        if IPv6 in frame:
            network = frame[IPv6]
            return network, network.nh, network.payload
        return None, None, None

    def ports(transport: Any) -> tuple[int | None, int | None]:
        return (transport.sport, transport.dport) if isinstance(transport, TCP | UDP) else (None, None)

    return Parser(
        parse, ports, lambda network: (network.src, network.dst), lambda above: bytes(above.payload)
    )


def dpkt_parser() -> Parser:
    from dpkt.ethernet import Ethernet
    from dpkt.ip import IP
    from dpkt.ip6 import IP6
    from dpkt.tcp import TCP
    from dpkt.udp import UDP

    def parse(data: bytes) -> tuple[Any, int | None, Any]:
        network = Ethernet(data).data
        return (network, network.p, network.data) if isinstance(network, IP | IP6) else (None, None, None)

    def ports(transport: Any) -> tuple[int | None, int | None]:
        return (transport.sport, transport.dport) if isinstance(transport, TCP | UDP) else (None, None)

    def addresses(network: Any) -> tuple[str, str]:
        family = socket.AF_INET if isinstance(network, IP) else socket.AF_INET6
        return socket.inet_ntop(family, network.src), socket.inet_ntop(family, network.dst)

    def payload(transport: Any) -> bytes:
        data = transport.data
        return data if isinstance(data, bytes) else data.data

    return Parser(parse, ports, addresses, payload)


def pypacker_parser() -> Parser:
    from pypacker.layer3.icmp import ICMP as Message
    from pypacker.layer3.ip import IP
    from pypacker.layer3.ip6 import IP6
    from pypacker.layer4.tcp import TCP
    from pypacker.layer4.udp import UDP
    from pypacker.layer12.ethernet import Ethernet

    def parse(data: bytes) -> tuple[Any, int | None, Any]:
        network = Ethernet(data).higher_layer
        if isinstance(network, IP):
            return network, network.p, network.higher_layer
        if isinstance(network, IP6):
            return network, network.nxt, network.higher_layer
        return None, None, None

    def ports(transport: Any) -> tuple[int | None, int | None]:
        return (transport.sport, transport.dport) if isinstance(transport, TCP | UDP) else (None, None)

    def payload(transport: Any) -> bytes:
        layer = transport.higher_layer if isinstance(transport, Message) else transport
        return layer.body_bytes  # type: ignore[no-any-return]

    return Parser(parse, ports, lambda network: (network.src_s, network.dst_s), payload)


def impacket_parser() -> Parser:
    from impacket.ImpactDecoder import EthDecoder
    from impacket.ImpactPacket import IP, TCP, UDP
    from impacket.IP6 import IP6

    decode = EthDecoder().decode

    def parse(data: bytes) -> tuple[Any, int | None, Any]:
        network = decode(data).child()
        if isinstance(network, IP):
            return network, network.get_ip_p(), network.child()
        if isinstance(network, IP6):
            return network, network.get_next_header(), network.child()
        return None, None, None

    def ports(transport: Any) -> tuple[int | None, int | None]:
        if isinstance(transport, TCP):
            return transport.get_th_sport(), transport.get_th_dport()
        if isinstance(transport, UDP):
            return transport.get_uh_sport(), transport.get_uh_dport()
        return None, None

    def addresses(network: Any) -> tuple[str, str]:
        if isinstance(network, IP):
            return network.get_ip_src(), network.get_ip_dst()
        return network.get_ip_src().as_string().lower(), network.get_ip_dst().as_string().lower()

    return Parser(parse, ports, addresses, lambda transport: bytes(transport.get_data_as_string()))


BUILDERS: dict[str, Callable[[], Builder]] = {
    "scapy": scapy_builder,
    "dpkt": dpkt_builder,
    "pypacker": pypacker_builder,
    "impacket": impacket_builder,
}
PARSERS: dict[str, Callable[[], Parser]] = {
    "scapy": scapy_parser,
    "dpkt": dpkt_parser,
    "pypacker": pypacker_parser,
    "impacket": impacket_parser,
}
