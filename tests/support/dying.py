"""Preloaded by a Dask worker: has it die by SIGKILL at a step of a task, as ``FASTNET_TEST_DIE`` has it.

``executing``: when a task begins; ``running``: in the middle of it; ``memory``: when its result is there and
not yet sent; ``sent``: after the scheduler was sent that it is there. With ``:N`` at its Nth task.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from distributed import WorkerPlugin

SENT_SECONDS = 0.02
RUNNING_SECONDS = 0.15


class Dying(WorkerPlugin):
    def __init__(self, step: str, task: int) -> None:
        self._step, self._left = step, task

    def setup(self, worker: Any) -> None:
        self._loop = asyncio.get_running_loop()

    def transition(self, key: str, start: str, finish: str, **_: Any) -> None:
        at, delay = {
            "executing": ("executing", 0.0),
            "running": ("executing", RUNNING_SECONDS),
            "memory": ("memory", 0.0),
            "sent": ("memory", SENT_SECONDS),
        }[self._step]
        if finish == at and str(key).startswith("fastnet-"):
            self._left -= 1
            if self._left == 0:
                if delay:
                    self._loop.call_later(delay, os.kill, os.getpid(), signal.SIGKILL)
                else:
                    os.kill(os.getpid(), signal.SIGKILL)


async def dask_setup(worker: Any) -> None:
    step, _, task = os.environ.get("FASTNET_TEST_DIE", "").partition(":")
    if step:
        await worker.plugin_add(plugin=Dying(step, int(task or 1)), name="dying")
