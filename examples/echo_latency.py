"""Measure the latency of TCP on this machine: an echo server, and many messages to it.

python echo_latency.py 1000
"""

import sys

from fastnet.echo import EchoServer, echo

with EchoServer("127.0.0.1") as server:
    result = echo("127.0.0.1", server.port, count=int(sys.argv[1]), size=64)
rtts = sorted(reply.rtt_ms for reply in result.replies if reply.rtt_ms is not None)
for percent in (50, 90, 99):
    print(f"p{percent} {rtts[len(rtts) * percent // 100]:.3f} ms")
