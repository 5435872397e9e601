"""Ping many hosts every interval, and leave their state in a file for Prometheus's node_exporter.

    python monitor_to_prometheus.py /var/lib/node_exporter/ping.prom 60 10.0.0.1 10.0.0.2 ...

The file is written whole and then renamed, so that a reader never sees a part of it.
"""

import os
import sys
import time
from collections.abc import Sequence

import fastnet


def text_of(results: Sequence[fastnet.PingResult]) -> str:
    lines = ["# HELP ping_up Whether the host answered.", "# TYPE ping_up gauge"]
    lines += [f'ping_up{{host="{result.host}"}} {int(result.alive)}' for result in results]
    lines += ["# HELP ping_rtt_seconds Average round-trip time.", "# TYPE ping_rtt_seconds gauge"]
    lines += [
        f'ping_rtt_seconds{{host="{result.host}"}} {result.rtt_avg_ms / 1000:.6f}'
        for result in results
        if result.rtt_avg_ms is not None
    ]
    return "\n".join([*lines, ""])


def write_whole(path: str, text: str) -> None:
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def main() -> None:
    path, interval, hosts = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    with fastnet.Pinger() as pinger:
        while True:
            write_whole(path, text_of(pinger.multiping(hosts, count=2, interval=0.2)))
            if not interval:
                break
            time.sleep(interval)


if __name__ == "__main__":
    main()
