"""Each argument of each public function, class and method refuses, by its name, what is right for none."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import fastnet
from fastnet import echo, endpoints, ipc, packet, targets
from fastnet.errors import InvalidArgument, PacketError

HOST = "127.0.0.1"
WRONG = (object(), 1j, 10**5000)
"""Right for no argument. Python does not print an int of so many digits."""

PARSED = packet.IPv4(dst=HOST) / packet.UDP(sport=1)
RULE = fastnet.Rule(0, f"{HOST}:1")
RIGHT: dict[str, Any] = {
    "address": HOST,
    "after": 2,
    "before": 1,
    "buffer": bytearray(100),
    "buffers": [b"x"],
    "checksum": 0,
    "columns": [1],
    "data": b"x",
    "decided": bytes(1),
    "destination": HOST,
    "dst": bytes(4),
    "endpoint": endpoints.Endpoint(HOST, 0),
    "engine": "raw",
    "fields": packet.UDP.sport,
    "function": print,
    "handler": print,
    "header": bytes(8),
    "host": HOST,
    "hosts": [HOST],
    "ifname": "lo",
    "index": 0,
    "key": 0,
    "layer_type": packet.UDP,
    "length": 8,
    "lines": [],
    "listen": 0,
    "message": b"x",
    "name": "eth0",
    "packet": PARSED,
    "path": "/no/path",
    "port": 1,
    "protocol": 17,
    "reply": fastnet.Reply(HOST, HOST, 0, 1.0, 64, None),
    "rules": [RULE],
    "src": bytes(4),
    "target": f"{HOST}:1",
    "targets": HOST,
    "text": HOST,
    "upstream": f"{HOST}:1",
    "upstreams": f"{HOST}:1",
}
"""A right value for each argument without a default."""
RIGHT_OF: dict[str, dict[str, Any]] = {
    "StateFile": {"targets": targets.Targets(HOST)},
    **{
        f"{prefix}wait_{kind}": {"targets": [f"{HOST}:1"]}
        for prefix in ("", "aio.")
        for kind in ("all", "stream")
    },
    "interfaces.interface_status": {"ports": "1"},
    "endpoints.parse_endpoint": {"text": f"{HOST}:1"},
    "endpoints.parse_place": {"text": f"{HOST}:1"},
    "checksums.pseudo_header_ipv6": {"src": bytes(16), "dst": bytes(16)},
    "ipc.UnixServer": {"address": "@fastnet-wrong"},
    "ipc.connect": {"address": "@fastnet-wrong"},
    "ipc.connect_async": {"address": "@fastnet-wrong"},
}
PARTS = {
    *("MTUSearch.steps", "Tracer.steps", "Pinger.advance", "Pinger.begin", "Pinger.follow", "Pinger.prober"),
    *("Pinger.resolve", "Pinger.look_up", "SweepResult", "Verdicts", "ipc.Child"),
    *("targets.Targets.before", "targets.Targets.spans", "targets.Targets.stretches", "SweepResult.reason"),
    "Comparison",
}
"""What only other parts of fastnet call."""
SOCKETS = {"relay", "aio.relay", "ipc.Channel"}
"""What takes sockets: test_arguments.py."""
UNBOUNDED = {"index", "key", "number"}
"""Arguments of which a large number is no wrong value, though there is nothing of that number."""
SHOWN_AS = {"layers": "layer", "texts": "target", "values": "sport"}
"""Names in messages, of arguments that are several."""
INHERITED = {"count", "index"}
"""Methods of every sequence."""

BYTES = (packet.Payload, packet.Padding, packet.Surplus)
"""Layers of bytes, which are given without a name."""

Call = Callable[..., Any]


def is_result(value: object) -> bool:
    return hasattr(value, "_fields") and value is not fastnet.Rule


def is_callable(value: object) -> bool:
    if isinstance(value, type):
        return not issubclass(value, BaseException | int | packet.Layer | packet.Option) and not is_result(
            value
        )
    return callable(value) and not get_args(value)


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class that takes arguments, and is no result, layer or option."""
    for name in sorted(fastnet._HOME):
        yield name, getattr(fastnet, name)
    for module in sorted(fastnet._MODULES - {"compat", "errors"}):
        for name in import_module(f"fastnet.{module}").__all__:
            yield f"{module}.{name}", getattr(import_module(f"fastnet.{module}"), name)


def needs_a_cluster(name: str) -> bool:
    return "istributed" in name


def methods(owner: type) -> list[str]:
    functions = (type(list.append), type(socket.socket.close), type(is_result), type(type(PARSED).get))
    return [
        name
        for name in dir(owner)
        if name[0] != "_"
        and name not in INHERITED
        and isinstance(inspect.getattr_static(owner, name), (*functions, classmethod))
    ]


CALLABLES = {name: value for name, value in public() if is_callable(value) and not needs_a_cluster(name)}
METHODS = {
    f"{name}.{method}": getattr(value, method)
    for name, value in public()
    if not needs_a_cluster(name)
    and isinstance(value, type)
    and not issubclass(value, BaseException | int | packet.Layer | packet.Option)
    for method in methods(value)
}


def arguments(function: Call) -> dict[str, inspect.Parameter | None]:
    """The arguments by name; those that ``**options`` names too, without more about them."""
    found: dict[str, inspect.Parameter | None] = {}
    for name, each in inspect.signature(function).parameters.items():
        if each.kind is each.VAR_KEYWORD:
            found |= dict.fromkeys(key for kind in get_args(each.annotation) for key in kind.__annotations__)
        elif name != "self":
            found[name] = each
    return found


def given(name: str, function: Call, argument: str, wrong: object) -> tuple[list[Any], dict[str, Any]]:
    """Right arguments, but for one."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for each, parameter in arguments(function).items():
        if each == argument:
            value = wrong
        elif parameter is None:
            continue
        elif each in RIGHT_OF.get(name, ()):
            value = RIGHT_OF[name][each]
        elif parameter.default is not parameter.empty:
            value = parameter.default
        elif each in RIGHT:
            value = RIGHT[each]
        else:
            assert parameter.kind is parameter.VAR_POSITIONAL, each
            continue
        if parameter is None or parameter.kind is parameter.KEYWORD_ONLY:
            named[each] = value
        else:
            positional.append(value)
    return positional, named


async def drained(iterator: AsyncIterator[Any]) -> None:
    async for _ in iterator:
        pass


def call(function: Call, positional: list[Any], named: dict[str, Any]) -> None:
    result = function(*positional, **named)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    elif isinstance(result, AsyncIterator):
        asyncio.run(drained(result))
    elif isinstance(result, Iterator):
        deque(result, maxlen=0)


def accepted(name: str, function: Call) -> list[str]:
    """What becomes of wrong arguments, where it is not an InvalidArgument that names them."""
    found = []
    for argument in arguments(function):
        for wrong in WRONG:
            if isinstance(wrong, int) and argument in UNBOUNDED:
                continue
            positional, named = given(name, function, argument, wrong)
            outcome = "accepted"
            try:
                call(function, positional, named)
            except InvalidArgument as error:
                if SHOWN_AS.get(argument, argument.removesuffix("s")) in str(error):
                    continue
                outcome = f"InvalidArgument: {error}"
            except PacketError as error:
                if str(error).startswith("sport "):
                    continue
                outcome = f"PacketError: {error}"
            except Exception as error:
                outcome = type(error).__name__
            found.append(f"{argument}={type(wrong).__name__}: {outcome}")
    return found


@pytest.mark.parametrize("name", sorted({*CALLABLES} - PARTS - SOCKETS))
def test_functions_and_classes(root: None, name: str) -> None:
    assert accepted(name, CALLABLES[name]) == []


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        enter = stack.enter_context
        server = enter(echo.EchoServer(HOST))
        one, other = socket.socketpair()
        enter(other)
        address = f"@fastnet-{tmp_path_factory.getbasetemp().name}"
        found = targets.Targets(HOST)
        swept = fastnet.sweep(HOST, engine="tcp")
        forwarder = enter(fastnet.Forwarder(0, f"{HOST}:1"))
        state = Path(tmp_path_factory.mktemp("state"), "state")
        yield {
            "EchoClient": enter(echo.EchoClient(HOST, server.port)),
            "Forwarder": forwarder,
            "MTUSearch": enter(fastnet.MTUSearch(HOST)),
            "PingComparison": fastnet.PingComparison((HOST,), (), ()),
            "Pinger": enter(fastnet.Pinger()),
            "Rule": RULE,
            "StateFile": enter(fastnet.StateFile(state, found)),
            "Stats": forwarder.stats(),
            "Summary": fastnet.Summary(HOST, HOST, "raw"),
            "Sweep": enter(fastnet.Sweep(HOST, engine="tcp")),
            "SweepResult": swept,
            "Tracer": enter(fastnet.Tracer(HOST)),
            "WatchState": fastnet.WatchState((), ()),
            "echo.EchoClient": enter(echo.EchoClient(HOST, server.port)),
            "echo.EchoServer": server,
            "ipc.Channel": enter(ipc.Channel(one)),
            "ipc.Child": enter(ipc.fork(lambda channel: None)),
            "ipc.UnixServer": enter(ipc.UnixServer(address, print)),
            "packet.Packet": PARSED,
            "packet.Template": packet.Template(PARSED, packet.UDP.sport),
            "targets.Targets": found,
        }


TAKING = sorted(name for name, method in METHODS.items() if arguments(method) and name not in PARTS)


@pytest.mark.parametrize("name", TAKING)
def test_methods(root: None, instances: dict[str, Any], name: str) -> None:
    owner, _, method = name.rpartition(".")
    assert accepted(name, getattr(instances[owner], method)) == []


def layers_and_options() -> Iterator[type[packet.Layer | packet.Option]]:
    for name in packet.__all__:
        kind = getattr(packet, name)
        if isinstance(kind, type) and issubclass(kind, packet.Layer | packet.Option):
            yield kind


def make(kind: type[Any], fields: dict[str, Any]) -> object:
    return kind(fields["data"]) if issubclass(kind, BYTES) else kind(**fields)


def test_fields_of_layers_and_options() -> None:
    required = {"IPv6Field": "::1", "MACField": bytes(6)}
    for kind in layers_and_options():
        fields = kind.fields()
        needed = {
            name: required.get(type(field).__name__, 1)
            for name, field in fields.items()
            if field.default is ...
        }
        for name in fields:
            for wrong in WRONG:
                with pytest.raises((InvalidArgument, PacketError), match=f"^{name} "):
                    make(kind, {**needed, name: wrong})
