"""Write ``fastnet/schemas/*.json``: the JSON Schema (draft 2020-12) of each class in ``fastnet/_records/``:

.venv/bin/python tools/schemas.py
"""

import ast
import inspect
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

from fastnet import _records

FOLDER = Path(__file__).parents[1] / "fastnet/schemas"
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}
TIMES = ("time", "opened")
TIME = {"format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}

SOURCES = {
    node.name: node
    for file in Path(_records.__file__).parent.glob("*.py")
    for node in ast.parse(file.read_text()).body
    if isinstance(node, ast.ClassDef)
}

Schema = dict[str, Any]


def classes() -> dict[str, type]:
    """Each kind and its class, in the order of the module."""
    found = {}
    for each in vars(_records).values():
        if is_typeddict(each) and "kind" in (hints := get_type_hints(each)):
            (kind,) = get_args(hints["kind"])
            assert kind not in found, kind
            found[kind] = each
    return found


def schema(kind: str, record: type) -> Schema:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": kind}
    found = of_class(record)
    times = (found["properties"][name] for name in TIMES if name in found["properties"])
    for each in times:
        each |= TIME
    return dialect | found


def of_class(record: type) -> Schema:
    hints, remarks = get_type_hints(record), descriptions(record)
    keys = sorted(hints, key=lambda key: (key != "kind", key != "time"))  # these two first
    return {
        "description": plain(inspect.getdoc(record) or ""),
        "type": "object",
        "properties": {key: of_type(hints[key]) | remarks.get(key, {}) for key in keys},
        "required": keys,
        "additionalProperties": False,
    }


def of_type(hint: Any) -> Schema:
    arguments = get_args(hint)
    if is_typeddict(hint):
        return of_class(hint)
    if get_origin(hint) is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if get_origin(hint) is list:
        return {"type": "array", "items": of_type(arguments[0])}
    if get_origin(hint) is dict:
        return {"type": "object"}
    if get_origin(hint) is UnionType:
        return of_union([of_type(each) for each in arguments])
    return {"type": NAMES[hint]}


def of_union(schemas: list[Schema]) -> Schema:
    """Plain types in one list, as most are read so."""
    if all(each.keys() == {"type"} for each in schemas):
        return {"type": [each["type"] for each in schemas]}
    return {"anyOf": schemas}


def descriptions(record: type) -> dict[str, Schema]:
    """The docstrings of the fields of a class and of its base classes."""
    found: dict[str, Schema] = {}
    node = SOURCES[record.__name__]
    for base in node.bases:
        if (name := ast.unparse(base)) in SOURCES:
            found |= descriptions(getattr(_records, name))
    for field, remark in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(remark, ast.Expr):
            found[ast.unparse(field.target)] = {"description": plain(ast.literal_eval(remark.value))}
    return found


def plain(docstring: str) -> str:
    return docstring.replace("``", "`")


def texts() -> dict[str, str]:
    """The content of each file of the folder."""
    made = {kind: schema(kind, record) for kind, record in classes().items()}
    return {f"{kind}.json": json.dumps(each, indent=2) + "\n" for kind, each in made.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for name, text in texts().items():
        FOLDER.joinpath(name).write_text(text)


if __name__ == "__main__":
    main()
