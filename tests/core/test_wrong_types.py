"""What the core is given of a wrong type, or out of every range: both twins refuse it, and alike."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import packet_recipes as recipes
import pytest

from fastnet.errors import InvalidArgument

WRONG = (None, "text", 1.5, b"x", object(), [], (), (1, 2, 3), 2**70, -1, float("nan"), float("inf"))
LOCALHOST = 0x7F000001

Entries = dict[str, Callable[[Any], object]]


def numbers(name: str, _: ExitStack) -> Entries:
    checksum, permute = (import_module(f"fastnet._{name}.{topic}") for topic in ("checksum", "permute"))
    permutation = permute.Permutation(100, 1)
    return {
        "checksum": checksum.checksum,
        "checksum initial": lambda value: checksum.checksum(b"ab", value),
        "checksum_many": checksum.checksum_many,
        "update": lambda value: checksum.update(value, b"ab", b"cd"),
        "update before": lambda value: checksum.update(1, value, b"cd"),
        "use_kernel": checksum.use_kernel,
        "verify": checksum.verify,
        "pseudo_header_ipv4": lambda value: checksum.pseudo_header_ipv4(value, b"abcd", 6, 20),
        "pseudo_header_ipv4 length": lambda value: checksum.pseudo_header_ipv4(b"abcd", b"abcd", 6, value),
        "Permutation size": lambda value: permute.Permutation(value).at(0),
        "Permutation seed": lambda value: permute.Permutation(5, value).at(0),
        "Permutation.at": permutation.at,
        "Permutation.fill first": lambda value: permutation.fill(value, 1, 1),
        "Permutation.fill count": lambda value: permutation.fill(1, 1, value),
    }


def interfaces(name: str, _: ExitStack) -> Entries:
    netif = import_module(f"fastnet._{name}.netif")
    return {each: getattr(netif, each) for each in dir(netif) if each.startswith("get_")}


def probes(name: str, stack: ExitStack) -> Entries:
    probe = import_module(f"fastnet._{name}.probe")

    def prober(**options: Any) -> Callable[[Any], object]:
        return lambda value: probe.Prober(socket.AF_INET, "raw", **dict.fromkeys(options, value)).close()

    opened = stack.enter_context(closing(probe.Prober(socket.AF_INET, "raw")))
    to = ("127.0.0.1", 0)

    def sweeper(spans: Any = ((LOCALHOST, LOCALHOST),), over: Any = opened, **options: Any) -> Any:
        return probe.Sweeper(over, spans, **options)

    entries: Entries = {
        f"Sweeper {option}": lambda value, option=option: sweeper(**{option: value}) and None
        for option in ("timeout", "retries", "window", "rate", "shard", "seed", "decided", "over", "spans")
    }
    return {
        **entries,
        "Prober engine": lambda value: probe.Prober(socket.AF_INET, value).close(),
        "Prober size": prober(size=None),
        "Prober pattern": prober(pattern=None),
        "Prober.send to": lambda value: opened.send(value, 1, 0.1),
        "Prober.send timeout": lambda value: opened.send(to, 1, value),
        "Prober.send size": lambda value: opened.send(to, 1, 0.1, size=value),
        "Sweeper span": lambda value: sweeper([value]) and None,
        "Sweeper first": lambda value: sweeper([(value, LOCALHOST)]) and None,
        "Sweeper shard's n": lambda value: sweeper(shard=(0, value)) and None,
        "Sweeper.run": lambda value: sweeper().run(value) and None,
        "Sweeper.pace": lambda value: sweeper().pace(value),
        "Sweeper.reason": lambda value: sweeper().reason(value),
        "Sweeper.responder": lambda value: sweeper().responder(value),
        "LinkSweeper": lambda value: probe.LinkSweeper(value, [(LOCALHOST, LOCALHOST)]) and None,
    }


def packets(name: str, _: ExitStack) -> Entries:
    library = recipes.library(name)
    built = library.IPv4() / library.IPv4() / library.UDP() / b"x"
    entries: Entries = {
        "parse": lambda value: library.parse(value) and None,
        "parse link": lambda value: library.parse(b"abc", value) and None,
        "from_header": lambda value: library.UDP.from_header(value).header,
        "from_header automatic": lambda value: library.UDP.from_header(bytes(8), value).automatic,
        "Packet": lambda value: library.Packet(value) and None,
        "Template": lambda value: library.Template(value) and None,
        "TCP options": lambda value: library.TCP(options=value).header,
        "IPv4 src": lambda value: library.IPv4(src=value).header,
    }
    for kind, packet in ("built", built), ("parsed", library.parse(bytes(built), "ip")):
        entries |= {
            f"{kind} packet[]": lambda value, packet=packet: type(packet[value]).__name__,
            f"{kind} packet[IPv4,]": lambda value, packet=packet: type(packet[library.IPv4, value]).__name__,
            f"{kind} get": lambda value, packet=packet: packet.get(value),
            f"{kind} get number": lambda value, packet=packet: type(packet.get(library.IPv4, value)).__name__,
            f"{kind} get pair": lambda value, packet=packet: packet.get((library.IPv4, value)),
            f"{kind} in": lambda value, packet=packet: value in packet,
            f"{kind} place": lambda value, packet=packet: packet.place(value),
            f"{kind} replace": lambda value, packet=packet: bytes(packet.replace(value, ttl=9)),
            f"{kind} replace ttl": lambda value, packet=packet: bytes(packet.replace(0, ttl=value)),
            f"{kind} /": lambda value, packet=packet: bytes(packet / value),
        }
    return entries


def relays(name: str, _: ExitStack) -> Entries:
    relay, http_head = (import_module(f"fastnet._{name}.{topic}") for topic in ("relay", "http_head"))
    return {
        "Upstream": lambda value: relay.Upstream(value) and None,
        "Upstream address": lambda value: relay.Upstream([value]) and None,
        "Rule upstreams": lambda value: relay.Rule(relay.Options(), value) and None,
        "HostRewrite": lambda value: http_head.HostRewrite(value) and None,
        "Exchange": lambda value: http_head.Exchange(value) and None,
    }


def outcomes(entry: Callable[[Any], object]) -> Iterator[tuple[object, str, object]]:
    """What comes of each wrong value: the kind of the error, or what is given."""
    for value in WRONG:
        try:
            gives = entry(value)
        except Exception as error:  # whatever it is, the twins are to agree on it
            yield value, type(error).__name__, None
        else:
            yield value, "gives", gives


@pytest.mark.skipif(not find_spec("fastnet._native.probe"), reason="there is no native twin to compare with")
@pytest.mark.parametrize("topic", [numbers, interfaces, probes, packets, relays])
def test_twins_refuse_the_same(topic: Callable[[str, ExitStack], Entries]) -> None:
    with ExitStack() as stack:
        native, pure = topic("native", stack), topic("pure", stack)
        assert native.keys() == pure.keys()
        differing = [
            (entry, *pair)
            for entry in native
            for pair in zip(outcomes(native[entry]), outcomes(pure[entry]), strict=True)
            if pair[0] != pair[1]
        ]
    assert not differing


@pytest.mark.parametrize("name", ["pure", *(["native"] if find_spec("fastnet._native.probe") else [])])
@pytest.mark.parametrize("value", [None, "text", b"x", [], float("nan"), float("inf")], ids=repr)
def test_what_is_no_time_is_refused_by_name(name: str, value: object) -> None:
    """As text, whose product with 10^9 would take all memory."""
    probe = import_module(f"fastnet._{name}.probe")
    with closing(probe.Prober(socket.AF_INET, "raw")) as prober:
        sweeper = probe.Sweeper(prober, [(LOCALHOST, LOCALHOST)])
        with pytest.raises(InvalidArgument, match=r"^seconds .*: expected a number of seconds$"):
            sweeper.run(value)
        with pytest.raises(InvalidArgument, match=r"^timeout .*: expected a number of seconds$"):
            prober.send(("127.0.0.1", 0), 1, value)
