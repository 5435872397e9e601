"""How messages show a wrong value."""

_LONGEST = 200


def quoted(value: object) -> str:
    """A wrong value as a message shows it: its ``repr``, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an int of more than 4300 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
