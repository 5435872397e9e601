"""Each call of the system by which ``fastnet forward`` starts fails once: it gives a reason, or serves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from environment import Run, absent
from forwarding import free_port

from fastnet.cli import exits

SCRIPT = Path(__file__).parents[1] / "support" / "failing_starts.py"


@pytest.mark.parametrize("engine", ["auto", "pure"])
@pytest.mark.parametrize("error", [0, 1])
def test_a_start_exits_with_a_reason_or_serves(python: Run, tmp_path: Path, engine: str, error: int) -> None:
    if not shutil.which("cc"):
        absent("a C compiler (cc)")
    listen, upstream = f"unix:{tmp_path}/socket", f"localhost:{free_port()}"
    words = ("forward", listen, upstream, "--engine", engine, "--log", str(tmp_path / "log"))
    ran = python(str(SCRIPT), str(error), *words, env={"PYTHONPATH": str(SCRIPT.parent)})
    assert (ran.returncode, ran.stderr) == (0, "")
    runs = [json.loads(line) for line in ran.stdout.splitlines()]
    for run in runs:
        if run["code"] == exits.YES:
            assert run["listened"], run
        else:
            assert run["code"] in (exits.OS_FAILURE, exits.USAGE), (
                run
            )  # That of a name that does not resolve.
            assert run["errors"].startswith("fastnet forward: "), run
            assert "Traceback" not in run["errors"], run
    assert len(runs) > 1
    assert runs[-1] == {"number": len(runs) - 1, "listened": True, "code": exits.YES, "errors": ""}
    assert os.listdir(tmp_path) == ["log"]
