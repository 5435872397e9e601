"""What public functions and classes take: a wrong value is an InvalidArgument that names its argument."""

from __future__ import annotations

import asyncio
import errno
import inspect
import ipaddress
import pickle
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fastnet
from fastnet import aio, ipc, ipv6
from fastnet._backend import probe
from fastnet._ping.pinger import PingerOptions
from fastnet._sweep.running import SweepOptions
from fastnet._trace import TraceOptions
from fastnet._wait import Options
from fastnet.echo import EchoClient, EchoServer, echo
from fastnet.endpoints import Endpoint, parse_endpoint, parse_place
from fastnet.errors import InvalidArgument, NameNotResolved, NotPermitted
from fastnet.targets import Targets, parse_prefix, read_targets

HOST = "127.0.0.1"
GIVEN: dict[str, dict[str, Any]] = {
    "ping": {"host": HOST, "count": 1, "timeout": 0.1},
    "multiping": {"hosts": [HOST], "count": 1, "timeout": 0.1},
    "path_mtu": {"host": HOST, "timeout": 0.1},
    "trace": {"host": HOST, "timeout": 0.1},
    "sweep": {"targets": HOST, "timeout": 0.1},
    "sweep_stream": {"targets": HOST, "timeout": 0.1},
    "sweep_every": {"targets": HOST, "every": 0.1, "count": 1},
    "wait": {"target": f"{HOST}:1", "timeout": 0.1},
    "wait_all": {"targets": [f"{HOST}:1"], "timeout": 0.1},
    "wait_stream": {"targets": [f"{HOST}:1"], "timeout": 0.1},
    "watch": {"kinds": ["carrier"], "timeout": 0.1},
    "portscan": {"host": HOST, "ports": "1", "timeout": 0.1},
    "Forwarder": {"listen": 0, "upstream": f"{HOST}:1"},
    "Pinger": {},
    "Sweep": {"targets": HOST},
    "Tracer": {"host": HOST},
    "MTUSearch": {"host": HOST},
    "Rule": {"listen": 0, "upstreams": f"{HOST}:1"},
}
"""Arguments with which each is right."""
MORE: dict[str, tuple[Any, ...]] = {
    "ping": (PingerOptions,),
    "multiping": (PingerOptions,),
    "trace": (TraceOptions,),
    "sweep_stream": (SweepOptions,),
    "sweep_every": (SweepOptions,),
    "wait": (Options,),
    "wait_all": (Options,),
    "wait_stream": (Options,),
}
"""The options that each passes on."""
INNER = {"on_hop", "progress", "tap", "warn", "to", "decided", "repeated", "record", "options"}
"""Callbacks, flags and what is for other parts of fastnet alone."""
NONE = {"ttl", "dont_fragment", "source", "enough", "rate", "seed"}
"""Arguments for which None means something, if only somewhere."""
NONE_OF = {
    ("sweep_every", "count"),
    *((name, "timeout") for name in ("wait", "wait_all", "wait_stream")),
    *(("watch", name) for name in ("interface", "kinds", "timeout", "netns", "receive_buffer")),
}
WRONG = [None, b"1", 1j, ["nonsense"], -(10**12), "no such \0 thing"]


def arguments() -> Iterator[tuple[str, str]]:
    for name in GIVEN:
        own = [each for each in inspect.signature(getattr(fastnet, name)).parameters if each not in INNER]
        more = [each for kind in MORE.get(name, ()) for each in kind.__annotations__]
        yield from ((name, argument) for argument in dict.fromkeys(own + more))


def is_right(name: str, argument: str, wrong: object) -> bool:
    """Whether this is no wrong value for the argument after all."""
    if wrong is None:
        return argument in NONE or (name, argument) in NONE_OF
    if isinstance(wrong, bytes):
        return argument == "pattern"
    if isinstance(wrong, list):
        return argument in ("hosts", "targets", "exclude")
    # A text may be the name of a host, or of an interface: that there is none has its own error.
    return isinstance(wrong, str) and argument in {
        *["host", "hosts", "target", "targets", "exclude", "source", "interface"]
    }


def call(name: str, given: dict[str, Any]) -> object:
    result = getattr(fastnet, name)(**given)
    return [*result] if isinstance(result, Iterator) else result


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize(("name", "argument"), [*arguments()], ids=str)
def test_a_wrong_value_is_refused_by_its_argument(name: str, argument: str, wrong: object) -> None:
    if not is_right(name, argument, wrong):
        with pytest.raises(InvalidArgument, match=argument.removesuffix("s")):
            call(name, {**GIVEN[name], argument: wrong})


def test_each_public_class_and_function_that_takes_arguments_is_in_the_table() -> None:
    results = {name for name in fastnet._HOME if hasattr(getattr(fastnet, name), "_fields")} - {"Rule"}
    others = {"FastnetError", "PingResult", "Summary", "SweepResult", "Verdicts", "StateFile", "load_rules"}
    others |= {"Comparison", "DistributedResult"}
    # tests/features/test_distributed.py
    distributed = {"sweep_distributed", "DistributedSweep", "ping_distributed", "DistributedPing"}
    core = {"checksum", "get_ip_address", "implementation", "list_interfaces"}
    assert {*GIVEN} | {"relay"} == {*fastnet._HOME} - results - others - core - distributed


@pytest.mark.parametrize("argument", ["sock_a", "sock_b"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_socket_is_refused_by_its_argument(argument: str, wrong: object) -> None:
    first, second = socket.socketpair()
    with first, second, pytest.raises(InvalidArgument, match=argument):
        fastnet.relay(**{"sock_a": first, "sock_b": second, argument: wrong})


# What takes a number, a callback, ...

NUMBERS = [
    *[
        ("ping", each)
        for each in ("count", "interval", "timeout", "retries", "backoff", "size", "ttl", "mark")
    ],
    *[("sweep", each) for each in ("timeout", "retries", "window", "rate", "seed")],
    *[("trace", each) for each in ("max_hops", "tries", "timeout")],
    *[("wait", each) for each in ("timeout", "interval", "attempt_timeout")],
    *[("portscan", each) for each in ("timeout", "concurrency")],
    *[("Forwarder", each) for each in ("threads", "spin", "connect_timeout", "rate", "listen")],
]
HUGE = 10**5000
"""More digits than Python writes."""


@pytest.mark.parametrize(("name", "argument"), NUMBERS, ids=str)
def test_what_is_only_like_a_number_is_refused(name: str, argument: str) -> None:
    """A class has ``__index__`` too, NaN of ``decimal`` can't be compared, and True is no count."""
    for wrong in (int, Decimal("NaN"), Decimal(1), True, HUGE):
        with pytest.raises(InvalidArgument, match=argument):
            call(name, {**GIVEN[name], argument: wrong})


@pytest.mark.parametrize(("name", "argument"), [each for each in NUMBERS if each[0] != "Forwarder"], ids=str)
def test_a_wrong_argument_is_refused_before_a_socket_is_opened(
    monkeypatch: pytest.MonkeyPatch, name: str, argument: str
) -> None:
    """So the error is the same without any privilege."""

    def refuse(*_: Any, **__: Any) -> None:
        raise NotPermitted(errno.EPERM, "no socket is permitted")

    monkeypatch.setattr(probe, "Prober", refuse)
    for given in ({**GIVEN[name], argument: "x"}, {**GIVEN[name], argument: -1}):
        with pytest.raises(InvalidArgument, match=argument):
            call(name, given)
        with pytest.raises(InvalidArgument, match=argument):
            asyncio.run(getattr(aio, name)(**given))


def test_a_long_value_is_cut_in_the_message() -> None:
    for wrong in ("x" * 100_000, ["x"] * 100_000):
        with pytest.raises(InvalidArgument, match="policy") as caught:
            fastnet.Rule(0, f"{HOST}:1", policy=wrong)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 400


def nothing(channel: ipc.Channel) -> None:
    pass


def unix_server(**given: Any) -> object:
    return ipc.UnixServer(**{"address": "@fastnet-arguments", "handler": nothing, **given})


def channel(**given: Any) -> object:
    one, other = socket.socketpair()
    with one, other:
        return ipc.Channel(**{"sock": one, **given})


CALLS: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "EchoServer": (EchoServer, ("host", "port", "family", "max_connections")),
    "EchoClient": (
        lambda **given: EchoClient(**{"host": HOST, "port": 7, **given}),
        ("host", "port", "family"),
    ),
    "echo": (
        lambda **given: echo(**{"host": HOST, "port": 7, **given}),
        ("host", "port", "count", "size", "interval", "family"),
    ),
    "UnixServer": (unix_server, ("address", "handler", "mode", "max_connections", "max_message")),
    "Channel": (channel, ("sock", "max_message")),
    "connect": (lambda **given: ipc.connect(**{"address": "@no", **given}), ("address", "max_message")),
    "pair": (ipc.pair, ("max_message",)),
    "fork": (lambda **given: ipc.fork(**{"function": nothing, **given}), ("function", "grace")),
    "StateFile": (
        lambda **given: fastnet.StateFile(**{"path": "/no/file", "targets": Targets(HOST), **given}),
        ("path", "targets", "shard"),
    ),
    "Summary": (
        lambda **given: fastnet.Summary(**{"host": "h", "address": HOST, "engine": "raw", **given}),
        ("host", "address", "engine", "interval", "carried"),
    ),
    "Targets": (Targets, ("exclude", "family", "strict")),
    "read_targets": (read_targets, ("lines",)),
    "parse_prefix": (parse_prefix, ("text",)),
    "parse_endpoint": (parse_endpoint, ("text",)),
    "parse_place": (parse_place, ("text",)),
    "ipv6.prefix": (lambda **given: ipv6.prefix(**{"text": "::1/64", **given}), ("text", "engine")),
    "ipv6.explain": (lambda **given: ipv6.explain(**{"address": "::1", **given}), ("address", "engine")),
    "ipv6.addresses": (ipv6.addresses, ("engine",)),
}
"""The calls of the modules, and their arguments for which None and the like are wrong."""


@pytest.mark.parametrize(
    "wrong", [None, 1j, int, 1.5, -HUGE, [None]], ids=["None", "1j", "int", "1.5", "huge", "[None]"]
)
@pytest.mark.parametrize(
    ("name", "argument"), [(name, each) for name, (_, taken) in CALLS.items() for each in taken], ids=str
)
def test_modules_refuse_a_wrong_value_by_its_argument(name: str, argument: str, wrong: Any) -> None:
    right = {"interval": (1.5,), "grace": (1.5,), "function": (int,), "handler": (int,)}
    if wrong not in right.get(argument, ()):
        with pytest.raises(InvalidArgument, match=argument.removesuffix("s")):
            CALLS[name][0](**{argument: wrong})


@pytest.mark.parametrize("wrong", [3, "", "print"], ids=repr)
def test_what_can_not_be_called_is_no_callback(wrong: Any) -> None:
    for argument in ("tap", "warn"):
        with pytest.raises(InvalidArgument, match=argument):
            fastnet.Forwarder(0, f"{HOST}:1", **{argument: wrong})
    with pytest.raises(InvalidArgument, match="record"):
        fastnet.Forwarder(0, f"{HOST}:1", record=wrong)
    with pytest.raises(InvalidArgument, match="on_hop"):
        fastnet.trace(HOST, on_hop=wrong)
    with pytest.raises(InvalidArgument, match="on_hop"):
        asyncio.run(aio.trace(HOST, on_hop=wrong))
    with pytest.raises(InvalidArgument, match="progress"):
        fastnet.wait_stream([f"{HOST}:1"], 0.1, wrong)
    with pytest.raises(InvalidArgument, match="on_reply"):
        echo(HOST, 7, on_reply=wrong)


def test_what_can_be_no_path_is_refused(tmp_path: Path) -> None:
    for wrong in ("a\0b", "\ud800"):
        with pytest.raises(InvalidArgument, match="path"):
            fastnet.load_rules(wrong)
        with pytest.raises(InvalidArgument, match="path"):
            fastnet.StateFile(wrong, Targets(HOST))
        with pytest.raises(InvalidArgument, match="address"):
            ipc.connect(wrong)
    with pytest.raises(InvalidArgument, match="timeout"):
        fastnet.load_rules(tmp_path, timeout="3")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, b"1", 1j, 7], ids=repr)
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InvalidArgument, match="path"):
        fastnet.load_rules(path)
    with pytest.raises(InvalidArgument, match="path"):
        fastnet.StateFile(path, Targets(HOST))
    if not isinstance(path, bytes):
        with pytest.raises(InvalidArgument, match="address"):
            ipc.connect(path)


ADDRESSES = [ipaddress.ip_address(HOST), ipaddress.ip_interface(f"{HOST}/8")]


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("host", ADDRESSES, ids=repr)
def test_addresses_of_ipaddress_are_hosts(root: None, host: Any) -> None:
    assert fastnet.ping(host, count=1, source=host).address == HOST
    assert [each.host for each in fastnet.multiping([host], count=1)] == [HOST]
    assert asyncio.run(aio.ping(host, count=1)).host == HOST
    assert fastnet.path_mtu(host, source=host).host == HOST
    assert asyncio.run(aio.path_mtu(host)).address == HOST
    assert fastnet.trace(host).host == HOST
    assert asyncio.run(aio.trace(host)).address == HOST
    assert fastnet.portscan(host, 1).host == HOST


def test_addresses_of_ipaddress_in_modules() -> None:
    here = ipaddress.ip_address(HOST)
    with EchoServer(here) as server:
        assert server.addresses[0].host == HOST
        assert echo(here, server.port, count=1).host == HOST
        with EchoClient(here, server.port) as client:
            assert client.address == f"{HOST}:{server.port}"
    assert ipv6.prefix(ipaddress.ip_interface("fd00::2/64")) == ipv6.prefix("fd00::2/64")
    assert ipv6.prefix(here) == ipv6.prefix(HOST)
    assert parse_prefix(ipaddress.ip_network("10.0.0.0/8")) == parse_prefix("10.0.0.0/8")


@pytest.mark.xdist_group("icmp")
def test_targets_of_ipaddress(root: None) -> None:
    network = ipaddress.ip_network("127.0.0.4/30")
    expected = ["127.0.0.4", "127.0.0.6", "127.0.0.7"]
    excluded = ipaddress.ip_address("127.0.0.5")
    for targets in (network, [network], ipaddress.ip_interface("127.0.0.6/30")):
        assert [each.address for each in fastnet.sweep(targets, exclude=[excluded])] == expected
    assert [*Targets(network, exclude=[excluded])] == expected
    assert [each.address for each in fastnet.sweep(excluded)] == ["127.0.0.5"]


def test_rules_of_numbers_pairs_and_networks() -> None:
    here = ipaddress.ip_address(HOST)
    rule = fastnet.Rule(8080, (here, 80), allow=[ipaddress.ip_network("10.0.0.0/8"), here])
    assert rule == fastnet.Rule("8080", f"{HOST}:80", allow=["10.0.0.0/8", HOST])
    assert fastnet.Rule((here, 8080), ["[::1]:80", ("::1", 81)]).upstreams == (
        Endpoint("::1", 80),
        Endpoint("::1", 81),
    )
    with fastnet.Forwarder(0, (here, 1)) as forwarder:
        assert forwarder.port > 0


def test_a_port_and_a_pair_to_wait_for() -> None:
    with EchoServer(HOST) as server:
        assert fastnet.portscan(HOST, server.port).open == (server.port,)
        for target in ((HOST, server.port), (ipaddress.ip_address(HOST), server.port), server.addresses[0]):
            assert fastnet.wait(target, 30.0).target == f"{HOST}:{server.port}"
        assert fastnet.wait_all(iter([(HOST, server.port)]), 30.0)[0].attempts == 1


def test_an_unknown_name_is_also_the_resolver_s_error() -> None:
    for call in (fastnet.ping, fastnet.trace, fastnet.portscan, fastnet.sweep):
        with pytest.raises(socket.gaierror) as caught:
            call("nowhere.invalid")
        assert isinstance(caught.value, NameNotResolved)
        # Also after the way back from another process.
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert error.errno in (socket.EAI_NONAME, socket.EAI_AGAIN)
            assert str(error) == str(caught.value)
