"""The Internet checksum: computed, verified, and updated in place."""

from _collections_abc import Iterator

from fastnet._contract.values import counted
from fastnet.checksums import checksum, kernel, update, verify
from fastnet.tour import Sight

TOPIC = "checksum"


def visit() -> Iterator[Sight]:
    data = bytes(range(256)) * 256
    value = checksum(data)
    yield Sight(f"checksum of {counted(len(data), 'byte')} with the {kernel()} kernel", f"{value:#06x}")

    checked = verify(data + value.to_bytes(2, "big"))
    yield Sight("verify those bytes with their checksum behind them", f"{checked}", ok=checked)

    updated = update(value, int.from_bytes(data[:2], "big"), 0xBEEF)
    right = updated == checksum(b"\xbe\xef" + data[2:])
    yield Sight("replace the first field and update the checksum (RFC 1624)", f"{updated:#06x}", ok=right)
