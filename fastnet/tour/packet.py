"""Packets: built layer by layer, parsed whole and cut short, and many made of one."""

from _collections_abc import Iterator
from array import array

from fastnet.packet import Ethernet, ICMPEcho, IPv4, Template, parse
from fastnet.tour import Sight

TOPIC = "packet"
COUNT = 1000


def visit() -> Iterator[Sight]:
    packet = Ethernet() / IPv4(src="10.0.0.2", dst="10.0.0.1") / ICMPEcho(ident=7, seq=1) / b"hello"
    data = bytes(packet)
    yield Sight("build an echo request, its lengths and checksums computed", data[14:].hex())

    again = parse(data, strict=True)
    yield Sight("parse it, its checksums verified", repr(again), ok=again == packet)

    cut = parse(data[:20])
    yield Sight("parse it cut short", str(cut.error), ok=cut.error is not None and bytes(cut) == data[:20])

    template = Template(packet, ICMPEcho.seq)
    made = template.build_many(array("Q", range(COUNT)))
    last = parse(made[-template.size :], strict=True)[ICMPEcho]
    yield Sight(
        f"make {COUNT} requests from one template", f"the last has seq {last.seq}", last.seq == COUNT - 1
    )
