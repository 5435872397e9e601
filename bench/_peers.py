"""Other projects' programs: this system's, or those of the system whose root directory BENCH_ROOT names.

A program of such a root is run by that root's dynamic loader, with that root's libraries. It then runs in our
namespaces and sees our files, needs no mounts, and starts no later than at home, as it would by chroot(8).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
LOADERS = ("lib64/ld-linux-*.so.*", "lib/ld-linux-*.so.*")
LIBRARIES = ("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib64", "lib64")


class Missing(Exception):
    """A program, or a dependency of it, is not installed."""


def root() -> Path:
    """Absolute: nginx takes the path of a module from its own folder."""
    return Path(os.environ.get("BENCH_ROOT") or "/").absolute()


def check_root() -> None:
    """Raises Missing if BENCH_ROOT is not the root of a system."""
    if root() != Path("/"):
        loader()


def inside(path: str) -> Path:
    """A file of the root, by its path there; an absolute link is followed there too."""
    found = root() / path.lstrip("/")
    while found.is_symlink() and (target := os.readlink(found)).startswith("/"):
        found = root() / target.lstrip("/")
    return found


def file(path: str) -> Path:
    """A file that its package may lack. Raises Missing."""
    found = inside(path)
    if not found.exists():
        raise Missing(str(found))
    return found


def command(name: str) -> list[str]:
    """The words that run a program. Raises Missing."""
    if root() == Path("/"):
        path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *FOLDERS]))
        if path is None:
            raise Missing(name)
        return [path]
    candidates = (inside(f"{folder}/{name}") for folder in FOLDERS)
    program = next((path for path in candidates if os.access(path, os.X_OK)), None)
    if program is None:
        raise Missing(f"{name} in {root()}")
    return [*loader(), str(program)]


def loader() -> list[str]:
    """The words before the path of a root's program. Raises Missing."""
    loaders = in_root(LOADERS)
    if not loaders:
        raise Missing(f"dynamic loader in {root()}")
    return [loaders[0], "--inhibit-cache", "--library-path", os.pathsep.join(in_root(LIBRARIES))]


def in_root(patterns: Sequence[str]) -> list[str]:
    return [str(path) for pattern in patterns for path in root().glob(pattern)]
