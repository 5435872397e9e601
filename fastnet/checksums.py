"""The Internet checksum (RFC 1071): compute, verify, update, and sum pseudo-headers.

A checksum is the complement of a *sum*, the one's-complement sum of the data's 16-bit big-endian
words. A checksum that covers a pseudo-header starts from that header's sum::

    initial = pseudo_header_ipv4(src, dst, 17, len(datagram))
    checksum(datagram, initial)
"""

from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers see the pure twin; the native one has the same types
    from fastnet._pure.checksum import checksum as checksum
    from fastnet._pure.checksum import checksum_many as checksum_many
    from fastnet._pure.checksum import kernel as kernel
    from fastnet._pure.checksum import kernels as kernels
    from fastnet._pure.checksum import pseudo_header_ipv4 as pseudo_header_ipv4
    from fastnet._pure.checksum import pseudo_header_ipv6 as pseudo_header_ipv6
    from fastnet._pure.checksum import update as update
    from fastnet._pure.checksum import use_kernel as use_kernel
    from fastnet._pure.checksum import verify as verify
else:
    from fastnet._backend import checksum as _core

    checksum = _core.checksum
    checksum_many = _core.checksum_many
    kernel = _core.kernel
    kernels = _core.kernels
    pseudo_header_ipv4 = _core.pseudo_header_ipv4
    pseudo_header_ipv6 = _core.pseudo_header_ipv6
    update = _core.update
    use_kernel = _core.use_kernel
    verify = _core.verify

__all__ = [
    "checksum",
    "checksum_many",
    "kernel",
    "kernels",
    "pseudo_header_ipv4",
    "pseudo_header_ipv6",
    "update",
    "use_kernel",
    "verify",
]
