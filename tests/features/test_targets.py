"""Targets: every form that is understood, every slip that is refused, and sets against brute force."""

from __future__ import annotations

import ipaddress
import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet.errors import InvalidArgument, NameNotResolved
from fastnet.targets import Targets, parse_prefix, read_targets


@pytest.mark.parametrize(
    ("text", "first", "last", "size"),
    [
        ("10.0.0.7", "10.0.0.7", "10.0.0.7", 1),
        ("10.0.2.2-4", "10.0.2.2", "10.0.2.4", 3),  # a range of hosts
        ("10.0.2.*", "10.0.2.0", "10.0.2.255", 256),
        ("10.0.0-1.1,3-5", "10.0.0.1", "10.0.1.5", 8),
        ("*.*.*.*", "0.0.0.0", "255.255.255.255", 1 << 32),
        ("10.*.*.1", "10.0.0.1", "10.255.255.1", 65536),
        ("10.0.2.0/24", "10.0.2.0", "10.0.2.255", 256),
        ("10.0.2.77/24", "10.0.2.0", "10.0.2.255", 256),
        ("10.0.2.0/32", "10.0.2.0", "10.0.2.0", 1),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1 << 32),
        ("10.0.2.250-10.0.3.9", "10.0.2.250", "10.0.3.9", 16),
        ("2001:db8::7", "2001:db8::7", "2001:db8::7", 1),
        ("2001:db8::/120", "2001:db8::", "2001:db8::ff", 256),
        ("2001:db8::1-2001:db8::1:0", "2001:db8::1", "2001:db8::1:0", 65536),
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1 << 128),
    ],
)
def test_what_a_text_stands_for(text: str, first: str, last: str, size: int) -> None:
    targets = Targets(text)
    assert (targets[0], targets[-1], targets.size) == (first, last, size)
    assert first in targets
    assert last in targets


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("010.0.0.1", "leading zero"),
        ("10.0.0.01-4", "leading zero"),
        ("10.0.0.0/33", "expected 0 to 32"),
        ("10.0.0.0/08", "prefix length '08'"),
        ("10.0.0.0/", "prefix length ''"),
        ("10.0.0.0/-1", "prefix length '-1'"),
        ("2001:db8::/129", "expected 0 to 128"),
        ("10.0.0.4-2", "reversed"),
        ("10.0.0.9-10.0.0.1", "did you mean 10.0.0.1-10.0.0.9"),
        ("fd00::9-fd00::1", "reversed"),
        ("10.0.0.256", "octet 256"),
        ("10.0.0." + "9" * 5000, "expected 0 to 255"),
        ("10.0.0.0/" + "9" * 5000, "expected 0 to 32"),
        ("10.0.0.1-256", "octet 256"),
        ("10.0.0", "four octets"),
        ("10.0.0.0.1", "four octets"),
        ("5", "four octets"),
        ("0x7f000001", "four octets"),
        ("10.0.0.-", "empty octet"),
        ("10.0.0.1-", "empty octet"),
        ("10.0.0.1,", "empty octet"),
        ("10..0.1", "empty octet"),
        ("10.0.0.1-2-3", "octet 2-3"),
        ("10.0.0.**", "octet **"),
        ("example.com/24", "four octets"),
        ("www.*", "four octets"),
        ("fd00::g", "not an IPv6 address"),
        ("fd00::1-", "not an IPv6 address"),
        ("fd00::1-10.0.0.1", "not an IPv6 address"),
        ("fe80::1%eth0", "scope"),
        ("*.*.*.1", "separate ranges"),
        ("", "expected a host"),
        (" 10.0.0.1", "expected a host"),
    ],
)
def test_a_slip_is_refused_with_what_is_wrong_and_never_looked_up(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*arguments: object, **_: object) -> None:
        pytest.fail(f"looked up {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(InvalidArgument) as caught:
        Targets(text)
    assert complaint in str(caught.value)


def test_a_name_is_its_first_address() -> None:
    assert Targets("localhost", family=socket.AF_INET) == Targets("127.0.0.1")
    with pytest.raises(NameNotResolved, match="not a host name"):
        Targets("no..name")


def test_a_name_that_ends_in_a_dot_is_a_full_name() -> None:
    with pytest.raises(NameNotResolved):
        Targets("no..name.")
    for numbers in ("10.0.0.", "1.", "."):
        with pytest.raises(InvalidArgument, match=r"four octets|empty octet"):
            Targets(numbers)


def test_exclusions_and_order() -> None:
    targets = Targets("::2", "10.0.0.5", "10.0.0.1-4", "::1", exclude=["10.0.0.2-3", "::2", "192.0.2.0/24"])
    assert list(targets) == ["10.0.0.1", "10.0.0.4", "10.0.0.5", "::1"]
    assert [targets[index] for index in range(-4, 4)] == [*targets, *targets]
    assert [*targets.texts()] == ["10.0.0.1", "10.0.0.4-10.0.0.5", "::1"]
    assert targets.at(-1) == (socket.AF_INET6, 1)
    assert "10.0.0.2" not in targets
    assert "nonsense" not in targets
    assert 7 not in targets
    assert not Targets("10.0.0.1", exclude=["10.0.0.0/8"])
    with pytest.raises(IndexError):
        targets[4]
    with pytest.raises(IndexError):
        targets[-5]


def test_intervals_are_never_expanded() -> None:
    targets = Targets("0.0.0.0/0", "::/0", exclude=["10.0.0.0/8"])
    assert len(targets.ipv4) == 2
    assert len(targets.ipv6) == 1
    assert targets[(1 << 32) - (1 << 24)] == "::"
    assert "10.1.2.3" not in targets
    assert "fe80::1" in targets


def test_repr_makes_it_again() -> None:
    targets = Targets("10.0.0-1.1,3-5", "fd00::/126", exclude=["fd00::1"])
    assert eval(repr(targets)) == targets
    assert hash(eval(repr(targets))) == hash(targets)
    assert targets != Targets("10.0.0.1")
    assert targets != "10.0.0.1"


def test_a_file_of_targets() -> None:
    lines = ["10.0.0.1 10.0.0.2  # two\n", "# none\n", "\n", "fd00::1\n"]
    assert read_targets(lines) == ["10.0.0.1", "10.0.0.2", "fd00::1"]


LOW = int(ipaddress.ip_address("10.0.0.0"))
interval = st.tuples(st.integers(0, 300), st.integers(0, 40))


@given(st.lists(interval, max_size=8), st.lists(interval, max_size=8))
def test_sets_of_intervals_are_sets_of_addresses(
    wanted: list[tuple[int, int]], unwanted: list[tuple[int, int]]
) -> None:
    def text(start: int, more: int) -> str:
        return f"{ipaddress.ip_address(LOW + start)}-{ipaddress.ip_address(LOW + start + more)}"

    def brute(intervals: list[tuple[int, int]]) -> set[int]:
        return {LOW + n for start, more in intervals for n in range(start, start + more + 1)}

    targets = Targets(*(text(*each) for each in wanted), exclude=[text(*each) for each in unwanted])
    expected = [str(ipaddress.ip_address(n)) for n in sorted(brute(wanted) - brute(unwanted))]
    assert list(targets) == expected
    assert len(targets) == len(expected)
    assert [targets[index] for index in range(len(expected))] == expected
    assert all(
        (str(ipaddress.ip_address(LOW + n)) in targets) == (LOW + n in brute(wanted) - brute(unwanted))
        for n in range(360)
    )
    spans = targets.ipv4
    assert all(left.last + 1 < right.first for left, right in pairwise(spans))


octets = st.lists(
    st.integers(0, 255).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, 255))),
    min_size=1,
    max_size=3,
)


@given(octets, octets)
def test_octet_ranges_are_their_product(third: list[tuple[int, int]], fourth: list[tuple[int, int]]) -> None:
    def text(ranges: list[tuple[int, int]]) -> str:
        return ",".join(f"{low}-{high}" if low != high else str(low) for low, high in ranges)

    def values(ranges: list[tuple[int, int]]) -> set[int]:
        return {value for low, high in ranges for value in range(low, high + 1)}

    targets = Targets(f"10.0.{text(third)}.{text(fourth)}")
    assert len(targets) == len(values(third)) * len(values(fourth))
    assert targets[0] == f"10.0.{min(values(third))}.{min(values(fourth))}"
    assert targets[-1] == f"10.0.{max(values(third))}.{max(values(fourth))}"


@given(st.text(alphabet="0123456789.,-*/:%ab ", max_size=20))
def test_any_text_is_targets_or_a_clear_refusal(text: str) -> None:
    numeric = f"{text}.1"
    try:
        targets = Targets(numeric)
    except InvalidArgument as error:
        complaint = str(error)
        assert (
            "expected" in complaint
            or "not an IPv6" in complaint
            or "did you mean" in complaint
            or "a leading zero" in complaint
            or "no scope" in complaint
        )
    else:
        assert targets.size > 0


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("10.0.0.0/8", (socket.AF_INET, b"\x0a\0\0\0", 8)),
        ("0.0.0.0/0", (socket.AF_INET, b"\0\0\0\0", 0)),
        ("192.0.2.7", (socket.AF_INET, b"\xc0\0\x02\x07", 32)),
        ("2001:db8::/32", (socket.AF_INET6, b"\x20\x01\x0d\xb8" + bytes(12), 32)),
        ("::1", (socket.AF_INET6, bytes(15) + b"\x01", 128)),
    ],
)
def test_a_prefix_is_read(text: str, prefix: tuple[int, bytes, int]) -> None:
    assert parse_prefix(text) == prefix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8"),
        ("10.0.0.0/33", "expected 0 to 32"),
        ("::/129", "expected 0 to 128"),
        ("example.com", "four octets"),
        ("10.0.0.0-10.0.0.9", "octet"),
        ("", "four octets"),
        ("10.0.0.0/", "prefix length"),
    ],
)
def test_what_is_no_prefix_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_prefix(text)


@pytest.mark.parametrize(
    "mapped", ["::ffff:127.0.0.1", "::ffff:127.0.0.0/127", "::ffff:127.0.0.1-::ffff:127.0.0.2"]
)
def test_what_is_excluded_is_no_mapped_address_either(mapped: str) -> None:
    with pytest.raises(InvalidArgument, match="an IPv4-mapped address: write 127"):
        Targets("127.0.0.1-3", exclude=[mapped])
    for wanted in ("127.0.0.9", "::1"):
        assert len(Targets(wanted, exclude=[mapped])) == 1
    assert len(Targets("127.0.0.1-3", exclude=["::ffff:0:0/96", "::/8"])) == 3
