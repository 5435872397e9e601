"""The option ``--plot`` of several subcommands."""

import os

from fastnet._typing import TYPE_CHECKING
from fastnet.cli.arguments import replaced_file
from fastnet.cli.quick_parser import Arguments, Group

if TYPE_CHECKING:
    from fastnet._plots.picture import Picture


def add_plot(group: Group, what: str) -> None:
    about = f"picture of {what}, by the ending .png or .svg"
    group.add_argument("--plot", type=replaced_file, metavar="FILE", help=about)


def picture_of(args: Arguments) -> "Picture | None":
    """The picture, if one is given. Raises InvalidArgument for a wrong name, EngineMissing."""
    if args.plot is None:
        return None
    # numpy would start threads, which keep the capabilities that this one drops.
    os.environ |= {"MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    from fastnet._plots.picture import Picture  # only here: rarely needed

    return Picture(args.plot)
