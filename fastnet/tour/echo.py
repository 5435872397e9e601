"""A dual-stack echo server on loopback, and its latency on each family."""

from _collections_abc import Iterator

from fastnet._contract.values import counted
from fastnet.echo import EchoServer, echo
from fastnet.tour import Sight


def visit() -> Iterator[Sight]:
    with EchoServer() as server:
        yield Sight("listen on localhost", ", ".join(map(str, server.addresses)))
        for address in server.addresses:
            result = echo(*address, count=200)
            times = f"rtt p50 {result.rtt_p50_ms:.3f} ms, p99 {result.rtt_p99_ms:.3f} ms"
            yield Sight(f"200 messages to {address} and back", result.error or times, ok=result.ok)
        result = echo(*server.addresses[0], count=1, size=1 << 20)
        yield Sight("1 MiB there and back, compared byte for byte", result.error or "all of it", ok=result.ok)
        stats = server.stats
    yield Sight(
        "what the server reports",
        f"{counted(stats.accepted, 'connection')}, {counted(stats.echoed_bytes, 'byte')} echoed",
    )
