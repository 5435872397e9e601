"""The forwarder's file of rules: what it may hold, what is refused and in which words, and reloading it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from forwarding import PATIENCE, Command, Server, assert_soon, connect, echo, forever, free_port, read_all
from hypothesis import given
from hypothesis import strategies as st

from fastnet._forward import Rule
from fastnet._forward.rules_file import load_rules, parse_rules
from fastnet.endpoints import Endpoint
from fastnet.errors import InvalidArgument

Run = Callable[..., "subprocess.CompletedProcess[str]"]

WHOLE = """
# Every key of a rule.
[rule.web]
listen = "*:8080"
upstreams = ["192.0.2.10:80", "unix:/run/web"]
protocol = "tcp"
policy = "least-connections"
rewrite_host = "always"
rewrite_origin = true
rewrite_responses = true
connect_timeout = 1.5
head_timeout = 2
keep_alive_timeout = 30
idle_timeout = 60
half_closed_timeout = 30.0
keepalive = 90
user_timeout = 20.5
max_connections = 100
max_per_source = 10
source_prefix = 56
rate = 1000000
connection_rate = 100000
max_failures = 2
failure_pause = 5
allow = ["10.0.0.0/8", "fd00::/8"]
deny = ["10.1.0.0/16"]
send_proxy = 2
trust_proxy = ["10.2.0.0/16"]
transparent = false
congestion = "reno"
health = "connect"
health_interval = 10
health_timeout = 0.5
resolve_interval = 60
reuse_port = true

[rule."of names"]
listen = "127.0.0.1:5353"
upstreams = "192.0.2.53:53"
protocol = "udp"
"""
ONE = '[rule.web]\nlisten = "8080"\nupstreams = "a:1"\n'


def test_every_key_of_a_rule() -> None:
    web, names = parse_rules(WHOLE.encode())
    assert web == Rule(
        "*:8080",
        ["192.0.2.10:80", "unix:/run/web"],
        name="web",
        policy="least-connections",
        rewrite_host="always",
        rewrite_origin=True,
        rewrite_responses=True,
        connect_timeout=1.5,
        head_timeout=2,
        keep_alive_timeout=30,
        idle_timeout=60,
        half_closed_timeout=30.0,
        keepalive=90,
        user_timeout=20.5,
        max_connections=100,
        max_per_source=10,
        source_prefix=56,
        rate=1000000,
        connection_rate=100000,
        max_failures=2,
        failure_pause=5,
        allow=["10.0.0.0/8", "fd00::/8"],
        deny=["10.1.0.0/16"],
        send_proxy=2,
        trust_proxy=["10.2.0.0/16"],
        congestion="reno",
        health="connect",
        health_interval=10,
        health_timeout=0.5,
        resolve_interval=60,
        reuse_port=True,
    )
    assert names == Rule("127.0.0.1:5353", Endpoint("192.0.2.53", 53), name="of names", protocol="udp")
    mentioned = {*re.findall(r"^(\w+) =", WHOLE, re.MULTILINE)}
    assert mentioned == {*Rule._fields} - {"name"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rules: expected [rule.NAME] tables"),
        ("rule = 3", "no rules: expected [rule.NAME] tables"),
        ("[rule]", "no rules: expected [rule.NAME] tables"),
        ("threads = 2", "unknown key 'threads': expected [rule.NAME] tables"),
        ("[rules.web]", "unknown key 'rules': expected [rule.NAME] tables"),
        ('[rule]\nlisten = "8080"', "rule 'listen': expected a table [rule.listen]"),
        ("[[rule.web]]", "rule 'web': expected a table [rule.web]"),
        ("[rule.web]", "rule 'web': listen is missing"),
        ('[rule.web]\nlisten = "1"', "rule 'web': upstreams is missing"),
        (f"{ONE}tiemout = 1", "rule 'web': unknown key 'tiemout': there are listen, upstreams, protocol, "),
        (f'{ONE}name = "x"', "rule 'web': unknown key 'name': there are"),
        (f"{ONE}max_connections = 1.5", "rule 'web': max_connections 1.5: expected a whole number"),
        (f"{ONE}max_connections = true", "rule 'web': max_connections True: expected a whole number"),
        (f"{ONE}max_connections = 0", "rule 'web': max_connections 0: expected 1 to"),
        (f'{ONE}idle_timeout = "10s"', "rule 'web': idle_timeout '10s': expected seconds"),
        (f"{ONE}idle_timeout = nan", "rule 'web': idle_timeout nan: expected seconds, 0 to"),
        (f"{ONE}idle_timeout = inf", "rule 'web': idle_timeout inf: expected seconds, 0 to"),
        (f"{ONE}idle_timeout = -1", "rule 'web': idle_timeout -1: expected seconds, 0 to"),
        (f"{ONE}idle_timeout = 07:32:00", "rule 'web': idle_timeout datetime.time(7, 32): expected seconds"),
        (f"{ONE}rewrite_host = 1", "rule 'web': rewrite_host 1: expected one of False, True, 'always'"),
        (f'{ONE}policy = "best"', "rule 'web': policy 'best': expected one of 'round-robin'"),
        (f"{ONE}congestion = 1", "rule 'web': congestion 1: expected a printable text"),
        (f'{ONE}allow = "10.0.0.0/8"', "rule 'web': allow '10.0.0.0/8': expected a list of prefixes"),
        (f"{ONE}allow = [1]", "rule 'web': allow [1]: expected a list of prefixes"),
        (f"{ONE}deny = 5", "rule 'web': deny 5: expected a list of prefixes"),
        (f'{ONE}deny = {{"10.0.0.0/8" = 1}}', "rule 'web': deny {"),
        (f'{ONE}deny = ["10.0.0.0/33"]', "rule 'web': deny "),
        ('[rule.web]\nlisten = 80.5\nupstreams = "a:1"', "rule 'web': listen 80.5: expected HOST:PORT"),
        ('[rule.web]\nlisten = "1"\nupstreams = []', "rule 'web': upstreams: expected one or more"),
        ('[rule.web]\nlisten = "1"\nupstreams = 5', "rule 'web': upstreams 5: expected"),
        ('[rule.web]\nlisten = "1"\nupstreams = [5]', "rule 'web': upstreams 5: expected HOST:PORT"),
        ('[rule.web]\nlisten = "1"\nupstreams = "a"', "rule 'web': upstreams 'a': expected HOST:PORT"),
        (
            f'{ONE}[rule.b]\nlisten = "localhost:8080"\nupstreams = "b:1"',
            "rule 'b': listen localhost:8080: rule 'web' has it already",
        ),
        (
            f"{ONE}[rule.web]",
            "not TOML: Cannot declare ('rule', 'web') twice (at line 4, column 10): [rule.web]",
        ),
        (f'{ONE}listen = "2"\n#', "not TOML: Cannot overwrite a value (at line 4, column 13): listen = "),
        ("a = \x00", "not TOML: "),
        ("[" * 10, "not TOML: "),
        (f"a = {'[' * 100_000}", "not TOML: nested too deeply"),
        (f"{'a.' * 50_000}a = 1", "not TOML: nested too deeply"),
        (f"[{'a . ' * 50_000}a]", "not TOML: nested too deeply"),
        (f"""[rule.x]\n{"'a.b'." * 50_000}a = 1""", "not TOML: nested too deeply"),
        (f"a = {'9' * 5000}", "not TOML: "),
        ("#" * ((1 << 20) + 1), "longer than 1048576 bytes"),
    ],
)
def test_what_is_refused_and_in_which_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_rules(text.encode())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_what_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="not TOML: byte 2 is not UTF-8"):
        parse_rules(b"# \xff")


def test_two_rules_may_share_a_port_by_protocol_or_take_a_free_one() -> None:
    pairs = (('"53"\nprotocol = "udp"', '"53"'), ('"0"', '"0"'))
    for first, second in pairs:
        text = (
            f'[rule.a]\nupstreams = "a:1"\nlisten = {first}\n[rule.b]\nupstreams = "a:1"\nlisten = {second}'
        )
        assert [rule.name for rule in parse_rules(text.encode())] == ["a", "b"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_the_file_holds_the_refusal_is_one_line(data: bytes) -> None:
    for content in (data, ONE.encode() + data):
        try:
            said = str(parse_rules(content))
        except InvalidArgument as error:
            said = str(error)
        assert said.count("\n") == 0


def test_the_file_is_named(tmp_path: Path, fastnet: Run) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f"{ONE}tiemout = 1\n")
    with pytest.raises(InvalidArgument, match=f"^{path}: rule 'web': unknown key 'tiemout'"):
        load_rules(str(path))
    ran = fastnet("forward", "-f", str(path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        f"fastnet forward: {path}: rule 'web': unknown key 'tiemout': there are listen, "
    )
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "reason"), [("/nowhere/rules.toml", "No such file"), ("/", "Is a directory")]
)
def test_a_file_that_can_not_be_read(fastnet: Run, path: str, reason: str) -> None:
    ran = fastnet("forward", "-f", path, "--dry-run")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith(f"fastnet forward: {path}: {reason}")
    assert ran.stderr.count("\n") == 1


def test_a_dry_run_shows_every_rule(fastnet: Run, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(WHOLE)
    ran = fastnet("forward", "-f", str(path), "--dry-run")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "forwarding *:8080 to 192.0.2.10:80, unix:/run/web",
        "forwarding udp 127.0.0.1:5353 to 192.0.2.53:53",
    ]


# Reloading


class Rules:
    """A file of rules that the command serves, and changes of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **rules: tuple[int, str]) -> None:
        """``name=(port, upstream)``."""
        self.path.write_text(
            "".join(
                f'[rule.{name}]\nlisten = "127.0.0.1:{port}"\nupstreams = "{upstream}"\n'
                for name, (port, upstream) in rules.items()
            )
        )


def lines_of(command: Command, count: int) -> list[str]:
    assert command.process.stdout
    return [command.process.stdout.readline() for _ in range(count)]


def reload(command: Command) -> str:
    """Reload; the line with the result, on whichever stream."""
    command.process.send_signal(signal.SIGHUP)
    return lines_of(command, 1)[0]


def answer(port: int) -> bytes:
    with connect(port) as client:
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def saying(word: bytes) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(word)


def test_many_rules_are_served_and_summed_up(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    rules = Rules(tmp_path / "rules.toml")
    upstreams = [f"127.0.0.1:{serve(saying(word)).port}" for word in (b"one", b"two")]
    rules.write(first=(0, upstreams[0]), second=(0, upstreams[1]))
    command = forward("-f", str(rules.path))
    (second,) = lines_of(command, 1)
    assert command.first_line == f"forwarding 127.0.0.1:{command.port} to {upstreams[0]}\n"
    assert answer(command.port) == b"one"
    assert answer(int(second.split()[1].rpartition(":")[2])) == b"two"
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert [line.partition(" in ")[0] for line in out.splitlines()] == [
        "first: 1 connection, 0 bytes up, 3 bytes down",
        "second: 1 connection, 0 bytes up, 3 bytes down",
        "2 connections, 0 bytes up, 6 bytes down",
    ]


def test_rules_come_go_and_change_while_connections_stay(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    rules = Rules(tmp_path / "rules.toml")
    kept, gone, new = free_port(), free_port(), free_port()
    old, other = f"127.0.0.1:{serve(echo).port}", f"127.0.0.1:{serve(saying(b'other')).port}"
    rules.write(kept=(kept, old), gone=(gone, old))
    command = forward("-f", str(rules.path))
    lines_of(command, 1)
    with connect(kept) as one, connect(gone) as two:
        for client in (one, two):
            client.sendall(b"before")
            assert client.recv(6) == b"before"
        rules.write(kept=(kept, other), new=(new, other))
        assert reload(command) == f"reloaded {rules.path}: 2 rules\n"
        assert lines_of(command, 2) == [f"forwarding 127.0.0.1:{port} to {other}\n" for port in (kept, new)]
        assert (answer(kept), answer(new)) == (b"other", b"other")
        with pytest.raises(ConnectionRefusedError):
            connect(gone)
        for client in (one, two):
            client.sendall(b"after")
            assert client.recv(5) == b"after"
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("4 connections, 22 bytes up, 32 bytes down in ")


def test_a_wrong_file_is_refused_whole_and_the_old_rules_go_on(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    rules = Rules(tmp_path / "rules.toml")
    port, taken = free_port(), serve(echo).port
    upstream = f"127.0.0.1:{serve(saying(b'old')).port}"
    rules.write(web=(port, upstream))
    command = forward("-f", str(rules.path))
    assert command.process.stderr

    def refusal() -> str:
        command.process.send_signal(signal.SIGHUP)
        assert command.process.stderr
        line = command.process.stderr.readline()
        assert answer(port) == b"old"
        prefix = "fastnet forward: not reloaded, the old rules stay in force: "
        assert line.startswith(prefix)
        return line.removeprefix(prefix).rstrip("\n")

    rules.path.write_text("nonsense")
    assert refusal().startswith(f"{rules.path}: not TOML: ")
    new = free_port()
    rules.write(web=(port, "127.0.0.1:1"), new=(new, upstream), taken=(taken, upstream))
    assert refusal() == f"127.0.0.1:{taken} is in use"
    with pytest.raises(ConnectionRefusedError):
        connect(new)
    rules.write(web=(port, "nowhere.invalid:80"))
    assert refusal().startswith("nowhere.invalid: ")
    rules.path.unlink()
    assert refusal() == f"{rules.path}: No such file or directory"
    code, _, err = command.finish()
    assert (code, err) == (0, "")


def test_reloads_under_load_lose_nothing(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    rules = Rules(tmp_path / "rules.toml")
    port = free_port()
    words = [b"a" * 100_000, b"b" * 100_000]
    upstreams = [f"127.0.0.1:{serve(saying(word)).port}" for word in words]
    rules.write(web=(port, upstreams[0]))
    command = forward("-f", str(rules.path), "--threads", "2")
    over = threading.Event()
    wrong: list[object] = []
    fetched: list[bytes] = []

    def load() -> None:
        while not over.is_set():
            try:
                fetched.append(answer(port))
            except OSError as error:
                wrong.append(error)
                return

    with connect(port) as lasting:
        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        for turn in range(20):
            count = len(fetched)
            rules.write(web=(port, upstreams[turn % 2]), more=(0, upstreams[0]))
            assert reload(command) == f"reloaded {rules.path}: 2 rules\n"
            lines_of(command, 2)
            assert_soon(lambda count=count: len(fetched) > count + 4 or bool(wrong))
        over.set()
        for client in clients:
            client.join(PATIENCE)
        assert read_all(lasting) == words[0]
    assert wrong == []
    assert {*fetched} == {*words}
    code, _, err = command.finish()
    assert (code, err) == (0, "")


def test_a_reload_after_the_end_has_begun_changes_nothing(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    rules = Rules(tmp_path / "rules.toml")
    port = free_port()
    rules.write(web=(port, f"127.0.0.1:{serve(echo).port}"))
    command = forward("-f", str(rules.path))
    with connect(port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        command.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionError):
            forever(lambda: connect(port).close())
        command.process.send_signal(signal.SIGHUP)
    out, err = command.process.communicate(timeout=PATIENCE)
    assert (command.process.returncode, err) == (0, "")
    assert "reloaded" not in out
