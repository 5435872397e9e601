"""What type checkers and editors read: every coroutine, where it is defined."""

from fastnet._distributed import ping_distributed_async as ping_distributed
from fastnet._distributed import sweep_distributed_async as sweep_distributed
from fastnet._forward import relay_async as relay
from fastnet._ping import multiping_async as multiping
from fastnet._ping import ping_async as ping
from fastnet._ping.mtu import path_mtu_async as path_mtu
from fastnet._portscan import portscan_async as portscan
from fastnet._sweep import sweep_async as sweep
from fastnet._sweep import sweep_every_async as sweep_every
from fastnet._sweep import sweep_stream_async as sweep_stream
from fastnet._trace import trace_async as trace
from fastnet._wait import wait_all_async as wait_all
from fastnet._wait import wait_async as wait
from fastnet._wait import wait_stream_async as wait_stream
from fastnet._watch import watch_async as watch

__all__ = [
    "multiping",
    "path_mtu",
    "ping",
    "ping_distributed",
    "portscan",
    "relay",
    "sweep",
    "sweep_distributed",
    "sweep_every",
    "sweep_stream",
    "trace",
    "wait",
    "wait_all",
    "wait_stream",
    "watch",
]
