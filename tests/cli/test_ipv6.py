"""``fastnet ipv6``: what is printed of addresses."""

from __future__ import annotations

from typing import Any

import pytest
from records import untimed

from fastnet.ipv6 import explain

DOCUMENTATION = """\
2001:db8::1
  type:          documentation
  scope:         global
  reachable:     not globally
  block:         2001:db8::/32 Documentation (RFC 3849)
  name:          1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa
  interfaces:    none of this machine
"""
TEREDO = """\
2001:0:4136:e378:8000:63bf:3fff:fdd2
  type:          teredo
  scope:         global
  reachable:     unknown
  block:         2001::/32 TEREDO (RFC 4380)
  IPv4 address:  65.54.227.120 (teredo-server)
  IPv4 address:  192.0.2.45 (teredo-client, port 40000)
  name:          2.d.d.f.f.f.f.3.f.b.3.6.0.0.0.8.8.7.3.e.6.3.1.4.0.0.0.0.1.0.0.2.ip6.arpa
  interfaces:    none of this machine
"""


@pytest.mark.parametrize("engine", [(), ("--engine", "netaddr")])
def test_addresses_are_explained(fastnet: Any, reference: Any, engine: tuple[str, ...]) -> None:
    reference("netaddr")
    addresses = ("2001:db8::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2")
    done = fastnet("ipv6", "explain", *engine, *addresses)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{DOCUMENTATION}\n{TEREDO}", "")


@pytest.mark.parametrize("words", [("explain", "--json"), ("--json", "explain")])
def test_the_record_of_an_address(fastnet: Any, words: tuple[str, ...]) -> None:
    done = fastnet("ipv6", *words, "::ffff:192.0.2.1", "fe80::1%lo")
    assert (done.returncode, done.stderr) == (0, "")
    found = [untimed(line) for line in done.stdout.splitlines()]
    assert found == [
        {"kind": "explanation", **explain(each).as_dict()} for each in ("::ffff:192.0.2.1", "fe80::1%lo")
    ]


def test_a_zone_that_is_no_text_is_escaped(fastnet: Any) -> None:
    done = fastnet("ipv6", "explain", "fe80::1%\x1b[31m")
    assert done.stdout.startswith("fe80::1%\\x1b[31m\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explain",), "the following arguments are required: ADDRESS"),
        (("explain", "::1", "nonsense"), "'nonsense': expected an address, as 2001:db8::1 or fe80::1%eth0"),
        (("explain", "--engine", "netifaces", "::1"), "invalid choice: 'netifaces'"),
        (("--engine", "netifaces", "explain", "::1"), "expected one of fastnet, netaddr"),
        (("--prefix", "::1/64", "explain", "::1"), "--prefix: not with explain"),
        (("nonsense",), "invalid choice: 'nonsense'"),
    ],
)
def test_what_is_refused(fastnet: Any, arguments: tuple[str, ...], words: str) -> None:
    done = fastnet("ipv6", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
