"""The rules of a forwarder: where to listen, where to connect, and the options."""

import socket
from _collections_abc import Iterable, Sequence

from fastnet._limits import MAX_SECONDS, Host, Prefix, bounded, check_seconds, host_text, is_prefix, quoted
from fastnet._results import shown_as
from fastnet._typing import Any, Literal, NamedTuple, Self, TypeAlias, TypedDict, Unpack, get_args
from fastnet.endpoints import Endpoint, InheritedEndpoint, Place, UnixEndpoint, ascii_host, parse_place
from fastnet.errors import InvalidArgument
from fastnet.targets import parse_prefix

Protocol = Literal["tcp", "udp"]
Policy = Literal["round-robin", "least-connections"]
Rewrite = Literal[False, True, "always"]

PROTOCOLS = get_args(Protocol)
TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
"""The type of a protocol's sockets."""
POLICIES = get_args(Policy)
"""Which upstream a connection takes: each in turn, or the one with the fewest connections."""

Listen: TypeAlias = "int | str | Place | tuple[Host, int]"
"""A port on loopback, a text, or a host and a port."""
Upstreams: TypeAlias = "str | Place | tuple[Host, int] | Sequence[str | Place | tuple[Host, int]]"
"""One upstream or several, as text or parsed."""


class Options(TypedDict, total=False):
    """What ``Rule`` takes by name; its fields document each of them."""

    name: str
    protocol: Protocol
    policy: Policy
    rewrite_host: Rewrite
    rewrite_origin: bool
    rewrite_responses: bool
    connect_timeout: float
    head_timeout: float
    keep_alive_timeout: float
    idle_timeout: float
    half_closed_timeout: float
    keepalive: float
    user_timeout: float
    max_connections: int
    max_per_source: int
    source_prefix: int
    rate: int
    connection_rate: int
    max_failures: int
    failure_pause: float
    allow: Sequence[Prefix]
    deny: Sequence[Prefix]
    send_proxy: Literal[0, 1, 2]
    trust_proxy: Sequence[Prefix]
    transparent: bool
    congestion: str
    health: str
    health_interval: float
    health_timeout: float
    resolve_interval: float
    reuse_port: bool


class _Fields(NamedTuple):
    listen: Place
    """``HOST:PORT``, ``PORT`` on loopback, ``unix:/path``, ``unix:@abstract`` or ``systemd:NAME``.

    ``localhost`` and ``*`` are both families, and port 0 is a free one. A Unix path has the mode 0600;
    an abstract name has no mode: any local user may connect.
    """
    upstreams: tuple[Endpoint | UnixEndpoint, ...]
    """``HOST:PORT``, ``unix:/path`` or ``unix:@abstract``, one or several."""
    name: str = ""
    """Its name in logs; the text of ``listen`` by default."""
    protocol: Protocol = "tcp"
    """``"udp"`` forwards datagrams, in one flow per client, which ends after ``idle_timeout``."""
    policy: Policy = "round-robin"
    """The choice of upstream for a connection: one of ``POLICIES``."""
    rewrite_host: Rewrite = False
    """HTTP: True replaces a Host that names the listener by the first upstream's, ``"always"`` any Host."""
    rewrite_origin: bool = False
    """HTTP: rewrite Origin and Referer too, if they name the listener or the replaced Host."""
    rewrite_responses: bool = False
    """HTTP: also the upstream in responses, back to the host that was asked for: Location, Content-Location,
    Refresh, Link, Access-Control-Allow-Origin and the Domain of Set-Cookie."""
    connect_timeout: float = 10.0
    """Seconds for connecting to one upstream; then the next is tried."""
    head_timeout: float = 10.0
    """Seconds for a request's head, with Hosts rewritten, and for a PROXY header."""
    keep_alive_timeout: float = 75.0
    """Seconds from a response to the next request, with Hosts rewritten. 0 is no limit."""
    idle_timeout: float = 0.0
    """Idle seconds after which a connection is closed; 0 is never (for UDP: 60)."""
    half_closed_timeout: float = 0.0
    """The same for a connection with one direction closed."""
    keepalive: float = 60.0
    """Seconds of silence after which a peer is probed (SO_KEEPALIVE, socket(7)).

    It counts as dead after twice that time. 0 disables it: a vanished peer keeps its connection open.
    """
    user_timeout: float = 0.0
    """Seconds for sent data to be acknowledged, also by a slow reader (TCP_USER_TIMEOUT, tcp(7)).

    0 is the system's default, about 15 minutes.
    """
    max_connections: int = 4096
    """Number of open connections; further clients wait until one ends."""
    max_per_source: int = 0
    """Number of open connections per client address; further ones are reset. 0 is no limit."""
    source_prefix: int = 64
    """IPv6 prefix length that ``max_per_source`` counts as one address."""
    rate: int = 0
    """Bytes per second of all connections, both directions together; 0 is no limit."""
    connection_rate: int = 0
    """Bytes per second of each connection."""
    max_failures: int = 3
    """Failed connects in a row after which an upstream is skipped, unless it is the only one."""
    failure_pause: float = 10.0
    """Seconds for which it is skipped."""
    allow: tuple[str, ...] = ()
    """Prefixes of clients to serve, such as ``10.0.0.0/8``; empty: all clients."""
    deny: tuple[str, ...] = ()
    """Prefixes of clients to refuse; deny wins over ``allow``."""
    send_proxy: Literal[0, 1, 2] = 0
    """Version of the PROXY protocol header to send to upstreams; 0 is none."""
    trust_proxy: tuple[str, ...] = ()
    """Prefixes of peers that must begin with a PROXY protocol header, which names the client."""
    transparent: bool = False
    """Connect from the client's own address (IP_TRANSPARENT, ip(7)); needs CAP_NET_ADMIN, and routes back."""
    congestion: str = ""
    """TCP congestion control of both sides (TCP_CONGESTION, tcp(7)); empty: the system's default."""
    health: str = ""
    """Health check of upstreams: ``connect``, ``stable`` or ``banner`` as in ``wait``, or ``http:/path``."""
    health_interval: float = 5.0
    """Seconds between two checks."""
    health_timeout: float = 1.0
    """Seconds for a check's connect, and for its answer."""
    resolve_interval: float = 30.0
    """Seconds between two look-ups of the upstreams' names; a failed connect starts one earlier."""
    reuse_port: bool = False
    """Allow other processes of the same user to listen there too (SO_REUSEPORT, socket(7))."""


class Rule(_Fields):
    """A rule, checked: ``Rule("8080", ["10.0.0.1:80", "10.0.0.2:80"], policy="least-connections")``.

    Raises InvalidArgument; its message begins with the name of the wrong option.
    """

    __slots__ = ()

    def __new__(cls, listen: Listen, upstreams: Upstreams, **options: Unpack[Options]) -> Self:
        values: dict[str, Any] = {**options}
        if type(listen) is int:
            bounded("listen: port", listen, 0, 65535)
            listen = str(listen)
        values["listen"] = _parsed("listen", listen, "localhost")
        values["upstreams"] = _parse_upstreams(upstreams)
        values["name"] = options.get("name") or str(values["listen"])
        for name in PREFIXES & {*values}:
            values[name] = _prefix_texts(name, values[name])
        self = super().__new__(cls, **values)
        _check(self)
        return self

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        # So what `_replace` makes is checked too.
        return cls(**dict(zip(cls._fields, iterable, strict=True)))

    def going_to(self, upstreams: Upstreams) -> Self:
        """The same rule with other upstreams."""
        return self._replace(upstreams=upstreams)  # type: ignore[arg-type]

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        return (), self._asdict()

    def __repr__(self) -> str:
        """Where it listens, where it goes, and the options that were given."""
        places: dict[str, Any] = {"listen": str(self.listen), "upstreams": tuple(map(str, self.upstreams))}
        given = {
            name: value
            for name, value in self._asdict().items()
            if name not in places and value not in (self._field_defaults[name], places["listen"])
        }
        return shown_as("Rule", places | given)


_CHOICES: dict[str, tuple[Any, ...]] = {
    "protocol": PROTOCOLS,
    "policy": POLICIES,
    "rewrite_host": get_args(Rewrite),
    "rewrite_origin": (False, True),
    "rewrite_responses": (False, True),
    "send_proxy": (0, 1, 2),
    "transparent": (False, True),
    "reuse_port": (False, True),
}
_SHORTEST = {
    "connect_timeout": 0.001,
    "head_timeout": 0.001,
    "keep_alive_timeout": 0,
    "idle_timeout": 0,
    "half_closed_timeout": 0,
    "keepalive": 0,
    "user_timeout": 0,
    "failure_pause": 0,
    "health_interval": 0.1,
    "health_timeout": 0.001,
    "resolve_interval": 0.1,
}
"""Minimum of each number of seconds."""
_LONGEST = {"keepalive": 32_767}
"""Maximum, where Linux's limit is below the general one (tcp(7))."""
_MOST_CONNECTIONS = 1_000_000
_FASTEST = 1_000_000_000_000
_COUNTS = {
    "max_connections": (1, _MOST_CONNECTIONS),
    "max_per_source": (0, _MOST_CONNECTIONS),
    "source_prefix": (1, 128),
    "rate": (0, _FASTEST),
    "connection_rate": (0, _FASTEST),
    "max_failures": (1, _MOST_CONNECTIONS),
}
_TEXTS = ("name", "congestion", "health")
PREFIXES = frozenset({"allow", "deny", "trust_proxy"})
_TCP_ONLY = (
    *("rewrite_host", "keep_alive_timeout", "half_closed_timeout", "keepalive", "user_timeout", "send_proxy"),
    *("trust_proxy", "transparent", "congestion", "health"),
)


def _check(rule: Rule) -> None:
    for name, choices in _CHOICES.items():
        value = getattr(rule, name)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            words = ", ".join(repr(choice) for choice in choices)
            raise InvalidArgument(f"{name} {quoted(value)}: expected one of {words}")
    for name, low in _SHORTEST.items():
        _check_type(name, getattr(rule, name), (int, float), "seconds")
        check_seconds(name, getattr(rule, name), low, _LONGEST.get(name, MAX_SECONDS))
    for name, (least, most) in _COUNTS.items():
        _check_type(name, getattr(rule, name), (int,), "a whole number")
        bounded(name, getattr(rule, name), least, most)
    for name in _TEXTS:
        if not (isinstance(value := getattr(rule, name), str) and value.isprintable()):
            raise InvalidArgument(f"{name} {quoted(value)}: expected a printable text")
    for name in ("rewrite_origin", "rewrite_responses"):
        if getattr(rule, name) and not rule.rewrite_host:
            raise InvalidArgument(f"{name} without rewrite_host: expected both or only the latter")
    if rule.protocol == "udp":
        _check_udp(rule)
    _check_health(rule)


def _check_type(name: str, value: object, types: tuple[type, ...], words: str) -> None:
    if type(value) not in types:
        raise InvalidArgument(f"{name} {quoted(value)}: expected {words}")


def _check_udp(rule: Rule) -> None:
    for name in _TCP_ONLY:
        if getattr(rule, name) != _Fields._field_defaults[name]:
            raise InvalidArgument(f"{name}: expected none with protocol 'udp'")
    for place in (rule.listen, *rule.upstreams):
        if isinstance(place, UnixEndpoint):
            raise InvalidArgument(f"{place}: expected HOST:PORT with protocol 'udp'")


def _check_health(rule: Rule) -> None:
    if not rule.health:
        return
    from fastnet._wait import CHECKS, check_target  # few rules have a check

    if rule.health not in CHECKS and rule.health.partition(":")[0] != "http":
        raise InvalidArgument(
            f"health {quoted(rule.health)}: expected one of {', '.join(CHECKS)}, or http:/path"
        )
    for upstream in rule.upstreams:
        check_target(health_target(rule.health, upstream))


def health_target(health: str, upstream: Endpoint | UnixEndpoint) -> str:
    """The target by which ``fastnet.wait`` checks an upstream. Raises InvalidArgument if there is none."""
    if health.partition(":")[0] != "http":
        return str(upstream)
    if isinstance(upstream, UnixEndpoint):
        raise InvalidArgument(f"health {health!r}: {upstream} can't be asked by HTTP: expected HOST:PORT")
    path = health.partition(":")[2].removeprefix("/")
    return f"http://{upstream}/{path}"


def _parsed(name: str, place: Any, default_host: str | None = None) -> Place:
    if _is_pair(place):
        place = Endpoint(host_text(name, place[0]), place[1])
    if not isinstance(place, str | Place):
        raise InvalidArgument(f"{name} {quoted(place)}: expected HOST:PORT")
    try:
        found: Place = parse_place(place, default_host) if isinstance(place, str) else place
        if isinstance(found, Endpoint):
            found = found._replace(host=ascii_host(found.host))
    except InvalidArgument as error:
        raise InvalidArgument(f"{name} {error}") from None
    if isinstance(found, Endpoint):
        bounded(f"{name} {found.host}: port", found.port, 0, 65535)
    return found


def _is_pair(place: Any) -> bool:
    """Whether this is a host and a port."""
    return type(place) is tuple and len(place) == 2 and type(place[1]) is int


def _parse_upstreams(given: Upstreams) -> tuple[Endpoint | UnixEndpoint, ...]:
    places: Any = [given] if isinstance(given, str | Place) or _is_pair(given) else given
    if not isinstance(places, list | tuple):
        raise InvalidArgument(f"upstreams {quoted(given)}: expected HOST:PORT, or a list of such")
    upstreams = tuple(_parse_upstream(place) for place in places)
    if not upstreams:
        raise InvalidArgument("upstreams: expected one or more")
    return upstreams


def _parse_upstream(given: Any) -> Endpoint | UnixEndpoint:
    place = _parsed("upstreams", given)
    if isinstance(place, InheritedEndpoint):
        raise InvalidArgument(f"upstreams {place}: expected HOST:PORT, or unix:/path")
    if isinstance(place, Endpoint) and not place.port:
        raise InvalidArgument(f"upstreams {place}: port 0 can't be connected to")
    return place


def _prefix_texts(name: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list | tuple) or not all(map(is_prefix, texts)):
        raise InvalidArgument(f"{name} {quoted(texts)}: expected a list of prefixes, as 10.0.0.0/8")
    prefixes = tuple(map(str, texts))
    for text in prefixes:
        try:
            parse_prefix(text)
        except InvalidArgument as error:
            raise InvalidArgument(f"{name} {error}") from None
    return prefixes
