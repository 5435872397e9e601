"""The records of forward."""

from typing import Literal

from fastnet._records.base import Record


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
