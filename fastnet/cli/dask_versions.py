"""Dask's warning of versions that differ, as a remark."""

import warnings
from _collections_abc import Iterator
from contextlib import contextmanager

from fastnet._typing import Any
from fastnet.cli.output import remark


@contextmanager
def one_remark_on_versions() -> Iterator[None]:
    """Print one remark instead of Dask's table of the versions that differ."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if category.__name__ != "VersionMismatchWarning":
            before(message, category, *place)
            return
        rows = (line.split("|") for line in str(message).splitlines() if line.startswith("|"))
        packages = [cells[1].strip() for cells in rows][1:]
        remark(f"client, scheduler and workers differ in their versions of {', '.join(packages)}")

    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = before
