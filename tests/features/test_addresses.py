"""One reading of an address everywhere: what programs read differently is refused before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import fastnet as package
from fastnet import aio, ipv6
from fastnet._forward.rule import Rule
from fastnet._ping import multiping
from fastnet._wait import check_target
from fastnet.echo import EchoClient, EchoServer, echo_async
from fastnet.endpoints import Endpoint, ascii_host, is_host, parse_endpoint, parse_place, resolve
from fastnet.errors import InvalidArgument, NameNotResolved, PacketError
from fastnet.interfaces import get_netmask
from fastnet.packet import ARP, IPv4
from fastnet.targets import Targets, parse_prefix

AMBIGUOUS = [
    *("010.0.0.1", "127.0.0.01", "0127.0.0.1", "00.0.0.0", "08.0.0.9", "127.0.0.0000001"),  # octal or decimal
    *("0x7f000001", "0X7F000001", "0x7f.0.0.1", "127.0.0.0x1", "0x", "0x7f.1"),  # hexadecimal
    *("127.1", "127.0.1", "2130706433", "017700000001", "0", "80", "1.2", "4294967296"),  # left out
    *(
        "\uff11\uff12\uff17.\uff11",
        "\uff10\uff11\uff10.0.0.1",
        "127\u30021",
        "\u2460.\u2460",
    ),  # what becomes of other letters and digits
]
WORDS = "expected four decimal octets, as 192.0.2.1"


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_an_address_that_programs_read_differently_is_refused(text: str) -> None:
    for read in (ascii_host, resolve, lambda text: resolve(text, passive=True)):
        with pytest.raises(InvalidArgument, match=WORDS):
            read(text)
    for read in (parse_endpoint, parse_place, check_target):
        with pytest.raises(InvalidArgument, match=WORDS):
            read(f"{text}:80")


@pytest.mark.parametrize(
    "text", ["127.1.", "0x7f000001.", "0X7F.1.", "127.0.0x0.1.", "0x.", "0x7f000001", "127.1"]
)
def test_numbers_are_no_name_behind_a_dot_either(text: str) -> None:
    assert not is_host(text)
    with pytest.raises(InvalidArgument):
        check_target(f"{text}:80")


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "10.0.100.1", "::", "fe80::1%lo", "::ffff:10.0.0.1"]
)
def test_an_address_that_has_one_reading_is_taken(text: str) -> None:
    assert ascii_host(text) == text
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    [
        *("256.0.0.1", "1.2.3.4.5", "127.0.0.1.", "127.0.0.1 ", " 127.0.0.1", "127.0.0.1\n", "127.0.0.1\0"),
        *("1.2.3.4/24", "1.2..4", ".1.2.3", "1.2.3.", "::1%", "1::2::3", "::ffff:010.0.0.1", "::127.1"),
        *(
            "a b",
            "a..b",
            ".a",
            "a" * 64,
            "a." * 127 + "a",
            "",
            ".",
            "*",
            "x@y",
            "http://a",
            "[::1]",
            "\udcff",
        ),
    ],
)
def test_what_is_no_host_is_not_asked_for(text: str) -> None:
    assert not is_host(text)
    with pytest.raises(NameNotResolved, match="not a host name or an address"):
        resolve(text)


@pytest.mark.parametrize(
    "text", ["a", "a.", "A-1.example", "_srv._tcp.example", "1and1.example", "0x.example"]
)
def test_what_is_a_name_is_one(text: str) -> None:
    assert ascii_host(text) == text
    assert is_host(text)


TAKERS: dict[str, Callable[[str], object]] = {
    "ping": package.ping,
    "ping source": lambda text: package.ping("127.0.0.1", source=text),
    "trace": package.trace,
    "trace source": lambda text: package.trace("127.0.0.1", source=text),
    "sweep": package.sweep,
    "sweep exclude": lambda text: package.sweep("127.0.0.1", exclude=[text]),
    "sweep scapy": lambda text: package.sweep(text, engine="scapy"),
    "sweep tcp": lambda text: package.sweep(text, engine="tcp"),
    "targets": Targets,
    "a range": lambda text: Targets(f"{text}-10.0.0.9"),
    "a prefix": lambda text: parse_prefix(f"{text}/8"),
    "wait": lambda text: package.wait(f"{text}:80"),
    "wait http": lambda text: package.wait(f"http://{text}/"),
    "portscan": package.portscan,
    "portscan nmap": lambda text: package.portscan(text, engine="nmap"),
    "echo client": lambda text: EchoClient(text, 7).connect(),
    "echo server": lambda text: EchoServer(text, 0).start(),
    "listen": lambda text: Rule(f"{text}:80", "192.0.2.1:80"),
    "listen at an endpoint": lambda text: Rule(Endpoint(text, 80), "192.0.2.1:80"),
    "upstream": lambda text: Rule("80", f"{text}:80"),
    "upstream endpoint": lambda text: Rule("80", Endpoint(text, 80)),
    "allow": lambda text: Rule("80", "192.0.2.1:80", allow=(text,)),
    "deny": lambda text: Rule("80", "192.0.2.1:80", deny=(f"{text}/8",)),
    "trust_proxy": lambda text: Rule("80", "192.0.2.1:80", trust_proxy=(text,)),
    "ipv6.explain": ipv6.explain,
    "ipv6.prefix": lambda text: ipv6.prefix(f"{text}/8"),
    "ipv6.prefix netaddr": lambda text: ipv6.prefix(f"{text}/8", engine="netaddr"),
    "aio.ping": lambda text: asyncio.run(aio.ping(text)),
    "aio.trace": lambda text: asyncio.run(aio.trace(text)),
    "aio.sweep": lambda text: asyncio.run(aio.sweep(text)),
    "aio.portscan": lambda text: asyncio.run(aio.portscan(text)),
    "aio.wait": lambda text: asyncio.run(aio.wait(f"{text}:80")),
    "echo_async": lambda text: asyncio.run(echo_async(text, 7)),
    "aio.path_mtu": lambda text: asyncio.run(aio.path_mtu(text)),
}
SAMPLES = ["010.0.0.1", "0x7f000001", "127.1"]


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize("taker", TAKERS)
def test_it_is_refused_wherever_an_address_is_taken(text: str, taker: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        TAKERS[taker](text)


@pytest.mark.parametrize("text", SAMPLES)
def test_in_a_list_it_is_that_host_s_error_and_nothing_is_sent_to_it(text: str) -> None:
    for results in (multiping([text]), asyncio.run(aio.multiping([text]))):
        assert [(result.host, result.sent) for result in results] == [(text, 0)]
        assert "expected four decimal octets" in str(results[0].error)


@pytest.mark.parametrize("text", SAMPLES)
def test_it_is_refused_in_packets_and_by_interfaces(text: str) -> None:
    for build in (lambda: IPv4(src=text), lambda: IPv4(dst=text), lambda: ARP(psrc=text)):
        with pytest.raises(PacketError, match="expected an IPv4 address, as 192"):
            build()
    with pytest.raises(ValueError, match=text):
        get_netmask("lo", text)


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize(
    "words",
    [
        ("ping", "TEXT"),
        ("ping", "--source", "TEXT", "127.0.0.1"),
        ("trace", "TEXT"),
        ("sweep", "TEXT"),
        ("portscan", "TEXT"),
        ("wait", "TEXT:80"),
        ("forward", "TEXT:0", "192.0.2.1:80", "--dry-run"),
        ("forward", "0", "TEXT:80", "--dry-run"),
        ("forward", "0", "192.0.2.1:80", "--allow", "TEXT", "--dry-run"),
        ("forward", "0", "192.0.2.1:80", "--metrics", "TEXT:80", "--dry-run"),
        ("echo", "serve", "TEXT:7"),
        ("echo", "client", "TEXT:7"),
        ("ipv6", "TEXT/8"),
    ],
    ids=" ".join,
)
def test_the_commands_refuse_it(fastnet: Callable[..., Any], words: tuple[str, ...], text: str) -> None:
    ran = fastnet(*(word.replace("TEXT", text) for word in words))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert text in ran.stderr
    assert ran.stderr.count("\n") == 1
