"""Types of probes and sweeps: engines, states of a target, answers, options and their limits."""

import _socket as socket
import errno
import os

from fastnet._contract.values import counted, inf
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple
from fastnet.errors import EngineMissing, InvalidArgument, NotPermitted

if TYPE_CHECKING:
    from _collections_abc import Sequence

    from typing_extensions import Buffer

ENGINES = ("raw", "datagram")
"""The kinds of ICMP sockets, in the order in which ``auto`` tries them. A Prober also has ``udp``."""

PENDING, SILENT, UNREACHABLE, ALIVE, DECIDED = range(5)
"""A target's state: not (yet) sent to, sent to, an error came back, answered, decided by an earlier sweep."""

NOT_A_HOST = errno.EDESTADDRREQ
"""The errno of a target that gets no probe: unspecified or multicast, which is not one host's address."""

MULTICAST: dict[int, tuple[int, int]] = {
    socket.AF_INET: (0xE0000000, 0xEFFFFFFF),
    socket.AF_INET6: (0xFF << 120, (1 << 128) - 1),
}
"""The first and the last multicast address of a family, as numbers."""

COOKIE = 16
"""Bytes at the beginning of a payload."""
ALL_WAIT = "every sequence number waits for its answer"

MAX_PAYLOAD = 65_535 - 8
"""Maximum payload of ICMP or UDP in an IPv6 packet; in IPv4 20 bytes less."""
MAX_RETRIES = 65_535
MAX_WINDOW = 32_767
"""Maximum window: less than half of the sequence numbers."""
MAX_SECONDS = 1_000_000


def is_host(family: int, number: int) -> bool:
    """Whether an integer address can be one host's: neither unspecified nor multicast."""
    first, last = MULTICAST[family]
    return number != 0 and not first <= number <= last


def is_link_local(address: str) -> bool:
    """Whether a numeric address, with or without a scope, is in fe80::/10 (RFC 4291, section 2.5.6)."""
    if ":" not in address:
        return False
    first, second, *_ = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return first == 0xFE and second & 0xC0 == 0x80


class Answer(NamedTuple):
    """The answer to one probe: a reply, or an error if ``error`` is not None."""

    tag: int
    """The number of the probe."""
    responder: str
    """The numeric source address: for an error, the router or host that reported it."""
    rtt_ns: int
    ttl: int | None
    """The TTL or hop limit with which a reply arrived."""
    error: tuple[int, int] | None
    """ICMP type and code."""
    info: int
    """Additional data of the error: the next hop's MTU if a packet was too big."""


class End(NamedTuple):
    """The end of a request of a conversation, or a duplicate."""

    seq: int
    """0 for the first request to this host."""
    refused: int
    """The errno with which it was not sent; 0 if it was."""
    answer: Answer | None
    """The reply or, if none came in time, the newest ICMP error."""
    duplicate: bool
    """Whether it is a further reply to an answered request."""


class Times(NamedTuple):
    """Totals of round-trip times, in milliseconds."""

    least: float
    mean: float
    most: float
    deviation: float
    """The population standard deviation."""
    p50: float
    """The median. A percentile is the smallest round-trip time that so many percent do not exceed."""
    p90: float
    p99: float
    jitter: float | None
    """The mean absolute difference of successive ones; None with fewer than two."""


class Totals(NamedTuple):
    """The totals of a conversation's requests to one host."""

    sent: int
    not_sent: int
    """The number of further requests that the system refused to send."""
    received: int
    lost: int
    """The number of requests without a reply in time. All other sent ones are still awaited."""
    duplicates: int
    refused: int
    """The errno with which its newest request was not sent; 0 if it was."""
    error: Answer | None
    """The ICMP error that came for its newest request."""
    times: Times | None
    """None if no reply was received."""


EXACT = 256
"""Number of round-trip times with exact percentiles."""
ERROR = 0.02
"""Relative error of the percentiles beyond that, between a microsecond and 1000 seconds."""
AWAITED = 64
"""Maximum number of requests awaited in a flood, or one for each host."""


def check_plan(count: int | None, interval: float, timeout: float) -> None:
    """Check the plan of a conversation. Raises InvalidArgument."""
    if count is not None:
        _bounded("count", count, 1, (1 << 63) - 1)
    _bounded("interval", interval, 0, MAX_SECONDS)
    _bounded("timeout", timeout, 0, MAX_SECONDS)


def check_engine(engine: str) -> None:
    """Check that an engine sends echo requests. Raises InvalidArgument."""
    if engine not in ENGINES:
        raise InvalidArgument(f"engine {engine}: a sweep needs an ICMP socket")


def check_options(
    spans: "Sequence[tuple[int, int]]",
    timeout: float,
    retries: int,
    window: int,
    rate: float | None,
    shard: tuple[int, int],
    decided: "Buffer | None",
) -> None:
    """Check the options of a sweep. Raises InvalidArgument."""
    _bounded("timeout", timeout, 0, MAX_SECONDS)
    _bounded("retries", retries, 0, MAX_RETRIES)
    _bounded("window", window, 1, MAX_WINDOW)
    check_rate(rate)
    first, step = shard
    if not 0 <= first < step < 1 << 64:
        raise InvalidArgument(f"shard {shard}: expected (i, n), i from 0 to n - 1")
    after = -1
    for low, high in spans:
        if not after < low <= high:
            raise InvalidArgument("spans: expected intervals (first, last), ascending and apart")
        after = high
    total = sum(high - low + 1 for low, high in spans)
    size = len(range(first, total, step))
    if decided is not None and memoryview(decided).nbytes < (size + 7) // 8:
        raise InvalidArgument(
            f"decided: {counted(memoryview(decided).nbytes, 'byte')} for {counted(size, 'target')}"
        )


def check_time(name: str, seconds: float) -> None:
    """Check for a finite number of seconds. Raises InvalidArgument."""
    if not isinstance(seconds, int | float) or not -inf < seconds < inf:
        raise InvalidArgument(f"{name} {seconds!r}: expected a number of seconds")


def check_payload(pattern: bytes, size: int) -> None:
    """Check the size and pattern of a payload. Raises InvalidArgument."""
    if not isinstance(pattern, bytes):
        raise InvalidArgument(f"pattern {pattern!r}: expected bytes")
    if not isinstance(size, int) or not 0 <= size <= MAX_PAYLOAD:
        raise InvalidArgument(f"size {size!r}: expected 0 to {MAX_PAYLOAD}")


def check_rate(rate: float | None) -> None:
    """Check a rate. Raises InvalidArgument."""
    if rate is not None and not 0 < rate < inf:
        raise InvalidArgument(f"rate {rate}: expected more than 0")


def _bounded(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidArgument(f"{name} {value}: expected {low} to {high}")


def has_host(destination: object) -> bool:
    """Whether it can be a socket address: a tuple that begins with a str."""
    return isinstance(destination, tuple) and len(destination) > 0 and isinstance(destination[0], str)


def not_numeric(destination: Any) -> InvalidArgument:
    """The error for a host that is not a numeric address."""
    host = destination[0] if has_host(destination) else destination
    return InvalidArgument(f"destination {host!r}: expected a numeric address")


def turbo_refusal(code: int) -> OSError | EngineMissing:
    """The error for the errno with which the kernel refused the turbo engine."""
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted(
            code, "engine turbo: needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF; raw needs less"
        )
    if code in (errno.EINVAL, errno.ENOSYS):
        return EngineMissing("engine turbo: needs Linux 6.6, with eBPF and tcx; raw needs none of these")
    return OSError(code, os.strerror(code))
