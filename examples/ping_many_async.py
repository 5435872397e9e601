"""Ping hosts and trace those that are silent, side by side, in an asyncio program.

python ping_many_async.py 127.0.0.1 127.0.0.2
"""

import argparse
import asyncio
import sys

from fastnet import aio
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved


async def examine(host: str) -> str:
    try:
        result = await aio.ping(host, count=3, interval=0.1)
        if result.alive:
            return f"{host}: {result.rtt_avg_ms:.3f} ms"
        trace = await aio.trace(host, timeout=0.5)
    except (InvalidArgument, NameNotResolved) as error:
        return str(error)  # which names the host: the others are examined all the same
    answering = [hop.ttl for hop in trace.hops if hop.responders]
    return f"{host}: silent; its path is known up to hop {max(answering, default=0)}"


async def print_examined(host: str) -> None:
    print(await examine(host), flush=True)


async def examine_all(hosts: list[str]) -> None:
    await asyncio.gather(*map(print_examined, hosts))


def main() -> None:
    parser = argparse.ArgumentParser(description="Ping hosts, and trace those that are silent.")
    parser.add_argument("hosts", nargs="+", metavar="host")
    args = parser.parse_args()
    try:
        asyncio.run(examine_all(args.hosts))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
