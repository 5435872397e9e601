"""FASTNET_BUILD: what is built, what is refused, and that a fallback is whole. Runs in copies of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from environment import ROOT

from fastnet._backend import TOPICS, how_native

BROKEN_COMPILER = {"CC": "false"}
SMALL_TOPIC = "checksum"
BUILD_SECONDS = 600

pytestmark = pytest.mark.timeout(800)  # one test builds three times

Peer = Callable[[str], str]
Built = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def copy_tree(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A fresh copy of what is needed to build, as a clean clone has it."""

    def copy() -> Path:
        tree = tmp_path_factory.mktemp("tree") / "fastnet"
        leave = shutil.ignore_patterns(
            ".*", "build", "dist", "results", "*.egg-info", "*.so", "why_pure.txt", "__pycache__"
        )
        shutil.copytree(ROOT, tree, ignore=leave)
        return tree

    return copy


@pytest.fixture
def quick(peer: Peer) -> dict[str, str]:
    """What makes a build quick that is only inspected."""
    peer("gcc")
    return {"CFLAGS": "-O0"}


@pytest.fixture
def tree(copy_tree: Callable[[], Path]) -> Path:
    return copy_tree()


@pytest.fixture
def small_tree(tree: Path) -> Path:
    """With one topic to compile: for what does not depend on how many there are."""
    for path in (tree / "fastnet/_native").glob("*.p*"):
        if path.suffix != ".py" and path.name != SMALL_TOPIC + ".pyx":
            path.unlink()
    return tree


def run(tree: Path, *words: str, mode: str, env: dict[str, str], umask: int = -1) -> Built:
    environment = {**os.environ, **env, "FASTNET_BUILD": mode}
    return subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=BUILD_SECONDS,
        umask=umask,
        check=False,
    )


def build_wheel(tree: Path, mode: str = "", umask: int = -1, **env: str) -> Built:
    """By the function that pip and others call (PEP 517)."""
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    return run(tree, "-c", code, mode=mode, env=env, umask=umask)


def wheels(tree: Path) -> list[str]:
    return sorted(path.name for path in (tree / "dist").glob("*.whl"))


def contents(tree: Path) -> set[str]:
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name and ".data/" not in name}


def extensions(names: set[str]) -> set[str]:
    return {Path(name).name.partition(".")[0] for name in names if name.endswith(".so")}


def python_files() -> set[str]:
    """With what is shipped beside them."""
    package = ROOT / "fastnet"
    files = (*package.rglob("*.py"), *package.glob("*.pyi"), *package.glob("schemas/*.json"))
    return {str(path.relative_to(ROOT)) for path in files} | {"fastnet/py.typed"}


WHY_PURE = "fastnet/_native/why_pure.txt"


def assert_pure(tree: Path, reason: str) -> None:
    """The wheel is pure, and its command's ``--version`` begins the reason so."""
    (wheel,) = wheels(tree)
    assert wheel.endswith("-py3-none-any.whl")
    assert contents(tree) == {*python_files(), WHY_PURE}
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from fastnet.__main__ import main; main()"
    unpacked = tree / "unpacked"
    with zipfile.ZipFile(tree / "dist" / wheel) as archive:
        archive.extractall(unpacked)
    words = ("-I", "-c", code, str(unpacked), "--version")
    version = run(tree, *words, mode="", env={"FASTNET_IMPL": ""})
    assert f" pure ({reason}" in version.stdout
    assert version.stdout.count("\n") == 1
    shutil.rmtree(unpacked)


def test_native_is_whole_and_free_of_warnings(tree: Path, peer: Peer) -> None:
    """By clang; that gcc has none either, with optimization, is seen where CI builds what it tests."""
    built = build_wheel(tree, "native", CC=peer("clang"), CFLAGS="-Werror -O0")
    assert built.returncode == 0, built.stdout
    compiled = [re.findall(r" -O\S", line) for line in built.stdout.splitlines() if " -c csrc/" in line]
    assert {levels[-1] for levels in compiled} == {" -O0"}
    (wheel,) = wheels(tree)
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.partition("-")[2].partition("-")[2].startswith(f"{tag}-{tag}")
    assert extensions(contents(tree)) == TOPICS
    assert {name for name in contents(tree) if not name.endswith(".so")} == python_files()


def test_native_fails_without_a_compiler(small_tree: Path) -> None:
    built = build_wheel(small_tree, "native", **BROKEN_COMPILER)
    assert built.returncode != 0
    assert wheels(small_tree) == []


def test_unset_falls_back_without_a_compiler_and_says_so(small_tree: Path) -> None:
    built = build_wheel(small_tree, **BROKEN_COMPILER)
    assert built.returncode == 0, built.stdout
    assert "fastnet: no native implementation (" in built.stdout
    assert_pure(small_tree, "native did not build: ")


def test_pure_needs_no_compiler(tree: Path) -> None:
    built = build_wheel(tree, "pure", **BROKEN_COMPILER)
    assert built.returncode == 0, built.stdout
    assert "no native implementation" not in built.stdout
    assert_pure(tree, f"built without C, for every system; {how_native()})")
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shared = {name.partition(".data/data/")[2] for name in archive.namelist()} - {""}
    assert shared >= {
        "share/man/man1/fastnet-ping.1",
        "share/bash-completion/completions/fastnet",
        "share/bash-completion/completions/fastnet-toolkit",
        "share/zsh/site-functions/_fastnet",
        "share/fish/vendor_completions.d/fastnet.fish",
        "share/fish/vendor_completions.d/fastnet-toolkit.fish",
    }


def test_another_word_is_refused(tree: Path) -> None:
    built = build_wheel(tree, "fast")
    assert built.returncode != 0
    assert "FASTNET_BUILD='fast': expected one of native, pure, or unset" in built.stdout
    assert wheels(tree) == []


def test_a_fallback_leaves_nothing_of_an_earlier_build(small_tree: Path, quick: dict[str, str]) -> None:
    in_place = ("setup.py", "build_ext", "--inplace")
    built = run(small_tree, *in_place, mode="native", env=quick)
    assert built.returncode == 0, built.stdout
    assert extensions({path.name for path in small_tree.rglob("fastnet/_native/*.so")}) == {SMALL_TOPIC}
    assert build_wheel(small_tree, "native", **quick).returncode == 0
    shutil.rmtree(small_tree / "dist")

    header = small_tree / "csrc/checksum.h"
    whole = header.read_text()
    header.write_text(f"{whole}\n#error broken by the test\n")
    assert build_wheel(small_tree, "native", **quick).returncode != 0
    built = build_wheel(small_tree, **quick)
    assert built.returncode == 0, built.stdout
    assert_pure(small_tree, "native did not build: ")
    built = run(small_tree, *in_place, mode="", env=quick)
    assert built.returncode == 0, built.stdout
    assert [*small_tree.rglob("*.so")] == []

    header.write_text(whole)
    shutil.rmtree(small_tree / "dist")
    assert build_wheel(small_tree, "native", **quick).returncode == 0
    assert WHY_PURE not in contents(small_tree)


def test_pure_that_is_editable_leaves_no_extension(small_tree: Path, quick: dict[str, str]) -> None:
    in_place = ("setup.py", "build_ext", "--inplace")
    built = run(small_tree, *in_place, mode="native", env=quick)
    assert built.returncode == 0, built.stdout
    build = "import setuptools.build_meta; setuptools.build_meta.build_editable('.')"
    built = run(small_tree, "-c", build, mode="pure", env={})
    assert built.returncode == 0, built.stdout
    assert [*(small_tree / "fastnet").rglob("*.so")] == []
    assert (small_tree / WHY_PURE).exists()


def test_a_wheel_has_the_same_bytes_whoever_builds_it(small_tree: Path, quick: dict[str, str]) -> None:
    """With another umask, and by a Python that has the loader search its own folder, as pyenv's have."""
    settings = {**quick, "SOURCE_DATE_EPOCH": "1700000000"}
    found = []
    for umask, linker in ((0o022, ""), (0o077, " -Wl,-rpath,/nowhere")):
        for folder in ("build", "dist"):
            shutil.rmtree(small_tree / folder, ignore_errors=True)
        for path in small_tree.rglob("*"):
            path.chmod(path.stat().st_mode & ~umask)
        built = build_wheel(small_tree, "native", umask, LDSHARED=f"gcc -shared{linker}", **settings)
        assert built.returncode == 0, built.stdout
        (wheel,) = (small_tree / "dist").glob("*.whl")
        found.append(wheel.read_bytes())
    assert found[0] == found[1]


def build_sdist(tree: Path, mode: str, **environment: str) -> Path:
    code = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    built = run(tree, "-c", code, mode=mode, env=environment)
    assert built.returncode == 0, built.stdout
    (path,) = (tree / "dist").glob("*.tar.gz")
    return path


def test_an_sdist_has_the_same_bytes_wherever_it_is_built(copy_tree: Callable[[], Path]) -> None:
    tree, other = copy_tree(), copy_tree()
    for path in (other, *other.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)  # as of another umask
        os.utime(path, (1, 1))
    when = {"SOURCE_DATE_EPOCH": "1700000000"}
    built = [build_sdist(each, "pure", **when, USER=each.parent.name) for each in (tree, other)]
    assert built[0].read_bytes() == built[1].read_bytes()
    assert int.from_bytes(built[0].read_bytes()[4:8], "little") == 1700000000  # RFC 1952, section 2.3
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
    assert [each.name for each in members] == sorted(
        (each.name for each in members), key=lambda name: name.split("/")
    )
    assert {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in members} == {
        (1700000000, 0, 0, "", "")
    }


def test_an_sdist_has_what_builds_and_tests_it(tree: Path) -> None:
    path = build_sdist(tree, "", **BROKEN_COMPILER)
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    for folder in ("bench", "csrc", "docs", "examples", "fastnet", "tests", "tools"):
        files = {str(path.relative_to(tree)) for path in (tree / folder).rglob("*") if path.is_file()}
        assert {each for each in files if "__pycache__" not in each} - names == set()
    assert {"LICENSE", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml", "setup.py"} <= names
    assert {name for name in names if name.startswith("build/") or name.endswith(".so")} == set()


def metadata(tree: Path, repository: str) -> Message:
    (tree / "dist").mkdir(exist_ok=True)
    code = "from setuptools.build_meta import prepare_metadata_for_build_wheel as p; p('dist')"
    built = run(tree, "-c", code, mode="pure", env={"FASTNET_REPOSITORY": repository})
    assert built.returncode == 0, built.stdout
    (path,) = (tree / "dist").glob("*.dist-info/METADATA")
    return message_from_string(path.read_text())


def test_a_release_links_to_its_repository(tree: Path) -> None:
    """A package index has no other pages of ours: relative links would be dead there."""
    plain = metadata(tree, "")
    assert plain["Author"] == "fastnet contributors"
    assert plain.get_all("Project-URL") is None
    assert plain.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    release = metadata(tree, "https://forge.example/fastnet/")
    assert "Source, https://forge.example/fastnet" in release.get_all("Project-URL", [])
    links = re.findall(r"\]\(([^)]*)\)", release.get_payload())
    assert "https://forge.example/fastnet/blob/HEAD/docs/ping.md" in links
    assert [link for link in links if not link.startswith("https://")] == []
