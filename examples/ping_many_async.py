"""Ping hosts and trace those that are silent, side by side, in an asyncio program.

python ping_many_async.py 127.0.0.1 127.0.0.2
"""

import asyncio
import sys

import fastnet
from fastnet import aio


async def examine(host: str) -> str:
    result = await aio.ping(host, count=3, interval=0.1)
    if result.alive:
        return f"{host}: {result.rtt_avg_ms:.3f} ms"
    trace = await aio.trace(host, timeout=0.5)
    return f"{host}: silent; the last router that answers is hop {len(trace.hops)}"


async def main(hosts: list[str]) -> None:
    for line in asyncio.as_completed(map(examine, hosts)):
        print(await line)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
    assert fastnet.implementation() in ("native", "pure")
