"""Sets of addresses to probe: hosts, prefixes, ranges and exclusions, stored as intervals, never expanded.

A target is written as one of::

    10.0.0.7                  an address                 2001:db8::7
    10.0.2.0/24               a prefix, every address    2001:db8::/120
    10.0.2.2-10.0.3.9         a range, both ends         2001:db8::1-2001:db8::ff
    10.0.2.2-4                a range in an octet (any of them): 10.0.0-1.1,3-5, 10.0.2.*
    www.example.com           a name: the first address that it resolves to

A text that looks like numbers is never resolved as a name: InvalidArgument has the reason.
"""

import _socket as socket
from _bisect import bisect_right
from _collections_abc import Callable, Iterable, Iterator
from itertools import accumulate, product

from fastnet._contract.values import counted
from fastnet._limits import Prefix as Given
from fastnet._limits import check_family, check_flag, check_text, is_prefix, prefix_text, quoted, several
from fastnet._results import as_dict, shown
from fastnet._typing import Any, NamedTuple
from fastnet.endpoints import MAPPED, addresses_of
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved

__all__ = [
    "MAX_SPANS",
    "Prefix",
    "Span",
    "Targets",
    "Unresolved",
    "parse_prefix",
    "read_targets",
]

MAX_SPANS = 1 << 20
"""Maximum number of separate intervals in one text; ``*.*.*.1`` has more and is refused."""

_BITS: dict[int, int] = {socket.AF_INET: 32, socket.AF_INET6: 128}


class Span(NamedTuple):
    """An interval of addresses as integers, both ends included."""

    first: int
    last: int


_MAPPED = Span(int.from_bytes(MAPPED, "big") << 32, (int.from_bytes(MAPPED, "big") + 1 << 32) - 1)
"""IPv4-mapped IPv6 addresses."""


class Prefix(NamedTuple):
    """The addresses that begin with the same ``length`` bits as ``network``."""

    family: int
    network: bytes
    length: int


class Unresolved(NamedTuple):
    """A text among targets without an address, such as a name that does not resolve, and the reason."""

    name: str
    reason: str
    error: type[FastnetError] = NameNotResolved
    """The error to raise if there are no other targets."""
    errno: int | None = None
    """The resolver's error code, as in NameNotResolved."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Targets:
    """A set of addresses of both families, in ascending order, IPv4 before IPv6.

    ``Targets("10.0.2.2-4", "::1", exclude=["10.0.2.3"])``. It has a length, membership, equality, lazy
    iteration and indexing, all of them with addresses as text. ``family`` restricts the addresses of
    names. Raises InvalidArgument for a text that is not a target, NameNotResolved for an unknown name; with
    ``strict`` False such ``texts`` are left out, and ``unresolved`` has them.
    """

    __slots__ = ("_starts", "ipv4", "ipv6", "unresolved")

    def __init__(
        self,
        *texts: Given,
        exclude: Iterable[Given] = (),
        family: int = socket.AF_UNSPEC,
        strict: bool = True,
    ) -> None:
        check_family(family)
        check_flag("strict", strict)
        unresolved: dict[str, Unresolved] = {}
        wanted = _collect("targets", texts, family, _check_not_mapped, None if strict else unresolved)
        excluded = several("exclude", exclude, "a list of targets")
        unwanted = _collect(
            "exclude", excluded, family, lambda span: _check_exclusion(span, wanted[socket.AF_INET])
        )
        self.unresolved: tuple[Unresolved, ...] = tuple(unresolved.values())
        """Texts that were left out; ignored when targets are compared."""
        self.ipv4: tuple[Span, ...]
        self.ipv6: tuple[Span, ...]
        self.ipv4, self.ipv6 = (
            tuple(_subtract(_merge(wanted[key]), _merge(unwanted[key]))) for key in (*_BITS,)
        )
        sizes = (span.last - span.first + 1 for span in (*self.ipv4, *self.ipv6))
        self._starts = list(accumulate(sizes, initial=0))

    @property
    def size(self) -> int:
        """The number of addresses, as from ``len``, but without its limit of 2^63 - 1."""
        return self._starts[-1]

    def __reduce__(self) -> tuple[Any, ...]:
        from copyreg import __newobj__  # type: ignore[attr-defined]  # only here: for pickle

        state = {name: getattr(self, name) for name in self.__slots__}
        return __newobj__, (Targets,), (None, state)

    def spans(self, family: int) -> tuple[Span, ...]:
        """The intervals of one family (``socket.AF_INET`` or ``AF_INET6``), ascending and apart."""
        return self.ipv4 if family == socket.AF_INET else self.ipv6

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return self.size > 0

    def __iter__(self) -> Iterator[str]:
        for family in _BITS:
            for first, last in self.spans(family):
                for number in range(first, last + 1):
                    yield address_text(family, number)

    def __getitem__(self, index: int) -> str:
        return address_text(*self.at(index))

    def at(self, index: int) -> tuple[int, int]:
        """The family and the integer of the address at an index. Raises IndexError."""
        if not isinstance(index, int):
            raise InvalidArgument(f"index {quoted(index)}: expected an int")
        if index < 0:
            index += self.size
        if not 0 <= index < self.size:
            raise IndexError(f"target {quoted(index)}: there are {self.size}")
        which = bisect_right(self._starts, index) - 1
        before = self._starts[which]
        if which < len(self.ipv4):
            return socket.AF_INET, self.ipv4[which].first + index - before
        return socket.AF_INET6, self.ipv6[which - len(self.ipv4)].first + index - before

    def stretches(self, indices: range) -> Iterator[tuple[int, int, int]]:
        """The addresses at ascending indexes as stretches: family, integer of the first, count.

        Within one the integers differ by the range's step.
        """
        while indices:
            which = bisect_right(self._starts, indices.start) - 1
            count = len(indices[: -(-(self._starts[which + 1] - indices.start) // indices.step)])
            yield *self.at(indices.start), count
            indices = indices[count:]

    def before(self, family: int, number: int) -> int:
        """The number of targets before an address, which may be a target or not."""
        spans = self.spans(family)
        which = bisect_right(spans, number, key=lambda span: span.first)
        behind = max(0, spans[which - 1].last + 1 - number) if which else 0
        skipped = len(self.ipv4) if family == socket.AF_INET6 else 0
        return self._starts[skipped + which] - behind

    def __contains__(self, address: object) -> bool:
        if not is_prefix(address):
            return False
        text = str(getattr(address, "ip", address))
        for family in _BITS:
            try:
                number = int.from_bytes(socket.inet_pton(family, text), "big")
            except (OSError, ValueError):
                continue
            spans = self.spans(family)
            which = bisect_right(spans, number, key=lambda span: span.first) - 1
            return which >= 0 and number <= spans[which].last
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Targets):
            return NotImplemented
        return (self.ipv4, self.ipv6) == (other.ipv4, other.ipv6)

    def __hash__(self) -> int:
        return hash((self.ipv4, self.ipv6))

    def texts(self) -> Iterator[str]:
        """The intervals as texts for Targets to make the same set: an address, or a range with both ends."""
        for family in _BITS:
            for first, last in self.spans(family):
                text = address_text(family, first)
                yield f"{text}-{address_text(family, last)}" if last > first else text

    def __repr__(self) -> str:
        return f"Targets({', '.join(map(repr, self.texts()))})"


def read_targets(lines: Iterable[str]) -> list[str]:
    """The targets in the lines of a file, separated by blanks; ``#`` begins a comment."""
    words: list[str] = []
    for line in several("lines", lines, "lines of text"):
        check_text("lines", line)
        words += words_of(line)
    return words


def words_of(line: str) -> list[str]:
    """The targets in one line of a file."""
    return line.partition("#")[0].split()


def parse_prefix(text: Given) -> Prefix:
    """Parse ``10.0.0.0/8``, ``2001:db8::/32``, or an address, which is a prefix of full length.

    Raises InvalidArgument for any other text, and if a bit after the prefix is set.
    """
    text = prefix_text("text", text)
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    bits = _BITS[family]
    span = _prefix(family, text) if "/" in text else _single(family, text)
    length = bits - (span.last - span.first).bit_length()
    prefix = Prefix(family, span.first.to_bytes(bits // 8, "big"), length)
    if _single(family, text.partition("/")[0], text).first != span.first:
        raise InvalidArgument(f"{text}: did you mean {address_text(family, span.first)}/{length}?")
    return prefix


def address_text(family: int, number: int) -> str:
    """An address as text, from its integer."""
    return socket.inet_ntop(family, number.to_bytes(_BITS[family] // 8, "big"))


def _check_not_mapped(span: Span) -> None:
    """Refuse IPv4-mapped addresses: no IPv6 packet is sent to them. Raises InvalidArgument."""
    if _MAPPED.first <= span.first and span.last <= _MAPPED.last:
        ends = [address_text(socket.AF_INET, number - _MAPPED.first) for number in span]
        meant = "-".join(dict.fromkeys(ends))
        raise InvalidArgument(
            f"{address_text(socket.AF_INET6, span.first)}: an IPv4-mapped address: write {meant}"
        )


def _check_exclusion(unwanted: Span, wanted: list[Span]) -> None:
    """Refuse an IPv4-mapped exclusion if it matches IPv4 targets. Raises InvalidArgument.

    Lists of reserved networks have all mapped addresses in one prefix, and mapped addresses of other networks
    change nothing: both are accepted.
    """
    if unwanted == _MAPPED or not _MAPPED.first <= unwanted.first <= unwanted.last <= _MAPPED.last:
        return
    first, last = unwanted.first - _MAPPED.first, unwanted.last - _MAPPED.first
    if any(first <= span.last and span.first <= last for span in wanted):
        _check_not_mapped(unwanted)


def _collect(
    name: str,
    texts: Iterable[Any],
    family: int,
    check: Callable[[Span], None],
    unresolved: dict[str, Unresolved] | None = None,
) -> dict[int, list[Span]]:
    """The intervals by family. A text that is not a target is added to ``unresolved``, if that is given."""
    spans: dict[int, list[Span]] = {key: [] for key in _BITS}
    for text in texts:
        try:
            # Most texts of a long list are addresses; this is faster than _parse, which explains errors.
            number = int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
            spans[socket.AF_INET].append(Span(number, number))
        except (OSError, ValueError, TypeError):
            text = prefix_text(name, text)
            try:
                found, more = _parse(text, family)
                for span in more:
                    check(span)
            except (InvalidArgument, NameNotResolved) as error:
                if unresolved is None:
                    raise
                reason = str(error).removeprefix(f"{text or repr(text)}: ")
                unresolved[text] = Unresolved(text, reason, type(error), getattr(error, "errno", None))
                continue
            spans[found] += more
    return spans


def _parse(text: str, family: int) -> tuple[int, list[Span]]:
    """The family and the intervals of one text."""
    if not text or text != text.strip():
        raise InvalidArgument(f"{text!r}: expected a host, a prefix or a range of addresses")
    if "%" in text:
        raise InvalidArgument(
            f"{text}: a target has no scope: name its interface beside it, --interface eth0"
        )
    if not _is_numeric(text):
        found = addresses_of(text, family=family)[0]
        return found.family, [_single(found.family, found.address[0])]
    found_family = socket.AF_INET6 if ":" in text else socket.AF_INET
    if "/" in text:
        return found_family, [_prefix(found_family, text)]
    first, dash, last = text.partition("-")
    if dash and (":" in text or last.count(".") == first.count(".") == 3):
        return found_family, [_range(found_family, text, first, last)]
    if found_family == socket.AF_INET6:
        return found_family, [_single(found_family, text)]
    return found_family, _octets(text)


def _is_numeric(text: str) -> bool:
    """Whether a text means numbers: a name never ends in a number, nor has any of these characters."""
    last = text.removesuffix(".").rpartition(".")[2].lower()  # a fully qualified name may end in a dot
    return any(mark in text for mark in ":/*,") or last.startswith("0x") or not last.strip("0123456789-")


def _single(family: int, text: str, within: str = "") -> Span:
    where = f"{within}: " if within and within != text else ""
    if family == socket.AF_INET:
        octets = text.split(".")
        if len(octets) != 4:
            raise InvalidArgument(f"{where}{text or 'nothing'}: expected an address of four octets")
        number = int.from_bytes(bytes(_octet(octet, within or text) for octet in octets), "big")
        return Span(number, number)
    try:
        number = int.from_bytes(socket.inet_pton(family, text), "big")
    except OSError:
        raise InvalidArgument(f"{where}{text or 'nothing'}: not an IPv6 address") from None
    return Span(number, number)


def _prefix(family: int, text: str) -> Span:
    address, _, length = text.partition("/")
    bits = _BITS[family]
    first = _single(family, address, text).first
    if length not in map(str, range(bits + 1)):
        raise InvalidArgument(f"{text}: prefix length {length!r}: expected 0 to {bits}")
    host_bits = bits - int(length)
    network = first >> host_bits << host_bits
    return Span(network, network + (1 << host_bits) - 1)


def _range(family: int, text: str, first: str, last: str) -> Span:
    span = Span(_single(family, first, text).first, _single(family, last, text).last)
    if span.first > span.last:
        raise InvalidArgument(f"{text}: a reversed range; did you mean {last}-{first}?")
    return span


def _octets(text: str) -> list[Span]:
    """Parse nmap's form: each octet is a number, a range, a list of them, or ``*``."""
    parts = text.split(".")
    if len(parts) != 4:
        raise InvalidArgument(f"{text}: expected an address of four octets")
    choices = [_octet_spans(part, text) for part in parts]
    # Full octets (0-255) at the end join into one interval; only the octets before them multiply.
    depth = 3
    while depth and choices[depth] == [Span(0, 255)]:
        depth -= 1
    width = 8 * (3 - depth)
    leading = [
        [value for span in spans for value in range(span.first, span.last + 1)] for spans in choices[:depth]
    ]
    count = len(choices[depth])
    for octets in leading:
        count *= len(octets)
    if count > MAX_SPANS:
        raise InvalidArgument(
            f"{text}: {counted(count, 'separate range')}; at most {MAX_SPANS} in one target"
        )
    spans = []
    for values in product(*leading):
        base = int.from_bytes(bytes(values), "big") << 8
        for first, last in choices[depth]:
            spans.append(Span((base | first) << width, ((base | last) + 1 << width) - 1))
    return spans


def _octet_spans(part: str, text: str) -> list[Span]:
    if part == "*":
        return [Span(0, 255)]
    spans = []
    for item in part.split(","):
        first, dash, last = item.partition("-")
        span = Span(_octet(first, text), _octet(last if dash else first, text))
        if span.first > span.last:
            raise InvalidArgument(f"{text}: {item} is a reversed range; did you mean {last}-{first}?")
        spans.append(span)
    return _merge(spans)


def _octet(text: str, within: str) -> int:
    if not text:
        raise InvalidArgument(f"{within}: an empty octet or an open range; expected 0 to 255")
    plain = text.lstrip("0") or "0"
    # The digits are counted first: int() is slow for thousands of them.
    if not (text.isascii() and text.isdigit()) or len(plain) > 3 or int(plain) > 255:
        raise InvalidArgument(f"{within}: octet {text}: expected 0 to 255")
    if text != plain:
        raise InvalidArgument(f"{within}: octet {text}: a leading zero (octal or decimal?); write {plain}")
    return int(plain)


def _merge(spans: Iterable[Span]) -> list[Span]:
    """The intervals in ascending order; those that overlap or touch are joined."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return merged


def _subtract(wanted: list[Span], unwanted: list[Span]) -> Iterator[Span]:
    """Merged spans without the others, in one pass over both."""
    holes = iter(unwanted)
    hole = next(holes, None)
    for first, last in wanted:
        while hole and hole.first <= last:
            if first < hole.first:
                yield Span(first, hole.first - 1)
            first = max(first, hole.last + 1)
            if hole.last > last:
                break  # it may overlap the next spans too
            hole = next(holes, None)
        if first <= last:
            yield Span(first, last)
