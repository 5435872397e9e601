"""Each kind of error is fastnet's own and the standard library's that a caller would catch already."""

from __future__ import annotations

import errno
import inspect
import re
import socket

import pytest

from fastnet import errors

KINDS = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}

STANDARD = {
    "InvalidArgument": ValueError,
    "PacketError": ValueError,
    "NotPermitted": PermissionError,
    "NoSuchInterface": OSError,
    "NoAddress": OSError,
    "NameNotResolved": socket.gaierror,
    "WaitTimeout": TimeoutError,
    "EngineMissing": ImportError,
    "ImplementationMissing": ImportError,
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_kind_is_fastnet_s_and_explained(name: str) -> None:
    assert issubclass(KINDS[name], errors.FastnetError)
    assert KINDS[name].__doc__


@pytest.mark.parametrize("name", sorted(STANDARD))
def test_a_kind_is_the_standard_library_s_too(name: str) -> None:
    assert issubclass(KINDS[name], STANDARD[name])


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+)\s+(?:socket\.)?([A-Z]\w+|gaierror)?", errors.__doc__ or ""))
    assert drawn.keys() == KINDS.keys() - {"FastnetError"}
    for name, standard in drawn.items():
        bases = {base.__name__ for base in KINDS[name].__bases__} - {"FastnetError"}
        assert bases <= {standard, "PacketError"}, name


def test_a_truncated_packet_is_a_packet_error() -> None:
    assert issubclass(errors.TruncatedPacket, errors.PacketError)
    assert issubclass(errors.BadChecksum, errors.PacketError)


@pytest.mark.parametrize("name", sorted(name for name, kind in KINDS.items() if issubclass(kind, OSError)))
def test_an_error_of_the_system_keeps_its_number(name: str) -> None:
    error = KINDS[name](errno.ENODEV, "no interface 'eth7': there are lo, eth0")
    assert error.errno == errno.ENODEV
    assert error.strerror == "no interface 'eth7': there are lo, eth0"
