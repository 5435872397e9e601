"""The loggers below ``fastnet``: what the library survives, or does without.

Before a program imports ``logging`` it has no handler: until then nothing is logged, and nothing imported.
"""

import sys
from _collections_abc import Iterable

from fastnet._escape import escaped

INFO, WARNING, ERROR = 20, 30, 40
"""The levels of ``logging``."""


def log(feature: str, level: int, text: str, exc_info: bool = False) -> None:
    """Log one line to ``fastnet.FEATURE``, with ``exc_info`` also the traceback of what is being handled."""
    if "logging" not in sys.modules:
        return
    import logging

    top = logging.getLogger("fastnet")
    if not top.handlers:
        top.addHandler(logging.NullHandler())
    top.getChild(feature).log(level, "%s", escaped(text), exc_info=exc_info, stacklevel=2)


def log_notes(feature: str, notes: Iterable[str]) -> None:
    """Log what the system did not let a socket do, and what is different without it."""
    for note in notes:
        log(feature, INFO, note)
