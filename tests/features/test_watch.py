"""Events of interfaces, addresses and routes, which add up to the kernel's state in any history."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from environment import COMMAND_TIMEOUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnet
from fastnet import aio, watch
from fastnet._backend import rtnetlink
from fastnet._watch import Event, LostEvent, WatchState
from fastnet.errors import InvalidArgument

FLAPS = 1000
SMALLEST_BUFFER = 0
LOCAL_TABLE = 255


def dump() -> WatchState:
    with rtnetlink.Kernel() as kernel:
        routes = [route for route in kernel.routes() if route.table != LOCAL_TABLE]
        return WatchState(tuple(kernel.interfaces()), tuple(routes))


def comparable(state: WatchState) -> tuple[list[str], ...]:
    """A state without the order of its parts, which is the kernel's own."""
    interfaces = [
        each._replace(addresses=tuple(sorted(map(repr, each.addresses)))) for each in state.interfaces
    ]
    return sorted(interfaces), sorted(map(repr, state.routes))


class Watching:
    """A watch by a thread in a namespace until the test ends, and the state that its events add up to."""

    def __init__(self, host: Any, stack: ExitStack, **options: Any) -> None:
        self.host = host
        self.events: list[Event] = []
        self.state: WatchState | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        thread = threading.Thread(target=self._work, kwargs=options)
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: self._loop.call_soon_threadsafe(self._task.cancel))  # type: ignore[union-attr]
        self._wait(lambda: self.state is not None)

    def _work(self, **options: Any) -> None:
        self.host.enter()
        self._task = self._loop.create_task(self._collect(**options))
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _collect(self, **options: Any) -> None:
        async for event in aio.watch(**options):
            with self._changed:
                self.events.append(event)
                if self.state is None or not options.get("kinds"):
                    self.state = self.state.after(event) if self.state else event  # type: ignore[assignment]
                self._changed.notify()

    def _wait(self, is_so: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(is_so, COMMAND_TIMEOUT)

    def until(self, is_wanted: Callable[[Any], bool]) -> Any:
        """The first event of those so far, or of those to come, that is wanted."""
        self._wait(lambda: any(map(is_wanted, self.events[1:])))
        return next(filter(is_wanted, self.events[1:]))

    def settle(self) -> None:
        """Wait until the events add up to the state of a dump."""
        give_up = time.monotonic() + COMMAND_TIMEOUT
        while comparable(self.now()) != comparable(self.host.call(dump)):
            if time.monotonic() > give_up:
                assert comparable(self.now()) == comparable(self.host.call(dump))
            time.sleep(0.02)

    def now(self) -> WatchState:
        with self._changed:
            assert self.state
            return self.state


@pytest.fixture
def watching(host: Any) -> Iterator[Callable[..., Watching]]:
    """``watching(kinds=...)``: a watch in the host's namespace."""
    with ExitStack() as stack:
        yield lambda **options: Watching(host, stack, **options)


@pytest.fixture
def host(namespace: Callable[[], Any]) -> Any:
    host = namespace()
    host.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=1", "net.ipv6.conf.default.dad_transmits=0")
    return host


def named(kind: str, interface: str | None = None) -> Callable[[Any], bool]:
    return lambda event: event.kind == kind and (interface is None or event.interface == interface)


def test_it_begins_with_the_state(host: Any, watching: Callable[..., Watching]) -> None:
    host.ip("address", "add", "10.0.0.1/24", "dev", "lo")
    state = watching().state
    assert isinstance(state, WatchState)
    assert comparable(state) == comparable(host.call(dump))
    assert [str(address) for address in state.interfaces[0].addresses][:2] == ["127.0.0.1/8", "10.0.0.1/24"]


def test_events_of_links(host: Any, watching: Callable[..., Watching]) -> None:
    seen = watching()
    host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    assert seen.until(named("link_added", "left")).before is None
    host.ip("link", "set", "left", "name", "renamed")
    event = seen.until(named("link_renamed"))
    assert (event.before.name, event.after.name, event.interface) == ("left", "renamed", "renamed")
    host.ip("link", "set", "renamed", "mtu", "1400")
    event = seen.until(lambda event: event.kind == "link_changed" and "mtu" in event.changed)
    assert (event.before.mtu, event.after.mtu) == (1500, 1400)
    host.ip("link", "set", "renamed", "up")
    host.ip("link", "set", "right", "up")
    event = seen.until(named("carrier", "renamed"))
    assert (event.before.carrier, event.after.carrier) == (False, True)
    host.ip("link", "del", "renamed")
    assert seen.until(named("link_removed", "renamed")).after is None
    seen.settle()


def test_events_of_addresses_and_routes(wired: Any, watching: Callable[..., Watching]) -> None:
    seen = watching()
    wired.ip("address", "add", "10.7.0.1/24", "dev", "left")
    event = seen.until(named("address_added"))
    assert (event.before, str(event.after), event.interface) == (None, "10.7.0.1/24", "left")
    wired.ip("address", "change", "10.7.0.1/24", "dev", "left", "preferred_lft", "0", "valid_lft", "1000")
    event = seen.until(named("address_changed"))
    assert ("deprecated" in event.before.flags, "deprecated" in event.after.flags) == (False, True)
    wired.ip("route", "add", "10.9.0.0/16", "via", "10.7.0.9")
    event = seen.until(lambda event: event.kind == "route_added" and event.after.destination == "10.9.0.0/16")
    assert (event.before, event.after.gateway, event.interface) == (None, "10.7.0.9", "left")
    wired.ip("route", "replace", "10.9.0.0/16", "via", "10.7.0.8")
    event = seen.until(lambda event: event.kind == "route_changed" and "gateway" in event.changed)
    assert (event.before.gateway, event.after.gateway) == ("10.7.0.9", "10.7.0.8")
    wired.ip("route", "del", "10.9.0.0/16")
    event = seen.until(lambda event: event.kind == "route_removed" and event.before.gateway == "10.7.0.8")
    assert event.after is None
    wired.ip("address", "del", "10.7.0.1/24", "dev", "left")
    assert seen.until(named("address_removed")).after is None
    seen.settle()


def test_the_default_gateway_in_use(wired: Any, watching: Callable[..., Watching]) -> None:
    seen = watching(kinds=["gateway_changed"])
    for words in (
        "add default via 10.0.0.7 metric 20",
        "add default via 10.0.0.8 table 77",
        "del default metric 0",
        "add default via 10.0.0.6 metric 10",
        "del default metric 10",
        "del default metric 20",
    ):
        wired.ip("route", *words.split())
    seen.until(lambda event: event.after is None)
    assert [
        (event.before and event.before.gateway, event.after and event.after.gateway)
        for event in seen.events[1:]
    ] == [
        ("10.0.0.9", "10.0.0.7"),
        ("10.0.0.7", "10.0.0.6"),
        ("10.0.0.6", "10.0.0.7"),
        ("10.0.0.7", None),
    ]


@pytest.mark.parametrize("is_taken", [False, True], ids=["free", "taken"])
def test_the_result_of_duplicate_address_detection(
    host: Any, watching: Callable[..., Watching], is_taken: bool
) -> None:
    host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    for name in ("left", "right"):
        host.ip("link", "set", name, "addrgenmode", "none", "up")
        host.run("sysctl", "-qw", f"net.ipv6.conf.{name}.dad_transmits=1")
    host.carry("left")
    host.carry("right")
    if is_taken:
        host.ip("address", "add", "fd77::1/64", "dev", "right", "nodad")
    seen = watching(interface="left", kinds=["address_added", "dad_passed", "dad_failed"])
    host.ip("address", "add", "fd77::1/64", "dev", "left")
    event = seen.until(lambda event: event.kind.startswith("dad"))
    assert event.kind == ("dad_failed" if is_taken else "dad_passed")
    assert ("dadfailed" in event.after.flags) == is_taken
    assert [event.kind for event in seen.events[1:]] == ["address_added", event.kind]


def test_a_route_that_the_kernel_drops_in_silence(wired: Any, watching: Callable[..., Watching]) -> None:
    """The kernel drops IPv4 routes without an event when their interface is turned off."""
    seen = watching()
    wired.ip("link", "set", "left", "down")
    assert seen.until(named("route_removed", "left"))
    assert seen.until(named("gateway_changed")).after is None
    seen.settle()


def test_routes_that_share_what_identifies_them(wired: Any, watching: Callable[..., Watching]) -> None:
    seen = watching()
    for words in (
        "route add 10.9.0.0/16 via 10.0.0.8",
        "route append 10.9.0.0/16 via 10.0.0.9",
        "route append 10.9.0.0/16 via 10.0.0.10",
        "route del 10.9.0.0/16 via 10.0.0.9",
        "route add 10.8.0.0/16 nexthop via 10.0.0.8 nexthop via 10.0.0.9",
        "-6 route add 2001:db8::/32 nexthop via fe80::1 dev left nexthop via fe80::2 dev left",
        "-6 route append 2001:db8::/32 via fe80::3 dev left",
        "-6 route del 2001:db8::/32 nexthop via fe80::2 dev left",
        "-6 route replace 2001:db8::/32 via fe80::4 dev left",
    ):
        wired.ip(*words.split())
        seen.settle()


def test_a_filter_by_name_follows_a_rename(host: Any, watching: Callable[..., Watching]) -> None:
    seen = watching(interface="left", kinds=["link_added", "link_renamed", "link_removed"])
    host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    host.ip("link", "set", "right", "name", "other")
    host.ip("link", "set", "left", "name", "away")
    host.ip("link", "set", "away", "name", "left")
    host.ip("link", "del", "left")
    seen.until(named("link_removed"))
    kinds = [event.kind for event in seen.events[1:]]
    assert kinds == ["link_added", "link_renamed", "link_renamed", "link_removed"]


@pytest.fixture
def wired(host: Any) -> Any:
    """``left`` with an address and a default route; its other end may be turned on and off."""
    host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    host.ip("link", "set", "left", "up")
    host.ip("address", "add", "10.0.0.1/24", "dev", "left")
    host.ip("address", "add", "10.1.0.1/24", "dev", "right")
    host.ip("route", "add", "default", "via", "10.0.0.9")
    return host


def flap(host: Any, times: int) -> None:
    host.run(
        "ip", "-batch", "-", input="\n".join(f"link set right {state}" for state in ("up", "down") * times)
    )


def test_a_thousand_flaps(wired: Any, watching: Callable[..., Watching]) -> None:
    seen = watching()
    flap(wired, FLAPS)
    seen.settle()
    if not any(isinstance(event, LostEvent) for event in seen.events):
        turned = [event for event in seen.events[1:] if event.interface == "right" and is_turned(event)]
        assert len(turned) == 2 * FLAPS


def is_turned(event: Any) -> bool:
    """Whether an interface was turned on or off."""
    return "flags" in event.changed and ("UP" in event.before.flags) != ("UP" in event.after.flags)


def test_events_that_were_lost(wired: Any, watching: Callable[..., Watching]) -> None:
    seen = watching(receive_buffer=SMALLEST_BUFFER)
    while not any(isinstance(event, LostEvent) for event in seen.events):
        flap(wired, 100)
    wired.ip("address", "add", "10.2.0.1/24", "dev", "right")
    wired.ip("link", "set", "right", "name", "renamed")
    seen.settle()


NAMES = ("va", "vb", "vc", "vd")
"""Of more than a letter, which would be short for a word of ip."""
ROUTED = ("add", "del", "replace", "append")
ADDRESSED = ("add", "del", "replace")
START = """
    link add va type veth peer name vb
    link add vc type veth peer name vd
    link set va up
    link set vb up
    address add 10.1.0.1/24 dev va
    address add fd71::1/64 dev va
"""
COMMANDS = st.sampled_from(
    [
        "link add va type veth peer name vb",
        "link add vc type veth peer name vd",
        "link add vc type bridge",
        *(f"link del {name}" for name in NAMES),
        *(f"link set {name} {state}" for name in NAMES for state in ("up", "down")),
        *(f"link set {name} name {other}" for name in NAMES for other in NAMES if name != other),
        *(f"link set {name} {master}" for name in ("va", "vb") for master in ("master vc", "nomaster")),
        *(f"link property {verb} dev va altname another" for verb in ("add", "del")),
        *(f"address {verb} 10.{n}.0.1/24 dev {name}" for verb in ADDRESSED for n in (1, 2) for name in NAMES),
        *(f"address {verb} fd7{n}::1/64 dev {name}" for verb in ADDRESSED for n in (1, 2) for name in NAMES),
        *(f"route {verb} default via 10.{n}.0.9" for verb in ROUTED for n in (1, 2)),
        *(f"route {verb} default via fd7{n}::9" for verb in ROUTED for n in (1, 2)),
        *(f"route {verb} 10.9.0.0/16 dev {name}" for verb in ROUTED for name in NAMES),
    ]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(COMMANDS, min_size=5, max_size=40), buffer=st.sampled_from([None, SMALLEST_BUFFER]))
def test_any_history_adds_up_to_the_state(
    namespace: Callable[[], Any], history: list[str], buffer: int | None
) -> None:
    host = namespace()
    half = len(history) // 2
    with ExitStack() as stack:
        seen = Watching(host, stack, receive_buffer=buffer)
        for part in ([START, *history[:half]], history[half:]):
            # What can't be done in this state is left out.
            words = [*host.prefix, "ip", "-force", "-batch", "-"]
            subprocess.run(words, input="\n".join(part), text=True, capture_output=True, check=False)
            seen.settle()


def test_the_time_is_up(host: Any, nothing_left: None) -> None:
    assert [event.kind for event in host.call(lambda: [*watch(timeout=0.05)])] == ["state"]


def test_the_thread_may_move_away(host: Any, namespace: Callable[[], Any]) -> None:
    """The events and the dumps stay those of the namespace that the watch began in."""
    other = namespace()

    def work() -> WatchState:
        stream = watch(timeout=60)
        state = next(stream)
        other.enter()
        host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
        for event in stream:
            state = state.after(event)
            if comparable(state) == comparable(host.call(dump)):
                break
        stream.close()
        return state

    assert [each.speed_mbit for each in host.call(work).interfaces] == [None, 10000, 10000]


def test_it_is_a_function_of_interfaces_too() -> None:
    assert fastnet.interfaces.watch is fastnet.watch
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastnet.interfaces.nothing  # noqa: B018


def test_another_namespace(host: Any) -> None:
    stream = watch(netns=host.name, timeout=60)
    assert len(next(stream).interfaces) == 1
    host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    assert next(stream).kind == "link_added"
    stream.close()
    with pytest.raises(FileNotFoundError, match="there is no such network namespace"):
        next(watch(netns="nowhere"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ["carrier", "cable"]}, "kinds 'cable': expected some of link_added, "),
        ({"interface": b"lo"}, "interface b'lo': expected a str"),
        ({"timeout": -1}, "timeout -1"),
        ({"receive_buffer": -1}, "receive_buffer -1: expected 0 to "),
    ],
)
def test_what_it_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        next(fastnet.watch(**options))
