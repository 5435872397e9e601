"""Print what changes on the network interfaces, until a given number of events.

python watch_interfaces.py 10
"""

import asyncio
import sys

import fastnet


async def main() -> None:
    left = int(sys.argv[1])
    async for event in fastnet.aio.watch():
        print(event, flush=True)
        left -= 1
        if left < 0:  # the first is the state at the beginning
            break


if __name__ == "__main__":
    asyncio.run(main())
