"""What threads may share, shared by many at once; without a GIL as with one (docs/threads.md)."""

from __future__ import annotations

import socket
import threading
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from forwarding import connect, echo

import fastnet
from fastnet._backend import implementation, permute, probe
from fastnet._contract.relay import Options
from fastnet.packet import TCP, UDP, IPv4, Packet, Template, parse

THREADS = 8


def together(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """What each thread's work returns, all of them beginning at once."""
    start = threading.Barrier(threads)

    def run(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def test_a_packet_and_its_layers_are_built_by_many_at_once() -> None:
    for number in range(200):
        upper = IPv4(src="10.0.0.1", dst="10.0.0.2", ident=number) / TCP(sport=number + 1, dport=80)
        packet = upper / bytes(number)
        expected = bytes(
            IPv4(src="10.0.0.1", dst="10.0.0.2", ident=number)
            / TCP(sport=number + 1, dport=80)
            / bytes(number)
        )

        def look(worker: int, packet: Packet = packet) -> tuple[Any, ...]:
            if worker % 2:
                return packet.sport, packet.src, bytes(packet), hash(packet)
            built = bytes(packet)
            return packet.sport, packet.src, built, hash(packet)

        assert set(together(look)) == {(number + 1, "10.0.0.1", expected, hash(parse(expected, "ip")))}


def test_a_template_is_filled_by_many_at_once() -> None:
    template = Template(IPv4(dst="10.0.0.1") / UDP(dport=53) / (b"x" * 20), IPv4.dst, UDP.sport)
    columns = array("Q", range(1, 500)), array("Q", range(1, 500))
    one = template.build_many(*columns)
    assert set(together(lambda _: template.build_many(*columns))) == {one}
    assert {*together(lambda _: template.build(1, 1))} == {one[: template.size]}


def test_a_permutation_is_read_by_many_at_once() -> None:
    order = permute.Permutation(10_000, 7)
    assert len({tuple(numbers) for numbers in together(lambda _: order.fill(0, 1, 10_000))}) == 1


def test_a_sweep_runs_in_one_thread_at_a_time() -> None:
    """The others get an error, or find it idle; it ends with every verdict, and none is made up."""
    first = int.from_bytes(socket.inet_aton("127.1.0.1"), "big")
    prober = probe.Prober(socket.AF_INET)
    try:
        sweep = probe.Sweeper(prober, [(first, first + 2999)], timeout=5.0)

        def work(number: int) -> None:
            while not sweep.finished:
                time.sleep(0.001)  # else who spins here has the interpreter's lock while the sweep needs it
                try:
                    if number % 2:
                        sweep.reason(number)
                    else:
                        sweep.run(0.002)
                except RuntimeError as error:
                    if str(error) != "the sweep runs in another thread":
                        raise

        together(work)
        assert bytes(sweep.states) == bytes([probe.ALIVE]) * 3000
        assert sweep.sent >= 3000
    finally:
        prober.close()


def test_records_are_taken_by_many_and_each_once(serve: Callable[..., Any]) -> None:
    upstream = serve(echo)
    core: ModuleType = import_module(f"fastnet._{implementation()}.relay")
    loop = core.Loop()
    rule = core.Rule([core.Upstream([(socket.AF_INET, ("127.0.0.1", upstream.port))])], Options(record=True))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    loop.listen(rule, [listener])
    runner = threading.Thread(target=loop.run)
    runner.start()
    ended = threading.Event()

    def take(number: int) -> list[int]:
        if number:
            taken: list[int] = []
            while not ended.wait(0.001):
                taken += [record.number for record in loop.records()]
            return taken
        for _ in range(100):
            with connect(port) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
        loop.drain(5.0)
        runner.join()
        ended.set()
        return []

    numbers = [number for taken in together(take, 4) for number in taken]
    numbers += [record.number for record in loop.records()]
    assert len(numbers) == len(set(numbers)) == 100


@pytest.mark.parametrize(
    "call", [lambda: fastnet.get_ip_address("lo"), lambda: len(fastnet.interfaces.list_addresses())]
)
def test_interfaces_are_asked_by_many_at_once(call: Callable[[], Any]) -> None:
    assert len(set(together(lambda _: [call() for _ in range(200)][-1]))) == 1
