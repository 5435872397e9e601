"""The state file of an interrupted sweep, from which the same sweep continues."""

import os
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64

from fastnet._limits import check_type, path_text
from fastnet._sweep.running import check_shard
from fastnet._sweep.special import without_special
from fastnet._typing import Any
from fastnet.errors import InvalidArgument
from fastnet.targets import Targets

_FORMAT = "fastnet sweep 1"
_SHOWN = 3


class StateFile:
    """The file at ``path``: which of these targets, in this shard, have a final verdict.

    ``shard`` and ``include_special`` are those of the sweep.

    It is opened at once, so that a path that can't be written fails before the sweep. Only its owner
    may read it. ``decided`` is the argument for ``Sweep``, None if the file is new or empty. A context
    manager, which removes a file without content at the end. Raises InvalidArgument for a file of
    other targets or another format, OSError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        targets: Targets,
        shard: tuple[int, int] = (1, 1),
        include_special: bool = False,
    ) -> None:
        self.path: str = path_text("path", path)
        check_type("targets", targets, Targets, "Targets")
        check_shard(shard)
        targets, _ = without_special(targets, include_special)
        self._about = {"format": _FORMAT, "targets": [*targets.texts()], "shard": [*shard]}
        self._size = len(range(shard[0] - 1, targets.size, shard[1]))
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise InvalidArgument(f"{self.path}: not a regular file")
        self._file = open(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")  # noqa: SIM115
        try:
            text = self._file.read()
            self.decided = self._read(text) if text else None
        except BaseException:
            self._file.close()
            raise

    def save(self, decided: bytes) -> None:
        """Save which targets have a final verdict, from the interrupted ``Sweep``."""
        import json
        import zlib

        check_type("decided", decided, bytes, "bytes")
        bitmap = b2a_base64(zlib.compress(decided), newline=False).decode()
        text = json.dumps({**self._about, "decided": bitmap}, indent=1) + "\n"
        self._file.seek(0)
        self._file.truncate()
        self._file.write(text.encode())
        self._file.flush()
        os.fchmod(self._file.fileno(), 0o600)
        self.decided = decided

    def remove(self) -> None:
        """The sweep is complete: the file is removed when it is closed."""
        self._file.truncate(0)
        self.decided = None

    def __enter__(self) -> "StateFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self.decided is None:
            # Root without capabilities may not remove it from another's directory; empty it means the same.
            try:
                os.unlink(self.path)
            except PermissionError:
                return

    def _read(self, text: bytes) -> bytes:
        import json
        import zlib

        try:
            saved: Any = json.loads(text)
        except (ValueError, RecursionError):  # nested deeper than Python reads
            saved = None
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            raise InvalidArgument(f"{self.path}: not a file that an interrupted sweep wrote")
        for name, what in (("targets", "of other targets"), ("shard", "of another shard")):
            if saved.get(name) != self._about[name]:
                theirs, ours = _words(saved.get(name)), _words(self._about[name])
                raise InvalidArgument(f"{self.path}: it is {what} ({theirs}), not of {ours}")
        size = (self._size + 7) // 8
        try:
            unpack = zlib.decompressobj()
            decided = unpack.decompress(a2b_base64(saved.get("decided", ""), strict_mode=True), size + 1)
        except (NotBase64, TypeError, ValueError, zlib.error):
            decided = b""
        if len(decided) != size:
            raise InvalidArgument(f"{self.path}: damaged: remove it to begin anew")
        return decided


def _words(values: Any) -> str:
    """The first few of these values."""
    if not isinstance(values, list):
        return "nothing"
    return " ".join(map(str, values[:_SHOWN])) + (" ..." if len(values) > _SHOWN else "")
