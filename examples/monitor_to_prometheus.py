"""Ping many hosts every interval, and leave their state in a file for Prometheus's node_exporter.

    python monitor_to_prometheus.py /var/lib/node_exporter/ping.prom 60 10.0.0.1 10.0.0.2 ...

The file is written whole and then renamed, so that a reader never sees a part of it. Interval 0 is one round.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

import fastnet
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved


def label(result: fastnet.PingResult) -> str:
    """A label with the host, which may be any text that was typed, as Prometheus escapes it."""
    escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    return f'{{host="{result.host.translate(escapes)}"}}'


def text_of(results: Sequence[fastnet.PingResult]) -> str:
    lines = ["# HELP ping_up Whether the host answered.", "# TYPE ping_up gauge"]
    lines += [f"ping_up{label(result)} {int(result.alive)}" for result in results]
    lines += ["# HELP ping_rtt_seconds Average round-trip time.", "# TYPE ping_rtt_seconds gauge"]
    lines += [
        f"ping_rtt_seconds{label(result)} {result.rtt_avg_ms / 1000:.6f}"
        for result in results
        if result.rtt_avg_ms is not None
    ]
    return "\n".join([*lines, ""])


def write_whole(path: str, text: str) -> None:
    with open(f"{path}.new", "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def monitor(path: str, interval: float, hosts: Sequence[str]) -> None:
    with fastnet.Pinger() as pinger:
        while True:
            next_round = time.monotonic() + interval
            write_whole(path, text_of(pinger.multiping(hosts, count=2, interval=0.2)))
            if not interval:
                break
            time.sleep(max(0, next_round - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Ping hosts, and write their state for Prometheus.")
    parser.add_argument("path", help="file to write, *.prom in node_exporter's textfile directory")
    parser.add_argument("interval", type=float, help="seconds from one round to the next; 0: one round")
    parser.add_argument("hosts", nargs="+", metavar="host")
    args = parser.parse_args()
    if not 0 <= args.interval <= 86400:
        parser.error(f"interval {args.interval}: expected seconds, 0 to 86400")
    try:
        monitor(args.path, args.interval, args.hosts)
    except (InvalidArgument, NameNotResolved) as error:
        parser.error(str(error))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
