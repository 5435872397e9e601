"""What type checkers find in code that uses the package: mypy, where it is strict, and pyright."""

from __future__ import annotations

import doctest
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from environment import ROOT

import fastnet
from fastnet import aio, packet

PUBLIC = sorted({*fastnet._MODULES, *fastnet._HOME})
MISUSE = Path(__file__).parents[1] / "support/misuse.py"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMPLETE = 99.0
"""Percent of the public names whose types pyright must know."""

Check = Callable[[Path], list[tuple[str, int]]]


def run(folder: Path, *words: str) -> str:
    # Checkers do not follow an editable installation.
    source = str(Path(fastnet.__file__).parents[1])
    environment = {**os.environ, "MYPYPATH": source, "PYTHONPATH": source}
    ran = subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return ran.stdout


@pytest.fixture(params=["mypy", "pyright"])
def check(request: pytest.FixtureRequest, tmp_path: Path, reference: Callable[[str], ModuleType]) -> Check:
    """The file names and lines of a folder of programs that a checker finds wrong."""
    reference(request.param)

    def mypy(folder: Path) -> list[tuple[str, int]]:
        options = ("--strict", "--no-error-summary", "--cache-dir", str(tmp_path))
        lines = [line.split(":") for line in run(folder, "mypy", *options, ".").splitlines()]
        return [(name, int(number)) for name, number, kind, *_ in lines if kind == " error"]

    def pyright(folder: Path) -> list[tuple[str, int]]:
        report = json.loads(run(folder, "pyright", "--outputjson", "--pythonpath", sys.executable, "."))
        found = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
        return [(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in found]

    return {"mypy": mypy, "pyright": pyright}[request.param]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "programs"
    made.mkdir()
    return made


@pytest.mark.once
def test_what_is_public_is_known_and_nothing_else(check: Check, folder: Path) -> None:
    right = [f"fastnet.{name}" for name in PUBLIC] + [f"aio.{name}" for name in aio.__all__]
    wrong = ["fastnet.TYPE_CHECKING", "aio.import_module"]
    lines = ["import fastnet", "from fastnet import aio", *right, *wrong]
    (folder / "program.py").write_text("\n".join(lines) + "\n")
    assert check(folder) == [("program.py", len(lines) - 1), ("program.py", len(lines))]


@pytest.mark.once
def test_what_is_wrong_is_found(check: Check, folder: Path) -> None:
    text = MISUSE.read_text()
    (folder / "misuse.py").write_text(text)
    wrong = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("  # wrong")]
    assert sorted({number for _, number in check(folder)}) == wrong


def examples(page: Path) -> list[str]:
    """The Python of a page: what is typed at a prompt, and each program."""
    text = page.read_text()
    prompted = doctest.DocTestParser().get_examples(re.sub("^```.*$", "", text, flags=re.MULTILINE))
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    programs = [block for block in blocks if ">>> " not in block]
    return [code for code in ("".join(each.source for each in prompted), *programs) if code]


@pytest.mark.once
def test_the_examples_of_the_pages_are_right(check: Check, folder: Path) -> None:
    for page in PAGES:
        for number, code in enumerate(examples(page)):
            (folder / f"{page.stem.lower()}_{number}.py").write_text(code)
    assert len([*folder.iterdir()]) > 10
    assert check(folder) == []


@pytest.mark.once
def test_the_types_of_all_public_names_are_known(
    reference: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    reference("pyright")
    words = ("pyright", "--verifytypes", "fastnet", "--ignoreexternal", "--outputjson")
    report = json.loads(run(tmp_path, *words))["typeCompleteness"]
    unknown = [each["name"] for each in report["symbols"] if each["isExported"] and not each["isTypeKnown"]]
    assert 100 * report["completenessScore"] >= COMPLETE, unknown


def completions(jedi: ModuleType, code: str) -> set[str]:
    """What an editor offers at the end of a program."""
    project = jedi.Project(ROOT, added_sys_path=[str(Path(fastnet.__file__).parents[1])])
    # Its own way is a subprocess, which stays.
    script = jedi.Script(code, project=project, environment=jedi.InterpreterEnvironment())
    return {each.name for each in script.complete() if each.name[0] != "_"}


@pytest.mark.parametrize("code", ["import fastnet\nfastnet.", "from fastnet import "])
def test_editors_complete_the_public_names(reference: Callable[[str], ModuleType], code: str) -> None:
    """And no others, but for folders of the package, which can be imported."""
    assert completions(reference("jedi"), code) - {"cli", "schemas", "tour"} == {*PUBLIC}


@pytest.mark.parametrize("code", ["from fastnet import aio\naio.", "from fastnet.aio import "])
def test_editors_complete_coroutines(reference: Callable[[str], ModuleType], code: str) -> None:
    assert completions(reference("jedi"), code) == {*aio.__all__}


@pytest.mark.parametrize("module", [fastnet, aio], ids=lambda module: module.__name__)
def test_a_prompt_completes_the_public_names(
    reference: Callable[[str], ModuleType], module: ModuleType
) -> None:
    """As IPython does, by Jedi on what is there."""
    found = reference("jedi").Interpreter("module.", [{"module": module}]).complete()
    assert {each.name for each in found if each.name[0] != "_"} == {*module.__all__}


def test_layers_and_templates_have_signatures() -> None:
    """Their classes may be in C."""
    for kind in (packet.IPv4, packet.TCP, packet.MSS, packet.ICMPEcho):
        assert [*inspect.signature(kind).parameters] == [*kind.fields()]
    assert inspect.signature(packet.MSS).parameters["size"].default is inspect.Parameter.empty
    assert inspect.signature(packet.TCP).parameters["window"].default == 8192
    assert [*inspect.signature(packet.Payload).parameters] == ["data"]
    assert [*inspect.signature(packet.Packet).parameters] == ["layers"]
    assert [*inspect.signature(packet.Template).parameters] == ["packet", "fields"]


def test_editors_show_the_arguments_and_the_docstring(reference: Callable[[str], ModuleType]) -> None:
    found = reference("jedi").Interpreter("fastnet.ping(", [{"fastnet": fastnet}]).get_signatures()
    assert [each.name for each in found] == ["ping"]
    assert [each.name for each in found[0].params] == [*inspect.signature(fastnet.ping).parameters]
    assert inspect.getdoc(fastnet.ping) in found[0].docstring()
