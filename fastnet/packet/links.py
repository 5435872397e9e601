"""Link layers other than Ethernet: BSD's loopback and Linux's cooked captures."""

from fastnet._backend import packet as _core
from fastnet._typing import Any
from fastnet.packet.fields import Auto, MACField, UInt
from fastnet.packet.layer import Layer

AF_INET = 2
HARDWARE_ETHERNET = 1
LINKS = _core.LINKS
LINK_NUMBERS = _core.LINK_NUMBERS
_GREATEST_FAMILY = 0xFFFF


def _swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "little"), "big")


class HostOrder(UInt):
    """A 32-bit number in the byte order of the capturing machine, below 65536; written little-endian."""

    __slots__ = ()

    def __get__(self, record: Any, owner: Any) -> Any:
        value = super().__get__(record, owner)
        return _swapped(value) if isinstance(value, int) and value > _GREATEST_FAMILY else value

    def put(self, header: bytearray, value: Any) -> None:
        """Write the number. Raises PacketError, or InvalidArgument for a wrong type."""
        super().put(header, value)
        super().put(header, _swapped(value))


class Null(Layer, kind=_core.NULL_LINK):
    """BSD's loopback (link "null"): the address ``family``, 2 for IPv4; 24, 28 or 30 for IPv6, by the system.

    It has the byte order of the capturing machine: parsing reads both, building writes little-endian.
    """

    __slots__ = ()

    family: HostOrder = HostOrder(0, 32, default=AF_INET)

    def __repr__(self) -> str:
        text = super().__repr__()
        little = int.from_bytes(self.header, "little") <= _GREATEST_FAMILY
        return text if little else f"Null.from_header({self.header!r}, 0, True)"


class Loop(Layer, kind=_core.LOOP):
    """OpenBSD's loopback (link "loop"): as ``Null``, in network byte order."""

    __slots__ = ()

    family: UInt = UInt(0, 32, default=AF_INET)


class SLL(Layer, kind=_core.SLL):
    """Linux's cooked capture, as on device "any" (link "sll"): ``type`` is an Ethernet type.

    ``packet_type`` is 0 for a packet to this machine, 4 for one that it sent; ``address`` is the sender's.
    """

    __slots__ = ()

    packet_type: UInt = UInt(0, 16, default=0)
    hardware_type: UInt = UInt(16, 16, default=HARDWARE_ETHERNET)
    address_length: UInt = UInt(32, 16, default=6)
    address: MACField = MACField(48, default="00:00:00:00:00:00")
    unused: UInt = UInt(96, 16, default=0)
    type: Auto = Auto(112, 16, default=None, automatic=_core.PROTOCOL, show="#06x")


class SLL2(Layer, kind=_core.SLL2):
    """Linux's cooked capture, version 2 (link "sll2"): as ``SLL``, with the index of the ``interface``."""

    __slots__ = ()

    type: Auto = Auto(0, 16, default=None, automatic=_core.PROTOCOL, show="#06x")
    reserved: UInt = UInt(16, 16, default=0)
    interface: UInt = UInt(32, 32, default=0)
    hardware_type: UInt = UInt(64, 16, default=HARDWARE_ETHERNET)
    packet_type: UInt = UInt(80, 8, default=0)
    address_length: UInt = UInt(88, 8, default=6)
    address: MACField = MACField(96, default="00:00:00:00:00:00")
    unused: UInt = UInt(144, 16, default=0)
