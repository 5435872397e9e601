"""``fastnet forward`` again and again, in forks, each with another call of its main thread failing once.

Arguments: the number of the errors, and the command's words. Prints a JSON object for each run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from itertools import count

from faults import ThreadFaults

from fastnet.cli import main

SECONDS = 20
"""A run that takes longer hangs, and is ended by SIGALRM."""


def serve(go: int, out: int, err: int, words: list[str]) -> None:
    """In the fork: wait until calls may fail, and run the command."""
    signal.alarm(SECONDS)
    sys.stdout, sys.stderr = open(out, "w"), open(err, "w")  # noqa: SIM115
    os.read(go, 1)
    code = 1
    try:
        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run(faults: ThreadFaults, number: int, error: int, words: list[str]) -> bool:
    """Run it until it listens; whether a call has failed."""
    pipes = [os.pipe() for _ in range(3)]
    (go, start), (out, out_end), (err, err_end) = pipes
    child = os.fork()
    if child == 0:
        serve(go, out_end, err_end, words)
    for end in (go, out_end, err_end):
        os.close(end)
    with open(out) as output, open(err) as errors:
        with faults.one_fails(child, number, error):
            os.write(start, b"x")
            os.close(start)
            line = output.readline()
            failed = faults.failed
        if line:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        said = errors.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps({"number": number, "listened": bool(line), "code": code, "errors": said}), flush=True)
    return failed


if __name__ == "__main__":
    # What a command loads at first is there: calls that load modules are not what is to fail.
    for name in ("cli.forward.service", "_forward.access_log", "_pure.relay", "_pure.http_head"):
        import_module(f"fastnet.{name}")
    chosen, *command = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        main([*command, "--dry-run"])
    made = ThreadFaults()
    try:
        for each in count():
            if not run(made, each, int(chosen), command):
                break
    finally:
        made.close()
