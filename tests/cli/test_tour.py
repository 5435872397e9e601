"""The tour walks every stop on this machine, and prints what did the work and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest

import fastnet as package
from fastnet import tour
from fastnet.cli import exits, main

Run = Callable[..., "CompletedProcess[str]"]

KEYS = ["kind", "time", "stop", "did", "result", "ok", "implementation", "privilege", "took_ms"]


@pytest.fixture(scope="module")
def walked(fastnet: Run) -> CompletedProcess[str]:
    return fastnet("tour", "--json")


def test_every_stop_answers(walked: CompletedProcess[str]) -> None:
    visits = [json.loads(line) for line in walked.stdout.splitlines()]
    assert [visit for visit in visits if not visit["ok"]] == []
    assert list(dict.fromkeys(visit["stop"] for visit in visits)) == [*tour.STOPS]
    assert (walked.stderr, walked.returncode) == ("", exits.YES)


def test_keys_and_kinds(walked: CompletedProcess[str]) -> None:
    for visit in map(json.loads, walked.stdout.splitlines()):
        assert list(visit) == KEYS
        assert visit["did"]
        assert visit["result"]
        assert visit["privilege"]
        assert visit["took_ms"] >= 0


def test_the_implementation_is_that_of_what_does_the_work(walked: CompletedProcess[str]) -> None:
    for visit in map(json.loads, walked.stdout.splitlines()):
        topic = getattr(import_module(f"fastnet.tour.{visit['stop']}"), "TOPIC", None)
        assert visit["implementation"] == (package.implementation(topic) if topic else "pure")


def test_on_a_terminal_s_terms(fastnet: Run) -> None:
    shown = fastnet("tour")
    assert (shown.stderr, shown.returncode) == ("", exits.YES)
    assert shown.stdout.endswith("\nevery stop answered\n")
    for stop in tour.STOPS:
        assert f"\n{stop}  (" in shown.stdout


def failing_stop() -> Iterator[tour.Sight]:
    yield tour.Sight("look", "seen")
    raise ConnectionRefusedError("nobody there")


def test_a_stop_that_fails_is_told_and_the_tour_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fastnet.tour.broken", SimpleNamespace(visit=failing_stop))
    monkeypatch.setattr(tour, "STOPS", ("broken", "checksums"))
    visits = [*tour.tour()]
    assert [visit.ok for visit in visits[:2]] == [True, False]
    assert visits[1].result == "ConnectionRefusedError: nobody there"
    assert visits[-1].stop == "checksums"

    assert main(["tour"]) == exits.NO
    shown = capsys.readouterr().out
    assert "FAILED  broken failed: ConnectionRefusedError: nobody there" in shown
    assert shown.endswith("\n1 failed\n")
