"""What is given up once what needed it is open."""

from __future__ import annotations

import pytest

TOPIC = "probe"
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")

PRIVILEGES = """if True:
    import os, sys
    from importlib import import_module
    drop_capabilities = import_module(sys.argv[2]).drop_capabilities
    os.setresgid(*map(int, sys.argv[1].split()))
    os.setresuid(*map(int, sys.argv[1].split()))
    drop_capabilities()
    drop_capabilities()
    for line in open("/proc/self/status"):
        if line.startswith(("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapAmb")):
            print(*line.split()[1:])
"""


@pytest.mark.parametrize("users", ["0 0 0", "65534 0 0", "65534 0 65534"])
def test_capabilities_and_a_borrowed_user_are_given_up(root, core, python, users) -> None:
    ran = python("-c", PRIVILEGES, users, core.__name__)
    assert ran.stderr == ""
    own = users.partition(" ")[0]
    assert ran.stdout.splitlines() == [" ".join([own] * 4)] * 2 + ["0" * 16] * 4


def test_nobody_has_capabilities_to_give_up(root, core, python) -> None:
    ran = python("-c", PRIVILEGES, "0 0 0", core.__name__, prefix=UNPRIVILEGED)
    assert (ran.stderr, ran.stdout.splitlines()[2:]) == ("", ["0" * 16] * 4)
