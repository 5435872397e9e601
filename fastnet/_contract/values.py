"""How messages show values."""

inf = float("inf")  # math, which has it too, takes long to load
_LONGEST = 200


def quoted(value: object) -> str:
    """A wrong value as a message shows it: its ``repr``, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an int of more than 4300 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def counted(number: int, one: str, form: str = "") -> str:
    """A number in this format, and its noun: ``1 host``, ``2 hosts``, ``3 addresses``, ``4 tries``."""
    return f"{number:{form}} {one if number == 1 else _plural(one)}"


def _plural(noun: str) -> str:
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
