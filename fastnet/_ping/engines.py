"""What sends the requests: ICMP where that is permitted, else UDP, else TCP."""

from _socket import SOCK_DGRAM

from fastnet._backend import probe as _core
from fastnet._engines import PingEngine
from fastnet._system.permission import is_permitted
from fastnet._typing import TYPE_CHECKING, Any, get_args
from fastnet.errors import InvalidArgument, NotPermitted

if TYPE_CHECKING:
    from fastnet._ping.tcp import TcpProber

ENGINES: tuple[PingEngine, ...] = get_args(PingEngine)

INSTEAD = {
    "udp": "no ICMP socket is permitted here: UDP is used",
    "tcp": "neither ICMP nor UDP sockets are permitted here: TCP is used",
}
"""What is used instead of ICMP, and why."""
_NOT_BY_TCP: dict[str, tuple[object, str]] = {
    "size": (56, "a connection request has no payload"),
    "pattern": (b"", "a connection request has no payload"),
    "dont_fragment": (None, "a connection request is too small to be fragmented"),
    "mark": (0, "it sets no firewall mark"),
}
"""The options that it lacks: the value of each that is not asked for, and why there is no other."""


def check_tcp(options: dict[str, Any], typed: dict[str, str] | None = None) -> None:
    """Check that TCP has these options, of which ``typed`` has other names. Raises InvalidArgument."""
    for name, (plain, why) in _NOT_BY_TCP.items():
        if options.get(name, plain) != plain:
            raise InvalidArgument(f"{(typed or {}).get(name, name)}: not with engine tcp: {why}")


def open_prober(
    family: int, engine: str, options: dict[str, Any]
) -> tuple["_core.Prober | TcpProber", str | None]:
    """As ``open_core``, and by TCP too if nothing else is permitted. Raises what Prober does."""
    if engine == "tcp":
        return _open_tcp(family, options), None
    try:
        return open_core(family, engine, options)
    except NotPermitted as error:
        if engine != "auto":
            raise
        refusal = error
    try:
        prober = _open_tcp(family, options)
    except (NotPermitted, InvalidArgument):
        raise refusal from None
    return prober, INSTEAD["tcp"]


def open_core(family: int, engine: str, options: dict[str, Any]) -> tuple["_core.Prober", str | None]:
    """A prober of the core: of this engine, or of ICMP or UDP, whichever is permitted first.

    With it, why ``auto`` did not choose ICMP, and what it chose.
    """
    if engine != "auto":
        return _core.Prober(family, "auto" if engine == "icmp" else engine, **options), None
    try:
        return _core.Prober(family, "auto", **options), None
    except NotPermitted as error:
        refusal = error
    try:
        prober = _core.Prober(family, "udp", **options)
    except NotPermitted as error:
        # Cures for ICMP do not permit an option that is refused, as a mark.
        raise (error if is_permitted(family, SOCK_DGRAM) else refusal) from None
    return prober, INSTEAD["udp"]


def _open_tcp(family: int, options: dict[str, Any]) -> "TcpProber":
    from fastnet._ping.tcp import TcpProber  # which ICMP has no use for

    check_tcp(options)
    taken = {name: options[name] for name in ("source", "interface", "ttl", "tos")}
    return TcpProber(family, **taken)
