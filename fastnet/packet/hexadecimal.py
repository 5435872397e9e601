"""Reads the bytes of one packet from hexadecimal text."""

from fastnet._limits import check_text


def from_hex(text: str) -> bytes:
    """The bytes that hexadecimal text stands for.

    The text is plain digits, also separated by blanks, colons or ``0x``; or the output of ``tcpdump -x``,
    ``-xx`` and ``-X``, ``tshark -x``, ``xxd``, ``hexdump``, ``hexdump -C`` or ``od -tx1``; or the elements of
    a C array; or ``\\x45`` escapes. Offsets are never read as bytes: they must count the bytes from 0. Raises
    InvalidArgument for any other text, for octal and decimal dumps, and for the dump of more than one packet.
    """
    check_text("text", text)
    data = plain_bytes(text)
    if data is None:
        from fastnet.packet.hexdump import bytes_of  # only here: its patterns take long to load

        data = bytes_of(text)
    return data


def plain_bytes(text: str) -> bytes | None:
    """The bytes of text that cannot be a dump: each line is one word, or one line has words of two digits.

    None for any other text, which may still be plain.
    """
    try:
        data = bytes.fromhex(text.replace(":", " "))
    except ValueError:
        return None
    lines = text.splitlines()
    if all(len(line.split()) < 2 for line in lines):
        return data
    is_pairs = len(lines) == 1 and all(len(word) == 2 for word in text.split())
    return data if is_pairs else None
