"""The program: ``python -m fastnet``, and what is installed as ``fastnet``."""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
import atexit
import gc
import os
import sys


def run() -> int:
    """Run the command. Until that installs its handler, Ctrl-C kills the process silently."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a background job ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fastnet import cli

    return cli.main()


def main() -> None:
    """Run the command and end the process."""
    code = run()
    if is_alone():
        from fastnet.cli import settle_output

        # To take the interpreter apart as well would take a millisecond.
        atexit._run_exitfuncs()
        settle_output()
        os._exit(code)
    gc.freeze()  # At least without a last garbage collection.
    sys.exit(code)


def is_alone() -> bool:
    """Whether nothing waits for the interpreter's end: a thread, a profiler, or a person (``python -i``)."""
    threading = sys.modules.get("threading")
    monitoring = getattr(sys, "monitoring", None)
    return not (
        (threading and threading.active_count() > 1)
        or (sys.gettrace() or sys.getprofile())
        or (monitoring and any(map(monitoring.get_tool, range(6))))
        or sys.flags.inspect
    )


if __name__ == "__main__":
    main()
