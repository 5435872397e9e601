"""Escapes text from outside, so that a terminal shows it and does not obey it."""

__all__ = ["escaped", "escaped_word"]


def escaped(text: str) -> str:
    """The text as one line that a terminal shows and does not obey.

    What is not printable (control and format characters, line ends, bytes not in UTF-8) is written as the
    escapes of a Python literal, ``\\x1b`` or ``\\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def escaped_word(text: str) -> str:
    """The same without a space, so that it stays one column; a backslash is an escape's alone."""
    return escaped(text.replace("\\", "\\x5c").replace(" ", "\\x20"))


def _escape(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]
