"""Hosts that are none among others that are: the others are asked, and each error is reported."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from environment import Run
from namespaces import Namespace

import fastnet
from fastnet import aio, sweep
from fastnet._ping import Pinger
from fastnet._sweep import MAX_TARGETS, sweep_every, sweep_stream
from fastnet._sweep.plan import shard_size
from fastnet.cli.sweep.options import shard
from fastnet.errors import InvalidArgument, NameNotResolved
from fastnet.targets import Targets, Unresolved

pytestmark = pytest.mark.xdist_group("icmp")
UNKNOWN = "no..name"
WRONG = {
    UNKNOWN: "not a host name or an address",
    "::ffff:127.0.0.1": "an IPv4-mapped address: write 127.0.0.1",
    "fe80::1": "a link-local address needs its interface, as fe80::1%eth0",
    "224.0.0.1": "not the address of one host",
}
NO_TARGETS = {
    UNKNOWN: WRONG[UNKNOWN],
    "::ffff:127.0.0.1": WRONG["::ffff:127.0.0.1"],
    "::ffff:127.0.0.0/127": "::ffff:127.0.0.0: an IPv4-mapped address: write 127.0.0.0-127.0.0.1",
    "127.0.0.300": "octet 300: expected 0 to 255",
    "127.1": "expected an address of four octets",
    "127.0.0.0/33": "prefix length '33': expected 0 to 32",
    "127.0.0.3-127.0.0.2": "a reversed range; did you mean 127.0.0.2-127.0.0.3?",
    "::1%lo": "a target has no scope: name its interface beside it, --interface eth0",
}
NO_NAME = f"{UNKNOWN}: {WRONG[UNKNOWN]}"


class TestPing:
    def test_each_has_its_result(self, root: None) -> None:
        hosts = [UNKNOWN, "127.0.0.1", *list(WRONG)[1:], "::1"]
        results = fastnet.multiping(hosts, 2, 0.01)
        assert [result.host for result in results] == hosts
        assert {result.host: result.error for result in results if not result.alive} == WRONG
        bad = results[0]
        assert (bad.address, bad.sent, bad.received, bad.not_sent) == ("", 0, 0, 1)
        assert [result.received for result in results if result.alive] == [2, 2]

    def test_coroutines(self, root: None) -> None:
        async def both() -> list[str | None]:
            found = [result.error for result in await aio.multiping([UNKNOWN, "127.0.0.1"], 1)]
            with pytest.raises(NameNotResolved, match=NO_NAME):
                await aio.ping(UNKNOWN)
            return found

        assert asyncio.run(both()) == [WRONG[UNKNOWN], None]

    def test_replies_tell_of_it(self, root: None) -> None:
        with Pinger() as pinger:
            first, second = pinger.replies(["127.0.0.1", UNKNOWN], 1)
        assert (first.host, first.error, first.tries) == (UNKNOWN, WRONG[UNKNOWN], 0)
        assert (second.host, second.error) == ("127.0.0.1", None)

    @pytest.mark.parametrize("host", WRONG)
    def test_alone_it_is_raised(self, root: None, host: str) -> None:
        for ask in (fastnet.ping, fastnet.trace, fastnet.path_mtu):
            with pytest.raises((NameNotResolved, InvalidArgument), match=WRONG[host]):
                ask(host)

    def test_a_mapped_source(self, root: None) -> None:
        with pytest.raises(InvalidArgument, match=r"write 127\.0\.0\.1"):
            fastnet.ping("::1", source="::ffff:127.0.0.1")

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("127.0.0.1", UNKNOWN), 2),
            (("127.0.0.1", UNKNOWN, "-x1"), 2),
            (("127.1.2.3", UNKNOWN), 2),  # 2 outranks 1
            (("127.0.0.1", UNKNOWN, "--interface=no0"), 3),  # 3 outranks 2
            ((UNKNOWN,), 2),
        ],
    )
    def test_how_the_command_ends(self, namespace, peer, fastnet: Run, words, code: int) -> None:
        alone = namespace()
        silent = "chain c { type filter hook input priority 0; ip daddr 127.1.2.3 drop; }"
        alone.run(peer("nft"), f"table ip t {{ {silent}; }}")
        ran = fastnet("ping", "-c1", "-W50ms", "-q", *words, prefix=alone.prefix)
        assert ran.returncode == code
        if code == 2:
            assert ran.stderr == f"fastnet ping: {NO_NAME}\n"
            assert len(ran.stdout.splitlines()) == len(words) - 1 - ("-x1" in words)


class TestSweep:
    def test_it_is_not_probed(self, root: None) -> None:
        result = fastnet.sweep([UNKNOWN, "127.0.0.1", "127.0.0.2"])
        assert [(each.address, each.state) for each in result] == [
            ("127.0.0.1", "alive"),
            ("127.0.0.2", "alive"),
            (UNKNOWN, "not probed"),
        ]
        assert [(each.address, each.reason) for each in result.not_probed] == [(UNKNOWN, WRONG[UNKNOWN])]
        assert result[-1] == result[2] == [*result.known][2]
        assert result.counts == (2, 0, 0, 1)
        assert len(result.rtts_ms) == len(result.states) == len(result) == 3

    @pytest.mark.parametrize("bad", NO_TARGETS)
    def test_whatever_is_wrong_with_it(self, root: None, fastnet: Run, bad: str) -> None:
        result = sweep([bad, "127.0.0.1"])
        assert [(each.address, each.state) for each in result] == [
            ("127.0.0.1", "alive"),
            (bad, "not probed"),
        ]
        assert result[1].reason == NO_TARGETS[bad]
        ran = fastnet("sweep", "--alive", bad, "127.0.0.1")
        assert (ran.returncode, ran.stdout) == (2, "127.0.0.1\n")
        assert ran.stderr.splitlines()[0] == f"fastnet sweep: {bad}: {NO_TARGETS[bad]}"
        with pytest.raises(NameNotResolved if bad == UNKNOWN else InvalidArgument):
            sweep([bad])

    @pytest.mark.parametrize("engine", ["auto", "raw", "tcp"])
    def test_streamed_and_again(self, root: None, engine: str) -> None:
        given = [UNKNOWN, "127.0.0.1"]
        told = [(each.address, each.state) for each in sweep_stream(given, engine=engine)]
        assert sorted(told) == [("127.0.0.1", "alive"), (UNKNOWN, "not probed")]
        first, second = sweep_every(given, 0.01, 2, engine=engine)
        assert [each.address for each in second] == [each.address for each in first]
        assert [*second.changes(first)] == []
        assert second[1].reason == WRONG[UNKNOWN]

    def test_alone_and_excluded_it_is_raised(self, root: None) -> None:
        for ask in (
            lambda: fastnet.sweep(UNKNOWN),
            lambda: fastnet.sweep([UNKNOWN]),
            lambda: fastnet.sweep("127.0.0.1", exclude=[UNKNOWN]),
        ):
            with pytest.raises(NameNotResolved, match=NO_NAME):
                ask()

    def test_targets_keep_it_apart(self) -> None:
        targets = Targets("127.0.0.1", UNKNOWN, UNKNOWN, strict=False)
        assert targets.unresolved == (Unresolved(UNKNOWN, WRONG[UNKNOWN], errno=socket.EAI_NONAME),)
        assert targets == Targets("127.0.0.1")

    @pytest.mark.parametrize("form", ["", "--json", "--csv", "--stream"])
    def test_the_command(self, root: None, fastnet: Run, form: str) -> None:
        ran = fastnet("sweep", *form.split(), UNKNOWN, "127.0.0.1")
        alive, bad = ran.stdout.splitlines()[-2:]
        assert "127.0.0.1" in alive
        assert UNKNOWN in bad
        assert "not probed" in bad
        assert WRONG[UNKNOWN] in bad
        assert ran.returncode == 2
        assert ran.stderr.splitlines()[0] == f"fastnet sweep: {NO_NAME}"

    def test_the_command_s_other_forms(self, root: None, fastnet: Run) -> None:
        ran = fastnet("sweep", "--alive", UNKNOWN, "127.0.0.1")
        assert (ran.returncode, ran.stdout) == (2, "127.0.0.1\n")
        ran = fastnet("sweep", "--xml", UNKNOWN, "127.0.0.1")
        assert ran.returncode == 2
        assert "<host" in ran.stdout
        assert UNKNOWN not in ran.stdout.partition("start=")[2]
        ran = fastnet("sweep", "--alive", "127.0.0.1", "--exclude", UNKNOWN)
        assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"fastnet sweep: {NO_NAME}\n")


class TestLists:
    """What is wrong with a list names the file and the line."""

    TEXT = "# ours\n127.0.0.1 127.0.0.2\n\n127.0.0.3 {} 127.0.0.4\n"
    SLIPS = (
        ("10.0.0.300", "10.0.0.300: octet 300: expected 0 to 255"),
        ("::ffff:10.0.0.7", "::ffff:10.0.0.7: an IPv4-mapped address: write 10.0.0.7"),
        (
            "::ffff:a00:0/120",
            "::ffff:a00:0/120: ::ffff:10.0.0.0: an IPv4-mapped address: write 10.0.0.0-10.0.0.255",
        ),
        ("fd00::1%lo", "fd00::1%lo: a target has no scope: name its interface beside it, --interface eth0"),
    )

    @pytest.mark.parametrize(("slip", "line"), SLIPS)
    @pytest.mark.parametrize("option", ["-f", "--exclude-file"])
    @pytest.mark.parametrize("source", ["file", "stdin"])
    def test_a_slip(self, root: None, fastnet: Run, tmp_path: Path, slip, line, option, source) -> None:
        listed = tmp_path / "hosts.txt"
        listed.write_text(self.TEXT.format(slip))
        name = str(listed) if source == "file" else "-"
        ran = fastnet("sweep", "127.0.0.9", option, name, input=listed.read_text())
        if option == "--exclude-file" and slip.startswith("::ffff:"):
            # To leave out what is not asked for does no harm: lists of such prefixes do.
            assert (ran.returncode, "alive" in ran.stdout) == (0, True)
        else:
            where = str(listed) if source == "file" else "stdin"
            assert ran.returncode == 2
            assert ran.stdout.count(" alive ") == (5 if option == "-f" else 0)
            assert ran.stderr.splitlines(keepends=True)[0] == f"fastnet sweep: {where}:4: {line}\n"
            assert option == "-f" or len(ran.stderr.splitlines()) == 1

    def test_a_name(self, root: None, fastnet: Run, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        one.write_text("127.0.0.1\n")
        other.write_text(self.TEXT.format(UNKNOWN))
        ran = fastnet("sweep", "--alive", "127.0.0.5", "-f", str(one), "-f", str(other))
        assert ran.stdout.split() == [f"127.0.0.{number}" for number in range(1, 6)]
        assert ran.stderr.splitlines()[0] == f"fastnet sweep: {other}:4: {NO_NAME}"
        assert ran.returncode == 2

    def test_a_slip_on_the_command_line_has_no_file(self, root: None, fastnet: Run, tmp_path: Path) -> None:
        good = tmp_path / "good"
        good.write_text("127.0.0.1\n")
        ran = fastnet("sweep", "-f", str(good), "10.0.0.300")
        assert ran.stderr.splitlines()[0] == "fastnet sweep: 10.0.0.300: octet 300: expected 0 to 255"

    @pytest.mark.parametrize("option", ["-f", "--exclude-file"])
    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_a_byte_order_mark(self, root: None, fastnet: Run, tmp_path, option, encoding: str) -> None:
        """Windows' editors begin a file with one."""
        listed = tmp_path / "hosts.txt"
        listed.write_bytes(b"\xef\xbb\xbf127.0.0.1\r\n127.0.0.2\r\n")
        more = ["127.0.0.1-3"] if option == "--exclude-file" else []
        for name in (str(listed), "-"):
            with listed.open("rb") as stdin:
                words = ("sweep", "--alive", option, name, *more)
                ran = fastnet(*words, stdin=stdin, env={"PYTHONIOENCODING": encoding})
            assert ran.returncode == 0
            assert ran.stdout.split() == (["127.0.0.3"] if more else ["127.0.0.1", "127.0.0.2"])


@pytest.mark.parametrize("space", ["12.0.0.0/7", "fd00::/96", "fd00::/72"])
def test_the_shards_that_are_advised_are_taken(fastnet: Run, space: str) -> None:
    ran = fastnet("sweep", space)
    assert ran.returncode == 2
    shards = int(ran.stderr.partition("one of ")[2].split()[0])
    assert shard_size(Targets(space), shard(f"1/{shards}")) == MAX_TARGETS


def test_no_shards_are_advised_where_there_are_too_many(fastnet: Run) -> None:
    ran = fastnet("sweep", "fd00::/71")
    assert (ran.returncode, "one of" in ran.stderr, "2^56" in ran.stderr) == (2, False, True)


def test_one_port_scanned_on_a_mapped_address(fastnet: Run) -> None:
    ran = fastnet("portscan", "::ffff:127.0.0.1", "-p1")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"fastnet portscan: ::ffff:127.0.0.1: {WRONG['::ffff:127.0.0.1']}\n"


def test_neighbours_beside_it(linked: tuple[Namespace, Namespace], fastnet: Run) -> None:
    """Over the packet socket of a link too."""
    ran = fastnet("sweep", "--json", UNKNOWN, "10.77.0.2", prefix=linked[0].prefix)
    alive, bad = map(json.loads, ran.stdout.splitlines())
    assert (alive["state"], bool(alive["mac"]), bad["state"], bad["mac"]) == (
        "alive",
        True,
        "not probed",
        None,
    )
