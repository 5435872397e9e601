"""The Internet checksum (RFC 1071) in Python: a one's-complement sum is the number modulo 65535."""

from __future__ import annotations

from _collections_abc import Iterable

from fastnet._contract.values import counted, quoted
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address
    from typing import TypeAlias

    from typing_extensions import Buffer

    Address: TypeAlias = Buffer | IPv4Address | IPv6Address

# A divisible chunk keeps the big integer of a huge buffer from doubling its memory.
_CHUNK = 1 << 20


def _check(value: int, limit: int, name: str) -> int:
    if not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value <= limit:
        raise InvalidArgument(f"{name} {quoted(value)}: expected 0 to {limit}")
    return value


def _view(data: Buffer) -> memoryview:
    try:
        view = memoryview(data)
    except TypeError:
        raise InvalidArgument(f"data must be a bytes-like object, not {type(data).__name__}") from None
    if not view.c_contiguous:
        raise BufferError("data must be a contiguous buffer")
    return view.cast("B") if view.nbytes else memoryview(b"")


def _reduce(number: int) -> int:
    """Modulo 65535, but 0 only for 0 itself: one's complement has two zeros."""
    return number and (number % 65535 or 65535)


def _sum(data: Buffer, initial: int) -> int:
    total = _check(initial, 0xFFFF, "initial")
    with _view(data) as view:
        for start in range(0, len(view), _CHUNK):
            chunk = view[start : start + _CHUNK]
            number = int.from_bytes(chunk, "big") << (8 if len(chunk) % 2 else 0)
            total = _reduce(total + number)
    return total


def checksum(data: Buffer, initial: int = 0, /) -> int:
    """The Internet checksum of a buffer (RFC 1071), 0 to 0xffff.

    ``data`` is any contiguous buffer (bytes, bytearray, memoryview, mmap, array); an odd last byte
    counts as the high half of a word. ``initial`` is a sum to start from, such as a pseudo-header's. Raises
    InvalidArgument if data is not a buffer or initial is out of range, BufferError if data is not
    contiguous.
    """
    return 0xFFFF ^ _sum(data, initial)


def verify(data: Buffer, initial: int = 0, /) -> bool:
    """Whether data that contains its own checksum is intact: its sum is 0xffff (RFC 1071, section 1).

    Takes the same arguments and raises the same errors as ``checksum``.
    """
    return _sum(data, initial) == 0xFFFF


def checksum_many(buffers: Iterable[Buffer], /) -> list[int]:
    """The checksum of each buffer, in order. Raises the errors of ``checksum`` at the first bad buffer."""
    if not isinstance(buffers, Iterable):
        raise InvalidArgument(f"buffers must be an iterable of buffers, not {type(buffers).__name__}")
    return [checksum(data) for data in buffers]


def update(checksum: int, before: int, after: int, /) -> int:
    """The checksum after one aligned field changed from ``before`` to ``after`` (RFC 1624, equation 3).

    The field has 16 or 32 bits: values up to 0xffffffff. For data that becomes all zeros it returns 0;
    ``checksum`` returns 0xffff. Both verify. Raises InvalidArgument for a value out of range.
    """
    total = 0xFFFF ^ _check(checksum, 0xFFFF, "checksum")
    for change in (0xFFFFFFFF ^ _check(before, 0xFFFFFFFF, "before"), _check(after, 0xFFFFFFFF, "after")):
        total += (change >> 16) + (change & 0xFFFF)
    return 0xFFFF ^ _reduce(total)


def _packed(value: Address, size: int, name: str) -> bytes:
    given: Any = getattr(value, "packed", value)
    try:
        packed = bytes(memoryview(given))
    except TypeError:
        kind = type(value).__name__
        raise InvalidArgument(
            f"{name} must be {counted(size, 'byte')} or an address object, not {kind}"
        ) from None
    if len(packed) != size:
        raise InvalidArgument(f"{name} has {counted(len(packed), 'byte')}: expected {size}")
    return packed


def _pseudo_header(src: Address, dst: Address, size: int, protocol: int, length: int, limit: int) -> int:
    addresses = _packed(src, size, "src") + _packed(dst, size, "dst")
    _check(protocol, 0xFF, "protocol")
    _check(length, limit, "length")
    return _reduce(int.from_bytes(addresses, "big") + protocol + length)


def pseudo_header_ipv4(src: Address, dst: Address, protocol: int, length: int, /) -> int:
    """The sum of an IPv4 pseudo-header (RFC 9293, section 3.1; RFC 768), for ``checksum``'s initial.

    ``src`` and ``dst`` are addresses, of 4 bytes or of ``ipaddress``; ``length`` is the segment's in bytes, 0
    to 65535. Raises InvalidArgument for a value out of range.
    """
    return _pseudo_header(src, dst, 4, protocol, length, 0xFFFF)


def pseudo_header_ipv6(src: Address, dst: Address, protocol: int, length: int, /) -> int:
    """The sum of an IPv6 pseudo-header (RFC 8200, section 8.1), for ``checksum``'s initial.

    ``src`` and ``dst`` are addresses, of 16 bytes or of ``ipaddress``; ``length`` is the upper layer's in
    bytes, 0 to 4294967295. Raises InvalidArgument for a value out of range.
    """
    return _pseudo_header(src, dst, 16, protocol, length, 0xFFFFFFFF)


def kernels() -> tuple[str, ...]:
    """The names of the kernels that this machine supports, slowest first. The last one is the default."""
    return ("python",)


def kernel() -> str:
    """The name of the current kernel."""
    return "python"


def use_kernel(name: str, /) -> None:
    """Select the kernel that computes sums. Raises InvalidArgument for a name not in ``kernels()``."""
    if name not in kernels():
        raise InvalidArgument(f"name {quoted(name)}: expected one of {', '.join(kernels())}")
