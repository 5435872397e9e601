"""What a relay reports of its connections: records, counters, and the bytes themselves."""

from __future__ import annotations

import gc
import socket
import time
import weakref
from collections.abc import Callable
from types import ModuleType

import pytest
from forwarding import assert_soon, read_all
from relays import Relay, Service, running
from traffic import read_exactly

from fastnet.errors import InvalidArgument

TOPIC = "relay"

Relays = Callable[..., Relay]
COUNTERS = (
    *("accepted", "active", "unreachable", "refused", "denied", "resets", "timed_out"),
    *("sent_up", "sent_down", "connects_retried"),
)


def one_connection(relay: Relay, service: Service) -> None:
    with relay.connect() as client, service.accept() as server:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"question"
        server.sendall(b"the answer")
        server.close()
        assert read_all(client) == b"the answer"


def test_a_record_says_who_and_where_and_how_long(relays: Relays, service: Service) -> None:
    before = time.time()
    relay = relays(service, record=True)
    with relay.connect() as client, service.accept() as server:
        name = client.getsockname()
        client.sendall(b"x" * 1000)
        assert len(read_exactly(server, 1000)) == 1000
        server.sendall(b"y" * 10)
        assert len(read_exactly(client, 10)) == 10
    [record] = relay.records(1)
    assert record.rule is relay.rule
    assert (record.number, record.client, record.upstream) == (1, (socket.AF_INET, name), service.address)
    assert (record.sent_up, record.sent_down, record.ended) == (1000, 10, "closed")
    assert before <= record.opened <= time.time()
    assert 0 < record.seconds <= time.time() - before
    assert relay.loop.records() == []


def test_connections_are_numbered(relays: Relays, service: Service) -> None:
    relay = relays(service, record=True)
    for _ in range(3):
        one_connection(relay, service)
    assert [record.number for record in relay.records(3)] == [1, 2, 3]


def test_a_rule_that_does_not_ask_has_no_records(relays: Relays, service: Service) -> None:
    relay = relays(service)
    one_connection(relay, service)
    assert_soon(lambda: (relay.counters.accepted, relay.counters.active) == (1, 0))
    assert relay.loop.records() == []


def test_records_that_nobody_asks_for_are_lost_and_counted(relays: Relays, tmp_path: object) -> None:
    kept, more = 16384, 16400
    relay = relays(listener=Service(socket.AF_UNIX, f"{tmp_path}/down").sock, record=True)
    assert relay.loop.lost_records == 0
    for _ in range(more):
        with socket.socket(
            socket.AF_UNIX
        ) as client:  # Without a timeout, for which a full backlog is no wait.
            client.connect(relay.address[1])
    assert_soon(lambda: (relay.counters.unreachable, relay.counters.active) == (more, 0))
    records = relay.loop.records()
    assert [record.number for record in records] == [*range(1, kept + 1)]
    assert relay.loop.lost_records == more - kept


def test_counters_are_those_of_all_loops(core: ModuleType, service: Service) -> None:
    rule = core.Rule([core.Upstream([service.address])])
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [listener.getsockname() for listener in listeners]
    loops = [core.Loop(), core.Loop()]
    for loop, listener in zip(loops, listeners, strict=True):
        loop.listen(rule, [listener])
    with running(*loops):
        for address in addresses:
            with socket.create_connection(address) as client, service.accept() as server:
                client.sendall(b"x")
                assert server.recv(1) == b"x"
        assert_soon(lambda: (rule.counters.accepted, rule.counters.active) == (2, 0))
    assert {name: getattr(rule.counters, name) for name in COUNTERS} == {
        **dict.fromkeys(COUNTERS, 0),
        "accepted": 2,
        "sent_up": 2,
    }


def test_rules_that_are_served_no_more_are_freed(core: ModuleType, service: Service) -> None:
    """Once their connections have ended and no record of them is left."""
    loop = core.Loop()
    seen = []
    loop.listen(core.Rule(()), [socket.create_server(("127.0.0.1", 0))])  # It ends without any.
    with socket.create_server(("127.0.0.1", 0)) as listener, running(loop):
        for _ in range(30):
            rule = core.Rule([core.Upstream([service.address])], core.Options(record=True))
            seen.append(weakref.ref(rule))
            loop.listen(rule, [listener.dup()])
            with socket.create_connection(listener.getsockname()) as client, service.accept() as server:
                client.sendall(b"x")
                assert server.recv(1) == b"x"
                loop.unlisten(rule)
            assert_soon(lambda rule=rule: rule.counters.active == 0)
            del rule
        assert [record.rule for record in loop.records()] == [one() for one in seen]
        last = core.Rule(())
        loop.listen(last, [listener.dup()])
        gc.collect()
        assert sum(one() is not None for one in seen) <= 1


def test_a_tap_sees_the_bytes_before_they_are_sent(core: ModuleType, service: Service) -> None:
    seen: list[tuple[int, bool, bytes]] = []

    def tap(number: int, up: bool, data: bytes) -> None:
        seen.append((number, up, data))

    if "native" in core.__name__:
        with pytest.raises(InvalidArgument, match="tap"):
            core.Rule((), core.Options(tap=tap))
        return
    relay = Relay(core, (service,), tap=tap)
    with running(relay.loop):
        one_connection(relay, service)
    assert seen == [(1, True, b"question"), (1, False, b"the answer")]
