"""Reads the bytes of one packet from the hexadecimal text that programs print, by patterns."""

import re
from _collections_abc import Iterator
from itertools import pairwise

from fastnet._contract.values import counted
from fastnet._typing import NamedTuple
from fastnet.errors import InvalidArgument

_SHOWN = 40
_SHORTEST = 4
_WHOLE = "expected a dump from offset 0, or the bytes alone"
_FULL_LINES = (8, 16, 32)
_MOST = 16 << 20
_OFFSET = re.compile(
    r"\s*(?:0x)?(?P<digits>[0-9a-f]{4,8})(?P<colon>:?)(?:(?P<blank>\s+)(?P<rest>.*))?", re.I | re.S
)
_TOKENS = re.compile(r"(?:[0-9a-f]{2})+(?: (?:[0-9a-f]{2})+)*", re.I)
_REPEATED = "*"
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_BASES = (16, 8, 10)
_OFFSETS_OF_WORDS = (7, 6)
"""hexdump(1) and od(1) print offsets of seven digits, od -A x of six, and words in host byte order."""
_DIGITS_OF_WORDS = (4, 8, 16)
_WORDS = re.compile(
    r"(?:(?: {0}{{2}})+|(?: {0}{{4}})+|(?: {{4}}{0}{{4}})+|(?: {0}{{8}})+|(?: {0}{{16}})+)"
    r"\s*(?:>.*<\s*)?".format("[0-9a-f]"),
    re.I,
)
"""Their bytes and words. Padded numbers are octal or decimal, except the words of hexdump -x."""
_LABEL = re.compile(r"\s*((?:0x)?[0-9a-f]+:)\s+(?!.*:(?:\s|$))\S", re.I)


class _Line(NamedTuple):
    number: int
    offset: str
    colon: bool
    blanks: int
    tokens: list[str]


def bytes_of(text: str) -> bytes:
    """The bytes that text of any of the forms stands for. Raises InvalidArgument."""
    _refuse_numbers(text)
    lines = list(_dump_lines(text))
    if _is_dump(lines):
        return _from_dump(text, lines)
    if "{" in text or "," in text:
        return _from_array(text)
    if "\\x" in text:
        return _from_escapes(text)
    if _counts_up(text):
        raise InvalidArgument(f"the first column counts up: {_WHOLE}")
    _refuse_offsets(text, lines)
    return _plain(text)


def _plain(text: str) -> bytes:
    tokens = re.split(r"\s|:|0x", text, flags=re.I)
    for token in tokens:
        if not re.fullmatch("[0-9a-fA-F]*", token):
            shown = text.split("\n")[0][:_SHOWN]
            raise InvalidArgument(
                f"{shown!r} is not hexadecimal: give pairs of hex digits, or --raw for bytes"
            )
    for token in tokens:
        if len(token) % 2:
            digits = f"{len(token)} hex digit{'s' if len(token) > 1 else ''}"
            raise InvalidArgument(f"{token[:_SHOWN]!r}: {digits}, expected two for each byte")
    return bytes.fromhex("".join(tokens))


def _from_array(text: str) -> bytes:
    body = _COMMENT.sub(" ", text)
    if "{" in body:
        body, closed, behind = body.partition("{")[2].partition("}")
        if not closed:
            raise InvalidArgument("the array does not end: expected all of it, up to }")
        if "{" in behind:
            raise InvalidArgument("another array begins: expected one packet")
    elements = [each.strip() for each in body.split(",")]
    if elements and not elements[-1]:
        elements.pop()
    for element in elements:
        if not re.fullmatch("0x[0-9a-fA-F]{1,2}", element):
            raise InvalidArgument(f"{element[:_SHOWN]!r}: expected the bytes of an array, as 0x45, 0x00")
    return bytes(int(element, 16) for element in elements)


def _from_escapes(text: str) -> bytes:
    escapes = "".join(re.findall(r'"(.*?)"', text)) or text
    digits = re.sub(r"\s", "", escapes)
    if not re.fullmatch(r"(?:\\x[0-9a-fA-F]{2})*", digits):
        raise InvalidArgument(f"{escapes[:_SHOWN]!r}: expected the bytes of a string, as \\x45\\x00")
    return bytes.fromhex(digits.replace("\\x", ""))


# Dumps


def _refuse_numbers(text: str) -> None:
    """Refuse output of od(1) and hexdump(1) that is not hexadecimal bytes or words."""
    found = [(number, _OFFSET.fullmatch(line)) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in found if line and not line["colon"]]
    if not lines or not _is_of_words([line for _, line in lines]):
        return
    for number, line in lines:
        if line["rest"] and not _WORDS.fullmatch(line["blank"] + line["rest"]):
            raise InvalidArgument(
                f"line {number}: {line[0].strip()[:_SHOWN]!r} is octal, decimal or characters: "
                "expected hexadecimal, as of od -tx1 or hexdump -C"
            )


def _is_of_words(lines: list[re.Match[str]]) -> bool:
    """Whether the offsets are of od(1) or hexdump(1), from 0. With six digits, the last has no bytes."""
    first, last = lines[0], lines[-1]
    if int(first["digits"], 16) or not first["rest"]:
        return False
    digits = len(first["digits"])
    return digits == _OFFSETS_OF_WORDS[0] or (
        digits == _OFFSETS_OF_WORDS[1] == len(last["digits"]) and not last["rest"]
    )


def _refuse_offsets(text: str, lines: list[_Line]) -> None:
    """Refuse a dump that begins in the middle, and addresses before bytes."""
    for line in text.splitlines():
        if label := _LABEL.match(line):
            raise InvalidArgument(f"{label[1]!r} looks like an offset: {_WHOLE}")
    for each in lines:
        pairs = each.tokens and max(map(len, each.tokens)) == 2
        if pairs and (each.blanks > 1 or len(each.offset) > _SHORTEST):
            raise InvalidArgument(f"{each.offset!r} looks like an offset: {_WHOLE}")


def _dump_lines(text: str) -> Iterator[_Line]:
    """The lines that may belong to a dump: an offset, and any hexadecimal tokens."""
    for number, line in enumerate(text.splitlines()):
        found = _OFFSET.fullmatch(line)
        if found is None:
            continue
        tokens = _tokens(found["rest"] or "")
        if tokens is not None:
            yield _Line(number, found["digits"], bool(found["colon"]), len(found["blank"] or ""), tokens)


def _tokens(rest: str) -> list[str] | None:
    """The hexadecimal tokens of a line, without the column of characters; None if there are none."""
    if not rest.strip():
        return []
    if re.fullmatch(r"[0-9a-f]{4}(?: {4}[0-9a-f]{4})+\s*", rest, re.I):
        return rest.split()  # hexdump -x
    framed = re.fullmatch(r"(.*?)\s*\|.*\|\s*", rest)
    groups = re.split(r"\s{2,}", (framed[1] if framed else rest).strip())
    tokens: list[str] = []
    for place, group in enumerate(groups):
        if not _TOKENS.fullmatch(group) or (
            place and not framed and not _is_second_half(tokens, group, place)
        ):
            break
        tokens += group.split(" ")
    return tokens or None


def _is_second_half(tokens: list[str], group: str, place: int) -> bool:
    """Whether this is the second eight bytes of a line, not characters that happen to be digits."""
    pairs = group.split(" ")
    return place == 1 and len(tokens) == 8 and max(map(len, tokens + pairs)) == 2 and len(pairs) != 3


def _is_dump(lines: list[_Line]) -> bool:
    if not lines or int(lines[0].offset, 16) != 0 or not lines[0].tokens:
        return False
    first = lines[0]
    return (
        first.colon
        or len(first.offset) == _OFFSETS_OF_WORDS[0]
        or (len(lines) > 1 and _ends_in_a_word(first, lines[-1]))
        or first.blanks > 1
        or len(first.offset) > max(map(len, first.tokens))
        or (len(lines) > 1 and int(lines[1].offset, 16) == _size(first))
    )


def _ends_in_a_word(first: _Line, last: _Line) -> bool:
    """Whether this is a dump of od -A x: six digits, and only an offset in the last line."""
    return len(first.offset) == len(last.offset) == _OFFSETS_OF_WORDS[1] and not last.tokens


def _counts_up(text: str) -> bool:
    """Whether the first column has offsets or line numbers, not bytes."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if len(rows) < 2 or not all(len(row) > 1 for row in rows[:-1]):
        return False
    column = [row[0].lower().removeprefix("0x") for row in rows]
    sizes = [sum(len(token.lower().removeprefix("0x")) for token in row[1:]) // 2 for row in rows]
    width = len(column[0]) // 2
    is_wide = len(column[0]) > max(map(len, rows[0][1:]))
    counted = [numbers for numbers in (_numbers(column, base) for base in _BASES) if numbers]
    if counted and all(after - before == width + sizes[0] for before, after in pairwise(counted[0])):
        return False  # consecutive bytes, as in a ping's payload: the column increases by a line's length
    return any(_is_counter(numbers, sizes, width, is_wide) for numbers in counted)


def _numbers(digits: list[str], base: int) -> list[int]:
    """The numbers in this base; empty if one is not a number in it."""
    try:
        return [int(each, base) for each in digits]
    except ValueError:
        return []


def _is_counter(numbers: list[int], sizes: list[int], width: int, is_wide: bool) -> bool:
    """Whether these numbers are a counter, not bytes: a shorter column needs a stronger pattern."""
    steps = [after - before for before, after in pairwise(numbers)]
    first = numbers[0]
    if all(map(int.__eq__, steps, sizes)):
        return len(numbers) > 2 or width > 1 or (first == 0 and sizes[0] in _FULL_LINES)
    step = steps[0]
    if step <= 0 or any(other != step for other in steps):
        return False
    if len(numbers) == 2:
        return width > 1 and (step == _FULL_LINES[1] or (is_wide and step == 1))
    return len(numbers) > 3 or width > 1 or step == 1 or first in (0, 1, step)


def _size(line: _Line) -> int:
    return sum(map(len, line.tokens)) // 2


def _from_dump(text: str, lines: list[_Line]) -> bytes:
    every = text.splitlines()
    swapped = _is_swapped(lines[0])
    base = _base_of(lines, swapped)
    data = bytearray()
    last = b""
    for place, line in enumerate(lines):
        offset = int(line.offset, base)
        if place and offset == 0 and line.tokens:
            raise InvalidArgument(f"line {line.number + 1}: another packet begins: expected one")
        between = [each.strip() for each in every[lines[place - 1].number + 1 : line.number]] if place else []
        if between == [_REPEATED] and last:
            data += last * ((min(offset, _MOST) - len(data)) // len(last))
        elif any(between):
            raise InvalidArgument(f"line {line.number}: {between[0][:_SHOWN]!r} is not a line of a dump")
        if not line.tokens and swapped and _is_padding(data[offset:], lines[0]):
            del data[offset:]
        if offset != len(data):
            raise InvalidArgument(
                f"line {line.number + 1}: offset {line.offset} after {counted(len(data), 'byte')}"
            )
        _refuse_other_bytes(every[line.number], line)
        last = _bytes_of(line, swapped)
        data += last
    _refuse_rest(every[lines[-1].number + 1 :], lines[-1].number + 2)
    return bytes(data)


def _refuse_rest(behind: list[str], first: int) -> None:
    """Refuse text after a dump: damaged lines, or a repetition without an end."""
    for number, line in enumerate(behind, first):
        if line.strip():
            raise InvalidArgument(f"line {number}: {line.strip()[:_SHOWN]!r} is not a line of a dump")


def _is_swapped(first: _Line) -> bool:
    return (
        not first.colon
        and len(first.offset) in _OFFSETS_OF_WORDS
        and len(first.tokens[0]) in _DIGITS_OF_WORDS
    )


def _is_padding(behind: bytes | bytearray, first: _Line) -> bool:
    """Whether these bytes are the zeros that fill the last word, after the end that the last offset gives."""
    return 0 < len(behind) < len(first.tokens[0]) // 2 and not any(behind)


def _base_of(lines: list[_Line], swapped: bool) -> int:
    """The base in which the offsets count the bytes: od(1) counts in octal. 16 if none fits.

    Raises InvalidArgument if od or hexdump printed them and they fit in two bases.
    """
    fitting = {int(lines[-1].offset, base): base for base in _BASES if _fits(lines, base, swapped)}
    if len(fitting) > 1 and len(lines[0].offset) == _OFFSETS_OF_WORDS[0]:
        raise InvalidArgument(
            f"line {lines[-1].number + 1}: offset {lines[-1].offset} fits in more than one base: "
            "expected hexadecimal offsets, as of od -A x -tx1"
        )
    return next(iter(fitting.values()), 16)


def _fits(lines: list[_Line], base: int, swapped: bool) -> bool:
    offsets = _numbers([line.offset for line in lines], base)
    if not offsets:
        return False
    for line, below, (before, after) in zip(lines, lines[1:], pairwise(offsets), strict=False):
        if below.number != line.number + 1 or after - before == _size(line):
            continue
        is_last = swapped and below is lines[-1] and not below.tokens and after > before
        if not (is_last and _is_padding(_bytes_of(line, swapped)[after - before :], lines[0])):
            return False
    return True


def _refuse_other_bytes(text: str, line: _Line) -> None:
    """Refuse a line of xxd or tcpdump whose characters belong to other bytes, or to another byte order."""
    if not line.colon or not line.tokens or text.rstrip().lower().endswith(line.tokens[-1].lower()):
        return
    given, other = (_shown(_bytes_of(line, swapped)) for swapped in (False, True))
    if given != other and text.endswith(f"  {other}"):
        raise InvalidArgument(
            f"line {line.number + 1}: words are little-endian, as of xxd -e: expected bytes in order"
        )
    if not _ends_with(text, given) and not _ends_with(text.rstrip(), given.rstrip()):
        raise InvalidArgument(
            f"line {line.number + 1}: its characters are not those of its hexadecimal bytes"
        )


def _ends_with(text: str, shown: str) -> bool:
    """Whether this is the column of characters; tcpdump shows a space as a dot."""
    column = text[len(text) - len(shown) :] if len(shown) <= len(text) else ""
    return len(column) == len(shown) and all(
        each == other or (each, other) == (".", " ") for each, other in zip(column, shown, strict=True)
    )


def _shown(data: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def _bytes_of(line: _Line, swapped: bool) -> bytes:
    words = [bytes.fromhex(token) for token in line.tokens]
    return b"".join(word[::-1] if swapped else word for word in words)
