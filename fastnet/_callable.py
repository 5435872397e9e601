"""Feature modules called by their own name: ``fastnet.ping("host")`` is ``fastnet.ping.ping("host")``.

A feature and its main function share one name, and importing a submodule binds it on the package. So
the module itself answers the call, and ``fastnet.ping`` means the same whatever was imported first.
"""

import sys
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__[self.__name__.rpartition(".")[2]](*args, **kwargs)


def make_callable(module_name: str) -> None:
    """Let the module be called as the function that bears its name."""
    sys.modules[module_name].__class__ = CallableModule
