"""The JSON records of the commands, each held to the schema of its kind that is shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastnet

FOLDER = Path(fastnet.__file__).with_name("schemas")
KINDS = {path.stem for path in FOLDER.glob("*.json")}
TYPES = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
TYPES |= {"array": list, "object": dict}
REMARKS = {"$schema", "title", "description", "format"}
"""The parts of a schema that no value can violate."""

Record = dict[str, Any]


def parse(line: str) -> Record:
    """The record of a line. Its kind is known, and it breaks no rule of that kind's schema."""
    record: Record = json.loads(line)
    assert record["kind"] in KINDS, line
    assert [*broken(record, schema(record["kind"]))] == [], line
    return record


def untimed(line: str) -> Record:
    """``parse(line)``, without what differs from run to run."""
    record = parse(line)
    del record["time"]
    return record


def parse_all(output: str) -> list[Record]:
    """Those of the whole lines of an output that are records."""
    return [parse(line) for line in output.splitlines(keepends=True) if re.fullmatch(r"\{.*\n", line)]


@cache
def schema(kind: str) -> Record:
    found: Record = json.loads(FOLDER.joinpath(f"{kind}.json").read_text())
    return found


def broken(value: object, rules: Record, place: str = "") -> Iterator[str]:
    """What of JSON Schema (draft 2020-12) our schemas use: each rule that a value breaks, and where."""
    for rule, wanted in rules.items():
        if rule == "properties":
            if isinstance(value, dict):
                for key in value.keys() & wanted.keys():
                    yield from broken(value[key], wanted[key], f"{place}.{key}")
        elif rule == "items":
            for number, each in enumerate(value if isinstance(value, list) else ()):
                yield from broken(each, wanted, f"{place}[{number}]")
        elif rule not in REMARKS and not keeps(value, rule, wanted, rules):
            yield f"{place}: {value!r} breaks {rule}: {wanted}"


def keeps(value: Any, rule: str, wanted: Any, rules: Record) -> bool:
    if rule == "type":
        return any(is_a(value, name) for name in ([wanted] if isinstance(wanted, str) else wanted))
    if rule == "const":
        return bool(value == wanted)
    if rule == "enum":
        return value in wanted
    if rule == "pattern":
        return not isinstance(value, str) or re.search(wanted, value) is not None
    if rule == "anyOf":
        return any(not [*broken(value, each)] for each in wanted)
    if rule == "required":
        return not isinstance(value, dict) or value.keys() >= {*wanted}
    assert (rule, wanted) == ("additionalProperties", False), f"{rule} is not checked here"
    return not isinstance(value, dict) or value.keys() <= rules["properties"].keys()


def is_a(value: object, name: str) -> bool:
    """A boolean is no number in JSON."""
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
