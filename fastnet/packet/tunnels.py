"""Encapsulations: MPLS, PPPoE, PPP and GRE."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import Auto, Data, UInt
from fastnet.packet.layer import Layer


class MPLS(Layer, kind=_core.MPLS):
    """One label of an MPLS stack (RFC 3032); ``bottom`` is 1 on the last one.

    No field names the protocol after it: parsing reads IPv4 or IPv6 if its first four bits are 4 or 6.
    """

    __slots__ = ()

    label: UInt = UInt(0, 20, default=0)
    tc: UInt = UInt(20, 3, default=0)
    bottom: Auto = Auto(23, 1, default=None, automatic=_core.PROTOCOL)
    ttl: UInt = UInt(24, 8, default=64)


class PPPoE(Layer, kind=_core.PPPOE):
    """A PPPoE session's header (RFC 2516); a ``PPP`` follows, and ``length`` counts from there."""

    __slots__ = ()

    version: UInt = UInt(0, 4, default=1)
    type: UInt = UInt(4, 4, default=1)
    code: UInt = UInt(8, 8, default=0)
    session: UInt = UInt(16, 16, default=0)
    length: Auto = Auto(32, 16, default=None, automatic=_core.LENGTH)


class PPP(Layer, kind=_core.PPP):
    """The protocol field of PPP (RFC 1661), two bytes."""

    __slots__ = ()

    protocol: Auto = Auto(0, 16, default=None, automatic=_core.PROTOCOL, show="#06x")


class GRE(Layer, kind=_core.GRE):
    """Generic routing encapsulation (RFC 2784, 2890; version 1 is RFC 2637's).

    ``protocol`` is an Ethernet type. ``optional`` has the fields for which the flags are set: checksum and
    offset, key, sequence number, acknowledgment number, four bytes each. ``checksum``, ``key`` and
    ``sequence`` read them; they are None if absent. Building computes a checksum that is 0 in ``optional``.
    """

    __slots__ = ()

    checksum_present: UInt = UInt(0, 1, default=0)
    routing_present: UInt = UInt(1, 1, default=0)
    key_present: UInt = UInt(2, 1, default=0)
    sequence_present: UInt = UInt(3, 1, default=0)
    strict_route: UInt = UInt(4, 1, default=0)
    recursion: UInt = UInt(5, 3, default=0)
    acknowledgment_present: UInt = UInt(8, 1, default=0)
    flags: UInt = UInt(9, 4, default=0)
    version: UInt = UInt(13, 3, default=0)
    protocol: Auto = Auto(16, 16, default=None, automatic=_core.PROTOCOL, show="#06x")
    optional: Data = Data(32, default=b"", automatic=_core.CHECKSUM)

    def _word(self, present: int, place: int) -> int | None:
        word = self.optional[place * 4 : place * 4 + 4]
        return int.from_bytes(word, "big") if present and len(word) == 4 else None

    @property
    def checksum(self) -> int | None:
        """The checksum of this header and of everything after it."""
        word = self._word(self.checksum_present, 0)
        return None if word is None else word >> 16

    @property
    def key(self) -> int | None:
        """The key; in version 1 the payload's length and the call ID."""
        return self._word(self.key_present, self.checksum_present | self.routing_present)

    @property
    def sequence(self) -> int | None:
        """The sequence number."""
        place = (self.checksum_present | self.routing_present) + self.key_present
        return self._word(self.sequence_present, place)
