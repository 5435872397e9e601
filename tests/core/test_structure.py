"""One name across the tree, and arrows that go down the floors only, as the sources show them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from environment import ROOT

import fastnet as package
from fastnet._backend import TOPICS
from fastnet.cli import COMMANDS
from fastnet.tour import STOPS

SOURCE = ROOT / "fastnet"

VERBS = {"forward", "ping", "portscan", "sweep", "trace", "wait"}
"""Features whose module is private, since their public names are functions and classes."""
PLUMBING = {"aio", "endpoints", "errors"}
"""Public modules that are no feature: they have no page and no stop of their own."""
FEATURES = package._MODULES - PLUMBING | VERBS
WITHOUT_STOP = {"compat", "targets"}
"""Features that are seen at another's stop."""
PARSERS = {"checksum", "packet", "rtnetlink"}
"""Topics whose C reads bytes from outside: each has a fuzzer."""
SYSTEM = {"ctypes", "struct", "fcntl.ioctl"}
"""What only the core uses."""
FEATURE_FOLDERS = (
    "_distributed",
    "_forward",
    "ipv6",
    "packet",
    "_ping",
    "_plots",
    "_sweep",
    "_wait",
    "_watch",
)
FLOORS = ("_contract", "_system", "_pure")
"""Of Python in the core, the ground first."""
UNDER_ALL = ("errors", "_results", "_typing")
"""Modules that every floor may import: exceptions, how a record is shown, and what annotations need."""
OUTSIDE = {ROOT / "csrc" / folder for folder in ("tests", "fuzz", "fuzz/relay", "instructions")}
"""C that is not of the core."""
PHASES = ("listener", "greeting", "connecting", "relaying", "rewriting", "refusing")
"""Of a connection's life in ``csrc/relay``: each calls itself, later ones, and the ground."""
LONGEST_FUNCTION, LONGEST_FILE = 60, 600
"""Lines."""
LONGER = {"csrc/packet/scan.c": 644}
"""What is still longer, and may not grow."""
OWN_COMMANDS = {
    "address": "interfaces",
    "routes": "interfaces",
    "schema": "records",
    "status": "interfaces",
    "tour": "tour",
}
"""Commands that are not named like their feature."""

Symbols = dict[str, dict[str, bool]]


def exists(*alternatives: str) -> bool:
    return any((ROOT / path).exists() for path in alternatives)


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((SOURCE / folder).glob("*.py"))


def floor_of(name: str) -> list[Path]:
    return sorted((SOURCE / name).rglob("*.py"))


def label(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, type checking aside."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def fastnet_modules(path: Path) -> set[str]:
    """Those of fastnet's first-level names that a file imports: ``fastnet.cli.exits`` is ``cli``."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("fastnet.")}


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_a_core_topic_has_one_name(topic: str) -> None:
    assert exists(f"fastnet/_pure/{topic}.py", f"fastnet/_pure/{topic}/__init__.py")
    assert exists(f"tests/core/test_{topic}.py")
    assert exists(f"csrc/{topic}.h")
    assert exists(f"csrc/{topic}.c", f"csrc/{topic}")
    assert exists(f"csrc/tests/test_{topic}.c")
    assert exists(f"fastnet/_native/{topic}.pyx")
    assert exists(f"bench/bench_{topic}.py")


@pytest.mark.parametrize("topic", sorted(PARSERS))
def test_a_parser_is_fuzzed_from_a_small_corpus(topic: str) -> None:
    assert [*(ROOT / "csrc/fuzz").glob(f"fuzz_{topic}*.c")]
    corpus = [*(ROOT / "csrc/fuzz/corpus" / topic).rglob("*")]
    assert 0 < sum(path.stat().st_size for path in corpus if path.is_file()) < 1 << 20


def test_every_c_topic_is_known() -> None:
    assert {path.stem for path in (ROOT / "csrc").glob("*.h")} == TOPICS | {"bytes"}
    assert {path.stem for path in (SOURCE / "_native").glob("*.pyx")} == TOPICS
    pure = {path.stem for path in (SOURCE / "_pure").iterdir() if not path.name.startswith("_")}
    assert pure == TOPICS


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_a_feature_has_one_name(feature: str) -> None:
    module = f"fastnet/_{feature}" if feature in VERBS else f"fastnet/{feature}"
    assert exists(f"{module}.py", f"{module}/__init__.py")
    assert exists(f"tests/features/test_{feature}.py")
    assert exists(f"docs/{feature}.md")


def test_every_public_module_is_named() -> None:
    files = {path.stem for path in modules(".")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert {name for name in files if not name.startswith("_")} - {"cli", "tour"} == package._MODULES


def test_every_stop_is_a_feature_and_every_feature_a_stop() -> None:
    assert {*STOPS} == FEATURES - WITHOUT_STOP
    assert {path.stem for path in modules("tour")} - {"__init__"} == {*STOPS}


def test_every_command_is_a_module_and_every_module_a_command() -> None:
    helpers = {
        "__init__",
        "arguments",
        "cluster",
        "commands",
        "dask_versions",
        "exits",
        "full_parser",
        "habits",
        "interfaces_watch",
        "interrupts",
        "not_here",
        "output",
        "parts",
    }
    helpers |= {"listing", "plotting", "quick_parser", "serving", "streams", "textfile", "version"}
    packages = {path.parent.name for path in SOURCE.glob("cli/*/__init__.py")}
    assert ({path.stem for path in modules("cli")} | packages) - helpers == {*COMMANDS}
    assert {*COMMANDS} - {*OWN_COMMANDS} <= FEATURES


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"tour"}))
def test_every_command_is_documented_and_tested(command: str) -> None:
    feature = OWN_COMMANDS.get(command, command)
    assert f"fastnet {command}" in (ROOT / f"docs/{feature}.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    assert re.search(rf'(fastnet|command|run\w*)\(\s*"{command}"', tests)


@pytest.mark.parametrize("path", [*modules(".", *FEATURE_FOLDERS)], ids=label)
def test_a_feature_knows_no_floor_above_it_and_no_system_below(path: Path) -> None:
    if path.stem != "__main__":
        assert fastnet_modules(path) & {"cli", "tour"} == set()
    if path.stem != "_backend":
        assert fastnet_modules(path) & {"_native", "_pure"} == set()
    assert imported(path) & SYSTEM == set()


@pytest.mark.parametrize("path", [*modules("cli", "cli/forward", "cli/ping", "cli/sweep", "tour")], ids=label)
def test_the_top_floors_use_features_only(path: Path) -> None:
    assert fastnet_modules(path) & {"_native", "_pure"} == set()
    assert imported(path) & SYSTEM == set()


@pytest.mark.parametrize("path", [path for floor in FLOORS for path in floor_of(floor)], ids=label)
def test_a_floor_of_the_core_needs_itself_and_those_below_it(path: Path) -> None:
    """And the standard library. The native floor is none of them: a twin never imports the other."""
    floor = label(path).split("/")[0]
    assert fastnet_modules(path) <= {*UNDER_ALL, *FLOORS[: FLOORS.index(floor) + 1]}
    roots = {name.split(".")[0] for name in imported(path)} - {"fastnet"}
    assert roots <= sys.stdlib_module_names


def name_of(path: Path) -> str:
    parts = ("fastnet", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_files_import_each_other_in_no_circle() -> None:
    """Within functions neither: what imports late to be free of a circle is still in one."""
    files = {name_of(path): imported(path) for path in SOURCE.rglob("*.py")}
    needs = {name: (found & {*files}) - {name} for name, found in files.items()}
    while free := {name for name, needed in needs.items() if not needed & {*needs}}:
        needs = {name: needed for name, needed in needs.items() if name not in free}
    assert {name: needed & {*needs} for name, needed in needs.items()} == {}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=label)
def test_every_function_can_be_read_at_once(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = {each.name: (each.end_lineno or 0) - each.lineno + 1 for each in functions}
    assert {name: count for name, count in lines.items() if count > LONGEST_FUNCTION} == {}


def writes(path: Path) -> Iterator[str]:
    """What in a file may put text on a terminal: ``print``, and what is done with the two streams."""
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        given = [ast.unparse(each) for each in (*call.args, *(word.value for word in call.keywords))]
        name = ast.unparse(call.func)
        if name == "print" or (
            re.search("write|writer", name) and re.search(r"sys\.std(out|err)", f"{name} {given}")
        ):
            yield name


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=label)
def test_nothing_but_what_escapes_it_puts_text_on_a_terminal(path: Path) -> None:
    """Use ``cli.output``. Each exception has the reason why it needs no escape, or escapes itself."""
    allowed = {
        "cli/output.py": {"print", "sys.stdout.write"},  # what escapes
        "cli/full_parser.py": {"(file or sys.stdout).write"},  # help: our own words
        "cli/sweep/distributed.py": {"csv.writer"},  # each cell is escaped, or a number
        "_forward/access_log.py": {"sys.stdout.write"},  # lines of escaped words, or JSON
    }
    assert {*writes(path)} == allowed.get(label(path), set())


def test_every_wheel_is_tried_with_each_topic_and_command() -> None:
    """``tests/essential`` is what CI runs of the suite on each wheel, less what takes long."""
    lines = (ROOT / "tests/essential").read_text().split()
    files = [line for line in lines if not line.startswith("--deselect=")]
    assert [path for path in files if not exists(path)] == []
    assert {f"tests/core/test_{topic}.py" for topic in TOPICS} <= {*files}
    assert {"tests/core/test_parity.py", "tests/features/test_package.py"} <= {*files}
    assert "tests/cli/test_each_command.py" in files  # it has each command and each engine


def test_the_schemas_are_those_of_the_records() -> None:
    code = "import json, runpy; print(json.dumps(runpy.run_path('tools/schemas.py')['texts']()))"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    shipped = {path.name: path.read_text() for path in (SOURCE / "schemas").iterdir()}
    assert json.loads(made) == shipped, "python tools/schemas.py makes them anew"


def test_the_core_in_c_knows_no_python() -> None:
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        assert "Python.h" not in path.read_text(), path


@pytest.fixture(scope="module")
def defined(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Symbols:
    """Of each C file of the core the linker's names: those that it defines, and those that it only uses."""
    symbols: Symbols = {}
    for folder in sorted({path.parent for path in (ROOT / "csrc").rglob("*.c")} - OUTSIDE):
        built = tmp_path_factory.mktemp(folder.name)
        sources = sorted(folder.glob("*.c"))
        compiler = (peer("cc"), "-std=c11", "-O0", "-w", "-c", f"-I{ROOT / 'csrc'}")
        subprocess.run((*compiler, *sources), cwd=built, check=True)
        for source in sources:
            table = subprocess.run(
                (peer("nm"), "-gP", built / f"{source.stem}.o"), stdout=subprocess.PIPE, text=True, check=True
            )
            words = [line.split() for line in table.stdout.splitlines()]
            name = str(source.relative_to(ROOT / "csrc"))
            symbols[name] = {word[0]: word[1] != "U" for word in words}
    return symbols


def calls(symbols: Symbols) -> dict[str, set[str]]:
    """Which other files each file needs a name of."""
    home = {name: file for file, names in symbols.items() for name, is_here in names.items() if is_here}
    return {
        file: {home[name] for name in names if name in home and home[name] != file}
        for file, names in symbols.items()
    }


@pytest.mark.xdist_group("symbols")
def test_no_file_in_c_is_in_a_circle_of_calls(defined: Symbols) -> None:
    left = calls(defined)
    assert left["relay/listener.c"] > {"relay/greeting.c", "relay/lane.c"}  # and not nothing
    while ready := {file for file, needs in left.items() if not needs & {*left}}:
        left = {file: needs for file, needs in left.items() if file not in ready}
    assert left == {}


@pytest.mark.xdist_group("symbols")
def test_a_connection_goes_from_phase_to_phase_and_never_back(defined: Symbols) -> None:
    files = calls(defined)
    phases = [f"relay/{phase}.c" for phase in PHASES]
    for i, phase in enumerate(phases):
        assert files[phase] & {*phases} <= {*phases[i + 1 :]}
    ground = {file for file in files if file.startswith("relay/")} - {*phases, "relay/relay.c"}
    assert {file: needs for file in ground if (needs := files[file] & {*phases})} == {}


@pytest.mark.xdist_group("symbols")
def test_what_a_header_of_the_relay_declares_is_in_the_file_of_its_name(defined: Symbols) -> None:
    elsewhere = set()
    for file, names in defined.items():
        header = (ROOT / "csrc" / file).with_suffix(".h")
        text = header.read_text() if file.startswith("relay/") and header.exists() else ""
        declared = {*re.findall(r"^(?!static)\w[^;{}=/]*?\b(fn_\w+)\(", text, re.MULTILINE)}
        elsewhere |= {(file, name) for name in declared if not names.get(name)}
    assert elsewhere == set()


def test_no_function_in_c_is_too_long_to_read() -> None:
    lengths = {}
    for path in (ROOT / "csrc").rglob("*.c"):
        for found in re.finditer(r"^\w[^;{}]*\)\n\{\n.*?^\}", path.read_text(), re.MULTILINE | re.DOTALL):
            lengths[path.name, found[0].split("(")[0]] = found[0].count("\n") + 1
    assert len(lengths) > 1000
    assert {function for function, length in lengths.items() if length > LONGEST_FUNCTION} == set()


@pytest.mark.xdist_group("icmp")
def test_what_is_in_one_group_is_run_in_turn(request: pytest.FixtureRequest) -> None:
    """pytest-xdist, whose name for a group this is, loses it where pytest is newer than it knows."""
    assert request.node.nodeid.endswith("@icmp") == request.config.getoption("loadgroup", False)


def test_no_file_is_too_long_to_read() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in ("fastnet", "csrc", "tests", "bench", "tools", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".pyi", ".pyx", ".pxi", ".c", ".h"}
    }
    assert {name for name, count in lines.items() if count > LONGEST_FILE} == {*LONGER}
    assert {name for name, count in LONGER.items() if lines[name] > count} == set()


def test_helpers_are_not_among_the_tests() -> None:
    folders = ("core", "features", "cli", "conformance")
    files = {path.name for folder in folders for path in (ROOT / "tests" / folder).glob("*.py")}
    assert {name for name in files if not name.startswith("test_")} <= {"conftest.py"}


def test_every_file_that_the_architecture_names_exists() -> None:
    """In its drawings too, where a name without a folder is in the folder of the one before it."""
    missing = set()
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        folder = ROOT
        for name in re.findall(
            r"[\w./]*\w\.(?:pyx|pxi|py|c|h|md)\b|\b(?:csrc|fastnet|tests|docs)/[\w/]*/", line
        ):
            if not re.search(r"(?:\b|_)[XY]\b", name):
                found = [path for path in (ROOT / name, folder / name) if path.exists()]
                missing |= set() if found else {name}
                folder = found[0].parent if found else folder
    assert missing == set()
