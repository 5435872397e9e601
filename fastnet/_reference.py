"""Optional packages, imported on first use."""

from importlib import import_module
from types import ModuleType

from fastnet.errors import EngineMissing

# Where a package is not imported by its own name.
_DISTRIBUTIONS = {"nmap": "python-nmap", "prometheus_client": "prometheus-client"}


def reference(module: str) -> ModuleType:
    """The module (``"netaddr"``, ``"scapy.all"``). Raises EngineMissing, with how to install it."""
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        name = _DISTRIBUTIONS.get(package, package)
        raise EngineMissing(f"the Python package {name} is missing: pip install {name}") from None
