"""The ``fastnet`` command as a whole: what it prints where, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
from children import Child
from records import parse_all

import fastnet as package
from fastnet.__main__ import main
from fastnet.cli import COMMANDS, arguments, describe, exit_code, exits, output
from fastnet.errors import (
    BadChecksum,
    EngineMissing,
    ImplementationMissing,
    InvalidArgument,
    NameNotResolved,
    NoSuchInterface,
    NotPermitted,
    WaitTimeout,
)

Run = Callable[..., "CompletedProcess[str]"]

COMMAND = [sys.executable, "-m", "fastnet"]
ENVIRONMENT = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": ""}


def test_version(fastnet: Run) -> None:
    version = fastnet("--version")
    assert version.stdout.startswith(f"fastnet {package.__version__} {package.implementation()}")
    assert (version.stderr, version.returncode) == ("", 0)


def test_the_short_option_is_the_same(fastnet: Run) -> None:
    assert fastnet("-V").stdout == fastnet("--version").stdout


@pytest.mark.parametrize("words", [[], *([name] for name in sorted(COMMANDS))], ids=" ".join)
def test_help_is_a_command_too(fastnet: Run, words: list[str]) -> None:
    shown, same = fastnet("help", *words), fastnet(*words, "--help")
    assert (shown.stdout, shown.stderr, shown.returncode) == (same.stdout, "", 0)


def test_help_lists_every_command(fastnet: Run) -> None:
    shown = fastnet("--help")
    assert (shown.stderr, shown.returncode) == ("", 0)
    for name, line in COMMANDS.items():
        assert f"  {name} " in shown.stdout
        assert line in shown.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_explains_itself(fastnet: Run, name: str) -> None:
    shown = fastnet(name, "--help")
    assert (shown.stderr, shown.returncode) == ("", 0)
    assert shown.stdout.startswith(f"usage: fastnet {name} ")
    assert "help" in shown.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_refuses_an_unknown_option_in_one_line(fastnet: Run, name: str) -> None:
    refused = fastnet(name, "--no-such-option")
    assert (refused.stdout, refused.returncode) == ("", exits.USAGE)
    assert refused.stderr.startswith(f"fastnet {name}")
    assert refused.stderr.count("\n") == 1
    assert "--help" in refused.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["bogus"], "no command 'bogus': there are address, echo, "),
        (["pnig"], "no command 'pnig': did you mean ping?"),
        (["help", "swep"], "no command 'swep': did you mean sweep?"),
        (["schema", "replly"], "argument KIND: invalid choice: 'replly': did you mean reply?"),
        (["sweep", "--engine=lnik", "::1"], "argument --engine: invalid choice: 'lnik': did you mean link?"),
        (["ping", "--cuont=3", "::1"], "unrecognized arguments: --cuont=3: did you mean --count?"),
        (["ping", "--zzz", "::1"], "unrecognized arguments: --zzz (see "),
        (["--bogus"], "the following arguments are required: COMMAND"),
        (["tour", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_what_is_no_command_is_refused_in_one_line(fastnet: Run, words: list[str], says: str) -> None:
    refused = fastnet(*words)
    assert (refused.stdout, refused.returncode) == ("", exits.USAGE)
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_installed_command_is_the_module() -> None:
    from importlib.metadata import entry_points

    for name in ("fastnet", "fastnet-toolkit"):
        (command,) = entry_points(group="console_scripts", name=name)
        assert command.load() is main


@pytest.mark.parametrize(
    "module", ["fastnet.cli", "fastnet.cli.output", "fastnet.cli.arguments", "fastnet._ping.pinger"]
)
def test_ctrl_c_while_it_begins(python: Run, module: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from fastnet.__main__ import run\n"
        "def interrupt(event, args):\n"
        f"    if event == 'import' and args[0] == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.addaudithook(interrupt)\n"
        "sys.argv[1:] = ['ping', '-l', '127.0.0.1']\n"
        "sys.exit(run())"
    )
    ended = python("-c", code)
    assert (ended.stdout, ended.stderr) == ("", "")
    assert ended.returncode in (exits.INTERRUPTED, -signal.SIGINT)


ENDS = """
import atexit, sys, threading
from fastnet.__main__ import main
atexit.register(print, "at exit")
{before}
sys.argv[1:] = ["schema", "reply"]
main()
"""


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ("", "}\nat exit\n"),
        ("threading.Thread(target=lambda: print(threading.main_thread().join())).start()", "None\nat exit\n"),
        ("sys.setprofile(lambda *_: None)", "}\nat exit\n"),
    ],
    ids=["alone", "thread", "profiled"],
)
def test_nothing_is_lost_at_the_end(python: Run, before: str, last: str) -> None:
    ended = python("-c", ENDS.format(before=before))
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.endswith(last)


def test_a_profile_of_the_command_is_printed(python: Run) -> None:
    ended = python("-m", "cProfile", "-m", "fastnet", "schema")
    assert "function calls" in ended.stdout


def test_an_end_without_a_reader() -> None:
    """What is printed at exit finds no reader either."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", ENDS.format(before="")]
    ran = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (exits.BROKEN_PIPE, b"")


def test_interrupted_by_a_signal(root: None) -> None:
    """What is known is printed, and Ctrl-C is not reported as a failure."""
    with Child(
        [*COMMAND, "ping", "--interval", "1h", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"127.0.0.1: seq=0 ")
        child.send_signal(signal.SIGINT)
        summary, remarks = child.communicate(timeout=30)
    assert (child.returncode, remarks) == (exits.INTERRUPTED, b"")
    assert summary.startswith(b"127.0.0.1: 1 sent, 1 received, 0% loss")


@pytest.mark.parametrize(
    ("words", "last"),
    [
        (
            "ping -l -i1ms 127.0.0.1 ::1",
            r"::1: \d+ sent, \d+ received(, 0% loss)?(, \d+ still awaited)?(, rtt .* ms)?",
        ),
        ("ping -l -i1ms --json ::1", r'\{"kind": "summary", .*\}'),
        ("ping -l -f -Q1ms --json ::1", r'\{"kind": "summary", .*\}'),
        ("sweep --stream --alive --json 127.0.0.0/12", r'\{.* "state": "alive".*\}'),
        ("sweep --every=1ms 127.0.0.1", "127.0.0.1 +alive .*"),
    ],
)
def test_ctrl_c_at_any_moment(root: None, words: str, last: str) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for _ in range(10):
        with Child([*COMMAND, *words.split()], **pipes, text=True, env=ENVIRONMENT) as child:
            assert child.stdout
            assert child.stderr
            watchdog = threading.Timer(60, child.kill)
            watchdog.start()
            lines = [child.stdout.readline()]
            time.sleep(random.uniform(0, 0.03))
            child.send_signal(signal.SIGINT)
            lines += child.stdout
            remarks = child.stderr.read()
            child.wait()
            watchdog.cancel()
        assert child.returncode == exits.INTERRUPTED
        assert "Traceback" not in remarks
        assert re.fullmatch(last + "\n", lines[-1])
        if "--json" in words:
            assert len(parse_all("".join(lines))) == len(lines)


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["tour"], ["tour", "--json"]])
def test_a_reader_that_is_gone(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [*COMMAND, *words],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (exits.BROKEN_PIPE, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_a_full_disk(words: list[str], unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*COMMAND, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered},
            timeout=60,
            check=False,
        )
    name = f"fastnet {words[0]}" if len(words) > 1 else "fastnet"
    assert (ended.returncode, ended.stderr.decode()) == (
        exits.OS_FAILURE,
        f"{name}: No space left on device\n",
    )


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sweep", "127.0.0.1"], 0),
        (["ping", "-v", "-c1", "127.0.0.1"], 0),
        (["ping", "no..name"], 2),
        (["ping"], 2),
    ],
)
def test_nowhere_to_make_remarks(root: None, stderr: str, words: list[str], code: int) -> None:
    shell = ["sh", "-c", f'"$@" {stderr}', "sh", *COMMAND, *words]
    ended = subprocess.run(shell, stdout=subprocess.PIPE, env=ENVIRONMENT, timeout=60, check=False)
    assert ended.returncode == code
    assert ended.stdout.startswith(b"127.0.0.1" if code == 0 else b"")


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # what reading a terminal returns at its end
            raise
        return b""


@pytest.mark.parametrize(("no_color", "bold"), [("", True), ("1", False)])
def test_colour_belongs_on_terminals_only(no_color: str, bold: bool) -> None:
    terminal, end = os.openpty()
    environment = {**ENVIRONMENT, "NO_COLOR": no_color}
    with Child([*COMMAND, "tour"], stdout=end, stderr=end, env=environment) as child:
        os.close(end)
        shown = b"".join(iter(lambda: read_terminal(terminal), b""))
        os.close(terminal)
    assert child.returncode == 0
    assert (b"\x1b[1m" in shown) is bold


def test_no_colour_in_a_pipe(fastnet: Run) -> None:
    assert "\x1b" not in fastnet("tour").stdout


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InvalidArgument("port 70000: expected 0 to 65535"), 2, "port 70000: expected 0 to 65535"),
        (NameNotResolved("nowhere: Name or service not known"), 2, "nowhere: Name or service not known"),
        (NotPermitted(errno.EPERM, "run it as root"), 3, "run it as root"),
        (NoSuchInterface(errno.ENODEV, "no interface eth9"), 3, "no interface eth9"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"),
            3,
            "/x: No such file or directory",
        ),
        (OSError("no errno"), 3, "no errno"),
        (EngineMissing("install scapy"), 3, "install scapy"),
        (ImplementationMissing("reinstall"), 3, "reinstall"),
        (BadChecksum("IPv4 checksum 0x1234: expected 0x4321"), 1, "IPv4 checksum 0x1234: expected 0x4321"),
        (WaitTimeout("not in 5 s"), 124, "not in 5 s"),
        (MemoryError(), 3, "Cannot allocate memory"),
    ],
)
def test_an_error_is_an_exit_code_and_a_line(error: Exception, code: int, line: str) -> None:
    assert exit_code(error) == code
    assert describe(error) == line


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1.5", 1.5), ("250ms", 0.25), ("10s", 10), ("2m", 120), ("1h", 3600), ("1e-3s", 0.001)],
)
def test_durations(text: str, seconds: float) -> None:
    assert arguments.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "-1",
        "-1s",
        "nan",
        "inf",
        "1e999",
        "5x",
        "5 minutes",
        "1m30s",
        "0x10",
        " 1",
        "1_0",
        "٣",
        "278h",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"expected a time, as 1\.5, 250ms, 10s or 2m"):
        arguments.duration(text)


@pytest.mark.parametrize("text", ["", "-1", "11", "1.0", "x", "9" * 5000, " 1", "1_0", "٣"])
def test_what_is_no_integer_in_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="expected a whole number from 0 to 10"):
        arguments.integer(0, 10)(text)


def test_integers() -> None:
    assert [arguments.integer(-5, 10)(text) for text in ("-5", "0", "10")] == [-5, 0, 10]


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["name", "mtu"], [["lo", 65536], ["eth0", 1500]])
    assert capsys.readouterr().out == "name  mtu\nlo    65536\neth0  1500\n"


def test_json_is_one_line_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "größe", "rtt_ms": 1.5})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"name": "größe", "rtt_ms": 1.5}


def test_what_stdout_can_not_encode_is_escaped() -> None:
    for encoding, words in (("ascii", ["é"]), ("utf-8", [b"\xff"]), ("utf-8", [b"\xff", "--json"])):
        ran = subprocess.run(
            [*COMMAND, "ipc", "pair", "--message", *words],
            env={**ENVIRONMENT, "PYTHONIOENCODING": f"{encoding}:strict"},
            capture_output=True,
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        ran.stdout.decode(encoding)


def test_control_characters_do_not_break_the_line(fastnet: Run) -> None:
    for words in (["ping", "a\n\x1bb"], ["forward", "1\r2", "localhost:1"]):
        refused = fastnet(*words)
        assert refused.returncode == exits.USAGE
        assert len(refused.stderr.splitlines()) == 1
        assert refused.stderr[:-1].isprintable()


def test_remarks_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.remark("listening")
    assert capsys.readouterr() == ("", "listening\n")
