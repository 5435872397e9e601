"""Runs a forwarder as a service: its log, metrics and table, and the signals that it handles."""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
import time
from _collections_abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pwd import struct_passwd

from fastnet._contract.values import counted
from fastnet._forward import Forwarder, Rule
from fastnet._forward.access_log import AccessLog, Format
from fastnet._forward.rules_file import load_rules
from fastnet._forward.systemd import Watchdog, notify, watchdog_interval
from fastnet._reference import reference
from fastnet._threads import Repeated, Work
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import describe, exits
from fastnet.cli.forward.dump import dump_json, dump_text
from fastnet.cli.forward.printing import print_listening, print_metrics, print_reloaded, print_summary
from fastnet.cli.forward.top import REFRESH_SECONDS, Top
from fastnet.cli.output import remark
from fastnet.cli.quick_parser import Arguments
from fastnet.cli.serving import Signals, use_all_descriptors
from fastnet.cli.streams import queued_streams

if TYPE_CHECKING:
    from fastnet._forward.metrics import Exporter


_ENDED = 0
"""Not the number of a signal: the forwarder has ended, by itself or after a stop."""

_RULES_SECONDS = 10.0
"""Seconds that a reload waits for the writer of a pipe."""


def warn(text: str) -> None:
    remark(f"fastnet forward: {text}")


def notify_systemd(**news: str | int) -> None:
    try:
        notify(**news)
    except OSError as error:
        warn(describe(error))


class Service:
    """Serves the rules until it is stopped; ``run`` returns the exit code.

    The constructor checks everything that needs no open file or socket. Raises InvalidArgument, and
    EngineMissing without the package that an option needs.
    """

    def __init__(self, args: Arguments, rules: list[Rule]) -> None:
        self._args = args
        self._user = None
        if args.user is not None:
            from fastnet._system.privileges import find_user  # here: rarely needed, and it loads ctypes

            self._user = find_user(args.user)
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
        if args.metrics is not None:
            reference("prometheus_client")
        self._endings: list[int] = []
        self._log: AccessLog | None = None
        self._exporter: Exporter | None = None

    def run(self) -> int:
        if self._top:
            self._top.require_terminal()
        use_all_descriptors()
        with queued_streams("fastnet forward"), ExitStack() as stack:
            reloading = Repeated(self._reload, "fastnet-forward-reload", "reload", warn)
            stack.callback(reloading.end)
            self._handlers = self._handlers_of(reloading)
            self._signals = Signals(self._handlers)
            with self._signals.opening():
                self._open(stack)
            started = time.monotonic()
            try:
                drained = self._serve(stack)
            finally:
                stack.close()  # The log is complete before the summary is printed.
                self._sum_up(time.monotonic() - started)
        if signal.SIGINT in self._endings:
            return exits.INTERRUPTED
        return exits.YES if drained else exits.NO

    def _sum_up(self, seconds: float) -> None:
        if self._log and self._log.lost:
            warn(f"not in the log: {counted(self._log.lost, 'record')}")
        print_summary(self._forwarder, seconds, self._args.json)

    def _open(self, stack: ExitStack) -> None:
        """Open everything that may need root, drop root, and start."""
        args = self._args
        if args.log is not None:
            form: Format = args.log_format or ("json" if args.json else "text")
            self._log = AccessLog(args.log, form, warn)
            stack.callback(self._log.close)
        if args.metrics is not None:
            from fastnet._forward.metrics import Exporter  # only here: rarely needed

            self._exporter = Exporter(args.metrics, warn)
            stack.callback(self._exporter.close)
        stack.enter_context(self._forwarder)
        if self._user:
            self._give_up_root(self._user)
        if self._log:
            self._log.start(self._forwarder)
        if self._exporter:
            self._exporter.start(self._forwarder)
        if self._watchdog_seconds is not None:
            # Only running loops report their connections.
            watchdog = Watchdog(self._watchdog_seconds, self._forwarder.connections, warn)
            stack.callback(watchdog.stop)

    def _give_up_root(self, user: struct_passwd) -> None:
        from fastnet._system.privileges import become

        if self._log:
            self._log.give_to(user)
        become(user)

    def _handlers_of(self, reloading: Repeated) -> dict[int, Callable[[], None]]:
        """The handler of each signal."""
        handlers: dict[int, Callable[[], None]] = {
            number: partial(self._end, number) for number in (signal.SIGINT, signal.SIGTERM)
        }
        # A service manager or logrotate may signal every forwarder, also one without a file or a log.
        handlers[signal.SIGHUP] = self._has_no_rules if self._args.rules is None else reloading.wake
        handlers[signal.SIGUSR1] = self._reopen
        return handlers

    # Running

    def _serve(self, stack: ExitStack) -> bool:
        """Wait until the forwarder has ended. Returns whether no connection was cut."""
        print_listening(self._forwarder, self._args.json)
        if self._exporter:
            print_metrics(self._exporter.addresses, self._args.json)
        notify_systemd(READY=1)
        ending = Work(self._await_end, "fastnet-forward-end")
        if self._top:
            stack.enter_context(self._top)
        while number := self._next_event():
            self._handlers[number]()
        return ending.result()

    def _next_event(self) -> int:
        """Wait for the next signal; 0 at the end. Redraws the live table meanwhile."""
        while self._top:
            self._refresh(self._top)
            if self._signals.poll(REFRESH_SECONDS):
                break
        return self._signals.take()

    def _refresh(self, top: Top) -> None:
        """A table that can't be drawn now, for lack of memory, is drawn the next time."""
        with suppress(MemoryError, OSError):
            top.refresh(self._forwarder)

    def _await_end(self) -> bool:
        try:
            return self._forwarder.wait()
        finally:
            self._signals.send(_ENDED)

    # Events

    def _end(self, number: int) -> None:
        """The first such signal waits for connections to end, the second cuts them."""
        self._endings.append(number)
        self._forwarder.drain(self._args.drain if len(self._endings) == 1 else 0)
        notify_systemd(STOPPING=1)

    def _reopen(self) -> None:
        if self._log:
            self._log.reopen()

    def _has_no_rules(self) -> None:
        warn("SIGHUP reloads a file of rules (--rules): there is none")

    def _reload(self) -> None:
        """Apply all rules of the file, or none: in a thread, since the resolver may be slow."""
        if self._endings:
            return
        notify_systemd(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            self._forwarder.reload(load_rules(self._args.rules, _RULES_SECONDS))
        except Exception as error:
            if self._endings:
                return
            warn(f"not reloaded, the old rules stay in force: {describe(error) or type(error).__name__}")
        else:
            print_reloaded(self._forwarder, self._args.rules, self._args.json)
        notify_systemd(READY=1)
