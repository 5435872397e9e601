"""The Internet checksum (RFC 1071): compute, verify, update, and sum pseudo-headers.

A checksum is the complement of a *sum*, the one's-complement sum of the data's 16-bit big-endian
words. What covers a pseudo-header starts from that header's sum::

    initial = pseudo_header_ipv4(src, dst, 17, len(datagram))
    checksum(datagram, initial)
"""

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
