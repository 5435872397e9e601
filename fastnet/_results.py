"""Results as plain values for JSON, and as short texts."""

from _collections_abc import Iterable

from fastnet._typing import Any

_DIGITS = 3
"""Behind the point, of a figure in a text."""
_ROOM = 100
"""Characters for the items of a list; one that needs more is cut short."""


def as_dict(result: Any) -> dict[str, Any]:
    """Each field and each public property of a named tuple, as plain values."""
    members = vars(type(result)).items()
    properties = [name for name, member in members if isinstance(member, property) and name[0] != "_"]
    return {name: plain(getattr(result, name)) for name in (*result._fields, *properties)}


def plain(value: Any) -> Any:
    """A value as JSON has it: a result as an object, bytes as hexadecimal text, an address as its text."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return int(value)
    if type(value) in (tuple, list):
        return [plain(each) for each in value]
    if isinstance(value, type):
        return value.__name__
    return value.hex() if isinstance(value, bytes) else str(value)


def shown(result: Any) -> str:
    """A named tuple as code, without the fields that have their default."""
    defaults = result._field_defaults
    values = zip(result._fields, result, strict=True)
    given = {name: value for name, value in values if name not in defaults or value != defaults[name]}
    return shown_as(type(result).__name__, given)


def shown_as(name: str, values: dict[str, Any]) -> str:
    """Values as the arguments of a call, without those that are None, and figures rounded."""
    given = (f"{key}={_text(value)}" for key, value in values.items() if value is not None)
    return f"{name}({', '.join(given)})"


def listed(items: Iterable[Any], count: int) -> str:
    """The first of so many items, as many as there is room for."""
    texts: list[str] = []
    room = _ROOM
    for item in items:
        text = _text(item)
        room -= len(text)
        if texts and room < 0:
            return ", ".join((*texts, f"... {count - len(texts)} more"))
        texts.append(text)
    return ", ".join(texts)


def _text(value: Any) -> str:
    if type(value) is float:
        return repr(round(value, _DIGITS))
    if type(value) is tuple:
        return f"({listed(value, len(value))}{',' if len(value) == 1 else ''})"
    return repr(value)
