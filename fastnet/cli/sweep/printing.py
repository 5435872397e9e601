"""Prints verdicts: those that the core formats in blocks, the others one by one."""

import _socket as socket
from _collections_abc import Iterator

from fastnet._backend import lines as _core
from fastnet._backend import probe as _states
from fastnet._contract.lines import SKIPPED
from fastnet._contract.values import counted
from fastnet._sweep.result import UNDECIDED, Run, SweepResult, places
from fastnet.cli.output import print_lines, remark
from fastnet.cli.sweep.outputs import Output

_AT_ONCE = 1 << 14
"""Targets."""
_ENOUGH = 1 << 18
"""Bytes that are printed at once."""
_ALIVE, _INACTIVE, _OTHER = range(3)
"""Kinds of targets: the core formats the first two."""
_KIND_OF = {_states.ALIVE: _ALIVE, _states.SILENT: _INACTIVE}
_KIND_OF |= dict.fromkeys((_states.UNREACHABLE, _states.PENDING), _OTHER)
_KINDS = bytes(_KIND_OF.get(state, SKIPPED) for state in range(256))
_NOTHING = bytes([UNDECIDED]) * _AT_ONCE
_NO_MAC = bytes(6)
_SKIPPED = bytes([SKIPPED])


def remark_left_out(count: int) -> None:
    """Print how many special-purpose addresses are left out, if any."""
    if count:
        remark(f"left out: {counted(count, 'special-purpose address', ',')} (--include-special)")


def print_verdicts(result: SweepResult, states: bytes, output: Output, round: int) -> None:
    """Print the verdicts on all targets whose state in this column is one."""
    held = bytearray()
    for lines in _lines(result, states, output, round):
        held += lines
        if len(held) >= _ENOUGH:
            print_lines(bytes(held))
            held.clear()
    print_lines(bytes(held))


def _lines(result: SweepResult, states: bytes, output: Output, round: int) -> Iterator[bytes]:
    end = 0
    for run in result.runs():
        end = run.begin + run.size
        for begin in range(run.begin, end, _AT_ONCE):
            part = states[begin : min(end, begin + _AT_ONCE)]
            if part != _NOTHING[: len(part)]:  # quicker than to translate it, after Ctrl-C in a large sweep
                yield from _lines_of_part(result, run, begin, part.translate(_KINDS), output, round)
    for index in range(end, len(states)):  # names that did not resolve
        if states[index] != UNDECIDED:
            yield _line(result, index, output, round)


def _lines_of_part(
    result: SweepResult, run: Run, begin: int, kinds: bytes, output: Output, round: int
) -> Iterator[bytes]:
    size = 4 if run.family == socket.AF_INET else 16
    alive, untimed, inactive = output.templates(round, size == 16, run.mac is not None)
    templates = (alive, untimed, inactive, inactive)
    place = begin - run.begin
    kinds, macs = _looked_up(run, place, kinds) if run.responder or run.mac else (kinds, b"")
    done = 0
    for stop in (*places(kinds, _OTHER), len(kinds)):
        some = kinds[done:stop].rstrip(_SKIPPED)
        end = done + len(some)
        some = some.lstrip(_SKIPPED)
        done = end - len(some)
        if some:
            first = (run.first + (place + done) * run.step).to_bytes(size, "big")
            times = run.rtts_ms[place + done : place + end]
            yield _core.format_lines(templates, first, run.step, times, macs[6 * done : 6 * end], some)
        if stop < len(kinds):
            yield _line(result, begin + stop, output, round)
        done = stop + 1


def _looked_up(run: Run, place: int, kinds: bytes) -> tuple[bytes, bytes]:
    """The kinds, with ``_OTHER`` where a responder replied, and the MACs: only alive targets have either."""
    known, macs = bytearray(kinds), bytearray(6 * len(kinds) if run.mac else 0)
    for number in places(kinds, _ALIVE):
        if run.responder and run.responder(place + number):
            known[number] = _OTHER
        if run.mac:
            macs[6 * number : 6 * number + 6] = run.mac(place + number) or _NO_MAC
    return bytes(known), bytes(macs)


def _line(result: SweepResult, index: int, output: Output, round: int) -> bytes:
    line = output.line(result[index], round)
    return f"{line}\n".encode() if line else b""
