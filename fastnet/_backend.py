"""Which implementation of each core topic runs: the only place that chooses.

``FASTNET_IMPL=native`` or ``pure`` insists; unset prefers native and falls back to pure where the
package was built without a C compiler. ``from fastnet._backend import checksum`` gives a topic's module.
"""

import os
import sys

from fastnet._contract.values import quoted
from fastnet._typing import TYPE_CHECKING
from fastnet.errors import ImplementationMissing, InvalidArgument

if TYPE_CHECKING:
    from types import ModuleType

    # The pure twin is typed, and the native one has the same types.
    from fastnet._pure import checksum as checksum
    from fastnet._pure import http_head as http_head
    from fastnet._pure import lines as lines
    from fastnet._pure import monitor as monitor
    from fastnet._pure import netif as netif
    from fastnet._pure import packet as packet
    from fastnet._pure import permute as permute
    from fastnet._pure import probe as probe
    from fastnet._pure import relay as relay
    from fastnet._pure import rtnetlink as rtnetlink

IMPLEMENTATIONS = ("native", "pure")
TOPICS = frozenset(
    {"checksum", "http_head", "monitor", "lines", "netif", "packet", "permute", "probe", "relay", "rtnetlink"}
)
PORTABLE = frozenset({"checksum", "http_head", "packet", "permute"})
"""The topics that need no Linux."""
REQUESTED = "FASTNET_IMPL=pure"
REBUILD = "pip install --force-reinstall --no-cache-dir --no-binary fastnet-toolkit fastnet-toolkit"
"""Builds the C in place of an installed wheel, or of a pure one that pip has kept."""

_chosen = ""
"""What runs, once the first topic is loaded: loading another one to find out would take a millisecond."""
_failure: str | None = None
"""The reason if native could not be loaded."""


def how_native() -> str:
    """How to get the native implementation where it is missing."""
    if sys.platform != "linux":
        return "native needs Linux"
    return f"with a C compiler and Python's headers, `FASTNET_BUILD=native {REBUILD}` builds native"


def _choose(topic: str) -> str:
    global _failure
    wanted = os.environ.get("FASTNET_IMPL", "")
    if wanted and wanted not in IMPLEMENTATIONS:
        raise ImplementationMissing(
            f"FASTNET_IMPL={wanted!r}: expected one of {', '.join(IMPLEMENTATIONS)}, or unset"
        )
    if wanted == "pure":
        return "pure"
    try:
        _load(f"fastnet._native.{topic}")
    except ImportError as error:
        _failure = str(error)
        if wanted == "native":
            raise ImplementationMissing(
                f"FASTNET_IMPL=native, but there is no native implementation here ({error}): {how_native()}"
            ) from error
        return "pure"
    return "native"


def _load(name: str) -> "ModuleType":
    """As importlib's import_module, which takes longer to load than most of our own modules."""
    __import__(name)
    return sys.modules[name]


def implementation(topic: str | None = None) -> str:
    """``"native"`` or ``"pure"``: what runs in this process.

    With a core topic's name (``"checksum"``, ``"packet"``, ...), what runs for that topic. Raises
    InvalidArgument for an unknown one.
    """
    if topic is not None and topic not in (*TOPICS,):
        raise InvalidArgument(f"topic {quoted(topic)}: expected one of {', '.join(sorted(TOPICS))}")
    global _chosen
    _chosen = _chosen or _choose(topic or "checksum")
    return _chosen


def pure(topic: str) -> "ModuleType":
    """A topic's pure twin whatever runs otherwise, for a feature whose ``engine=`` asks for it."""
    return _load(f"fastnet._pure.{topic}")


def why_pure() -> str | None:
    """The reason if pure runs: requested, built without C, or native did not build or does not load."""
    if implementation() == "native":
        return None
    if _failure is None:
        return REQUESTED
    try:
        with open(
            os.path.join(os.path.dirname(__file__), "_native", "why_pure.txt"), encoding="utf-8"
        ) as file:
            return file.read().rstrip()
    except OSError:  # a build with extensions writes none
        return f"native does not load: {_failure}"


def __getattr__(topic: str) -> "ModuleType":
    if topic not in TOPICS:
        raise AttributeError(f"module 'fastnet._backend' has no attribute {topic!r}")
    if sys.platform != "linux" and topic not in PORTABLE:
        from fastnet._elsewhere import needs_linux  # only here: never on Linux

        raise needs_linux(f"fastnet's {topic}")
    module = globals()[topic] = _load(f"fastnet._{implementation(topic)}.{topic}")
    return module
