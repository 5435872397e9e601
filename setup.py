"""Builds the C extensions. FASTNET_BUILD says how: native (any compile error is final), pure (no
extensions: a py3-none-any wheel), or unset (native where it compiles, otherwise pure, and it says so)."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CFLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra"]
BUILD_MODES = ("native", "pure")


def build_mode() -> str:
    mode = os.environ.get("FASTNET_BUILD", "")
    if mode and mode not in BUILD_MODES:
        sys.exit(f"FASTNET_BUILD={mode!r}: expected one of {', '.join(BUILD_MODES)}, or unset")
    return mode


def c_sources(topic: str) -> list[str]:
    """A topic's C is csrc/X.c, or every file in csrc/X/ once it has grown into a folder."""
    return [
        str(path)
        for path in (Path("csrc", f"{topic}.c"), *sorted(Path("csrc", topic).glob("*.c")))
        if path.exists()
    ]


def extensions() -> list[Extension]:
    """One extension for each topic that has a Cython module, together with that topic's C."""
    return [
        Extension(
            f"fastnet._native.{pyx.stem}",
            [str(pyx), *c_sources(pyx.stem)],
            include_dirs=["csrc"],
            depends=[str(header) for header in Path("csrc").rglob("*.h")],
            extra_compile_args=CFLAGS,
        )
        for pyx in sorted(Path("fastnet/_native").glob("*.pyx"))
    ]


class BuildAllOrNothing(build_ext):
    """Half an implementation would be worse than none: one extension that fails drops them all."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # the compiler's own exception types are not public API
            if build_mode() == "native":
                raise
            print(f"fastnet: no native implementation ({error}); installing the pure one", file=sys.stderr)
            for path in self.get_outputs():
                Path(path).unlink(missing_ok=True)
            self.extensions = []


def cythonized() -> list[Extension]:
    from Cython.Build import cythonize

    directives = {
        "language_level": 3,
        "freethreading_compatible": True,
        "annotation_typing": False,  # annotations are the pure twin's contract, not C types
    }
    return cythonize(extensions(), compiler_directives=directives, build_dir="build/cython")


setup(
    ext_modules=[] if build_mode() == "pure" else cythonized(),
    cmdclass={"build_ext": BuildAllOrNothing},
)
