"""What a release does on GitHub: the notes of a tag, and the workflow itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from environment import ROOT

WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))
FOUND = "### New\n\n- A thing."
CHANGELOG = f"# Changelog\n\n## 0.10.0 (2026-12-24)\n\n{FOUND}\n\n## 0.1.0 (2026-01-01)\n\n- Older.\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a release of version 0.10.0 has."""
    for folder in ("tools", "fastnet", "changelog.d"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "tools/release_notes", tmp_path / "tools")
    (tmp_path / "fastnet/__init__.py").write_text('"""."""\n\n__version__ = "0.10.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def notes(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(tree / "tools/release_notes"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_refused(ran: subprocess.CompletedProcess[str], line: str) -> None:
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", line + "\n")


def test_the_notes_are_the_section_of_the_version(tree: Path) -> None:
    assert notes(tree, "v0.10.0").stdout == FOUND + "\n"
    older = "\n## 0.10.0"
    text = CHANGELOG.replace("## 0.10.0", "## 0.11.0 (2027-01-01)\n\n- Newer.\n" + older)
    (tree / "CHANGELOG.md").write_text(text)
    assert notes(tree, "v0.10.0").stdout == FOUND + "\n"


@pytest.mark.parametrize("tag", ["v0.10.1", "v0.1.0", "0.10.0", "v0.10.0rc1", "v0.10", ""])
def test_a_tag_of_another_version_is_refused(tree: Path, tag: str) -> None:
    assert_refused(
        notes(tree, tag), f"tag {tag}: the version in fastnet/__init__.py is 0.10.0, expected v0.10.0"
    )


def test_a_change_that_the_changelog_lacks_is_refused(tree: Path) -> None:
    (tree / "changelog.d/thing.fix.md").write_text("A thing.")
    line = "changelog.d/thing.fix.md is not in CHANGELOG.md yet: run towncrier build"
    assert_refused(notes(tree, "v0.10.0"), line)


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("## 0.1.0 (2026-12-24)", "0 sections of version 0.10.0, expected one"),
        ("## 0.10.0 (2026-12-24)\n\n## 0.10.0 (2026-12-25)", "2 sections of version 0.10.0, expected one"),
        ("## 0.10.0 (unreleased)", "the title '0.10.0 (unreleased)', expected 0.10.0 (YEAR-MONTH-DAY)"),
    ],
    ids=["none", "two", "undated"],
)
def test_a_changelog_without_the_version_is_refused(tree: Path, title: str, line: str) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("## 0.10.0 (2026-12-24)", title))
    assert_refused(notes(tree, "v0.10.0"), f"CHANGELOG.md: {line}")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.parent.name + "/" + path.name)
def test_each_action_is_pinned(path: Path) -> None:
    """A tag may be moved to other code; the version is for whoever reads it."""
    actions = re.findall(r"uses: (?!\./)(.*)", path.read_text())
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_release_tools_have_one_version_here_and_there() -> None:
    """tools/release.sh rehearses with the cibuildwheel that builds a release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert any(each.startswith("cibuildwheel==") for each in project["dependency-groups"]["release"])
    for path in ("tools/release.sh", ".github/actions/tools/action.yml"):
        assert "--group release" in (ROOT / path).read_text()
    texts = [path.read_text() for path in (*WORKFLOWS, ROOT / "tools/release.sh")]
    assert [text for text in texts if re.search(r"cibuildwheel[@=]", text)] == []
