"""Unix-domain addresses taken from nobody, peers' credentials, and descriptors beside the bytes."""

import os
import socket
import stat
from pathlib import Path

import pytest

from fastnet._system import unix, unix_peer
from fastnet.errors import AddressInUse, InvalidArgument


def test_addresses() -> None:
    assert unix.unix_address("/run/x") == b"/run/x"
    assert unix.unix_address(Path("@x") / "y") == b"\0x/y"
    assert unix.unix_address("./@x") == b"./@x"
    assert unix.unix_address("@" + "x" * 107) == b"\0" + b"x" * 107
    for wrong in ("", "@", "x\0", "é" * 54, "@" + "x" * 108):
        with pytest.raises(InvalidArgument):
            unix.unix_address(wrong)


@pytest.mark.parametrize("mode", [0o000, 0o600, 0o777])
def test_a_claim_comes_and_goes_with_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "server"
    claim = unix.Claim(path, mode)
    assert stat.S_IMODE(path.lstat().st_mode) == mode
    assert not claim.abstract
    assert claim.admits(12345, 12345)
    with pytest.raises(AddressInUse):
        unix.Claim(path, mode)
    claim.release()
    claim.release()
    claim.listener.close()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_never_removes_what_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "server"
    claim = unix.Claim(path, 0o600)
    path.unlink()
    path.write_text("precious")
    claim.release()
    claim.listener.close()
    assert path.read_text() == "precious"


def test_an_abstract_claim_admits_by_its_mode() -> None:
    strangers, group = (os.geteuid() + 1, os.getegid() + 1), (os.geteuid() + 1, os.getegid())
    for mode, ours, others in ((0o600, False, False), (0o660, True, False), (0o666, True, True)):
        claim = unix.Claim(f"@fastnet-core-{os.getpid()}", mode)
        assert claim.abstract
        assert claim.admits(os.geteuid(), 12345)
        assert claim.admits(0, 12345)
        assert (claim.admits(*group), claim.admits(*strangers)) == (ours, others)
        claim.release()
        claim.listener.close()


def test_credentials() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert unix_peer.credentials(one) == (os.getpid(), os.geteuid(), os.getegid())


def test_descriptors_are_received_and_never_inherited() -> None:
    one, other = socket.socketpair()
    with one, other, open(os.devnull) as file:
        socket.send_fds(one, [b"two"], [file.fileno()] * 2)
        data, fds, more = unix_peer.receive(other, 100, 2)
        assert (data, len(fds), more) == (b"two", 2, False)
        assert not any(map(os.get_inheritable, fds))
        socket.send_fds(one, [b"two"], [file.fileno()] * 2)
        data, rest, more = unix_peer.receive(other, 100, 1)
        assert (data, len(rest), more) == (b"two", 1, True)
        for fd in fds + rest:
            os.close(fd)


@pytest.mark.parametrize(
    ("mode", "group", "others"),
    [
        (0o600, False, False),
        (0o640, False, False),
        (0o620, True, False),
        (0o644, False, False),
        (0o664, True, False),
        (0o666, True, True),
        (0o602, False, True),
    ],
)
def test_an_abstract_name_asks_for_the_right_to_write(mode: int, group: bool, others: bool) -> None:
    """As connecting to a path does: the right to read is none to connect (unix(7))."""
    claim = unix.Claim(f"@fastnet-test-{os.getpid()}-{mode}", mode)
    try:
        assert claim.admits(12345, os.getegid()) == group
        assert claim.admits(12345, 12345) == others
        assert claim.admits(os.geteuid(), 12345)
    finally:
        claim.release()
        claim.listener.close()
