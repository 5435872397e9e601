"""The program: ``python -m fastnet``, and what is installed as ``fastnet``."""

import gc
import signal
import sys


def main() -> int:
    """Run the command. Until that installs its handler, Ctrl-C kills the process silently."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a background job ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fastnet import cli

    try:
        return cli.main()
    finally:
        gc.freeze()  # The process ends here: a last garbage collection would take milliseconds.


if __name__ == "__main__":
    sys.exit(main())
