"""The reference engines' packages: extras, imported only when such an engine is asked for."""

from importlib import import_module
from types import ModuleType

from fastnet.errors import EngineMissing

# Where a package is not imported by its own name.
_DISTRIBUTIONS = {"nmap": "python-nmap"}


def reference(module: str) -> ModuleType:
    """The module (``"netaddr"``, ``"scapy.all"``). Raises EngineMissing, which says how to install it."""
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        name = _DISTRIBUTIONS.get(package, package)
        raise EngineMissing(
            f"the Python package {name} is missing: pip install 'fastnet-toolkit[reference]'"
        ) from None
