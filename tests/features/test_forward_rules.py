"""The forwarder's rules: what is refused, many in one process, and changed while connections go on."""

from __future__ import annotations

import asyncio
import copy
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forwarding import (
    PATIENCE,
    Load,
    Server,
    WebServer,
    assert_soon,
    connect,
    echo,
    fetch,
    free_port,
    named_digest,
    open_files,
    read_all,
    say,
    who,
)

from fastnet._forward import Forwarder, Rule, Stats
from fastnet._forward.rule import Options
from fastnet.endpoints import Endpoint, UnixEndpoint
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved

UPSTREAM = "127.0.0.1:1"


@pytest.fixture(params=["auto", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Each test leaves no descriptor and no thread behind."""
    files, threads = open_files(), threading.active_count()
    yield
    assert_soon(lambda: open_files() <= files and threading.active_count() <= threads)


# What a rule is


def test_a_rule_is_read_and_has_its_defaults() -> None:
    rule = Rule("8080", ["example.com:80", "unix:/run/x"], allow=["10.0.0.0/8"])
    assert rule.listen == Endpoint("localhost", 8080)
    assert rule.upstreams == (Endpoint("example.com", 80), UnixEndpoint("/run/x"))
    assert (rule.name, rule.protocol, rule.allow) == ("localhost:8080", "tcp", ("10.0.0.0/8",))
    assert Rule("8080", ("example.com:80", UnixEndpoint("/run/x")), allow=("10.0.0.0/8",)) == rule
    assert Rule("unix:@a", Endpoint("::1", 80), name="web").name == "web"


def test_a_rule_is_copied_and_changed_as_a_value() -> None:
    rule = Rule("8080", UPSTREAM, rate=5)
    assert copy.copy(rule) == pickle.loads(pickle.dumps(rule)) == rule
    assert rule._replace(rate=6) == Rule("8080", UPSTREAM, rate=6)
    assert rule.going_to(["a:1", "b:2"]).upstreams == (Endpoint("a", 1), Endpoint("b", 2))
    with pytest.raises(InvalidArgument, match="rate -1"):
        rule._replace(rate=-1)


def test_the_options_are_the_fields() -> None:
    assert [*Options.__annotations__] == [*Rule._fields[2:]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"listen": "::1:80"}, "listen .*brackets"),
        ({"listen": 80.0}, "listen 80.0"),
        ({"listen": Endpoint("localhost", 65536)}, "port 65536"),
        ({"upstreams": []}, "upstreams: expected one or more"),
        ({"upstreams": ["a:1", "example.com"]}, "upstreams .*HOST:PORT"),
        ({"upstreams": "systemd:x"}, "upstreams systemd:x"),
        ({"upstreams": "unix:"}, "upstreams .*unix:/path"),
        ({"upstreams": [None]}, "upstreams None"),
        ({"name": 5}, "name 5"),
        ({"name": "a\nb"}, "name"),
        ({"protocol": "sctp"}, "protocol 'sctp': expected one of 'tcp', 'udp'"),
        ({"policy": "random"}, "policy"),
        ({"rewrite_host": 1}, "rewrite_host 1"),
        ({"rewrite_host": "sometimes"}, "rewrite_host"),
        ({"rewrite_responses": True}, "rewrite_responses without rewrite_host"),
        ({"rewrite_origin": True}, "rewrite_origin without rewrite_host"),
        ({"rewrite_origin": 1}, "rewrite_origin 1"),
        ({"transparent": 1}, "transparent 1"),
        ({"send_proxy": 3}, "send_proxy 3"),
        ({"send_proxy": True}, "send_proxy True"),
        ({"connect_timeout": float("nan")}, "connect_timeout nan"),
        ({"connect_timeout": 0}, "connect_timeout 0"),
        ({"connect_timeout": None}, "connect_timeout None: expected seconds"),
        ({"idle_timeout": -1}, "idle_timeout -1"),
        ({"half_closed_timeout": "5"}, "half_closed_timeout '5': expected seconds"),
        ({"keepalive": 32768}, "keepalive 32768: expected seconds, 0 to 32767"),
        ({"keepalive": "off"}, "keepalive 'off': expected seconds"),
        ({"user_timeout": -1}, "user_timeout -1: expected seconds"),
        ({"protocol": "udp", "keepalive": 5}, "keepalive: expected none with protocol 'udp'"),
        ({"protocol": "udp", "user_timeout": 5}, "user_timeout: expected none with protocol 'udp'"),
        ({"head_timeout": float("inf")}, "head_timeout inf"),
        ({"keep_alive_timeout": -1}, "keep_alive_timeout -1"),
        ({"max_connections": 0}, "max_connections 0"),
        ({"max_connections": 1.5}, "max_connections 1.5: expected a whole number"),
        ({"max_connections": True}, "max_connections True"),
        ({"max_per_source": -1}, "max_per_source -1"),
        ({"source_prefix": 0}, "source_prefix 0: expected 1 to 128"),
        ({"source_prefix": 129}, "source_prefix 129: expected 1 to 128"),
        ({"rate": 1 << 80}, "rate"),
        ({"max_failures": 0}, "max_failures 0"),
        ({"allow": "10.0.0.0/8"}, "allow '10.0.0.0/8': expected a list"),
        ({"allow": ["10.0.0.1/8"]}, "allow .*did you mean 10.0.0.0/8"),
        ({"deny": ["example.com"]}, "deny example.com"),
        ({"trust_proxy": [7]}, "trust_proxy"),
        ({"health": "ping"}, "health 'ping': expected one of connect, stable, banner, or http:/path"),
        ({"health": "http:/a b"}, "write spaces"),
        ({"health": "http", "upstreams": "unix:/x"}, "can't be asked by HTTP"),
        ({"health_interval": 0}, "health_interval 0"),
        ({"resolve_interval": 0.01}, "resolve_interval 0.01"),
        ({"protocol": "udp", "rewrite_host": True}, "rewrite_host: expected none with protocol 'udp'"),
        ({"protocol": "udp", "health": "connect"}, "health: expected none"),
        ({"protocol": "udp", "transparent": True}, "transparent: expected none"),
        ({"protocol": "udp", "listen": "unix:/x"}, "unix:/x: expected HOST:PORT"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as refused:
        Rule(**{"listen": "0", "upstreams": UPSTREAM, **options})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads 0"),
        ({"spin": float("nan")}, "spin nan"),
        ({"engine": "fast"}, "engine 'fast': expected one of auto, copy, splice, pure"),
        ({"engine": "copy", "tap": print}, "tap with engine 'copy'"),
    ],
)
def test_a_forwarder_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Forwarder("0", UPSTREAM, **options)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="bogus"):
        Forwarder("0", UPSTREAM, bogus=1)  # type: ignore[call-arg]


def test_rules_that_cannot_be_together_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="no rules"):
        Forwarder.from_rules([])
    with pytest.raises(InvalidArgument, match="two rules listen at localhost:8080"):
        Forwarder.from_rules([Rule("8080", UPSTREAM), Rule("8080", "127.0.0.1:2")])
    Forwarder.from_rules([Rule("8080", UPSTREAM), Rule("8080", UPSTREAM, protocol="udp")])
    Forwarder.from_rules([Rule("0", UPSTREAM), Rule("0", UPSTREAM)])


# Many rules


def test_many_rules_in_one_process(serve: Callable[..., Server], engine: str) -> None:
    first = Rule("127.0.0.1:0", f"127.0.0.1:{serve(say('first')).port}", name="first")
    second = Rule("127.0.0.1:0", f"127.0.0.1:{serve(say('second')).port}", name="second")
    with Forwarder.from_rules([first, second], engine=engine) as forwarder:
        assert forwarder.rules == (first, second)
        ports = [address.port for address in forwarder.addresses if isinstance(address, Endpoint)]
        assert forwarder.port == ports[0]
        assert [*map(str, forwarder.addresses_of(second))] == [f"127.0.0.1:{ports[1]}"]
        assert [who(port) for port in ports] == ["first", "second"]
        assert who(ports[1]) == "second"
        assert_soon(lambda: forwarder.stats().active == 0)
        assert (forwarder.stats(first).accepted, forwarder.stats(second).accepted) == (1, 2)
        assert forwarder.stats().sent_down == len("firstsecondsecond")
        with pytest.raises(InvalidArgument, match="expected one of those in force"):
            forwarder.stats(Rule("0", UPSTREAM))
        with pytest.raises(InvalidArgument, match="expected one of the 2"):
            forwarder.set_upstream(UPSTREAM)
    assert forwarder.stats().accepted == 3


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (lambda port: Rule(f"127.0.0.1:{port}", UPSTREAM), AddressInUse),
        (lambda port: Rule("0", "nowhere.invalid:80"), NameNotResolved),
        (lambda port: Rule(f"127.0.0.1:{free_port()}", UPSTREAM, congestion="none-such"), InvalidArgument),
    ],
    ids=["taken", "unresolved", "congestion"],
)
def test_a_start_that_fails_leaves_nothing_and_may_be_tried_again(
    serve: Callable[..., Server], rule: Callable[[int], Rule], error: type[Exception]
) -> None:
    port = serve(echo).port
    good = Rule("127.0.0.1:0", f"127.0.0.1:{port}")
    forwarder = Forwarder.from_rules([good, rule(port)], threads=2)
    for _ in range(2):
        with pytest.raises(error):
            forwarder.start()
    with pytest.raises(RuntimeError, match="not started"):
        forwarder.stats()


# Forwarding to itself


def test_rules_that_lead_in_a_circle_are_refused() -> None:
    one, two, three = free_port(), free_port(), free_port()
    rules = [
        Rule(f"127.0.0.1:{one}", f"127.0.0.1:{two}"),
        Rule(f"localhost:{two}", f"127.0.0.1:{three}"),
        Rule(f"127.0.0.1:{three}", [UPSTREAM, f"0.0.0.0:{one}"]),
    ]
    with pytest.raises(InvalidArgument, match="itself"):
        Forwarder.from_rules(rules).start()
    with Forwarder.from_rules(rules[:2]):
        pass


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("host", ["[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]"])
def test_the_mapped_form_of_its_own_address_is_refused(protocol: str, host: str) -> None:
    port = free_port()
    for listens in ("127.0.0.1", "*"):
        with pytest.raises(InvalidArgument, match="itself"):
            Forwarder(f"{listens}:{port}", f"{host}:{port}", protocol=protocol).start()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_free_port_is_none_of_an_upstream(namespace: Callable[[], Any], protocol: str) -> None:
    space = namespace()
    space.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40001")

    def start() -> None:
        for upstream, other in [(40000, 40001), (40001, 40000)] * 5:
            with Forwarder("127.0.0.1:0", f"127.0.0.1:{upstream}", protocol=protocol) as forwarder:
                assert forwarder.port == other

    space.call(start)


def test_a_unix_path_that_leads_to_itself_is_refused(tmp_path: Any) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "sock")
    with pytest.raises(InvalidArgument, match="itself"):
        Forwarder(f"unix:{tmp_path}/sock", f"unix:{tmp_path}/link").start()
    assert not (tmp_path / "sock").exists()
    with pytest.raises(InvalidArgument, match="itself"):
        Forwarder("unix:@fastnet-self", "unix:@fastnet-self").start()


def test_an_own_address_reaches_who_listens_everywhere(namespace: Callable[[], Any]) -> None:
    space = namespace()
    space.ip("address", "add", "10.9.9.9/32", "dev", "lo")

    def start() -> None:
        with pytest.raises(InvalidArgument, match="itself"):
            Forwarder("*:8080", "10.9.9.9:8080").start()
        with Forwarder("*:8080", ["10.9.9.8:8080", "10.9.9.9:8081"]):
            pass

    space.call(start)


# Changing them


def test_nobody_is_dropped_while_upstreams_change(serve: Callable[..., Server], engine: str) -> None:
    places = {name: f"127.0.0.1:{serve(named_digest(name)).port}" for name in ("a", "b")}
    held = serve(echo)
    with Forwarder("127.0.0.1:0", f"127.0.0.1:{held.port}", threads=2, engine=engine) as forwarder:
        rule = forwarder.rules[0]
        with connect(forwarder.port) as client:
            client.sendall(b"before")
            assert client.recv(6) == b"before"
            forwarder.set_upstream(places["a"])
            with Load(forwarder.port) as load:
                for name in ("b", "a") * 5:
                    forwarder.set_upstream(places[name])
                    # Whoever was on its way before may still arrive at the other one.
                    count = load.served.get(name, 0)
                    assert_soon(lambda name=name, count=count: load.served.get(name, 0) > count + 4)
            client.sendall(b"after")
            assert client.recv(5) == b"after"
        assert forwarder.rules == (rule.going_to(places["a"]),)
        assert_soon(lambda: forwarder.stats().active == 0)
        stats = forwarder.stats()
        assert stats.accepted == 1 + sum(load.served.values())
        assert (stats.resets, stats.unreachable, stats.refused, stats.denied) == (0, 0, 0, 0)
        assert stats == forwarder.stats(forwarder.rules[0])


def test_nobody_is_dropped_while_rules_are_reloaded(serve: Callable[..., Server], engine: str) -> None:
    upstream = f"127.0.0.1:{serve(named_digest('a')).port}"
    held = Rule("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", name="held")
    changing = Rule("127.0.0.1:0", upstream, name="changing")
    with Forwarder.from_rules([held, changing], threads=2, engine=engine) as forwarder:
        ports = [address.port for address in forwarder.addresses if isinstance(address, Endpoint)]
        with connect(ports[0]) as client, Load(ports[1]) as load:
            for number in range(100, 110):
                changed = changing._replace(max_connections=number)
                forwarder.reload([changed, held])
                assert forwarder.rules == (changed, held)
                count = load.served.get("a", 0)
                assert_soon(lambda count=count: load.served.get("a", 0) > count + 4)
            client.sendall(b"still")
            assert client.recv(5) == b"still"
        assert [address.port for address in forwarder.addresses if isinstance(address, Endpoint)] == ports[
            ::-1
        ]
        stats = forwarder.stats()
        assert stats.accepted == 1 + load.served["a"]
        assert (stats.resets, stats.unreachable, stats.denied) == (0, 0, 0)


def test_a_removed_rule_accepts_no_more_and_its_connections_go_on(
    serve: Callable[..., Server], engine: str
) -> None:
    upstream = f"127.0.0.1:{serve(echo).port}"
    stays, goes = Rule("127.0.0.1:0", upstream, name="stays"), Rule("127.0.0.1:0", upstream, name="goes")
    with Forwarder.from_rules([goes, stays], engine=engine) as forwarder:
        gone, kept = (address.port for address in forwarder.addresses if isinstance(address, Endpoint))
        with connect(gone) as client:
            client.sendall(b"a")
            assert client.recv(1) == b"a"
            forwarder.reload([stays])
            with pytest.raises(ConnectionRefusedError):
                connect(gone)
            client.sendall(b"b")
            assert client.recv(1) == b"b"
            assert forwarder.stats().active == 1
        assert forwarder.port == kept
        assert_soon(lambda: forwarder.stats().active == 0)
        added = Rule(f"127.0.0.1:{gone}", upstream, name="added")
        forwarder.reload([stays, added])  # What the removed rule had is free again.
        with connect(gone) as client:
            client.sendall(b"c")
            assert client.recv(1) == b"c"
        assert_soon(lambda: forwarder.stats().active == 0)
        assert forwarder.stats() == Stats(2, 0, 0, 0, 0, 0, 0, 3, 3, 0)
        assert forwarder.stats(added).accepted == 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lambda port: Rule("127.0.0.1:0", "nowhere.invalid:80"), NameNotResolved),
        (lambda port: Rule(f"127.0.0.1:{port}", UPSTREAM), AddressInUse),
        (lambda port: Rule("unix:/none/such/sock", UPSTREAM), FileNotFoundError),
    ],
    ids=["unresolved", "taken", "no-directory"],
)
def test_a_reload_is_refused_whole(
    serve: Callable[..., Server], bad: Callable[[int], Rule], error: type[Exception]
) -> None:
    server = serve(say("old"))
    other = serve(say("new"))
    rule = Rule("127.0.0.1:0", f"127.0.0.1:{server.port}")
    with Forwarder.from_rules([rule]) as forwarder:
        port, before = forwarder.port, open_files()
        new = [Rule("127.0.0.1:0", UPSTREAM), rule.going_to(f"127.0.0.1:{other.port}"), bad(server.port)]
        with pytest.raises(error):
            forwarder.reload(new)
        assert (forwarder.rules, forwarder.port) == ((rule,), port)
        assert_soon(lambda: open_files() == before)
        assert who(port) == "old"
        with pytest.raises(InvalidArgument, match="itself"):
            forwarder.set_upstream(f"127.0.0.1:{port}")
        with pytest.raises(InvalidArgument, match="no rules"):
            forwarder.reload([])
        assert who(port) == "old"


def test_a_host_is_rewritten_to_the_upstream_of_now(web: WebServer, engine: str) -> None:
    upstream = f"127.0.0.1:{web.server_port}"
    with Forwarder("127.0.0.1:0", UPSTREAM, rewrite_host=True, engine=engine) as forwarder:
        forwarder.set_upstream(upstream)
        assert fetch(forwarder.port)["host"] == upstream


def test_who_has_ended_is_not_reloaded(serve: Callable[..., Server]) -> None:
    forwarder = Forwarder("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}")
    with pytest.raises(RuntimeError, match="not started"):
        forwarder.reload(forwarder.rules)
    with forwarder:
        pass
    with pytest.raises(RuntimeError, match="ends"):
        forwarder.set_upstream("127.0.0.1:2")
    with pytest.raises(RuntimeError, match="started before"):
        forwarder.start()


def test_rules_change_in_an_event_loop_too(serve: Callable[..., Server]) -> None:
    first, second = (f"127.0.0.1:{serve(say(name)).port}" for name in ("first", "second"))

    async def main() -> list[str]:
        async with Forwarder("127.0.0.1:0", first) as forwarder:
            said = [await asyncio.to_thread(who, forwarder.port)]
            await forwarder.set_upstream_async(second)
            said.append(await asyncio.to_thread(who, forwarder.port))
            await forwarder.reload_async([forwarder.rules[0].going_to(first)])
            said.append(await asyncio.to_thread(who, forwarder.port))
            with pytest.raises(NameNotResolved):
                await forwarder.set_upstream_async("nowhere.invalid:1")
        return said

    assert asyncio.run(main()) == ["first", "second", "first"]


def test_a_start_that_is_cancelled_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver takes its time: meanwhile nobody wants the forwarder any more."""
    from fastnet._forward import upstreams
    from fastnet.endpoints import resolve

    asked, answer = threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        asked.set()
        answer.wait(PATIENCE)
        return resolve(*arguments, **options)

    monkeypatch.setattr(upstreams, "resolve", slow)
    port = free_port()

    async def main() -> None:
        entering = asyncio.create_task(Forwarder(f"127.0.0.1:{port}", "127.0.0.1:1").__aenter__())
        await asyncio.to_thread(asked.wait, PATIENCE)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering

    asyncio.run(main())
    answer.set()
    assert_soon(lambda: not any("fastnet" in thread.name for thread in threading.enumerate()))
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_drained_forwarder_ends_with_all_of_its_rules(serve: Callable[..., Server], engine: str) -> None:
    server = serve(echo)
    rules = [Rule("127.0.0.1:0", f"127.0.0.1:{server.port}", name=name) for name in "ab"]
    with Forwarder.from_rules(rules, threads=2, engine=engine) as forwarder:
        ports = [address.port for address in forwarder.addresses if isinstance(address, Endpoint)]
        clients = [connect(port) for port in ports]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        forwarder.drain(PATIENCE)
        for client, port in zip(clients, ports, strict=True):
            assert_soon(lambda port=port: refuses(port))
            client.sendall(b"y")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"y"
            client.close()
        assert forwarder.wait() is True


def refuses(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionError:
        return True
    return False
