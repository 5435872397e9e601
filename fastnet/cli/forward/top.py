"""``--top``: the busiest connections in a live table, by the package rich."""

import sys
import time

from fastnet._contract.values import counted
from fastnet._forward import Forwarder, Record
from fastnet._reference import reference
from fastnet._typing import Any, Self
from fastnet.cli.output import escaped
from fastnet.errors import InvalidArgument

REFRESH_SECONDS = 1.0
_HEAD_LINES = 3
"""Lines of the screen that are not connections."""
_STEPS = ("", "k", "M", "G", "T")

_COLUMNS = ("rule", "number", "client", "upstream", "age", "up", "down", "bytes/s")


class Top:
    """A context manager that owns the screen; ``refresh`` shows the present state.

    Raises EngineMissing without rich.
    """

    def __init__(self) -> None:
        self._table = reference("rich.table").Table
        self._text = reference("rich.text").Text
        self._group = reference("rich.console").Group
        self._live = reference("rich.live").Live(screen=True, auto_refresh=False)
        self._seen: dict[tuple[Any, ...], int] = {}
        self._at = time.monotonic()

    def require_terminal(self) -> None:
        """Raise InvalidArgument if standard output is not a terminal."""
        if not sys.stdout.isatty():
            raise InvalidArgument("--top: standard output is not a terminal")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def refresh(self, forwarder: Forwarder) -> None:
        """Show the open connections, those with the most traffic first."""
        now = time.monotonic()
        records = forwarder.connections()
        passed = {_identity(record): record.sent_up + record.sent_down for record in records}
        seconds = max(now - self._at, 0.001)
        rates = {key: (count - self._seen.get(key, 0)) / seconds for key, count in passed.items()}
        self._seen, self._at = passed, now
        records.sort(key=lambda record: (rates[_identity(record)], passed[_identity(record)]), reverse=True)

        stats = forwarder.stats()
        head = (
            f"{stats.active} open of {counted(stats.accepted, 'connection')}, {amount(stats.sent_up)}B up, "
            f"{amount(stats.sent_down)}B down, {amount(sum(rates.values()))}B/s"
        )
        table = self._table(*_COLUMNS, box=None, expand=True)
        for record in records[: max(1, self._live.console.height - _HEAD_LINES)]:
            # As plain text: a name may contain what looks like markup.
            table.add_row(*(self._text(escaped(cell)) for cell in _row(record, rates[_identity(record)])))
        self._live.update(self._group(self._text(head), table), refresh=True)


def _identity(record: Record) -> tuple[Any, ...]:
    return (record.number, record.client, record.opened)


def _row(record: Record, rate: float) -> tuple[str, ...]:
    return (
        record.rule.name,
        str(record.number),
        record.client,
        record.upstream or "-",
        f"{record.seconds:.0f} s",
        amount(record.sent_up),
        amount(record.sent_down),
        amount(rate),
    )


def amount(number: float) -> str:
    """Three or four digits and a letter for powers of 1000: ``999``, ``1.23 M``."""
    for step in _STEPS[:-1]:
        if number < 1000:
            return f"{number:.0f} {step}" if not step else f"{number:.3g} {step}"
        number /= 1000
    return f"{number:.3g} {_STEPS[-1]}"
