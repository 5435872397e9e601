"""What every record has."""

from typing import TypedDict


class Record(TypedDict):
    """The keys of every record."""

    time: str
    """When the record was made: RFC 3339 in UTC, to the microsecond."""
