"""The program: ``python -m fastnet``, and what is installed as ``fastnet``."""

import signal
import sys


def main() -> int:
    """Run the command. Ctrl-C ends the program at once, and quietly, until that is ready to heed it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a background job ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fastnet import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
