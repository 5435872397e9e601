"""Words that no page, help text, message, docstring or comment has, and what to write instead."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from environment import ROOT

INSTEAD = {
    r"tell(s|ing)?|told": "print, log, return, raise, yield, name, report, distinguish",
    r"say(s|ing)?|said": "be, name, give, report, mean",
    r"heed(s|ed|ing)?": "follow, handle",
    r"bur(y|ies|ied)": "free, remove",
    r"equip(s|ped)?": "attach, give",
    r"let(s|ting)? go": "release, free, close",
    r"look(s|ed|ing)? after": "own, manage",
    r"in vain": "even if it failed",
    r"as it comes": "defaults",
    r"fellows?": "sibling, other",
    r"idler": "least loaded",
    r"the book('s)?|the seed's|recipes? 3\.\d+": "what the thing does (docs/recipes.md alone has them)",
}
"""Verbs that could mean anything, and a dialect where the field has a term."""
WORDS = re.compile("|".join(rf"\b(?:{words})\b" for words in INSTEAD), re.IGNORECASE)

CODE = re.compile(r"``[^`]*``|`[^`]*`")

PAGES = [
    path
    for folder in (".", "docs", "examples", "changelog.d")
    for path in sorted((ROOT / folder).glob("*.md"))
]
FILES = [
    path
    for folder in ("fastnet", "csrc", "bench", "tests", "tools")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyi", ".pyx", ".pxi", ".c", ".h"}
    and path != Path(__file__)  # it has the words
]


def markdown(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a page, but for examples and what is quoted as code."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        in_code ^= line.startswith("```")
        if not in_code and not line.startswith("    "):
            yield number, CODE.sub("", line)


def python(text: str) -> Iterator[tuple[int, str]]:
    """The comments of a module and its texts, docstrings among them."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.isidentifier():
            for more, line in enumerate(node.value.splitlines()):
                yield node.lineno + more, CODE.sub("", line)


def cython(text: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r'"""(?:.|\n)*?"""|"[^"\n]*"|#.*', text):
        for more, line in enumerate(found[0].splitlines()):
            yield text.count("\n", 0, found.start()) + 1 + more, CODE.sub("", line)


def c(text: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r'/\*(?:.|\n)*?\*/|"[^"\n]*"|//.*', text):
        for more, line in enumerate(found[0].splitlines()):
            yield text.count("\n", 0, found.start()) + 1 + more, line


PROSE = {".md": markdown, ".py": python, ".pyi": python, ".pyx": cython, ".pxi": cython, ".c": c, ".h": c}


def offences(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}: {line.strip()}"
        for number, line in PROSE[path.suffix](path.read_text())
        for found in WORDS.finditer(line)
    ]


@pytest.mark.parametrize("path", [*PAGES, *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words(path: Path) -> None:
    assert offences(path) == []


COUNTED = (
    "addresses arguments attempts bits bytes clients columns connections datagrams descriptors duplicates "
    "errors events fields files flows handlers headers hops hosts intervals interfaces labels layers lines "
    "messages names options packets ports probes processes ranges records replies requests retries routes "
    "rows rules samples seconds segments shards sockets targets threads tries upstreams values vantages "
    "workers"
)
COUNT = re.compile(rf"\{{([^{{}}]+)\}}((?: [a-z-]+){{0,2}}? (?:{COUNTED.replace(' ', '|')}))\b")
NO_COUNT = re.compile(
    r"[A-Z_.0-9]+(?:\[kind\]|:,)?|(?:self\.)?name|timeout:g|plan\.rate:,\.0f|link\.mtu|start|scan\..*|', '.*"
)
"""Constants and numbers that are never 1, and words that are no number."""


def test_the_noun_of_a_number_is_counted() -> None:
    """``1 host``, not ``1 hosts``: messages use ``counted`` of ``fastnet/_contract/values.py``."""
    found = [
        f"{path.name}: {{{number}}}{noun}"
        for path in FILES
        if path.is_relative_to(ROOT / "fastnet")
        for number, noun in COUNT.findall(path.read_text())
        if not NO_COUNT.fullmatch(number)
    ]
    assert found == []
