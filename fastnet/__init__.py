"""fastnet: a network toolkit whose inner loops are C.

Nothing is loaded until it is named: ``fastnet.checksum`` imports the checksum code, ``fastnet.ping``
the pinger, and ``import fastnet`` neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastnet._backend import implementation as implementation
    from fastnet.checksums import checksum as checksum

_HOME = {
    "checksum": "checksums",
    "implementation": "_backend",
}
"""Where each public name of the package lives: ``fastnet.NAME`` is ``fastnet.HOME.NAME``."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastnet' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"fastnet.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
