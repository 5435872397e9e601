"""Lines of text about many addresses: fields of a template, and checks of what is given."""

from _collections_abc import Sequence

from fastnet._contract.values import counted
from fastnet._typing import TypeAlias
from fastnet.errors import InvalidArgument

END, ADDRESS, MS, NUMBER, US, MAC, UPPER_MAC = range(7)
"""What follows a piece's text: nothing more; the address; its time as ``1.500 ms``, as ``1.5``, in whole
microseconds; its MAC, as ``02:00:00:00:0a:07`` or in capitals."""
SKIPPED = 255
"""The kind of an address without a line."""
MAX_WIDTH = 64

Piece: TypeAlias = "tuple[bytes, int, int]"
"""A text, the field after it, and the width to which that is padded with spaces."""
Template: TypeAlias = "Sequence[Piece]"
"""The pieces of a line, the last of them with ``END``."""


def check_lines(
    templates: "Sequence[Template]", first: bytes, step: int, sizes: tuple[int, int, int], most: int
) -> None:
    """Check what is given. ``sizes``: of kinds, times and MACs; ``most``: the highest kind with a line."""
    count, times, macs = sizes
    fields = {field for template in templates for _, field, _ in template}
    widths = {width for template in templates for *_, width in template}
    ends = [[place for place, piece in enumerate(each, 1) if piece[1] == END] for each in templates]
    if ends != [[len(each)] for each in templates]:
        raise InvalidArgument("templates: expected END in the last piece")
    if not fields <= {*range(UPPER_MAC + 1)} or not widths <= {*range(MAX_WIDTH + 1)}:
        raise InvalidArgument(f"templates: expected fields to {UPPER_MAC} and widths to {MAX_WIDTH}")
    if any(field in (MS, NUMBER, US) for template in templates[1::2] for _, field, _ in template):
        raise InvalidArgument("templates: a time where there is none")
    if len(templates) % 2 or 2 * most >= len(templates):
        raise InvalidArgument(f"kinds: {most}: expected less than {len(templates) // 2}")
    if len(first) not in (4, 16) or not 0 < step < 1 << 63:
        raise InvalidArgument("first, step: expected an address, and 1 to 2^63 - 1")
    if times < count or (macs < 6 * count and fields & {MAC, UPPER_MAC}):
        raise InvalidArgument(
            f"{counted(times, 'time')}, {counted(macs, 'byte')} of MACs for {counted(count, 'address')}"
        )
