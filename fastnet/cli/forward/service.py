"""A forwarder at work as a service: what is opened beside it, and the signals that it heeds."""

import argparse
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pwd import struct_passwd
from typing import TYPE_CHECKING

from fastnet._threads import Work
from fastnet.cli import describe, exits
from fastnet.cli.forward.dump import dump_json, dump_text
from fastnet.cli.forward.telling import tell_listening, tell_metrics, tell_reloaded, tell_summary
from fastnet.cli.forward.top import REFRESH_SECONDS, Top
from fastnet.cli.output import remark
from fastnet.errors import FastnetError
from fastnet.forward import Forwarder, Rule
from fastnet.forward.access_log import AccessLog, Format
from fastnet.forward.privileges import become, find_user
from fastnet.forward.rules_file import load_rules
from fastnet.forward.systemd import Watchdog, notify, watchdog_interval

if TYPE_CHECKING:
    from fastnet.forward.metrics import Exporter


_ENDED = 0
"""No signal has this number: the forwarder has ended by itself, or as it was told."""


def warn(text: str) -> None:
    remark(f"fastnet forward: {text}")


def tell_systemd(**news: str | int) -> None:
    try:
        notify(**news)
    except OSError as error:
        warn(describe(error))


class Service:
    """Serves the rules until it is told to end; ``run`` gives the exit code."""

    def __init__(self, args: argparse.Namespace, rules: list[Rule]) -> None:
        self._args = args
        self._user = None if args.user is None else find_user(args.user)
        self._watchdog_seconds = watchdog_interval()
        self._forwarder = Forwarder.from_rules(
            rules,
            threads=args.threads,
            engine=args.engine,
            spin=args.spin,
            record=args.log is not None,
            tap=(dump_json if args.json else dump_text) if args.dump else None,
            warn=warn,
        )
        self._top = Top() if args.top else None
        self._endings: list[int] = []
        self._log: AccessLog | None = None
        self._exporter: Exporter | None = None

    def run(self) -> int:
        with ExitStack() as stack:
            self._open(stack)
            started = time.monotonic()
            try:
                drained = self._serve(stack)
            finally:
                stack.close()  # The log is complete before the summary is told.
                self._sum_up(time.monotonic() - started)
        if signal.SIGINT in self._endings:
            return exits.INTERRUPTED
        return exits.YES if drained else exits.NO

    def _sum_up(self, seconds: float) -> None:
        if self._log and self._log.lost:
            warn(f"{self._log.lost} records are not in the log")
        tell_summary(self._forwarder, seconds, self._args.json)

    def _open(self, stack: ExitStack) -> None:
        """Open all that root may be needed for, give root up, and begin."""
        args = self._args
        if args.log is not None:
            form: Format = args.log_format or ("json" if args.json else "text")
            self._log = AccessLog(args.log, form, warn)
            stack.callback(self._log.close)
        if args.metrics is not None:
            from fastnet.forward.metrics import Exporter  # It imports an HTTP server.

            self._exporter = Exporter(args.metrics)
            stack.callback(self._exporter.close)
        stack.enter_context(self._forwarder)
        self._heed_signals()
        if self._user:
            self._give_up_root(self._user)
        if self._log:
            self._log.start(self._forwarder)
        if self._exporter:
            self._exporter.start(self._forwarder)
        if self._watchdog_seconds is not None:
            # Only loops that turn tell their connections.
            watchdog = Watchdog(self._watchdog_seconds, self._forwarder.connections, warn)
            stack.callback(watchdog.stop)

    def _give_up_root(self, user: struct_passwd) -> None:
        if self._log:
            self._log.give_to(user)
        become(user)

    def _heed_signals(self) -> None:
        """From now on these signals are events."""
        heeded: dict[int, Callable[[], None]] = {
            number: partial(self._end, number) for number in (signal.SIGINT, signal.SIGTERM)
        }
        if self._args.rules is not None:
            heeded[signal.SIGHUP] = self._reload
        if self._log:
            heeded[signal.SIGUSR1] = partial(self._reopen, self._log)
        # Each signal writes its number: one that comes just before the wait begins is not slept through.
        self._events, self._tell_event = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._tell_event)
        for number in heeded:
            signal.signal(number, lambda *_: None)
        self._heeded = heeded

    # At work

    def _serve(self, stack: ExitStack) -> bool:
        """Until the forwarder has ended: whether no connection was cut."""
        tell_listening(self._forwarder, self._args.json)
        if self._exporter:
            tell_metrics(self._exporter.addresses, self._args.json)
        tell_systemd(READY=1)
        ending = Work(self._await_end, "fastnet-forward-end")
        if self._top:
            stack.enter_context(self._top)
        while number := self._next_event():
            self._heeded[number]()
        return ending.result()

    def _next_event(self) -> int:
        """The next signal; 0 at the end. The live table is kept current meanwhile."""
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        while self._top:
            self._top.refresh(self._forwarder)
            if poll.poll(REFRESH_SECONDS * 1000):
                break
        else:
            poll.poll()
        return os.read(self._events, 1)[0]

    def _await_end(self) -> bool:
        try:
            return self._forwarder.wait()
        finally:
            os.write(self._tell_event, bytes([_ENDED]))

    # Events

    def _end(self, number: int) -> None:
        """The first such signal lets connections end by themselves, the second means now."""
        self._endings.append(number)
        self._forwarder.drain(self._args.drain if len(self._endings) == 1 else 0)
        tell_systemd(STOPPING=1)

    def _reload(self) -> None:
        """Take the rules of the file, or none of them."""
        if self._endings:
            return
        tell_systemd(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            self._forwarder.reload(load_rules(self._args.rules))
        except (FastnetError, OSError) as error:
            warn(f"not reloaded, the old rules go on: {describe(error)}")
        else:
            tell_reloaded(self._forwarder, self._args.rules, self._args.json)
        tell_systemd(READY=1)

    def _reopen(self, log: AccessLog) -> None:
        try:
            log.reopen()
        except OSError as error:
            warn(f"the log is not reopened, the old file goes on: {describe(error)}")
