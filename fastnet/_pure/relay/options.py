"""The options of a rule, checked."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnet.errors import InvalidArgument, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnet._pure.http_head import HostRewrite

Address = tuple[int, Any]
"""An address family, and a socket address of that family; a Unix one is its path, or NUL and its name."""
Prefix = tuple[int, bytes, int]
"""An address family, a network's bytes in network order, and how many of their bits matter."""

ENGINES = ("auto", "copy", "splice")
"""The ways to move bytes that a rule may ask for; ``auto`` takes the best one there is."""

_POLICIES = ("round-robin", "least-connections")
_MAX_SECONDS = 1_000_000
_MAX_NUMBER = 1_000_000_000_000
_BITS: dict[int, int] = {socket.AF_INET: 32, socket.AF_INET6: 128}


class Options(NamedTuple):
    """What ``Rule`` takes, under the same names."""

    policy: str
    rewrite: HostRewrite | None
    engine: str
    max_connections: int
    max_per_source: int
    connect_timeout: float
    head_timeout: float
    idle_timeout: float
    half_closed_timeout: float
    rate: int
    connection_rate: int
    max_failures: int
    failure_pause: float
    allow: tuple[Prefix, ...]
    deny: tuple[Prefix, ...]
    send_proxy: int
    trust_proxy: tuple[Prefix, ...]
    transparent: bool
    congestion: str
    record: bool
    tap: Callable[[int, bool, bytes], None] | None


def checked(options: Options) -> Options:
    """The same options. Raises InvalidArgument for what can't be meant."""
    _one_of("policy", options.policy, _POLICIES)
    _one_of("engine", options.engine, ENGINES)
    if options.engine == "splice":
        raise InvalidArgument("engine 'splice': only the native implementation has it")
    _one_of("send_proxy", options.send_proxy, (0, 1, 2))
    for name, low, high in (
        ("max_connections", 1, _MAX_NUMBER),
        ("max_per_source", 0, _MAX_NUMBER),
        ("rate", 0, _MAX_NUMBER),
        ("connection_rate", 0, _MAX_NUMBER),
        ("max_failures", 1, _MAX_NUMBER),
        ("connect_timeout", 0.001, _MAX_SECONDS),
        ("head_timeout", 0.001, _MAX_SECONDS),
        ("idle_timeout", 0, _MAX_SECONDS),
        ("half_closed_timeout", 0, _MAX_SECONDS),
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
    return options


def _one_of(name: str, value: object, values: tuple[object, ...]) -> None:
    if value not in values:
        raise InvalidArgument(f"{name} {value!r}: expected one of {', '.join(map(str, values))}")


def _check_congestion(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        except (OSError, UnicodeEncodeError):
            raise InvalidArgument(
                f"congestion {name!r}: expected one of net.ipv4.tcp_allowed_congestion_control"
            ) from None


def _check_transparent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
        except PermissionError as error:
            raise NotPermitted(
                error.errno, "transparent: not permitted to use others' addresses: grant cap_net_admin"
            ) from None
