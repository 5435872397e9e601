"""What ``fastnet --version`` prints."""

from fastnet import __version__
from fastnet._backend import REQUESTED, how_native, implementation, why_pure
from fastnet.cli.output import print_line


def print_version() -> None:
    """Print the version, and which implementation runs, with the reason if it is not native."""
    reason = why_pure()
    if reason and reason != REQUESTED:
        reason += f"; {how_native()}"
    print_line(f"fastnet {__version__} {implementation()}" + (f" ({reason})" if reason else ""))
