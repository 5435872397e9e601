"""The feature is the chosen core, and ``fastnet.checksum`` is its main function."""

import fastnet
from fastnet import _backend, checksums


def test_every_name_is_the_core_s() -> None:
    for name in checksums.__all__:
        assert getattr(checksums, name) is getattr(_backend.checksum, name)


def test_every_public_name_of_the_core_is_there() -> None:
    core = _backend.checksum
    public = {name for name, value in vars(core).items() if callable(value) and not name.startswith("_")}
    assert {name for name in public if getattr(core, name).__module__ == core.__name__} == {
        *checksums.__all__
    }


def test_checksum_at_the_top() -> None:
    assert fastnet.checksum is checksums.checksum
    assert fastnet.checksum(b"\x45\x00", 0x0011) == 0xFFFF ^ 0x4511


def test_a_header_is_updated_as_a_router_does() -> None:
    header = bytearray.fromhex("4500005400004000400100000a0000010a000002")
    header[10:12] = fastnet.checksum(header).to_bytes(2, "big")
    assert checksums.verify(header)
    before = int.from_bytes(header[8:10], "big")
    header[8] -= 1  # the time to live
    after = int.from_bytes(header[8:10], "big")
    header[10:12] = checksums.update(int.from_bytes(header[10:12], "big"), before, after).to_bytes(2, "big")
    assert checksums.verify(header)
