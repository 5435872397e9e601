"""Ethernet II and IEEE 802.3 frames, LLC and SNAP, and VLAN tags."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import Auto, MACField, UInt
from fastnet.packet.layer import Layer


class Ethernet(Layer, kind=_core.ETHERNET):
    """An Ethernet II header (RFC 894): ``type`` is the protocol of what follows."""

    __slots__ = ()

    dst: MACField = MACField(0, default="ff:ff:ff:ff:ff:ff")
    src: MACField = MACField(48, default="00:00:00:00:00:00")
    type: Auto = Auto(96, 16, default=None, automatic=_core.PROTOCOL, show="#06x")


class Dot3(Layer, kind=_core.DOT3):
    """An IEEE 802.3 header: ``length`` bytes follow, at most 1500. They begin with an ``LLC``."""

    __slots__ = ()

    dst: MACField = MACField(0, default="ff:ff:ff:ff:ff:ff")
    src: MACField = MACField(48, default="00:00:00:00:00:00")
    length: Auto = Auto(96, 16, default=None, automatic=_core.LENGTH)


class LLC(Layer, kind=_core.LLC):
    """An IEEE 802.2 logical link control header with a control field of one byte."""

    __slots__ = ()

    dsap: UInt = UInt(0, 8, default=0xAA, show="#04x")
    ssap: UInt = UInt(8, 8, default=0xAA, show="#04x")
    control: UInt = UInt(16, 8, default=3)


class SNAP(Layer, kind=_core.SNAP):
    """The subnetwork access protocol's header (RFC 1042): with ``oui`` 0, ``type`` is an Ethernet type."""

    __slots__ = ()

    oui: UInt = UInt(0, 24, default=0, show="#08x")
    type: Auto = Auto(24, 16, default=None, automatic=_core.PROTOCOL, show="#06x")


class Dot1Q(Layer, kind=_core.DOT1Q):
    """An IEEE 802.1Q VLAN tag: priority code point, drop eligible indicator, VLAN identifier."""

    __slots__ = ()

    pcp: UInt = UInt(0, 3, default=0)
    dei: UInt = UInt(3, 1, default=0)
    vlan: UInt = UInt(4, 12, default=0)
    type: Auto = Auto(16, 16, default=None, automatic=_core.PROTOCOL, show="#06x")


class Dot1AD(Layer, kind=_core.DOT1AD):
    """An IEEE 802.1ad service tag, the outer one of two."""

    __slots__ = ()

    pcp: UInt = UInt(0, 3, default=0)
    dei: UInt = UInt(3, 1, default=0)
    vlan: UInt = UInt(4, 12, default=0)
    type: Auto = Auto(16, 16, default=None, automatic=_core.PROTOCOL, show="#06x")
