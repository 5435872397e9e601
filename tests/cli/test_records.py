"""Every kind of record that ``--json`` prints is seen here at least once, and is as its schema has it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from environment import COMMAND_TIMEOUT, ROOT, Run
from forwarding import Command, Server, assert_soon, connect, echo
from records import KINDS, Record, broken, parse, parse_all, schema

from fastnet._clock import utc
from fastnet._forward.access_log import _lost_as_json
from fastnet.cli.output import print_json

SHOWN = {
    "ping -c1 -Q1ms": {"interval", "summary"},
    "ping -c1": {"reply", "summary"},
    "ping --mtu": {"mtu"},
    "sweep": {"verdict"},
    "trace --mtu --names": {"hop", "trace_summary"},
    "portscan -p1": {"port"},
}
"""What commands that end print of 127.0.0.1."""
ENDED = {
    "address lo": {"address"},
    "forward --dry-run 0 127.0.0.1:9": {"rule"},
    "interfaces": {"interface"},
    "ipc pair": {"pair"},
    "ipv6": {"support", "ipv6_address"},
    "ipv6 --prefix fe80::1/64": {"prefix"},
    "ipv6 explain 2002:c000:201::1": {"explanation"},
    "packet parse --link ipv4": {"packet"},
    "routes 127.0.0.1": {"route"},
    "status --ports 1 lo": {"status"},
    "tour": {"visit"},
    "wait --gone 127.0.0.1:1": {"outcome"},
    **{f"{words} 127.0.0.1": kinds for words, kinds in SHOWN.items()},
}
"""What commands that end by themselves print."""
SERVED = {
    "echo": {"echo_listening", "echo_reply", "echo_summary", "echo_served"},
    "ipc": {"ipc_reply", "message"},
    "interfaces": {"interface_event"},
    "forward": {"listening", "metrics", "reloaded", "data", "connection", "forward_summary"},
    "log": {"lost"},
}
"""What servers and their clients print: a test each."""
PACKET = "4500002100000000400166da0a0000010a0000020800b4250007000168656c6c6f"


def kinds(output: str) -> set[str]:
    """Of an output that is nothing but valid records."""
    return {parse(line)["kind"] for line in output.splitlines()}


def test_no_kind_is_forgotten() -> None:
    distributed = {"sighting", "vantage", "vantage_summary", "sweep_plan"}  # tests/cli/test_distributed.py
    assert set().union(*ENDED.values(), *SERVED.values(), distributed) == KINDS


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("words", ENDED)
def test_what_ends(root: None, fastnet: Run, words: str) -> None:
    ran = fastnet(*words.split(), "--json", input=PACKET)
    assert kinds(ran.stdout) == ENDED[words], ran.stderr


class Running:
    """A command that is ended by a signal, and all that it printed."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastnet", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=COMMAND_TIMEOUT)[0]


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*words: str) -> Running:
        started.append(Running(*words))
        return started[-1]

    yield start
    for each in started:
        with each.process:
            each.process.kill()


def test_echo(fastnet: Run, running: Callable[..., Running]) -> None:
    server = running("echo", "serve", "--json", "--host", "127.0.0.1")
    assert server.process.stdout
    listening = server.process.stdout.readline()
    client = fastnet("echo", "client", "--json", "-c1", f"127.0.0.1:{parse(listening)['port']}")
    assert kinds(listening + client.stdout + server.end()) == SERVED["echo"]


def test_ipc(fastnet: Run, running: Callable[..., Running], path: Path) -> None:
    server = running("ipc", "serve", "--json", str(path))
    assert server.process.stderr
    assert server.process.stderr.readline() == f"listening on {path}\n"
    client = fastnet("ipc", "send", "--json", str(path), "hello")
    assert kinds(client.stdout + server.end()) == SERVED["ipc"]


def test_interfaces(running: Callable[..., Running]) -> None:
    command = running("interfaces", "--watch", "--json")
    assert command.process.stdout
    assert kinds(command.process.stdout.readline()) == SERVED["interfaces"]


def test_forward(
    forward: Callable[..., Command], serve: Callable[..., Server], free_port: int, tmp_path: Path
) -> None:
    rules, log = tmp_path / "rules", tmp_path / "log"
    upstream = f"127.0.0.1:{serve(echo).port}"
    rules.write_text(f"[rule.web]\nlisten = '127.0.0.1:{free_port}'\nupstreams = '{upstream}'\n")
    words = ("-f", str(rules), "--metrics", "127.0.0.1:0", "--dump", "--log", str(log), "--json")
    command = forward(*words)
    with connect(free_port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    assert_soon(lambda: log.read_text() != "")
    command.process.send_signal(signal.SIGHUP)
    assert command.process.stdout
    printed = [command.first_line]
    while parse(printed[-1])["kind"] != "reloaded":
        printed.append(command.process.stdout.readline())
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert kinds("".join(printed) + out + log.read_text()) == SERVED["forward"]


def test_the_log_of_what_was_lost() -> None:
    assert kinds(_lost_as_json(7)) == SERVED["log"]


def test_a_time_has_microseconds() -> None:
    assert utc(1_763_841_600_062_500_999) == "2025-11-22T20:00:00.062500Z"
    assert utc(999) == "1970-01-01T00:00:00.000000Z"


# The schemas


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_schema_is_printed_as_it_is_shipped(fastnet: Run, kind: str) -> None:
    ran = fastnet("schema", kind)
    assert (json.loads(ran.stdout), ran.stderr, ran.returncode) == (schema(kind), "", 0)


def test_the_kinds_are_listed(fastnet: Run) -> None:
    ran = fastnet("schema")
    heading, *lines = ran.stdout.splitlines()
    assert heading.split() == ["KIND", "RECORD"]
    assert [line.split()[0] for line in lines] == sorted(KINDS)
    assert (ran.stderr, ran.returncode) == ("", 0)


def test_another_kind_is_refused(fastnet: Run) -> None:
    ran = fastnet("schema", "nonsense")
    assert (ran.stdout, ran.returncode) == ("", 2)
    assert "argument KIND: invalid choice: 'nonsense' (choose from 'address', " in ran.stderr


@pytest.fixture
def validator(reference: Callable[[str], ModuleType]) -> Callable[[str], Any]:
    """``validator(kind)`` is that of jsonschema, which checks the schema itself first."""

    def make(kind: str) -> Any:
        made = reference("jsonschema").Draft202012Validator
        made.check_schema(schema(kind))
        return made(schema(kind))

    return make


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_jsonschema_takes_the_schema_and_the_record_of_the_page(
    kind: str, validator: Callable[[str], Any]
) -> None:
    page = (ROOT / "docs/records.md").read_text()
    (example,) = (
        json.loads(line) for line in page.splitlines() if line.startswith(f'    {{"kind": "{kind}"')
    )
    assert [*validator(kind).iter_errors(example)] == []
    for key, value in example.items():
        wrong = {**example, key: [value]}
        assert [*validator(kind).iter_errors(wrong)]
        assert [*broken(wrong, schema(kind))], "the tests' own check sees it too"


def objects(rules: Record) -> Iterator[Record]:
    """A schema's objects with fixed keys, at any depth."""
    if "properties" in rules:
        yield rules
    parts = (rules["items"],) if "items" in rules else rules.get("anyOf", ())
    for each in (*rules.get("properties", {}).values(), *parts):
        yield from objects(each)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_schema_fixes_all_keys(kind: str) -> None:
    found = schema(kind)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["properties"]["kind"] == {"const": kind}
    assert found["properties"]["time"]["format"] == "date-time"
    for each in objects(found):
        assert each["required"] == [*each["properties"]]
        assert each["additionalProperties"] is False


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "listening"},
        {"time": "2026-11-29 21:17:44"},
        {"ready": 1},
        {"attempts": True},
        {"attempts": 1.5},
        {"address": 7},
        {"more": None},
        {"target": ...},
    ],
    ids=str,
)
def test_a_record_that_breaks_its_schema_is_seen(changed: Record, validator: Callable[[str], Any]) -> None:
    """Else the checks of all other tests would be worth nothing."""
    right = {"kind": "outcome", "time": "2026-11-29T21:17:44.123456Z", "target": "a:1", "ready": True}
    right |= {"address": None, "reason": None, "attempts": 1, "waited_s": 0}
    assert [*broken(right, schema("outcome"))] == []
    wrong = {key: value for key, value in (right | changed).items() if value is not ...}
    assert len([*broken(wrong, schema("outcome"))]) == 1
    assert len([*validator("outcome").iter_errors(wrong)]) == 1


def test_parts_are_checked_too() -> None:
    response = {"responder": None, "rtt_ms": 1, "error": None, "mark": None, "name": None}
    hop = {"kind": "hop", "time": "2026-11-29T21:17:44.123456Z", "ttl": 1, "responses": [response] * 2}
    assert [*broken(hop, schema("hop"))] == []
    hop["responses"] = [response, response | {"rtt_ms": "1"}]
    (fault,) = broken(hop, schema("hop"))
    assert fault.startswith(".responses[1].rtt_ms: '1' breaks type")


def test_records_among_text_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    lost = {"kind": "lost", "time": "2026-11-29T21:17:44.123456Z", "records": 1}
    print_json(lost)
    assert parse_all(f"before\n{capsys.readouterr().out}" + '{"cut') == [lost]
