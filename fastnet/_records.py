"""The records that commands print with ``--json``, each declared once.

Each ``kind`` is of one class only; what two commands would share begins with the command's name. Code that
prints a record writes a dictionary that mypy checks against its class, and imports this module for type
checking only. ``tools/schemas.py`` makes the files of ``fastnet/schemas/`` from the classes and docstrings.
"""

from typing import Any, Literal, TypedDict


class Record(TypedDict):
    """The keys of every record."""

    time: str
    """When the record was made: RFC 3339 in UTC, to the microsecond."""


class Reply(Record):
    """ping: the result of one echo request, or a duplicate reply."""

    kind: Literal["reply"]
    host: str
    """The host as it was given."""
    address: str
    """Numeric; empty if the host did not resolve."""
    seq: int
    """0 for the first request to this host."""
    rtt_ms: float | None
    """Null if there was no reply."""
    ttl: int | None
    """The TTL or hop limit of the reply."""
    error: str | None
    """The reason if there was no reply."""
    duplicate: bool
    """Whether it is a further reply to an answered request."""
    tries: int
    """Number of times the request was sent; 0 if the system refused."""
    responder: str | None
    """The sender of a reply for an anycast address; null if it is ``address`` itself."""


class Statistics(Record):
    """The statistics of the requests to one host."""

    host: str
    """The host as it was given."""
    address: str
    """Numeric; empty if the host did not resolve."""
    engine: str
    """``raw`` or ``datagram`` (ICMP), ``udp`` or ``tcp``; empty if the host did not resolve."""
    sent: int
    not_sent: int
    """Number of requests that the system refused to send."""
    received: int
    waiting: int
    """Number of sent requests that are still awaited."""
    duplicates: int
    loss_percent: float
    """Of the sent requests that are no longer awaited."""
    error: str | None
    """The reason if nothing was received: the last request's reason."""
    rtt_min_ms: float | None
    rtt_avg_ms: float | None
    rtt_max_ms: float | None
    rtt_stddev_ms: float | None
    rtt_p50_ms: float | None
    rtt_p90_ms: float | None
    rtt_p99_ms: float | None
    jitter_ms: float | None
    """The mean difference of two successive round-trip times; null below two."""
    outage_s: float
    """The interval times the number of requests that were lost or not sent."""


class Interval(Statistics):
    """ping --every: the requests to one host since the last such record."""

    kind: Literal["interval"]


class Summary(Statistics):
    """ping: all requests to one host."""

    kind: Literal["summary"]


class VantageSummary(Statistics):
    """ping --distributed: all requests from one vantage to one host."""

    kind: Literal["vantage_summary"]
    vantage: str
    """The name of its Dask worker."""


class Limit(TypedDict):
    """A router that reported a packet as too big."""

    router: str
    mtu_bytes: int
    """Of the link behind it."""


class PathMTU(TypedDict):
    """The MTU of the path to one host."""

    host: str
    """The host as it was given."""
    address: str
    """Numeric; empty if the host did not resolve."""
    engine: str
    mtu_bytes: int | None
    """The IP header included; null if the host does not answer."""
    limits: list[Limit]
    error: str | None
    """The reason if there is no MTU."""


class MTU(Record, PathMTU):
    """ping --mtu: the MTU of the path to one host."""

    kind: Literal["mtu"]


class Verdict(Record):
    """sweep: the verdict on one target."""

    kind: Literal["verdict"]
    round: int
    """0 for the first."""
    address: str
    """Numeric; of a name that did not resolve, the name."""
    state: str
    """``alive``, ``inactive``, ``unreachable`` or ``not probed``."""
    rtt_ms: float | None
    """Of an alive target; null if unknown, because the reply was read too late."""
    reason: str | None
    """The reason if it is unreachable or was not probed."""
    mac: str | None
    """The hardware address of an alive target on this machine's link."""
    responder: str | None
    """The sender of a reply for an anycast address; null if it is ``address`` itself."""


class SweepPlan(Record):
    """sweep --distributed --dry-run: what the sweep will do; requests and bytes if no target answers."""

    kind: Literal["sweep_plan"]
    targets: int
    """Number of addresses."""
    left_out: int
    """Number of special-purpose addresses that are left out."""
    vantages: list[str]
    shards: int
    """In mode ``compare``, from each vantage."""
    rate: float | None
    """Requests per second of each vantage at most; null without a limit."""
    requests: int
    bytes: int
    """On Ethernet."""
    seconds: float
    """At the limit; without one a guess."""


class VantageVerdict(TypedDict):
    """What one vantage sees of a target."""

    vantage: str
    """The name of its Dask worker."""
    state: str
    """As of a ``verdict``, or ``unknown`` if the vantage was not there."""
    rtt_ms: float | None
    reason: str | None


class Sighting(Record):
    """sweep --distributed --mode compare: what each vantage sees of one target."""

    kind: Literal["sighting"]
    address: str
    """Numeric; of a name that did not resolve, the name."""
    differs: bool
    """Whether two vantages that have probed it see different states."""
    seen_by: list[str]
    """The vantages for which it is alive."""
    verdicts: list[VantageVerdict]


class Vantage(Record):
    """sweep and ping --distributed: a vantage, and what it did."""

    kind: Literal["vantage"]
    name: str
    """The name of its Dask worker."""
    labels: dict[str, Any]
    """From ``FASTNET_LABELS`` in its environment."""
    problem: str | None
    """Why it was left out."""
    shards: int
    """Number of shards whose results came from it."""
    sent: int
    alive: int


class HopResponse(TypedDict):
    """The result of one probe."""

    responder: str | None
    """The address that answered."""
    rtt_ms: float | None
    error: str | None
    mark: str | None
    """An ICMP error as traceroute(8) marks it."""
    name: str | None
    """The name of the responder, with ``--names``."""


class Hop(Record):
    """trace: the answers at one TTL."""

    kind: Literal["hop"]
    ttl: int
    responses: list[HopResponse]


class TraceSummary(Record):
    """trace: the path as far as it was found."""

    kind: Literal["trace_summary"]
    host: str
    address: str
    engine: str
    """The kind of socket: ``udp``, ``raw`` or ``datagram``."""
    reached: bool
    """Whether the destination is among those that answered."""
    error: str | None
    """The reason for the path's end, or the error that the destination sent itself."""
    hops: int
    """Their number."""
    mtu: PathMTU | None
    """With ``--mtu``."""


class Outcome(Record):
    """wait: the outcome of one target."""

    kind: Literal["outcome"]
    target: str
    """The target as it was given."""
    ready: bool
    """Whether the target is ready, or gone."""
    address: str | None
    """The numeric address, or path, that is up."""
    reason: str | None
    """The last reason for a failed check."""
    attempts: int
    """Rounds over the target's addresses."""
    waited_s: float


class ScannedPort(TypedDict):
    """One TCP port."""

    port: int
    state: str
    """``open``, ``closed`` or ``filtered``; ``unknown`` where this machine could not send to it."""
    reason: str


class Port(Record, ScannedPort):
    """portscan: one TCP port."""

    kind: Literal["port"]
    host: str
    address: str
    engine: str
    """The scanner: ``connect`` or ``nmap``."""


class RuleAddresses(Record):
    """A rule, and where it listens."""

    rule: str
    """The rule's name."""
    protocol: str
    addresses: list[str]
    upstreams: list[str]


class Rule(RuleAddresses):
    """forward --dry-run: one rule, checked."""

    kind: Literal["rule"]


class Listening(RuleAddresses):
    """forward: the listening addresses of one rule."""

    kind: Literal["listening"]


class Metrics(Record):
    """forward --metrics: the URLs of the metrics."""

    kind: Literal["metrics"]
    urls: list[str]


class Reloaded(Record):
    """forward --rules, after SIGHUP: the file's rules are in force."""

    kind: Literal["reloaded"]
    rules: int
    """Their number."""


class Data(Record):
    """forward --dump: forwarded bytes."""

    kind: Literal["data"]
    rule: str
    number: int
    """The connection's, within its rule."""
    direction: Literal["up", "down"]
    """To the upstream, or to the client."""
    data: str
    """ASCII, other bytes as the escapes of a Python literal."""


class ForwardSummary(Record):
    """forward: the counters at the end: for each rule if there are several, then for all."""

    kind: Literal["forward_summary"]
    rule: str | None
    """Null: all rules."""
    connections: int
    """Number of accepted connections."""
    unreachable: int
    refused: int
    denied: int
    resets: int
    timed_out: int
    sent_up_bytes: int
    sent_down_bytes: int
    ran_s: float


class Connection(Record):
    """forward --log: one connection that has ended."""

    kind: Literal["connection"]
    opened: str
    """When it was accepted: RFC 3339 in UTC, to the microsecond."""
    rule: str
    number: int
    """The rule's first connection is 1."""
    client: str
    upstream: str | None
    """Null if no upstream was connected."""
    lasted_s: float
    sent_up_bytes: int
    """To the upstream."""
    sent_down_bytes: int
    """To the client."""
    ended: str
    """The reason for its end; empty while it is open."""


class Lost(Record):
    """forward --log: records that could not be written."""

    kind: Literal["lost"]
    records: int


class InterfaceEvent(Record):
    """interfaces --watch: the state, then each event."""

    kind: Literal["interface_event"]
    event: str
    """``state``, ``link_added``, ``carrier``, ``address_added``, ``dad_failed``, ``gateway_changed``, ..."""
    interface: str | None
    """Null for a state, a route without an interface, and events that were lost."""
    changed: list[str]
    """The keys whose values differ."""
    before: dict[str, Any] | None
    """The interface, address or route before the event; null if it is new."""
    after: dict[str, Any] | None
    """The same after it; null if it is gone. Of ``state``: ``interfaces`` and ``routes``."""


class InterfaceAddress(TypedDict):
    """One address of an interface."""

    interface: str
    ifindex: int
    label: str
    """The interface, or the alias label of an IPv4 address."""
    version: int
    address: str
    text: str
    """The address for ``bind``: a link-local one with its zone."""
    prefix_length: int
    network: str
    """The network on the link: the peer's if the address has a peer."""
    scope: str
    """``host``, ``link``, ``site``, ``global``, or another of the kernel's."""
    broadcast: str | None
    """IPv4 alone has one."""
    peer: str | None
    """The other end of a point-to-point address."""
    protocol: str | None
    """Who added it: ``kernel_lo``, ``kernel_ra``, ``kernel_ll``, ..."""
    flags: list[str] | None
    """``permanent``, ``temporary``, ``tentative``, ``dadfailed``, ...; null without rtnetlink."""


class NextHop(TypedDict):
    """One leg of a multipath route."""

    interface: str | None
    ifindex: int
    gateway: str | None
    weight: int
    flags: list[str]


class KernelRoute(TypedDict):
    """One route of the kernel, or its answer for one destination."""

    destination: str
    """A prefix; an address if it was asked for."""
    version: int
    gateway: str | None
    """Null on the link itself."""
    interface: str | None
    ifindex: int | None
    metric: int
    """The lowest is preferred."""
    table: int
    protocol: str
    type: str
    """``unicast``, ``local``, ``unreachable``, ..."""
    scope: str
    source: str | None
    """The preferred source address."""
    sources: str | None
    """The prefix of the source addresses that the route is for; null if for all."""
    tos: int
    mtu_bytes: int | None
    flags: list[str]
    onlink: bool
    is_default: bool
    legs: list[NextHop]
    next_hop_id: int | None
    encapsulation: str | None
    preference: str | None


class Route(Record, KernelRoute):
    """routes: one route."""

    kind: Literal["route"]


class Interface(Record):
    """interfaces: one network interface."""

    kind: Literal["interface"]
    name: str
    ifindex: int
    state: str
    """``up``, ``down``, ``no carrier``, ``no address``, ``dormant``, ..."""
    reason: str
    altnames: list[str]
    link_kind: str | None
    """``veth``, ``bridge``, ...; null for hardware and loopback."""
    link_type: str
    mac: str | None
    permanent_mac: str | None
    broadcast: str | None
    """Of the link layer."""
    mtu_bytes: int
    flags: list[str]
    administratively_up: bool
    operational_state: str | None
    """Of RFC 2863; null without rtnetlink."""
    carrier: bool | None
    speed_mbit: int | None
    duplex: str | None
    master: str | None
    master_ifindex: int | None
    peer: str | None
    peer_ifindex: int | None
    link_namespace: int | None
    """The id of the peer's network namespace; null if it is this one."""
    addresses: list[InterfaceAddress]
    gateways: list[KernelRoute] | None
    """The default routes by this interface; null if they can't be read."""


class Address(Record, InterfaceAddress):
    """address: one address of the interface."""

    kind: Literal["address"]


class Status(Record):
    """status: whether an interface is up."""

    kind: Literal["status"]
    interface: str
    state: str
    """``up``, ``down``, ``no carrier``, ``no address``, ``dormant``, ..."""
    reason: str
    up: bool
    """Whether it is turned on and running, with or without an address."""
    administratively_up: bool
    operational_state: str | None
    """Of RFC 2863; null without rtnetlink."""
    carrier: bool | None
    addresses: list[str]
    """Each with the length of its prefix."""
    ports: list[ScannedPort] | None
    """With ``--ports``, if they could be scanned."""


class WayOut(TypedDict):
    """How packets to a global address leave this machine, or why they can't."""

    destination: str
    """The address that the kernel was asked the way to; nothing was sent there."""
    interface: str | None
    gateway: str | None
    """The router; null if the destination is on the link."""
    source: str | None
    """The address that the kernel sends from."""
    obstacle: str
    """Why no packet gets out; empty if it does."""


class Support(Record):
    """ipv6: which IPv6 support works."""

    kind: Literal["support"]
    built_in: bool
    """Python knows IPv6."""
    kernel: bool
    """An IPv6 socket can be opened."""
    enabled: list[str]
    """The interfaces that may use IPv6."""
    disabled: list[str]
    """The interfaces whose sysctl disable_ipv6 is set."""
    loopback: bool
    """``::1`` can be bound to."""
    link_local: list[str]
    """Usable addresses on links, with their zones."""
    addresses: list[str]
    """Those usable beyond loopback and link."""
    ways: list[WayOut]
    """The routes to one address of each regional registry."""
    works: bool
    """Whether a connection over IPv6 can leave this machine."""
    reasons: list[str]
    """Everything that is missing; empty if IPv6 works."""


class Ipv6Address(Record, InterfaceAddress):
    """ipv6: one address of this machine, IPv4 or IPv6, with its prefix."""

    kind: Literal["ipv6_address"]


class Prefix(Record):
    """ipv6 --prefix: the prefix of one address."""

    kind: Literal["prefix"]
    address: str
    zone: str | None
    """What stood after ``%``."""
    prefix_length: int
    network: str
    version: int


class SpecialBlock(TypedDict):
    """A block of special-purpose addresses; the flags are those of RFC 6890, null if IANA has no value."""

    prefix: str
    type: str
    name: str
    """The registry's."""
    rfc: int
    source: bool | None
    destination: bool | None
    forwardable: bool | None
    globally_reachable: bool | None
    reserved_by_protocol: bool | None


class EmbeddedIPv4(TypedDict):
    """An IPv4 address in an IPv6 address."""

    form: str
    """``ipv4-mapped``, ``nat64/96``, ``6to4``, ``teredo-client``, ..."""
    address: str
    port: int | None
    """The UDP port of a Teredo client."""


class Explanation(Record):
    """ipv6 explain: what an address is."""

    kind: Literal["explanation"]
    address: str
    zone: str | None
    """What stood after ``%``."""
    version: int
    type: str
    """``global``, ``link-local``, ``unique-local``, ``documentation``, ..."""
    scope: str | None
    """Null of the unspecified address."""
    globally_reachable: bool | None
    """By IANA's registries; null if they have no value."""
    special: SpecialBlock | None
    """The most specific block that contains the address; null for plain global unicast."""
    mac: str | None
    """Of an EUI-64 interface identifier."""
    ipv4: list[EmbeddedIPv4]
    reverse_name: str
    interfaces: list[str]
    """Those of this machine that have the address."""
    temporary: bool | None
    """Null if no interface has it."""


class Pair(Record):
    """ipc pair: a message to a child, and its reply."""

    kind: Literal["pair"]
    message: str
    reply: str
    pid: int
    """The child's."""
    status: int | None
    """The child's exit status, or the negative number of the signal that ended it."""


class Message(Record):
    """ipc serve: one message of a client."""

    kind: Literal["message"]
    pid: int
    """The client's, as it connected; the same of ``uid`` and ``gid``."""
    uid: int
    gid: int
    message_bytes: int
    message: str


class IpcReply(Record):
    """ipc send: one message, and the server's reply."""

    kind: Literal["ipc_reply"]
    message: str
    reply: str


class EchoListening(Record):
    """echo serve: one listening address."""

    kind: Literal["echo_listening"]
    host: str
    port: int


class EchoServed(Record):
    """echo serve: the counters at the end."""

    kind: Literal["echo_served"]
    accepted: int
    active: int
    """Connections that were still open."""
    echoed_bytes: int
    timed_out: int
    """Connections closed by the idle timeout."""
    failed: int
    """Connections that the peer reset."""


class EchoReply(Record):
    """echo client: the result of one message."""

    kind: Literal["echo_reply"]
    seq: int
    """0 for the first message."""
    size_bytes: int
    rtt_ms: float | None
    """From the first byte sent to the last byte received; null if the reply is missing."""
    error: str | None
    """The reason for a wrong or missing reply."""


class EchoSummary(Record):
    """echo client: all messages."""

    kind: Literal["echo_summary"]
    host: str
    address: str
    """The address that accepted the connection, with its port."""
    sent: int
    received: int
    error: str | None
    rtt_min_ms: float | None
    rtt_avg_ms: float | None
    rtt_max_ms: float | None
    rtt_p50_ms: float | None
    rtt_p90_ms: float | None
    rtt_p99_ms: float | None


class Layer(TypedDict):
    """One layer of a packet."""

    layer: str
    offset_bytes: int
    length_bytes: int
    """Of its header."""
    fields: dict[str, Any]
    """Plain values; bytes as hexadecimal text."""


class Packet(Record):
    """packet parse: the packet's layers and their fields."""

    kind: Literal["packet"]
    link: str | int
    """The first layer: a name, or a DLT number."""
    length_bytes: int
    layers: list[Layer]
    error: str | None
    """The reason why parsing stopped."""


class Visit(Record):
    """tour: one action at a stop, and its result."""

    kind: Literal["visit"]
    stop: str
    did: str
    result: str
    ok: bool
    implementation: str
    """``native`` or ``pure``."""
    privilege: str
    took_ms: float
