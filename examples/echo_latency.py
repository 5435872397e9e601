"""Measure the latency of TCP on this machine: an echo server, and many messages to it.

python echo_latency.py 1000
"""

import argparse
import sys

from fastnet.echo import EchoServer, echo
from fastnet.errors import FastnetError, InvalidArgument


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the latency of TCP on this machine.")
    parser.add_argument("count", type=int, help="number of messages")
    args = parser.parse_args()
    try:
        with EchoServer("127.0.0.1") as server:
            result = echo("127.0.0.1", server.port, count=args.count, size=64)
    except InvalidArgument as error:
        parser.error(str(error))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)
    if not result.ok:
        sys.exit(result.error)
    for percent, rtt_ms in (50, result.rtt_p50_ms), (90, result.rtt_p90_ms), (99, result.rtt_p99_ms):
        print(f"p{percent} {rtt_ms:.3f} ms")


if __name__ == "__main__":
    main()
