"""What public functions and classes take: a wrong value is an InvalidArgument that names its argument."""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import fastnet
from fastnet import aio, ipc
from fastnet._ping.pinger import PingerOptions
from fastnet._sweep.running import SweepOptions
from fastnet._trace import TraceOptions
from fastnet._wait import Options
from fastnet.echo import EchoServer
from fastnet.endpoints import Endpoint
from fastnet.errors import InvalidArgument, NameNotResolved
from fastnet.targets import Targets

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
    core = {"checksum", "get_ip_address", "implementation", "list_interfaces"}
    assert {*GIVEN} | {"relay"} == {*fastnet._HOME} - results - others - core


@pytest.mark.parametrize("argument", ["sock_a", "sock_b"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_socket_is_refused_by_its_argument(argument: str, wrong: object) -> None:
    first, second = socket.socketpair()
    with first, second, pytest.raises(InvalidArgument, match=argument):
        fastnet.relay(**{"sock_a": first, "sock_b": second, argument: wrong})


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
    with pytest.raises(socket.gaierror) as caught:
        fastnet.ping("nowhere.invalid")
    assert caught.value.errno == socket.EAI_NONAME
