"""Types of a relay: addresses, options of a rule and their limits, records of connections."""

import _socket as socket
from _collections_abc import Callable, Sequence

from fastnet._typing import Any, NamedTuple
from fastnet.errors import InvalidArgument, NotPermitted

Address = tuple[int, Any]
"""An address family, and a socket address of that family; a Unix one is its path, or NUL and its name."""
Prefix = tuple[int, bytes, int]
"""An address family, a network's bytes in network order, and its prefix length."""

ENGINES = ("auto", "copy", "splice")
"""The engines that a rule can select; ``auto`` selects the best one available."""

POLICIES = ("round-robin", "least-connections")
"""The policies for selecting an upstream: each in turn, or the one with the fewest open connections."""
ENDED = (
    *("", "closed", "client reset", "upstream reset", "unreachable", "refused", "denied", "idle"),
    *("half-closed", "late head", "bad response", "stopped"),
)
"""The reasons for a connection's end; empty while it is open, ``closed`` if both sides closed it."""
COUNTED = (
    *("accepted", "active", "unreachable", "refused", "denied", "resets", "timed_out"),
    *("sent_up", "sent_down", "connects_retried"),
)
"""The counters of a rule."""

MAX_SPIN = 1_000
"""Seconds."""
_MAX_SECONDS = 1_000_000
_MAX_KEEPALIVE = 32_767
"""Linux accepts no larger value (tcp(7))."""
_MAX_NUMBER = 1_000_000_000_000
_BITS: dict[int, int] = {socket.AF_INET: 32, socket.AF_INET6: 128}


class Options(NamedTuple):
    """The options of a rule.

    Times are in seconds; 0 disables one.

    ``policy`` chooses the upstream, in turn or by the fewest open connections; if a connect fails
    or takes longer than ``connect_timeout``, the next one is tried. ``engine`` is the
    way to move bytes. ``rewrite``, a HostRewrite of the same implementation, parses the stream as HTTP/1.
    ``head_timeout`` is the time for a request's head, or for a PROXY header; ``keep_alive_timeout`` the time
    from a response to the next request. A connection is closed after ``idle_timeout`` without data, or after
    ``half_closed_timeout`` once one direction has ended.
    TCP probes a peer after ``keepalive`` of silence, and closes the connection after twice
    that time (SO_KEEPALIVE, socket(7)); ``user_timeout`` is the time for sent data to be acknowledged,
    also by a slow reader (TCP_USER_TIMEOUT, tcp(7)).

    Beyond ``max_connections``, clients wait until one ends; beyond ``max_per_source`` (0: no limit) from one
    address they are closed; IPv6 addresses with one ``source_prefix`` count as one. ``rate``
    and ``connection_rate`` are bytes per second, both directions together, of all connections and of each.
    After ``max_failures`` failed connects in a row an upstream is skipped for ``failure_pause``, unless
    it is the only one. ``allow`` and ``deny`` are prefixes of clients: deny wins; an empty ``allow`` is all.

    ``send_proxy`` is the version (1 or 2) of the PROXY header at the start of each connection to an upstream;
    clients within ``trust_proxy`` must begin with one. ``transparent`` connects from the client's own address
    (IP_TRANSPARENT, ip(7)); ``congestion`` names the TCP congestion control of both sides. ``record`` keeps a
    Record of each connection that has ended, for ``Loop.records``. ``tap`` is called with a connection's
    number, whether the bytes go to the upstream, and the bytes, before they are sent.
    """

    policy: str = "round-robin"
    rewrite: Any = None
    engine: str = "auto"
    max_connections: int = 4096
    max_per_source: int = 0
    source_prefix: int = 64
    connect_timeout: float = 10.0
    head_timeout: float = 10.0
    keep_alive_timeout: float = 75.0
    idle_timeout: float = 0.0
    half_closed_timeout: float = 0.0
    keepalive: float = 60.0
    user_timeout: float = 0.0
    rate: int = 0
    connection_rate: int = 0
    max_failures: int = 3
    failure_pause: float = 10.0
    allow: Sequence[Prefix] = ()
    deny: Sequence[Prefix] = ()
    send_proxy: int = 0
    trust_proxy: Sequence[Prefix] = ()
    transparent: bool = False
    congestion: str = ""
    record: bool = False
    tap: Callable[[int, bool, bytes], None] | None = None


DEFAULTS = Options()
"""The defaults."""


class Record(NamedTuple):
    """One connection, open or ended."""

    rule: Any
    """The Rule that it belongs to."""
    number: int
    """The rule's first connection is 1."""
    client: Address
    """The client's address, from a trusted PROXY header if there was one."""
    upstream: Address | None
    """The upstream's address; None if none was connected."""
    opened: float
    """When it was accepted: seconds since the epoch."""
    seconds: float
    """Its duration so far, in seconds."""
    sent_up: int
    sent_down: int
    ended: str
    """The reason for its end: one of ``ENDED``."""


def checked(options: Options) -> Options:
    """The same options, immutable. Raises InvalidArgument for an invalid value."""
    _one_of("policy", options.policy, POLICIES)
    _one_of("engine", options.engine, ENGINES)
    _one_of("send_proxy", options.send_proxy, (0, 1, 2))
    for name, low, high in (
        ("max_connections", 1, _MAX_NUMBER),
        ("max_per_source", 0, _MAX_NUMBER),
        ("source_prefix", 1, 128),
        ("rate", 0, _MAX_NUMBER),
        ("connection_rate", 0, _MAX_NUMBER),
        ("max_failures", 1, _MAX_NUMBER),
        ("connect_timeout", 0.001, _MAX_SECONDS),
        ("head_timeout", 0.001, _MAX_SECONDS),
        ("keep_alive_timeout", 0, _MAX_SECONDS),
        ("idle_timeout", 0, _MAX_SECONDS),
        ("half_closed_timeout", 0, _MAX_SECONDS),
        ("keepalive", 0, _MAX_KEEPALIVE),
        ("user_timeout", 0, _MAX_SECONDS),
        ("failure_pause", 0, _MAX_SECONDS),
    ):
        value = getattr(options, name)
        if not low <= value <= high:
            raise InvalidArgument(f"{name} {value}: expected {low} to {high}")
    for family, network, length in (*options.allow, *options.deny, *options.trust_proxy):
        if family not in _BITS or len(network) * 8 != _BITS[family] or not 0 <= length <= _BITS[family]:
            raise InvalidArgument(
                f"prefix {(family, network, length)}: expected IPv4 or IPv6, and a length within it"
            )
    if options.congestion:
        _check_congestion(options.congestion)
    if options.transparent:
        _check_transparent()
    return options._replace(
        allow=(*options.allow,), deny=(*options.deny,), trust_proxy=(*options.trust_proxy,)
    )


def check_addresses(addresses: Sequence[Address]) -> None:
    """Check the addresses of an upstream. Raises InvalidArgument."""
    if not addresses:
        raise InvalidArgument("an upstream without an address: expected one or more")
    for each in addresses:
        if not isinstance(each, tuple) or len(each) != 2:
            raise InvalidArgument(f"address {each!r}: expected (family, socket address)")


def _one_of(name: str, value: object, values: tuple[object, ...]) -> None:
    if value not in values:
        raise InvalidArgument(f"{name} {value!r}: expected one of {', '.join(map(str, values))}")


def _check_congestion(name: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except (OSError, UnicodeEncodeError):
        raise InvalidArgument(
            f"congestion {name!r}: expected one of net.ipv4.tcp_allowed_congestion_control"
        ) from None
    finally:
        sock.close()


def _check_transparent() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
    except PermissionError as error:
        raise NotPermitted(
            error.errno, "transparent: not permitted to use others' addresses: grant cap_net_admin"
        ) from None
    finally:
        sock.close()
