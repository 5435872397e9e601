"""The results of a sweep in a directory: one Parquet file per shard, and a description of the sweep.

The files have the columns ``address``, ``state``, ``rtt_ms``, ``reason`` and ``vantage``; any reader of
Parquet takes them as one table. A file appears only when it is complete. Files of mode ``compare`` are in one
directory per vantage, ``vantage=NAME``.
"""

import json
import os
import re
import socket
from _collections_abc import Iterator
from array import array
from contextlib import contextmanager, suppress
from math import nan
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from fastnet._backend import probe as _core
from fastnet._distributed.columns import STATE_OF, STATES, Columns
from fastnet._distributed.merged import Memory, Store
from fastnet._limits import path_text, quoted
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.errors import InvalidArgument
from fastnet.targets import Targets, address_text

_FORMAT = "fastnet distributed sweep 1"
_ABOUT = "_sweep.json"
"""Readers of a directory of Parquet ignore names with this first character."""
_FILE = re.compile(r"shard-([0-9]{10})\.parquet")
_METADATA = b"fastnet"
_TRIAL_BYTES = 1 << 16
_OTHER = {"mode": "another", "format": "another"}
_IS_ALIVE = bytes(value == _core.ALIVE for value in range(256))


class Spool:
    """The directory, new or of the same sweep. Raises InvalidArgument if it is another's.

    Raises OSError if nothing can be written to it, unless all shards are done; ``dry_run`` only reads it.
    ``shards`` is the number of shards that it was begun with, for a new one the given number.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        targets: Targets,
        mode: str,
        options: dict[str, Any],
        shards: int,
        dry_run: bool = False,
    ) -> None:
        path = path_text("output", directory)
        if not path:
            raise InvalidArgument("output '': expected a directory")
        self._path, self._targets, self._dry_run = Path(path), targets, dry_run
        about = {"format": _FORMAT, "mode": mode, "targets": [*targets.texts()], "options": options}
        self._make(self._path)
        file = self._path / _ABOUT
        self.shards = shards
        if not file.exists():
            if self._path.exists() and any(self._path.iterdir()):
                raise InvalidArgument(f"{self._path}: not empty, and not the directory of a sweep")
            if not dry_run:
                _create(file, json.dumps({**about, "shards": shards}, indent=1).encode())
        if file.exists():  # maybe another client's, with its own number of shards
            self.shards = _checked(file, about)

    def store(self, vantage: str | None) -> Store:
        """The files of one vantage, or of all together."""
        folder = self._path if vantage is None else self._path / f"vantage={quote(vantage, safe='')}"
        self._make(folder)
        if not folder.exists():
            return Memory()
        files = Files(folder, self._targets, self.shards)
        if len(files.done()) < self.shards and not self._dry_run:
            _try_to_write(folder)
        return files

    def _make(self, folder: Path) -> None:
        try:
            if not self._dry_run:
                folder.mkdir(parents=True, exist_ok=True)
            elif folder.exists():
                os.listdir(folder)
        except (FileExistsError, NotADirectoryError):
            raise InvalidArgument(f"output {quoted(str(folder))}: a file; expected a directory") from None


class Files:
    """The shards of one directory."""

    def __init__(self, folder: Path, targets: Targets, of: int) -> None:
        self._folder, self._targets, self._of = folder, targets, of
        found = (_FILE.fullmatch(path.name) for path in folder.iterdir())
        self._done = {int(match[1]) - 1 for match in found if match and int(match[1]) <= of}

    def done(self) -> set[int]:
        return self._done

    def put(self, shard: int, columns: Columns) -> None:
        parquet = reference("pyarrow.parquet")
        table = _table(self._targets, (shard, self._of), columns)
        with _part_of(self._path(shard)) as part:
            parquet.write_table(table, part, compression="zstd")
            os.replace(part, self._path(shard))
        self._done.add(shard)

    def get(self, shard: int) -> Columns | None:
        """The columns of a shard. Raises InvalidArgument if its file is damaged, as by a loss of power."""
        if shard not in self._done:
            return None
        parquet, path = reference("pyarrow.parquet"), self._path(shard)
        try:
            return _columns(parquet.read_table(path, partitioning=None))
        except (ValueError, KeyError, TypeError):  # Arrow's own errors are of these types
            what = "not the results of a shard; remove it, and the shard runs again"
            raise InvalidArgument(f"{path}: {what}") from None

    def _path(self, shard: int) -> Path:
        return self._folder / f"shard-{shard + 1:010}.parquet"


def _checked(file: Path, about: dict[str, Any]) -> int:
    """The number of shards of a directory's sweep, which must be this one."""
    try:
        saved = json.loads(file.read_bytes())
    except ValueError:
        saved = None
    if (
        not isinstance(saved, dict)
        or saved.get("format") != _FORMAT
        or not isinstance(saved.get("shards"), int)
    ):
        raise InvalidArgument(f"{file}: not the file of a sweep")
    for name, value in about.items():
        if saved.get(name) != value:
            raise InvalidArgument(
                f"{file.parent}: it is the directory of a sweep with {_OTHER.get(name, 'other')} {name}"
            )
    shards: int = saved["shards"]
    return shards


def _try_to_write(folder: Path) -> None:
    """Write a file and remove it: what fails is known before a packet is sent. Raises OSError."""
    with _part_of(folder / "trial") as part:
        part.write_bytes(os.urandom(_TRIAL_BYTES))


def _create(file: Path, content: bytes) -> None:
    """Create a file as a whole, unless another client has just done so."""
    with _part_of(file) as part:
        part.write_bytes(content)
        try:
            os.link(part, file)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            os.replace(part, file)


@contextmanager
def _part_of(file: Path) -> Iterator[Path]:
    """A path beside a file, which no other client uses. Removed at the end; an error names the folder."""
    part = file.with_name(f"_{file.stem}-{uuid4().hex}.part")
    try:
        yield part
    except OSError as error:
        if error.errno:
            error.filename, error.filename2 = str(file.parent), None
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _table(targets: Targets, shard: tuple[int, int], columns: Columns) -> Any:
    arrow = reference("pyarrow")
    compute = reference("pyarrow.compute")
    size = len(columns.verdicts)
    states = columns.verdicts.translate(STATE_OF)
    rtts = arrow.Array.from_buffers(
        arrow.float32(), len(columns.rtts_ms) // 4, [None, arrow.py_buffer(columns.rtts_ms)]
    )
    is_alive = _bytes_array(arrow, states.translate(_IS_ALIVE)).cast(arrow.bool_())
    rtts = compute.if_else(compute.is_nan(rtts), None, rtts)
    reasons = compute.subtract(compute.shift_right(_bytes_array(arrow, columns.verdicts), 3).cast("int8"), 1)
    reasons = compute.if_else(compute.less(reasons, 0), None, reasons)
    made = {
        "address": arrow.chunked_array([*_addresses(targets, shard)], arrow.string()),
        "state": arrow.DictionaryArray.from_arrays(_bytes_array(arrow, states).cast("int8"), [*STATES]),
        "rtt_ms": compute.replace_with_mask(arrow.nulls(size, arrow.float32()), is_alive, rtts),
        "reason": arrow.DictionaryArray.from_arrays(reasons, arrow.array(columns.reasons, arrow.string())),
        # The type of a directory's vantage=NAME for those who read both.
        "vantage": arrow.DictionaryArray.from_arrays(
            arrow.nulls(size, "int32").fill_null(0), [columns.vantage]
        ),
    }
    about = {name: getattr(columns, name) for name in ("vantage", "engine", "sent", "seconds", "reasons")}
    return arrow.table(made).replace_schema_metadata({_METADATA: json.dumps(about)})


def _columns(table: Any) -> Columns:
    """The columns of a shard's table."""
    arrow, compute = reference("pyarrow"), reference("pyarrow.compute")
    about = json.loads(table.schema.metadata[_METADATA])
    states = compute.index_in(table["state"].cast("string"), arrow.array(STATES)).cast("uint8")
    which = compute.index_in(table["reason"].cast("string"), arrow.array(about["reasons"], arrow.string()))
    reasons = compute.add(which, 1).fill_null(0).cast("uint8")
    verdicts = compute.bit_wise_or(states, compute.shift_left(reasons, arrow.scalar(3, "uint8")))
    alive = compute.equal(states, _core.ALIVE)
    rtts = table["rtt_ms"].filter(alive).fill_null(nan)
    return Columns(
        about["vantage"],
        about["engine"],
        about["sent"],
        about["seconds"],
        tuple(about["reasons"]),
        _content(verdicts, 1),
        _content(rtts, 4),
    )


def _content(chunked: Any, width: int) -> bytes:
    """The values of an array without nulls."""
    joined = chunked.combine_chunks()
    begin = joined.offset * width
    values = joined.buffers()[1]
    return values.to_pybytes()[begin : begin + len(joined) * width] if values else b""


def _bytes_array(arrow: Any, values: bytes) -> Any:
    return arrow.Array.from_buffers(arrow.uint8(), len(values), [None, arrow.py_buffer(values)])


def _addresses(targets: Targets, shard: tuple[int, int]) -> Iterator[Any]:
    """The addresses of a shard as text, an array for each interval of the targets."""
    arrow, compute = reference("pyarrow"), reference("pyarrow.compute")
    which, of = shard
    before = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        for first, last in targets.spans(family):
            skipped = (which - before) % of
            before += last - first + 1
            numbers = range(first + skipped, last + 1, of)
            if not numbers:
                continue
            if family == socket.AF_INET6:
                yield arrow.array([address_text(family, number) for number in numbers])
                continue
            found = arrow.array(array("Q", numbers))
            octets = (
                compute.bit_wise_and(compute.shift_right(found, arrow.scalar(shift, "uint64")), 255).cast(
                    "string"
                )
                for shift in (24, 16, 8, 0)
            )
            yield compute.binary_join_element_wise(*octets, ".")
