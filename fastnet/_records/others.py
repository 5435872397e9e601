"""The records of ipc, echo, packet and tour."""

from typing import Any, Literal, TypedDict

from fastnet._records.base import Record


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
