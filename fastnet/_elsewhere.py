"""Systems other than Linux: the error for what needs Linux, and modules that can't be imported there."""

import sys
from _collections_abc import Iterable

from fastnet.errors import SystemUnsupported


def needs_linux(what: str) -> SystemUnsupported:
    """The error for a feature that this system does not have."""
    return SystemUnsupported(f"{what} needs Linux; this system is {sys.platform}")


class _Refusing:
    """A finder (``sys.meta_path``) that refuses some modules and finds none."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = frozenset(modules)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises SystemUnsupported for a module that needs Linux."""
        if name in self._modules:
            raise needs_linux(name)


def refuse(modules: Iterable[str]) -> None:
    """Make each import of these modules raise SystemUnsupported."""
    sys.meta_path.insert(0, _Refusing(modules))
