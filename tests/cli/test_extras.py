"""A package that is not installed: each command that needs it ends with 3 and names what to install."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from environment import ROOT, Run

pytestmark = pytest.mark.once
NEEDED_BY = {
    "distributed": ("ping --distributed=tcp://127.0.0.1:1 ::1", "sweep --distributed=tcp://127.0.0.1:1 ::1"),
    "matplotlib": ("ping --plot=x.png ::1", "sweep --plot=x.svg ::1", "trace --plot=x.png ::1"),
    "netaddr": ("ipv6 --engine=netaddr --prefix=::1/64", "ipv6 explain --engine=netaddr ::1"),
    "netifaces": ("ipv6 --engine=netifaces",),
    "prometheus-client": (
        *("ping --textfile=x ::1", "sweep --textfile=x ::1"),
        *("forward --metrics=0 0 127.0.0.1:1", "forward --metrics=0 0 127.0.0.1:1 --dry-run"),
    ),
    "pyarrow": ("sweep --distributed=tcp://127.0.0.1:1 -o x ::1",),
    "python-nmap": ("portscan -p1 --engine=nmap ::1", "status lo --ports=1 --engine=nmap"),
    "rich": ("forward --top 0 127.0.0.1:1", "forward --top 0 127.0.0.1:1 --dry-run"),
    "scapy": ("sweep --engine=scapy ::1",),
}
MODULES = {"python-nmap": "nmap", "prometheus-client": "prometheus_client"}
ROWS = [(package, words) for package, lines in NEEDED_BY.items() for words in lines]


def extras() -> dict[str, str]:
    """The extra of each optional package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        re.split(r"[<>=]", wanted)[0]: extra
        for extra, packages in project["optional-dependencies"].items()
        for wanted in packages
    }


def test_each_optional_package_is_in_the_table() -> None:
    assert {*extras()} == {*NEEDED_BY}


@pytest.mark.parametrize(("package", "words"), ROWS)
def test_a_missing_one(fastnet: Run, tmp_path: Path, package: str, words: str) -> None:
    module = MODULES.get(package, package)
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError(name={module!r})")
    before = {*tmp_path.iterdir()}
    ran = fastnet(
        *words.split(), cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    )
    extra = extras()[package]
    wanted = package if extra == "reference" else f"'fastnet-toolkit[{extra}]'"
    line = f"the Python package {package} is missing: pip install {wanted}"
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "", f"fastnet {words.split()[0]}: {line}\n")
    assert {*tmp_path.iterdir()} == before
