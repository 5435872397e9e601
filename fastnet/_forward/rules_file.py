"""A file of rules: TOML (toml.io), one ``[rule.NAME]`` table a rule, whose keys are the fields of ``Rule``.

::

    [rule.web]
    listen = "8080"
    upstreams = ["192.0.2.10:80", "192.0.2.11:80"]
    rewrite_host = true

    [rule.dns]
    listen = "127.0.0.1:5353"
    upstreams = "192.0.2.53:53"
    protocol = "udp"

Times are in seconds, rates in bytes per second.
"""

import os
import select
import stat
import time

from fastnet._forward.rule import Rule
from fastnet._limits import check_timeout, path_text
from fastnet._typing import Any
from fastnet.endpoints import Endpoint
from fastnet.errors import InvalidArgument

__all__ = ["load_rules", "parse_rules"]

_MAX_SIZE = 1 << 20
_TABLE = "rule"
_REQUIRED = ("listen", "upstreams")
_MAX_PARTS = 64
_LONG_KEY = rf"""(?a)(?<![\w-])(?>(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{_MAX_PARTS}}}"""
"""A dotted key of more than ``_MAX_PARTS`` parts, for each of which tomllib goes through all before it."""
_TOO_DEEP = "not TOML: nested too deeply"
_KEYS = tuple(name for name in Rule._fields if name != "name")


def load_rules(path: str | os.PathLike[str], timeout: float | None = None) -> list[Rule]:
    """The rules of a file, in its order.

    With ``timeout`` a pipe must have a writer, which takes at most so many seconds.

    Raises OSError if it can't be read, and InvalidArgument, which names the file, the rule and the key,
    for an error in it.
    """
    path = path_text("path", path)
    check_timeout("timeout", timeout)
    try:
        return parse_rules(_read(path) if timeout is None else _read_within(path, timeout))
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_SIZE + 1)


def _read_within(path: str, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    data = b""
    with open(
        path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
    ) as file:
        poll = select.poll()
        poll.register(file, select.POLLIN)
        while len(data) <= _MAX_SIZE:
            part = file.read(_MAX_SIZE + 1 - len(data))
            if part:
                data += part
            elif part is not None:
                break
            elif not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                raise InvalidArgument(f"not written within {timeout:g} seconds")
        if not data and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise InvalidArgument("a pipe without a writer")
    return data


def parse_rules(data: bytes) -> list[Rule]:
    """The rules of a file's content. Raises InvalidArgument, which names the rule and the key."""
    tables = _parse_toml(data)
    for key in tables:
        if key != _TABLE:
            raise InvalidArgument(f"unknown key {key!r}: expected [{_TABLE}.NAME] tables")
    named = tables.get(_TABLE)
    if not isinstance(named, dict) or not named:
        raise InvalidArgument(f"no rules: expected [{_TABLE}.NAME] tables")
    rules = [_make_rule(name, table) for name, table in named.items()]
    _check_apart(rules)
    return rules


def _parse_toml(data: bytes) -> dict[str, Any]:
    if len(data) > _MAX_SIZE:
        raise InvalidArgument(f"longer than {_MAX_SIZE} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"not TOML: byte {error.start} is not UTF-8") from None
    import re  # needed for a file of rules only
    import tomllib

    import fastnet._forward.health  # noqa: F401 - now: when the file is read again it may not be readable

    if re.search(_LONG_KEY, text):
        raise InvalidArgument(_TOO_DEEP)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # Raised also for a number of too many digits.
        raise InvalidArgument(f"not TOML: {error}{_quoted_line(text, str(error))}") from None
    except RecursionError:
        raise InvalidArgument(_TOO_DEEP) from None


def _quoted_line(text: str, message: str) -> str:
    """The line that a message of tomllib refers to, since the message has no key."""
    _, found, after = message.rpartition("at line ")
    lines = text.split("\n")
    return f": {lines[int(after.split(',')[0]) - 1].strip()}" if found else ""


def _make_rule(name: str, table: object) -> Rule:
    try:
        if not isinstance(table, dict):
            raise InvalidArgument(f"expected a table [{_TABLE}.{name}]")
        for key in table:
            if key not in _KEYS:
                raise InvalidArgument(f"unknown key {key!r}: there are {', '.join(_KEYS)}")
        for key in _REQUIRED:
            if key not in table:
                raise InvalidArgument(f"{key} is missing")
        return Rule(name=name, **table)
    except InvalidArgument as error:
        raise InvalidArgument(f"rule {name!r}: {error}") from None


def _check_apart(rules: list[Rule]) -> None:
    """Refuse two rules that listen at the same place."""
    seen: dict[tuple[str, str], str] = {}
    for rule in rules:
        if isinstance(rule.listen, Endpoint) and not rule.listen.port:
            continue  # Each takes a free port.
        place = (rule.protocol, str(rule.listen))
        if place in seen:
            raise InvalidArgument(
                f"rule {rule.name!r}: listen {rule.listen}: rule {seen[place]!r} has it already"
            )
        seen[place] = rule.name
