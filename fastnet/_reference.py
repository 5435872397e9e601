"""Optional packages, imported on first use."""

from fastnet._typing import TYPE_CHECKING
from fastnet.errors import EngineMissing

if TYPE_CHECKING:
    from types import ModuleType

_DISTRIBUTIONS = {"nmap": "python-nmap", "prometheus_client": "prometheus-client"}
"""Where a package is not imported by its own name."""
_EXTRAS = {
    "distributed": "distributed",
    "matplotlib": "plot",
    "numpy": "plot",
    "prometheus_client": "metrics",
    "pyarrow": "arrow",
    "rich": "terminal",
}
"""The extra of each package that a feature needs. The others are further engines, each by itself."""


def reference(module: str) -> "ModuleType":
    """The module (``"netaddr"``, ``"scapy.all"``). Raises EngineMissing, with how to install it."""
    from importlib import import_module  # only here: it takes long to load

    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        name = _DISTRIBUTIONS.get(package, package)
        wanted = f"'fastnet-toolkit[{_EXTRAS[package]}]'" if package in _EXTRAS else name
        raise EngineMissing(f"the Python package {name} is missing: pip install {wanted}") from None
