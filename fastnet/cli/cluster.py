"""The options of commands that run on a Dask cluster, which several subcommands share."""

from fastnet._typing import Any
from fastnet.cli.arguments import duration
from fastnet.cli.quick_parser import Arguments
from fastnet.errors import InvalidArgument

ONLY_DISTRIBUTED = ("vantages", "absence", "tls-ca", "tls-cert", "tls-key")
"""The options that need ``--distributed``."""


def add_cluster(group: Any) -> None:
    group.add_argument("--distributed", metavar="ADDRESS", help="Dask scheduler, as tcp://10.0.0.1:8786")
    group.add_argument(
        "--vantages",
        type=names,
        default=(),
        metavar="NAMES",
        help="names of the Dask workers to use, separated by commas (all)",
    )
    group.add_argument(
        "--absence",
        type=duration,
        metavar="TIME",
        help="time that the scheduler or all vantages may be away (60s)",
    )
    for name, what in ("ca", "authority's certificate"), ("cert", "certificate"), ("key", "private key"):
        group.add_argument(f"--tls-{name}", metavar="FILE", help=f"{what} in PEM, for a tls:// scheduler")


def check_cluster(args: Arguments, only: tuple[str, ...], never: tuple[str, ...]) -> None:
    """Raises InvalidArgument for options that need ``--distributed``, or do not go together with it."""
    wrong, word = (only, "only") if args.distributed is None else (never, "not")
    for name in wrong:
        if getattr(args, name.replace("-", "_")) not in (None, False, (), (1, 1)):
            raise InvalidArgument(f"--{name}: {word} with --distributed")
    if any(_files(args)) and not all(_files(args)):
        raise InvalidArgument("--tls-ca, --tls-cert, --tls-key: all three, or none")


def tls_files(args: Arguments) -> tuple[str, str, str] | None:
    """The authority's certificate, the certificate and its key; None without TLS."""
    authority, certificate, key = _files(args)
    return (authority, certificate, key) if authority else None


def _files(args: Arguments) -> tuple[str, str, str]:
    return args.tls_ca, args.tls_cert, args.tls_key


def names(text: str) -> tuple[str, ...]:
    """``a,b``: two names."""
    found = tuple(each.strip() for each in text.split(","))
    if not all(found):
        raise InvalidArgument(f"{text!r}: expected names separated by commas")
    return found
