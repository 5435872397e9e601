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
EXECUTED = """if True:
    import os, sys
    from importlib import import_module
    import_module(sys.argv[1]).drop_capabilities()
    os.execvp("grep", ["grep", "-E", "^(Cap|NoNewPrivs)", "/proc/self/status"])
"""
THREADS = """if True:
    import ctypes, sys, threading
    from importlib import import_module
    from fastnet.errors import NotPermitted
    drop_capabilities = import_module(sys.argv[1]).drop_capabilities
    begun, ended = threading.Event(), threading.Event()
    def live():
        if sys.argv[2] == "first":  # of this thread alone
            ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
        begun.set()
        ended.wait()
    def has():
        return any(int(line.split()[1], 16) for line in open("/proc/thread-self/status") if "CapPrm" in line)
    thread = threading.Thread(target=live)
    thread.start()
    begun.wait()
    try:
        drop_capabilities()
    except NotPermitted as error:
        print(error)
    print(has())
    ended.set()
    thread.join()
    drop_capabilities()
    print(has())
    thread = threading.Thread(target=drop_capabilities)
    thread.start()
    thread.join()
    drop_capabilities()
"""
JOINED = """if True:
    import os, sys, threading
    from importlib import import_module
    drop_capabilities = import_module(sys.argv[1]).drop_capabilities
    for _ in range(100):
        child = os.fork()
        if not child:
            threads = [threading.Thread(target=int) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            drop_capabilities()
            os._exit(0)
        print(os.waitpid(child, 0)[1])
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


def test_a_program_that_is_executed_has_none_either(root, core, python) -> None:
    ran = python("-c", EXECUTED, core.__name__)
    sets = dict(line.split() for line in ran.stdout.splitlines())
    assert sets == {f"Cap{name}:": "0" * 16 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} | {
        "NoNewPrivs:": "1"
    }


def test_nor_has_one_where_the_bounding_set_can_not_be_emptied(root, core, python) -> None:
    """Without CAP_SETPCAP, as a file's capabilities leave it: no_new_privs is what holds."""
    ran = python(
        "-c", EXECUTED, core.__name__, prefix=("setpriv", "--bounding-set=-setpcap", "--inh-caps=-setpcap")
    )
    sets = dict(line.split() for line in ran.stdout.splitlines())
    assert {sets[f"Cap{name}:"] for name in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert int(sets["CapBnd:"], 16) != 0


def test_threads_that_would_keep_theirs_are_refused(root, core, python) -> None:
    ran = python("-c", THREADS, core.__name__, "keep")
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "[Errno 1] another thread has capabilities, and would keep them: "
        "drop them before any thread is started",
        "True",
        "False",
    ]


@pytest.mark.parametrize(("prefix", "when"), [((), "first"), (UNPRIVILEGED, "keep")])
def test_threads_that_have_none_are_no_hindrance(root, core, python, prefix, when) -> None:
    ran = python("-c", THREADS, core.__name__, when, prefix=prefix)
    assert (ran.stderr, ran.stdout.split()) == ("", ["False", "False"])


def test_threads_that_were_joined_are_no_hindrance(root, core, python) -> None:
    """They may be listed a moment longer."""
    ran = python("-c", JOINED, core.__name__)
    assert (ran.stderr, ran.stdout.split()) == ("", ["0"] * 100)
