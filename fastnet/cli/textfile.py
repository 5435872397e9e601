"""The option ``--textfile`` of several subcommands."""

from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import replaced_file
from fastnet.cli.output import remark
from fastnet.cli.quick_parser import Arguments, Group

if TYPE_CHECKING:
    from fastnet._ping.metrics import PingMetrics
    from fastnet._sweep.metrics import SweepMetrics
    from fastnet._textfile import Textfile


def add_textfile(group: Group) -> None:
    group.add_argument(
        "--textfile",
        type=replaced_file,
        metavar="FILE",
        help="file of Prometheus metrics (*.prom for node_exporter), replaced at the end and with --every",
    )


def textfile_of(args: Arguments, command: str) -> "Textfile | None":
    """The file, if one is given. Raises EngineMissing without prometheus-client."""
    if args.textfile is None:
        return None
    from fastnet._textfile import Textfile  # only here: rarely needed

    return Textfile(args.textfile, lambda text: remark(f"fastnet {command}: {text}"))


def settled(code: int, metrics: "PingMetrics | SweepMetrics | None") -> int:
    """The exit code, in which a last write that failed counts."""
    return exits.OS_FAILURE if code in (exits.YES, exits.NO) and metrics and metrics.textfile.failed else code
