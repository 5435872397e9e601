"""Shortages and signals, injected where the relay calls the system: which call sites there are, and which of
them fails next, with what. ``faults.c`` is the half of it that is loaded into the relay's process."""

from __future__ import annotations

import ctypes
import errno
import mmap
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("faults.c")
SITES, NAME, MOST_FUNCTIONS = 512, 48, 48

NO_DESCRIPTOR = ("EMFILE", "ENFILE")
NO_BUFFER = ("ENOBUFS", "ENOMEM")
ERRORS: dict[str, tuple[str, ...]] = {
    "accept4": (*NO_DESCRIPTOR, *NO_BUFFER, "EINTR", "EAGAIN", "ECONNABORTED"),
    "bind": ("EADDRNOTAVAIL", "ENOMEM"),
    "calloc": ("ENOMEM",),
    "connect": ("EADDRNOTAVAIL", "EAGAIN", *NO_BUFFER),
    "epoll_create1": (*NO_DESCRIPTOR, "ENOMEM"),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR",),
    "eventfd": (*NO_DESCRIPTOR, "ENOMEM"),
    "fcntl": ("EPERM", "ENOMEM"),
    "malloc": ("ENOMEM",),
    "pipe2": (*NO_DESCRIPTOR, "ENOMEM"),
    "ppoll": ("EINTR", "ENOMEM"),
    "realloc": ("ENOMEM",),
    "recv": ("EINTR", "ENOMEM"),
    "recvfrom": ("EINTR", "ENOMEM"),
    "recvmmsg": ("EINTR", "ENOMEM"),
    "recvmsg": ("EINTR", "ENOMEM"),
    "send": ("EINTR", *NO_BUFFER),
    "sendmmsg": ("EINTR", *NO_BUFFER),
    "sendmsg": ("EINTR", *NO_BUFFER),
    "setsockopt": NO_BUFFER,
    "socket": (*NO_DESCRIPTOR, *NO_BUFFER),
    "splice": ("EINTR", "ENOMEM"),
}
"""What each function may fail with. No EAGAIN where epoll is edge-triggered: none comes before it is true."""

MOST_ERRORS = max(map(len, ERRORS.values()))

THREAD_ERRORS: dict[str, tuple[str, ...]] = {
    **ERRORS,
    "accept4": (*NO_DESCRIPTOR, "EINTR", "ENOMEM"),
    "bind": ("EADDRINUSE", "ENOMEM"),
    "chmod": ("ENOMEM",),
    "fchmod": ("ENOMEM",),
    "fcntl64": ("EMFILE",),
    "flock": ("ENOLCK", "EINTR", "EAGAIN"),
    "fstat64": ("ENOMEM",),
    "fstatat64": ("ENOMEM",),
    "getaddrinfo": ("EMFILE", "ENOMEM", "EAGAIN"),
    "getsockname": ("ENOBUFS",),
    "getsockopt": ("ENOBUFS",),
    "listen": ("EADDRINUSE",),
    "open64": (*NO_DESCRIPTOR, "EINTR", "ENOMEM"),
    "openat64": (*NO_DESCRIPTOR, "EINTR", "ENOMEM"),
    "poll": ("EINTR", "ENOMEM"),
    "pthread_create": ("EAGAIN",),
    "recv": ("EINTR", "ENOMEM", "EAGAIN"),
    "send": ("EINTR", "ENOBUFS", "EAGAIN"),
    "write": ("EINTR", "ENOSPC", "EAGAIN"),
}
"""The same for whatever a thread in Python calls: getaddrinfo returns what stands for these errors."""
MOST_THREAD_ERRORS = max(map(len, THREAD_ERRORS.values()))

GROUPS: dict[str, tuple[str, ...]] = {
    "descriptors": ("accept4", "socket", "pipe2", "epoll_create1", "eventfd"),
    "memory": ("malloc", "calloc", "realloc"),
    "buffers": ("accept4", "socket", "setsockopt", "epoll_ctl", "send", "sendmsg", "sendmmsg", "pipe2"),
    "ports": ("connect", "bind"),
    "signals": ("accept4", "epoll_wait", "ppoll", "recv", "recvmsg", "recvmmsg", "send", "sendmsg", "splice"),
}
"""What runs out everywhere at once."""
_GROUP_ERRORS = {
    "descriptors": NO_DESCRIPTOR,
    "memory": ("ENOMEM",),
    "buffers": NO_BUFFER,
    "ports": ("EADDRNOTAVAIL",),
    "signals": ("EINTR",),
}


class Fault(NamedTuple):
    """What fails for a while."""

    what: str
    """A function, one of GROUPS, ``each``: every call site fails by itself, as its function may; or ``any``:
    calls of all functions are counted together."""
    module: str
    offset: int
    """Where the calls that fail return to, in this module; 0: all calls of the function fail."""
    error: str
    """Its name; for ``each`` and ``any`` also a number, by which one of each function's errors is chosen."""
    after: int
    """So many calls go through at first,"""
    times: int
    """and so many fail,"""
    milliseconds: int
    """within this time."""

    def __str__(self) -> str:
        site = f"{self.what}={self.module}+{self.offset:#x}" if self.offset else self.what
        return f"{site}:{self.error}:{self.after}:{self.times}:{self.milliseconds}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """What ``str()`` printed."""
        site, error, *numbers = text.split(":")
        what, _, place = site.partition("=")
        module, _, offset = place.partition("+")
        after, times, milliseconds = map(int, numbers)
        return cls(what, module, int(offset or "0", 16), error, after, times, milliseconds)


class _Site(ctypes.Structure):
    _fields_ = (
        ("caller", ctypes.c_size_t),
        ("offset", ctypes.c_size_t),
        ("calls", ctypes.c_uint64),
        ("failed", ctypes.c_uint64),
        ("seen", ctypes.c_uint64),
        ("window", ctypes.c_uint32),
        ("function", ctypes.c_int32),
        ("named", ctypes.c_int32),
        ("module", ctypes.c_char * NAME),
    )


class _Board(ctypes.Structure):
    _fields_ = (
        ("window", ctypes.c_uint32),
        ("each", ctypes.c_int32),
        ("thread", ctypes.c_int32),
        ("errors", ctypes.c_int32 * MOST_FUNCTIONS),
        ("offset", ctypes.c_uint64),
        ("after", ctypes.c_uint64),
        ("times", ctypes.c_uint64),
        ("called", ctypes.c_uint64),
        ("failed", ctypes.c_uint64),
        ("sites", _Site * SITES),
    )


Place = tuple[str, str, int]
"""Function, module, offset."""


class Faults:
    """Makes calls fail in the process that calls ``install`` with ``library`` and ``board``.

    ``failed`` counts, by site and error. Calls of that process's main thread go through.
    """

    def __init__(self) -> None:
        self._room = tempfile.TemporaryDirectory()
        self.library = library = Path(self._room.name, "faults.so")
        subprocess.run(
            ("cc", "-std=c11", "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"), check=True
        )
        self._names = [*_functions(ctypes.CDLL(str(library)))]
        self.board = board = Path(self._room.name, "board")
        board.write_bytes(bytes(ctypes.sizeof(_Board)))
        with board.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._board = _Board.from_buffer(self._map)
        self.failed: Counter[tuple[Place, str]] = Counter()
        self._tried: Counter[tuple[Place, str]] = Counter()
        self._calls: Counter[Place] = Counter()
        self._errors: dict[str, str] = {}
        self._before: Counter[Place] = Counter()
        self._windows = 0

    def close(self) -> None:
        """Remove the files."""
        self._room.cleanup()

    def forget(self) -> None:
        """A new process begins: its sites have other addresses."""
        self._look()
        ctypes.memset(ctypes.addressof(self._board), 0, ctypes.sizeof(self._board))

    def arm(self, fault: Fault, thread: int = 0) -> None:
        """Let calls fail from now on, of this thread or of all but the main one."""
        board = self._board
        self._tried[(fault.what, fault.module, fault.offset), fault.error] += 1
        self._errors = errors_of(fault)
        for number, name in enumerate(self._names):
            board.errors[number] = getattr(errno, self._errors[name]) if name in self._errors else 0
        board.each = fault.what == "each"
        board.thread = thread
        board.offset = fault.offset
        board.after, board.times = fault.after, fault.times
        board.called = board.failed = 0
        self._before = self._failures()
        self._windows += 1
        board.window = self._windows

    def calm(self) -> int:
        """Let all calls through again; how many have failed."""
        self._board.window = 0
        for place, count in (self._failures() - self._before).items():
            self.failed[place, self._errors[place[0]]] += count
        return int(self._board.failed)

    def _failures(self) -> Counter[Place]:
        return Counter({self._place(site): site.failed for site in self._board.sites if site.named})

    def _place(self, site: _Site) -> Place:
        return self._names[site.function], site.module.decode(), site.offset

    @property
    def failing(self) -> int:
        """How many calls have failed since the last ``arm``."""
        return int(self._board.failed)

    @property
    def called(self) -> int:
        """How many calls that could fail there were since the last ``arm``, but for ``each``."""
        return int(self._board.called)

    @property
    def is_spent(self) -> bool:
        """All that was to fail has."""
        return not self._board.each and self._board.failed >= self._board.times

    def _look(self) -> None:
        """Note the sites that have been called so far."""
        for site in self._board.sites:
            if site.named:
                self._calls[self._place(site)] = max(site.calls, self._calls[self._place(site)])

    def choose(self, dice: random.Random, count: int) -> tuple[Fault, ...]:
        """Some faults: those sites and errors first that were tried least often."""
        self._look()
        places: list[tuple[Place, str]] = [
            (place, error) for place in self._calls for error in ERRORS.get(place[0], ())
        ]
        least = sorted(places, key=lambda one: (self._tried[one], dice.random()))
        groups = [((group, "", 0), error) for group in GROUPS for error in _GROUP_ERRORS[group]]
        each = [(("each", "", 0), str(number)) for number in range(MOST_ERRORS)]
        chosen = [*least[: count // 2], *dice.sample(groups, 2)]
        chosen += dice.choices(each, k=count - len(chosen))
        dice.shuffle(chosen)
        return tuple(self._fault_at(dice, *one) for one in chosen)

    def _fault_at(self, dice: random.Random, place: Place, error: str) -> Fault:
        rare = self._calls[place] < 100 and place[0] != "each"
        after = 0 if rare else dice.choice((0, 0, 1, 2, 5, 20))
        times = dice.choice((1, 1, 2, 5, 1_000_000))
        return Fault(*place, error, after, times, dice.choice((20, 30, 60, 100)))

    def summary(self) -> str:
        """How much of what can fail has failed."""
        self._look()
        pairs = [(place, error) for place in self._calls for error in ERRORS.get(place[0], ())]
        met = sum(self.failed[pair] > 0 for pair in pairs)
        return f"{len(self._calls)} call sites were met; {met} of {len(pairs)} of their errors were injected"

    def not_met(self) -> Iterator[str]:
        """The pairs of site and error that have not failed."""
        for place in sorted(self._calls):
            errors = [error for error in ERRORS.get(place[0], ()) if not self.failed[place, error]]
            if errors:
                yield f"{place[0]}={place[1]}+{place[2]:#x}, {self._calls[place]} calls: {', '.join(errors)}"


def errors_of(fault: Fault) -> dict[str, str]:
    """What calls of each function fail with."""
    if fault.what == "any":
        number = int(fault.error)
        return {name: errors[number] for name, errors in THREAD_ERRORS.items() if number < len(errors)}
    if fault.what == "each" and fault.error.isdigit():
        return {name: errors[int(fault.error) % len(errors)] for name, errors in ERRORS.items()}
    if fault.what == "each":
        return {name: fault.error for name, errors in ERRORS.items() if fault.error in errors}
    return dict.fromkeys(GROUPS.get(fault.what, (fault.what,)), fault.error)


def _functions(library: ctypes.CDLL) -> Iterator[str]:
    library.fault_function.restype = ctypes.c_char_p
    number = 0
    while name := library.fault_function(number):
        yield name.decode()
        number += 1


def source_line(fault: Fault, folder: Path) -> str:
    """Where the call of a fault is in the sources, as far as the debug information has it."""
    module = next(folder.rglob(fault.module), None) if fault.module else None
    if not module or not shutil.which("addr2line"):
        return ""
    command = ("addr2line", "-e", str(module), hex(fault.offset - 1))
    place = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return "" if place.startswith("?") else "/".join(Path(place).parts[-2:])


def install(library: str, board: str, *, native: bool) -> None:
    """Let calls of the native relay fail from now on, or of what the pure one calls the system by."""
    shim = ctypes.CDLL(library)
    for module in (b"_native/relay.",) if native else (b"/_socket.", b"/select."):
        if (patched := shim.fault_install(board.encode(), module, False)) <= 0:
            raise OSError(-patched, f"no calls of {module!r} can be made to fail")


class ThreadFaults:
    """Makes single calls fail of one thread of this process, whichever module makes them, until ``close``."""

    MODULES = (b"_native/relay.", b"/_socket.", b"/select.", b"/fcntl.")

    def __init__(self) -> None:
        self._faults = Faults()
        self._armed = False
        self._shim = shim = ctypes.CDLL(str(self._faults.library))
        board = str(self._faults.board).encode()
        # Each is missing where it is not loaded, or a part of the interpreter.
        found = [shim.fault_install(board, module, False) for module in self.MODULES]
        found += [shim.fault_install(board, module, True) for module in (b"/libpython", b"")]
        if min(found) < 0 or not any(found):
            raise OSError(-min(found), "no calls of this interpreter can be made to fail")

    def close(self) -> None:
        self._shim.fault_remove()
        self._faults.close()

    @property
    def called(self) -> int:
        """How many of the calls that could fail the thread has made since ``one_fails``."""
        return self._faults.called

    @property
    def failed(self) -> bool:
        """Whether one has failed, in the ``with``."""
        return self._armed and self._faults.failing > 0

    @contextmanager
    def one_fails(self, thread: int, after: int, error: int) -> Iterator[None]:
        """In the ``with`` the thread (gettid(2)) makes so many calls, and the next one fails with its
        function's error of this number. Functions that have fewer errors are not counted."""
        self._faults.arm(Fault("any", "", 0, str(error), after, 1, 0), thread)
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
            self._faults.calm()


class Failing:
    """In a ``with``, calls of this process's relays fail; ``count`` is how many did."""

    def __init__(self, *, native: bool) -> None:
        self._faults = Faults()
        install(str(self._faults.library), str(self._faults.board), native=native)
        self.count = 0

    @contextmanager
    def __call__(self, what: str, error: str, after: int = 0, times: int = 1_000_000_000) -> Iterator[None]:
        self._faults.arm(Fault(what, "", 0, error, after, times, 0))
        try:
            yield
        finally:
            self.count = self._faults.calm()


@cache
def calls_that_fail(*, native: bool) -> Failing:
    """For a test: skipped without a compiler, or where the pure relay's calls are the interpreter's."""
    if not native and "_socket" in sys.builtin_module_names:
        import pytest

        pytest.skip(
            "this interpreter has _socket and select built in: all of its own calls would fail with theirs"
        )
    if not shutil.which("cc"):
        from environment import absent

        absent("a C compiler (cc)")
    return Failing(native=native)


def faults_of_threads() -> Iterator[ThreadFaults]:
    """For a fixture: skipped without a compiler."""
    if not shutil.which("cc"):
        from environment import absent

        absent("a C compiler (cc)")
    faults = ThreadFaults()
    yield faults
    faults.close()
