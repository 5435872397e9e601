"""The contract, C and Cython agree; and native needs nothing of pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from environment import ROOT

from fastnet._backend import TOPICS
from fastnet._contract import probe, relay
from fastnet._forward import Rule

NATIVE = ROOT / "fastnet/_native"
Run = Callable[..., "CompletedProcess[str]"]

ONLY_PURE = {"tap"}
"""Options of a rule that the C does not have."""
ONLY_C = {"owner"}


def text_of(path: str) -> str:
    """A file without its comments."""
    return re.sub(r"/\*.*?\*/", "", (ROOT / path).read_text(), flags=re.DOTALL)


def enumerators(header: str, name: str) -> list[str]:
    found = re.search(rf"enum {name} {{(.*?)}}", text_of(header), re.DOTALL)
    assert found, f"{header} has no enum {name}"
    return [each.strip() for each in found[1].split(",") if each.strip()]


def members(declarations: str) -> list[str]:
    """The names that declarations declare: the last word of each."""
    names = re.split(r"[;,\n]", declarations)
    return [found[1] for name in names if (found := re.search(r"(\w+)(?:\[\w+\])?\s*$", name))]


def in_c(struct: str) -> list[str]:
    found = re.search(rf"struct {struct} {{(.*?)^}}", text_of("csrc/relay.h"), re.DOTALL | re.MULTILINE)
    assert found
    return members(found[1])


def in_cython(struct: str) -> list[str]:
    text = (NATIVE / "relay_c.pxi").read_text()
    found = re.search(rf"    struct {struct}:\n(.*?)^    (?=\S)", text, re.DOTALL | re.MULTILINE)
    assert found
    return members(found[1])


def test_an_option_of_a_rule_is_declared_everywhere_and_documented_once() -> None:
    options = relay.Options._fields
    assert {*in_c("fn_rule_options")} - ONLY_C == {*options} - ONLY_PURE
    assert {*in_cython("fn_rule_options")} - ONLY_C == {*options} - ONLY_PURE
    documented = re.findall(r"``(\w+)``", relay.Options.__doc__ or "")
    assert {*documented} == {*options}


def test_an_option_of_a_rule_is_given_to_the_c() -> None:
    text = (NATIVE / "relay_rule.pxi").read_text()
    given = {
        name
        for line in re.findall(r"^ +((?:its\.\w+, )*its\.\w+) = ", text, re.MULTILINE)
        for name in re.findall(r"its\.(\w+)", line)
    }
    copied = {*re.findall(r"memcpy\(its\.(\w+)", text)}
    assert given | copied == {*in_c("fn_rule_options")}


def test_a_forwarder_s_rule_has_the_same_defaults() -> None:
    shared = {*relay.Options._fields} & {*Rule._fields}
    assert len(shared) > 20
    mine, core = Rule._field_defaults, relay.Options._field_defaults
    assert {name: mine[name] for name in shared} == {name: core[name] for name in shared}


def test_counters_are_declared_everywhere() -> None:
    assert in_c("fn_counters") == [*relay.COUNTED]
    assert in_cython("fn_counters") == [*relay.COUNTED]


@pytest.mark.parametrize(
    ("enum", "prefix", "names"),
    [
        ("fn_policy", "FN_", relay.POLICIES),
        ("fn_engine", "FN_ENGINE_", relay.ENGINES),
        ("fn_ended", "FN_", ("open", *relay.ENDED[1:])),
    ],
)
def test_a_choice_of_the_relay_has_its_place_in_c(enum: str, prefix: str, names: tuple[str, ...]) -> None:
    spelled = [prefix + re.sub(r"\W", "_", name).upper() for name in names]
    assert enumerators("csrc/relay.h", enum) == spelled


def test_a_target_s_states_are_those_of_the_c() -> None:
    names = enumerators("csrc/probe.h", "fn_state")
    assert [getattr(probe, name.removeprefix("FN_")) for name in names] == [*range(len(names))]


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_native_loads_nothing_of_pure(python: Run, topic: str) -> None:
    if not find_spec("fastnet._native.checksum"):
        pytest.skip("the native implementation is not installed")
    show = "print(*[name for name in sys.modules if name.startswith('fastnet._pure')])"
    ran = python("-c", f"import sys, fastnet._native.{topic}\n{show}")
    assert (ran.stdout, ran.stderr) == ("\n", "")


@pytest.mark.parametrize("path", sorted(NATIVE.glob("*.p[yx]*")), ids=lambda path: path.name)
def test_native_imports_nothing_of_pure_later_either(path: Path) -> None:
    assert re.findall(r"^ *(?:from|import) +fastnet\._pure.*", path.read_text(), re.MULTILINE) == []
