"""The functions that wait, for a running event loop: ``await aio.ping("::1")`` is ``fastnet.ping("::1")``.

Each function of ``fastnet`` that waits has its coroutine here, under the same name, with the same arguments,
results and errors: a coroutine, or for ``async for`` where the function returns an iterator. A twin's module
is loaded when the twin is first named.
"""

_HOME = {
    "multiping": "_ping",
    "path_mtu": "_ping.mtu",
    "ping": "_ping",
    "ping_distributed": "_distributed",
    "portscan": "_portscan",
    "relay": "_forward",
    "sweep": "_sweep",
    "sweep_distributed": "_distributed",
    "sweep_every": "_sweep",
    "sweep_stream": "_sweep",
    "trace": "_trace",
    "wait": "_wait",
    "wait_all": "_wait",
    "wait_stream": "_wait",
    "watch": "_watch",
}
"""The module of each: ``aio.NAME`` is ``fastnet.MODULE.NAME_async``."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    from importlib import import_module  # only here, so that no editor lists it

    if name not in _HOME:
        raise AttributeError(f"module 'fastnet.aio' has no attribute {name!r}")
    twin = globals()[name] = getattr(import_module(f"fastnet.{_HOME[name]}"), f"{name}_async")
    return twin


def __dir__() -> list[str]:
    return __all__
