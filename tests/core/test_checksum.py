"""The Internet checksum, against big integers, RFC 1624's example and scapy's packets."""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet.errors import InvalidArgument

TOPIC = "checksum"

BLOCK = 1 << 24
HUGE = (1 << 32) + BLOCK
LATE_CARRY = b"\xff\xff" * 65538 + b"\x01\x00"
"""Folding twice is not enough here: scapy, dpkt and pypacker give 0xffff."""

sums = st.integers(0, 0xFFFF)
buffers = st.binary(max_size=3000)


def oracle(data: bytes, initial: int = 0) -> int:
    """The checksum by its definition: a sum modulo 65535 whose zero stands for all zeros only."""
    number = initial + int.from_bytes(data + bytes(len(data) % 2), "big")
    return 0xFFFF ^ (number and (number % 65535 or 65535))


def outcome(function: Callable[..., Any], *arguments: object) -> object:
    """The result, or the kind and the words of what was raised."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


def each_kernel(core: ModuleType) -> Iterator[str]:
    """Every kernel's name while it computes; the default is back afterwards."""
    default = core.kernel()
    try:
        for name in core.kernels():
            core.use_kernel(name)
            yield name
    finally:
        core.use_kernel(default)


@given(data=buffers, initial=sums)
def test_checksum_is_the_definition(core: ModuleType, data: bytes, initial: int) -> None:
    for kernel in each_kernel(core):
        assert core.checksum(data, initial) == oracle(data, initial), kernel


@pytest.mark.parametrize(
    "size", [0, 1, 2, 511, 512, 65535, 65536, 65537, (1 << 20) - 1, (1 << 20) + 3, 1 << 24]
)
def test_sizes_around_every_threshold(core: ModuleType, size: int) -> None:
    data = (b"\xff\x00\xa7\x31\x05" * (size // 5 + 1))[:size]
    for kernel in each_kernel(core):
        assert core.checksum(data) == oracle(data), kernel


def test_late_carry(core: ModuleType) -> None:
    for kernel in each_kernel(core):
        assert core.checksum(LATE_CARRY) == 0xFEFF, kernel


def test_zeros_and_ones(core: ModuleType) -> None:
    for kernel in each_kernel(core):
        assert core.checksum(b"") == core.checksum(bytes(1000)) == 0xFFFF, kernel
        assert core.checksum(b"\xff" * 1000) == core.checksum(b"\xff\xfe\x00\x01") == 0, kernel


@contextmanager
def mapped_ones() -> Iterator[ctypes.Array[ctypes.c_ubyte]]:
    """More than 4 GiB of 0xff over one block of memory."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    size, private, fixed = ctypes.c_size_t, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0x10
    block = os.memfd_create("ones")
    os.write(block, b"\xff" * BLOCK)
    start = libc.mmap(None, size(HUGE), mmap.PROT_READ, private, -1, ctypes.c_int64(0))
    try:
        for at in range(start, start + HUGE, BLOCK):
            flags = mmap.MAP_SHARED | fixed
            libc.mmap(ctypes.c_void_p(at), size(BLOCK), mmap.PROT_READ, flags, block, ctypes.c_int64(0))
        yield (ctypes.c_ubyte * HUGE).from_address(start)
    finally:
        libc.munmap(ctypes.c_void_p(start), size(HUGE))
        os.close(block)


def test_more_than_4_gib(twins: tuple[ModuleType, ModuleType]) -> None:
    native, _ = twins
    with mapped_ones() as ones:
        for kernel in each_kernel(native):
            assert native.checksum(ones, 0xBEEF) == 0xFFFF ^ 0xBEEF, kernel
            assert native.checksum(memoryview(ones)[: HUGE - 1]) == 0xFF, kernel


@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: memoryview(bytearray(b"x" + data + b"x"))[1:-1],
        lambda data: memoryview(data).cast("H"),
        lambda data: memoryview(data).cast("B", (len(data) // 4, 4)),
        lambda data: array.array("H", data),
        lambda data: array.array("d", data),
        lambda data: (ctypes.c_uint16 * (len(data) // 2)).from_buffer_copy(data),
        type("Bytes", (bytes,), {}),
    ],
)
def test_any_buffer(core: ModuleType, wrap: Callable[[bytes], Any]) -> None:
    data = bytes(range(256)) * 3
    assert core.checksum(wrap(data)) == oracle(data)
    assert core.checksum_many([wrap(data), data]) == [oracle(data)] * 2


def test_mmap(core: ModuleType) -> None:
    with mmap.mmap(-1, 100_000) as mapped:
        mapped.write(b"\x01\x02\x03" * 30_000)
        assert core.checksum(mapped) == oracle(mapped[:])


def test_no_buffer_stays_exported(core: ModuleType) -> None:
    for size in (10, 100_000):
        data = bytearray(size)
        core.checksum(data)
        core.verify(data)
        data.append(1)


class Closed:
    """A memoryview that was released."""

    def __new__(cls) -> memoryview:  # type: ignore[misc]
        view = memoryview(b"data")
        view.release()
        return view


BAD_DATA = [None, 1, "text", [1, 2], memoryview(bytes(9))[::2], memoryview(bytes(9))[::-1], Closed()]
BAD_NUMBERS = [-1, 0x10000, 1 << 32, 1 << 63, 1 << 64, -(1 << 70), 1.0, None, "1", b"1", float("nan")]


@pytest.mark.parametrize("name", ["checksum", "verify", "checksum_many"])
def test_what_is_no_contiguous_buffer_is_refused_alike(
    twins: tuple[ModuleType, ModuleType], name: str
) -> None:
    native, pure = (getattr(twin, name) for twin in twins)
    for bad in BAD_DATA:
        argument = [b"good", bad] if name == "checksum_many" else bad
        assert outcome(native, argument) == outcome(pure, argument)
    assert outcome(native) != outcome(native, b"data")


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ("text", InvalidArgument, "data must be a bytes-like object, not str"),
        (memoryview(bytes(9))[::2], BufferError, "data must be a contiguous buffer"),
        (Closed(), ValueError, "released memoryview"),
    ],
)
def test_refusals_say_what_is_wrong(
    core: ModuleType, bad: object, error: type[Exception], words: str
) -> None:
    for function in (core.checksum, core.verify, lambda data: core.checksum_many([data])):
        with pytest.raises(error, match=words):
            function(bad)


def test_an_empty_view_of_many_dimensions(core: ModuleType) -> None:
    assert core.checksum(((ctypes.c_char * 0) * 3)()) == 0xFFFF


@pytest.mark.parametrize("bad", BAD_NUMBERS)
def test_bad_numbers_are_refused_alike(twins: tuple[ModuleType, ModuleType], bad: object) -> None:
    v4, v6 = bytes(4), bytes(16)
    calls: list[tuple[str, tuple[object, ...]]] = [
        ("checksum", (b"", bad)),
        ("verify", (b"", bad)),
        ("update", (bad, 0, 0)),
        ("update", (0, bad, 0)),
        ("update", (0, 0, bad)),
        ("pseudo_header_ipv4", (v4, v4, bad, 0)),
        ("pseudo_header_ipv4", (v4, v4, 0, bad)),
        ("pseudo_header_ipv6", (v6, v6, bad, 0)),
        ("pseudo_header_ipv6", (v6, v6, 0, bad)),
    ]
    for name, arguments in calls:
        native, pure = (outcome(getattr(twin, name), *arguments) for twin in twins)
        assert native == pure, name


def test_bad_addresses_are_refused_alike(twins: tuple[ModuleType, ModuleType]) -> None:
    for name, size in (("pseudo_header_ipv4", 4), ("pseudo_header_ipv6", 16)):
        good = bytes(size)
        for bad in (b"", bytes(size - 1), bytes(size + 1), "::1", None, 7, memoryview(bytes(2 * size))[::2]):
            for addresses in ((good, bad), (bad, good), (bad, bad)):
                native, pure = (outcome(getattr(twin, name), *addresses, 6, 20) for twin in twins)
                assert native == pure


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("checksum", (b"", -1), "initial -1: expected 0 to 65535"),
        ("update", (0x10000, 0, 0), "checksum 65536: expected 0 to 65535"),
        ("update", (0, 1 << 32, 0), "before 4294967296: expected 0 to 4294967295"),
        ("update", (0, 0, 1 << 64), "after 18446744073709551616: expected 0 to 4294967295"),
        ("pseudo_header_ipv4", (bytes(4), bytes(3), 6, 0), "dst has 3 bytes: expected 4"),
        ("pseudo_header_ipv4", (bytes(4), bytes(4), 256, 0), "protocol 256: expected 0 to 255"),
        ("pseudo_header_ipv6", (bytes(4), bytes(16), 6, 0), "src has 4 bytes: expected 16"),
        (
            "pseudo_header_ipv6",
            (bytes(16), bytes(16), 6, 1 << 32),
            "length 4294967296: expected 0 to 4294967295",
        ),
    ],
)
def test_out_of_range(core: ModuleType, name: str, arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(core, name)(*arguments)


@given(data=buffers)
def test_verify(core: ModuleType, data: bytes) -> None:
    even = data + bytes(len(data) % 2)
    whole = even + core.checksum(even).to_bytes(2, "big")
    assert core.verify(whole)
    assert not core.verify(whole[:-2] + (int.from_bytes(whole[-2:], "big") ^ 0x0100).to_bytes(2, "big"))


@given(
    data=st.binary(min_size=40, max_size=40),
    at=st.integers(0, 18),
    size=st.sampled_from([2, 4]),
    new=st.binary(),
)
def test_update_is_computing_anew(core: ModuleType, data: bytes, at: int, size: int, new: bytes) -> None:
    before, after = data[2 * at : 2 * at + size], new[:size].ljust(size, b"\0")
    changed = data[: 2 * at] + after + data[2 * at + size :]
    updated = core.update(core.checksum(data), int.from_bytes(before, "big"), int.from_bytes(after, "big"))
    assert updated == core.checksum(changed) or (updated == 0 and not any(changed))


def test_update_example_of_rfc_1624(core: ModuleType) -> None:
    assert core.update(0xDD2F, 0x5555, 0x3285) == 0x0000


@given(checksum=sums, before=st.integers(0, 0xFFFFFFFF), after=st.integers(0, 0xFFFFFFFF))
def test_twins_update_alike(
    twins: tuple[ModuleType, ModuleType], checksum: int, before: int, after: int
) -> None:
    native, pure = twins
    assert native.update(checksum, before, after) == pure.update(checksum, before, after)


@given(
    src=st.binary(min_size=16, max_size=16),
    dst=st.binary(min_size=16, max_size=16),
    protocol=st.integers(0, 255),
    length=st.integers(0, 0xFFFFFFFF),
)
def test_pseudo_headers_are_their_bytes(
    core: ModuleType, src: bytes, dst: bytes, protocol: int, length: int
) -> None:
    v6 = src + dst + length.to_bytes(4, "big") + bytes(3) + bytes([protocol])
    assert core.pseudo_header_ipv6(src, dst, protocol, length) == 0xFFFF ^ oracle(v6)
    v4 = src[:4] + dst[:4] + bytes([0, protocol]) + (length & 0xFFFF).to_bytes(2, "big")
    assert core.pseudo_header_ipv4(src[:4], dst[:4], protocol, length & 0xFFFF) == 0xFFFF ^ oracle(v4)


def test_segments_of_scapy_verify(core: ModuleType, reference: Callable[[str], ModuleType]) -> None:
    inet, inet6 = reference("scapy.layers.inet"), reference("scapy.layers.inet6")
    for length in (0, 1, 7, 1400):
        payload = bytes(range(1, 8)) * 200
        for protocol, segment in ((6, inet.TCP(dport=80)), (17, inet.UDP(dport=53))):
            packet = bytes(inet.IP(src="192.0.2.1", dst="198.51.100.7") / segment / payload[:length])
            initial = core.pseudo_header_ipv4(packet[12:16], packet[16:20], protocol, len(packet) - 20)
            assert core.verify(packet[20:], initial)
            packet = bytes(inet6.IPv6(src="2001:db8::1", dst="fe80::7") / segment / payload[:length])
            initial = core.pseudo_header_ipv6(packet[8:24], packet[24:40], protocol, len(packet) - 40)
            assert core.verify(packet[40:], initial)


@given(many=st.lists(buffers, max_size=20))
def test_checksum_many_is_each_in_order(core: ModuleType, many: list[bytes]) -> None:
    assert core.checksum_many(many) == [oracle(data) for data in many]
    assert core.checksum_many(iter(many)) == core.checksum_many(tuple(many))


def test_the_best_kernel_is_the_default(core: ModuleType) -> None:
    assert core.kernel() == core.kernels()[-1]
    assert len(set(core.kernels())) == len(core.kernels())


def test_a_kernel_can_be_forced(core: ModuleType) -> None:
    for name in each_kernel(core):
        assert core.kernel() == name
    assert core.kernel() == core.kernels()[-1]


def test_an_unknown_kernel_is_refused_and_those_there_are_named(core: ModuleType) -> None:
    with pytest.raises(ValueError, match=f"name 'abacus': expected one of {', '.join(core.kernels())}"):
        core.use_kernel("abacus")
    assert core.kernel() == core.kernels()[-1]


def test_other_threads_run_during_a_long_sum(twins: tuple[ModuleType, ModuleType]) -> None:
    """Python switches threads only where the GIL is released here, and only the sum releases it."""
    native, _ = twins
    data = bytes(1 << 26)
    inside: list[bool] = []
    seen = threading.Event()

    def work() -> None:
        for _ in range(500):
            inside.append(True)
            native.checksum(data)
            inside.pop()
            if seen.is_set():
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            if inside:
                seen.set()
            worker.join(0.001)
    finally:
        sys.setswitchinterval(interval)
    assert seen.is_set()


def test_threads_sum_at_once(core: ModuleType) -> None:
    data = [bytes([number]) * 200_001 for number in range(8)]
    results: dict[int, int] = {}
    workers = [
        threading.Thread(target=lambda n=number: results.update({n: core.checksum(data[n])}))  # type: ignore[misc]
        for number in range(len(data))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [results[number] for number in range(len(data))] == [oracle(each) for each in data]
