"""Print what changes on the network interfaces: their state, and then a number of events.

python watch_interfaces.py 10
"""

import argparse
import asyncio
import sys

from fastnet import FastnetError, aio


async def watch(count: int) -> None:
    async for event in aio.watch():
        print(event, flush=True)
        count -= 1
        if count < 0:  # the first is the state at the beginning
            break


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what changes on the network interfaces.")
    parser.add_argument("count", type=int, help="number of events")
    args = parser.parse_args()
    if args.count < 1:
        parser.error(f"count {args.count}: expected 1 or more")
    try:
        asyncio.run(watch(args.count))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
