"""What every result has in common: immutable, comparable, picklable, copied, plain values, a short text."""

from __future__ import annotations

import copy
import json
import pickle
import socket
from importlib import import_module
from typing import Any

import pytest
from environment import Run
from namespaces import Namespace

import fastnet
from fastnet import echo, endpoints, interfaces, ipc, ipv6, targets
from fastnet._contract.rtnetlink import Interface, Route
from fastnet._ping.results import result_of
from fastnet.packet import UDP, IPv4, Template, parse

LONGEST = 400
"""Characters of a text: five lines of a terminal."""

REPLY = fastnet.Reply("h", "192.0.2.1", 0, 1.23456, 64, None)
LOST = fastnet.Reply("h", "192.0.2.1", 1, None, None, "no answer")
PATH = fastnet.PathMTU("h", "192.0.2.1", "raw", 1400, (("192.0.2.9", 1400),), None)
HOPS = tuple(fastnet.Hop(ttl, (fastnet.Response("192.0.2.9", 1.23456, None),) * 3) for ttl in range(1, 31))
PORTS = tuple(fastnet.PortState(port, "closed", "refused") for port in range(1, 1025))
ADDRESS = interfaces.InterfaceAddress("lo", "lo", "::1", 128, "::1", "host")
MAC = "02:00:00:00:00:02"
LEG = interfaces.NextHop("eth0", 2, "192.0.2.1", 3, ("onlink",))
RULE = fastnet.Rule(8080, ["192.0.2.1:80"], policy="least-connections")
WAY = ipv6.WayOut("2600::1", "eth0", "fe80::1", "2001:db8::1", "")
CLIENT = (socket.AF_INET, ("192.0.2.7", 4711))

ETH0 = Interface(2, "eth0", ("lan",), None, "ether", "02:00:00:00:00:02", addresses=(ADDRESS,))
ROUTE = Route("0.0.0.0/0", "192.0.2.1", "eth0", 2)

RESULTS: list[Any] = [
    REPLY,
    LOST,
    result_of("h", "192.0.2.1", "raw", [REPLY, LOST] * 200),
    result_of("h", "", "", [LOST]),
    PATH,
    *(PORTS[0], fastnet.PortScan("h", "192.0.2.1", "connect", PORTS)),
    *(HOPS[0], HOPS[0].responses[0], fastnet.TraceResult("h", "192.0.2.1", "udp", HOPS, True, PATH)),
    *(
        fastnet.Ready("h:1", "192.0.2.1:1", 3, 1.23456),
        fastnet.Outcome("h:1", False, None, "refused", 3, 1.2),
    ),
    *(fastnet.Verdict("192.0.2.1", "alive", 1.2345, None, "02:00:00:00:00:02"), fastnet.Counts(1, 2, 3, 4)),
    *(
        fastnet.Vantage("fra", (("site", "fra"),), None, 1, 2, 3),
        fastnet.Sighting("192.0.2.1", (("fra", fastnet.Verdict("192.0.2.1", "alive", 1.2345, None)),)),
        fastnet.VantagePing("fra", (result_of("h", "192.0.2.1", "raw", [REPLY]),)),
        fastnet.PingComparison(("h",), (fastnet.VantagePing("fra", None),), (fastnet.Vantage("fra"),)),
        fastnet.SweepPlan(1, 0, ("fra",), 2, 1, None, 2, 196, 0.1),
    ),
    *(fastnet.WatchState((ETH0,), (ROUTE,)), fastnet.LostEvent()),
    *(fastnet.LinkEvent("link_added", None, ETH0), fastnet.AddressEvent("address_removed", ADDRESS, None)),
    *(fastnet.RouteEvent("route_added", None, ROUTE), fastnet.GatewayEvent("gateway_changed", None, ROUTE)),
    fastnet.Stats(*range(10)),
    fastnet.UpstreamState("192.0.2.1:80", True, 1, 0),
    fastnet.Record(RULE, 1, CLIENT, None, 1700000000.123456, 1.23456, 10, 20, "closed"),
    fastnet.Relayed(1, 2, True),
    ADDRESS,
    interfaces.InterfaceStatus("lo", "up", "turned on", True, "unknown", True, (ADDRESS,) * 9, PORTS),
    interfaces.Interface(2, "eth0", ("uplink0",), "veth", "ether", MAC, addresses=(ADDRESS,) * 9),
    *(
        LEG,
        interfaces.Route("0.0.0.0/0", legs=(LEG, LEG)),
        interfaces.AddressLifetime("lo", "::1", 128, 1, None),
    ),
    interfaces.Neighbour("eth0", "192.0.2.1", MAC, "reachable", ("router",), None, 2),
    interfaces.InterfaceCounters("lo", 1, 200, 300, 1 << 40, 1 << 50, tx_dropped=7, carrier_changes=2),
    *(ipv6.Ipv6Support(True, True, ("lo",), (), True, (), ("2001:db8::1",), (WAY,)), WAY),
    ipv6.Prefix("fe80::1", "eth0", 64, "fe80::"),
    *(ipv6.explain("2001:0:4136:e378:8000:63bf:3fff:fdd2"), ipv6.EmbeddedIPv4("6to4", "192.0.2.1")),
    targets.Unresolved("h.invalid", "Name or service not known"),
    echo.Reply(0, 64, 1.23456, None),
    echo.EchoStats(1, 2, 3, 4, 5),
    echo.EchoResult("h", "[::1]:7", (echo.Reply(0, 64, 1.23456, None), echo.Reply(1, 64, None, "no answer"))),
    *(ipc.Credentials(1, 2, 3), ipc.UnixStats(1, 2, 3, 4)),
    endpoints.Resolved(socket.AF_INET6, ("fe80::1", 80, 0, 0)),
]
INPUTS = {"Endpoint", "InheritedEndpoint", "Rule", "Span", "UnixEndpoint"}
"""Named tuples that are given; ``targets.Prefix`` is one too."""

result = pytest.mark.parametrize("result", RESULTS, ids=lambda each: type(each).__name__)


def test_each_public_named_tuple_is_here() -> None:
    modules = [import_module(f"fastnet.{name}") for name in fastnet._MODULES]
    public = {getattr(fastnet, name) for name in fastnet._HOME}
    for module in modules:
        public |= {
            each
            for each in vars(module).values()
            if f"{getattr(each, '__module__', '')}.".startswith(f"{module.__name__}.")
        }
        public |= {getattr(module, name) for name in getattr(module, "__all__", ()) if module is interfaces}
    kinds = {each for each in public if isinstance(each, type) and hasattr(each, "_fields")}
    given = {each for each in kinds if each.__name__ in INPUTS} | {targets.Prefix}
    assert kinds - given == {type(each) for each in RESULTS}


def assert_alike(result: Any, other: Any) -> None:
    assert type(other) is type(result)
    assert other is not result
    assert other == result
    assert other.as_dict() == result.as_dict()
    assert repr(other) == repr(result)


def assert_plain(result: Any) -> None:
    """JSON gives back the very same: there is no tuple, no enumeration and no other object in it."""
    told = result.as_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert "<" not in json.dumps(told)


@result
def test_it_goes_to_other_processes_and_is_copied(result: Any) -> None:
    assert_alike(result, pickle.loads(pickle.dumps(result)))
    assert_alike(result, pickle.loads(pickle.dumps(result, 0)))
    assert copy.deepcopy(result) == result


@result
def test_it_is_compared_by_its_fields_and_never_changes(result: Any) -> None:
    first = result._fields[0]
    other = result._replace(**{first: "another" if isinstance(result[0], str) else 7777})
    assert other != result
    assert hash(result._replace()) == hash(result)
    with pytest.raises(AttributeError):
        setattr(result, first, None)
    with pytest.raises(AttributeError):
        result.another = None


@result
def test_it_is_plain_values_for_json(result: Any) -> None:
    assert_plain(result)


@result
def test_its_text_is_short_and_its_figures_are_rounded(result: Any) -> None:
    text = repr(result)
    assert text.startswith(f"{type(result).__name__}(")
    assert len(text) <= LONGEST
    assert "23456" not in text
    assert "None" not in text


def test_a_dictionary_has_the_properties_too() -> None:
    scan = fastnet.PortScan("h", "192.0.2.1", "connect", (fastnet.PortState(80, "open", "accepted"),))
    port = {"port": 80, "state": "open", "reason": "accepted"}
    about = {"host": "h", "address": "192.0.2.1", "engine": "connect"}
    assert scan.as_dict() == {**about, "ports": [port], "open": [80]}


def test_a_record_has_addresses_as_texts() -> None:
    told = fastnet.Record(RULE, 1, CLIENT, None, 1.0, 2.0, 10, 20, "closed").as_dict()
    assert (told["rule"], told["client"], told["upstream"]) == (RULE.name, "192.0.2.7:4711", None)


def test_a_text_leaves_out_what_is_nothing() -> None:
    assert repr(REPLY) == "Reply(host='h', address='192.0.2.1', seq=0, rtt_ms=1.235, ttl=64)"
    assert repr(LOST) == "Reply(host='h', address='192.0.2.1', seq=1, error='no answer')"


def test_a_rule_shows_what_was_given() -> None:
    text = "Rule(listen='localhost:8080', upstreams=('192.0.2.1:80',), policy='least-connections')"
    assert repr(RULE) == text
    assert eval(text, {"Rule": fastnet.Rule}) == RULE


def test_targets_keep_the_names_that_do_not_resolve() -> None:
    given = targets.Targets("192.0.2.0/30", "::1", "name.invalid", exclude=["192.0.2.1"], strict=False)
    for other in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert other == given
        assert [*other] == [*given]
        assert other.unresolved == given.unresolved
        assert given.unresolved[0].name == "name.invalid"


# Sweeps


@pytest.fixture
def swept(root: None, linked: tuple[Namespace, Namespace]) -> fastnet.SweepResult:
    """All states, all engines of ``auto``, MACs, a responder, and a name without an address."""
    left, right = linked
    for host in linked:
        host.settle()
    right.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", "net.ipv4.ip_forward=1")
    right.ip("address", "add", "fd79::1/64", "dev", "lo", "nodad")
    left.ip("route", "add", "fd79::/64", "via", "fd77::2")
    left.ip("route", "add", "10.88.0.0/24", "via", "10.77.0.2")
    right.ip("route", "add", "unreachable", "10.88.0.0/24")
    wanted = ["10.77.0.2-3", "10.88.0.1", "192.0.2.1", "fd79::", "fd79::1", "name.invalid"]
    return left.call(lambda: fastnet.sweep(wanted, timeout=0.5))


@pytest.mark.xdist_group("icmp")
def test_a_sweep_s_result(swept: fastnet.SweepResult) -> None:
    assert swept.counts == (3, 1, 1, 2)
    assert {each.mac is not None for each in swept.alive} == {True, False}
    assert [each.responder for each in swept.alive if each.responder] == ["fd77::2"]
    for other in (pickle.loads(pickle.dumps(swept)), copy.deepcopy(swept)):
        assert_alike(swept, other)
        assert_alike(swept, pickle.loads(pickle.dumps(other)))
        assert [*other] == [*swept]
        assert [*other.known] == [*swept.known]
        assert [*other.changes(swept)] == []
        assert other.rtts_ms.tobytes() == swept.rtts_ms.tobytes()
        assert other.targets == swept.targets
        assert_alike(swept.alive, other.alive)
        assert_alike(swept.unreachable, pickle.loads(pickle.dumps(swept.unreachable)))
    assert_plain(swept)
    assert_plain(swept.not_probed)
    assert swept.as_dict()["counts"] == {"alive": 3, "inactive": 1, "unreachable": 1, "not_probed": 2}
    assert repr(swept.inactive) == "<1 inactive: Verdict(address='10.77.0.3', state='inactive')>"


@pytest.mark.parametrize("name", ["targets", "engine", "complete", "states", "rtts_ms", "counts", "alive"])
def test_a_sweep_s_result_is_read_only(name: str) -> None:
    result = fastnet.sweep(["127.0.0.1"], engine="tcp")
    with pytest.raises(AttributeError):
        setattr(result, name, None)
    with pytest.raises(TypeError):
        result.rtts_ms[0] = 1.0
    with pytest.raises(TypeError):
        hash(result)


def test_sweeps_are_compared_by_what_they_found() -> None:
    one, other = (fastnet.sweep([target], engine="tcp") for target in ("127.0.0.1", "127.0.0.2"))
    assert (one.states, one.engine) == (other.states, other.engine)
    assert one != other
    assert one == pickle.loads(pickle.dumps(one))
    assert one != [*one]


def test_what_an_interrupted_sweep_found(root: None) -> None:
    with fastnet.Sweep("127.0.0.1-4", rate=2, engine="raw") as running:
        while not running.result().alive:
            running.run(0.05)
        early = running.result()
        other = pickle.loads(pickle.dumps(early))
        while not running.run():
            pass
    assert pickle.loads(pickle.dumps(early)).counts == early.counts, "as it was, however the sweep went on"
    assert not other.complete
    assert 0 < other.counts.alive < 4
    assert_alike(early, other)
    assert [*other.known] == [*early.known]


def test_every_protocol_of_pickle_and_nothing_to_be_set(root: None) -> None:
    result = fastnet.sweep(["127.0.0.1-2"], engine="tcp")
    for each in (result, result.alive, result.targets):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(each, protocol)) == each
        with pytest.raises(AttributeError):
            each.another = None  # type: ignore[union-attr]


def test_a_view_shows_some(root: None) -> None:
    view = fastnet.sweep(["127.0.0.0/24"], timeout=0.3).alive
    assert repr(view).startswith("<256 alive: Verdict(address='127.0.0.0', state='alive', rtt_ms=")
    assert repr(view).endswith(" more>")
    assert len(repr(view)) <= LONGEST
    assert repr(fastnet.sweep(["127.0.0.1"], engine="tcp").inactive) == "<0 inactive>"


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_shards_are_swept_by_processes(root: None, python: Run, start: str) -> None:
    ran = python(
        "-c",
        "import fastnet, multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        f"with ProcessPoolExecutor(2, multiprocessing.get_context('{start}')) as pool:\n"
        "    for result in pool.map(fastnet.sweep, [['127.0.0.1'], ['127.0.0.2', '127.0.0.3']]):\n"
        "        print(*(each.address for each in result.alive))\n",
    )
    assert (ran.stdout, ran.stderr) == ("127.0.0.1\n127.0.0.2 127.0.0.3\n", "")


# What works


def test_a_forwarder_shows_its_state() -> None:
    forwarder = fastnet.Forwarder(0, "127.0.0.1:9")
    assert repr(forwarder) == "<Forwarder localhost:0 to 127.0.0.1:9: not started>"
    with forwarder:
        where = f"<Forwarder {forwarder.addresses[0]} to 127.0.0.1:9: "
        assert repr(forwarder) == where + "running, 0 active>"
        rules = [*forwarder.rules, fastnet.Rule("127.0.0.1:0", "127.0.0.1:9")]
        forwarder.reload(rules)
        assert repr(forwarder) == where.removesuffix(": ") + " and 1 more: running, 0 active>"
        forwarder.reload(rules[:1])
    assert repr(forwarder) == where + "ended>"


def test_an_echo_server_shows_its_state() -> None:
    server = echo.EchoServer("127.0.0.1")
    assert repr(server) == "<EchoServer 127.0.0.1:0: not running>"
    with server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert repr(server) == f"<EchoServer 127.0.0.1:{server.port}: running, 1 active>"


def test_a_pinger_shows_its_state(root: None) -> None:
    with fastnet.Pinger(engine="raw") as pinger:
        assert repr(pinger) == "<Pinger open: no socket yet (engine raw)>"
        pinger.ping("127.0.0.1", count=1)
        assert repr(pinger) == "<Pinger open: raw socket>"
    assert repr(pinger) == "<Pinger closed>"


def test_a_template_shows_what_it_is() -> None:
    template = Template(IPv4(dst="192.0.2.1") / UDP(sport=1), IPv4.dst, UDP.sport)
    assert repr(template) == "<Template: 28 bytes, varying dst, sport>"


def test_a_template_goes_to_other_processes_and_is_copied() -> None:
    packet = IPv4(src="192.0.2.1") / UDP(sport=1) / b"x"
    for given in (packet, parse(bytes(packet), "ipv4")):
        template = Template(given, IPv4.dst, UDP.sport)
        others = [pickle.loads(pickle.dumps(template, each)) for each in range(pickle.HIGHEST_PROTOCOL + 1)]
        for other in (*others, copy.copy(template), copy.deepcopy(template)):
            assert repr(other) == repr(template)
            assert other.build("192.0.2.7", 9) == template.build("192.0.2.7", 9)


def test_checkers_and_help_know_as_dict(capsys: pytest.CaptureFixture[str]) -> None:
    help(fastnet.Verdict)
    shown = capsys.readouterr().out
    assert "as_dict(self) -> dict" in shown
    assert "as plain values for JSON" in shown
