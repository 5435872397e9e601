"""International host names in ASCII, if IDNA 2003 and IDNA 2008 agree.

IDNA 2003 is the standard library's (RFC 3490). IDNA 2008 is used by registries and browsers: a label is
mapped (UTS #46, without its transitional processing) and may then only have characters that are permitted
(RFC 5892). Nearly every name has one form in both. A name with two could lead to two hosts: ``straße.de``
is ``strasse.de`` by the older standard, and one with a snowman is no name by the newer.
"""

import re
import unicodedata
from _collections_abc import Callable
from encodings import idna
from unicodedata import bidirectional, category, normalize

_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_MAPPED_BY_2003_ONLY = "\xdf\u03c2\u200c\u200d"
"""Sharp s, final sigma, zero width non-joiner and joiner: UTS #46 calls them deviation characters."""

_LETTERS_AND_DIGITS = frozenset(("Ll", "Lo", "Lm", "Mn", "Mc", "Nd"))
_PERMITTED = frozenset("-_\xdf\u03c2\u06fd\u06fe\u0f0b\u3007")
_NOT_PERMITTED = re.compile(
    "[\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b"  # exceptions (RFC 5892, section 2.6)
    "\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # ignorable (2.3)
    "\u20d0-\u20ff\U0001d100-\U0001d24f"  # marks of symbols and of music (2.4)
    "\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb]"  # conjoining Hangul (2.9)
)
_ARABIC_DIGITS = [{chr(first + digit) for digit in range(10)} for first in (0x660, 0x6F0)]
_LABEL_LIMIT = 63
_RIGHT_TO_LEFT = frozenset(("R", "AL", "AN"))
_BESIDE_RIGHT_TO_LEFT = _RIGHT_TO_LEFT | {"EN", "ES", "CS", "ET", "ON", "BN", "NSM"}


def encode_2003(host: str) -> str | None:
    """The ASCII form of a host name by IDNA 2003 (RFC 3490); None where it has none."""
    return _encode(host, lambda label: idna.ToASCII(label).decode())


def encode_2008(host: str) -> str | None:
    """The ASCII form of a host name by IDNA 2008 (RFC 5891); None where it has none."""
    return _encode(host, _encode_2008)


def _encode(host: str, encode_label: Callable[[str], str]) -> str | None:
    labels = _DOTS.split(host)
    try:
        return ".".join(label if label.isascii() else encode_label(label) for label in labels)
    except UnicodeError:
        return None


def _encode_2008(label: str) -> str:
    label = normalize("NFC", "".join(map(_mapped, label)))
    permitted = all(_is_permitted(label, place) for place in range(len(label)))
    if not permitted or _is_misplaced(label) or not _is_bidi(label):
        raise UnicodeError
    encoded = label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
    if len(encoded) > _LABEL_LIMIT:
        raise UnicodeError
    return encoded


def _mapped(char: str) -> str:
    """Case, width and compatibility forms taken away, as by UTS #46."""
    if char in _MAPPED_BY_2003_ONLY:
        return char
    return "\xdf" if char == "\u1e9e" else normalize("NFKC", normalize("NFKC", char).casefold())


def _is_permitted(label: str, place: int) -> bool:
    """Whether a character may stand where it does (RFC 5892)."""
    char = label[place]
    if char in _PERMITTED:
        return True
    if rule := _CONTEXTS.get(char):
        return rule(label, place)
    stable = normalize("NFKC", normalize("NFKC", char).casefold()) == char
    return stable and category(char) in _LETTERS_AND_DIGITS and not _NOT_PERMITTED.match(char)


def _is_of(label: str, place: int, *scripts: str) -> bool:
    return 0 <= place < len(label) and unicodedata.name(label[place], "").startswith(scripts)


def _is_behind_virama(label: str, place: int) -> bool:
    return place > 0 and unicodedata.combining(label[place - 1]) == 9


def _keeps_apart(label: str, place: int) -> bool:
    """A non-joiner that is behind a virama or between letters that might join: all Arabic ones are taken."""
    around = [bidirectional(char) for char in label[place - 1 : place + 2 : 2]] if place else []
    return _is_behind_virama(label, place) or around == ["AL", "AL"]


_CONTEXTS: dict[str, Callable[[str, int], bool]] = {
    "\u200c": _keeps_apart,
    "\u200d": _is_behind_virama,
    "\xb7": lambda label, place: label[place - 1 : place + 2] == "l\xb7l",
    "\u0375": lambda label, place: _is_of(label, place + 1, "GREEK"),
    "\u05f3": lambda label, place: _is_of(label, place - 1, "HEBREW"),
    "\u05f4": lambda label, place: _is_of(label, place - 1, "HEBREW"),
    "\u30fb": lambda label, _: any(
        _is_of(label, place, "HIRAGANA", "KATAKANA LETTER", "CJK UNIFIED") for place in range(len(label))
    ),
}
"""The characters that are permitted in some places only (RFC 5892, appendix A)."""


def _is_misplaced(label: str) -> bool:
    """A hyphen at an end or where ``xn--`` has its own, a mark without its letter, digits of two kinds."""
    hyphens = label[2:4] == "--" or label.strip("-") != label
    return hyphens or category(label[0])[0] == "M" or all(digits & {*label} for digits in _ARABIC_DIGITS)


def _is_bidi(label: str) -> bool:
    """Whether a label with letters that run from right to left can be read (RFC 5893, section 2)."""
    kinds = [bidirectional(char) for char in label]
    if not _RIGHT_TO_LEFT & {*kinds}:
        return True
    last = next((kind for kind in reversed(kinds) if kind != "NSM"), "")
    return (
        kinds[0] in ("R", "AL")
        and last in ("R", "AL", "AN", "EN")
        and {*kinds} <= _BESIDE_RIGHT_TO_LEFT
        and not {"AN", "EN"} <= {*kinds}
    )
