"""Builds the C extensions. FASTNET_BUILD says how: native (any compile error is final), pure (no
extensions: a py3-none-any wheel), or unset (native where it compiles, otherwise pure, and it says so).
CFLAGS may have another -O than ours, -O3.
FASTNET_REPOSITORY is the address of the repository's web pages: the package's metadata links there."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from copy import copy
from gzip import GzipFile
from pathlib import Path
from textwrap import shorten
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import BaseError, CCompilerError

GIVEN = os.environ.get("CFLAGS", "").split()
CFLAGS = [
    *("-std=c11", "-Wall", "-Wextra"),
    *([] if any(word.startswith("-O") for word in GIVEN) else ["-O3"]),
    "-Wno-missing-field-initializers",  # Cython leaves out the fields that a newer Python's types end with
    *("-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"),
]
LDFLAGS = ["-Wl,--gc-sections"]
"""What an extension's topic does not use of the others' C is left out."""
DEBUG = "-g" in GIVEN
"""Whether to keep debugging information, which is three quarters of a wheel and names the build's folders."""
BUILD_MODES = ("native", "pure")
RELEASE_TIME = 946684800
"""The time of all files of an sdist, without SOURCE_DATE_EPOCH: the year 2000."""
SHARE = "build/share"
WHY_PURE = "fastnet/_native/why_pure.txt"
"""Written by a build without extensions, for ``fastnet --version``: the reason."""
NEEDS = {
    "monitor": ("netif",),
    "packet": ("checksum",),
    "relay": ("http_head",),
    "probe": ("permute", "checksum"),
    "rtnetlink": ("packet", "checksum"),
}
"""Topics whose C calls another topic's."""


def build_mode() -> str:
    mode = os.environ.get("FASTNET_BUILD", "")
    if mode and mode not in BUILD_MODES:
        sys.exit(f"FASTNET_BUILD={mode!r}: expected one of {', '.join(BUILD_MODES)}, or unset")
    return mode


def c_sources(topic: str) -> list[str]:
    """A topic's C, and that of the topics it needs: csrc/X.c, or every file of csrc/X/ once it has grown."""
    return [
        str(path)
        for name in (topic, *NEEDS.get(topic, ()))
        for path in (Path("csrc", f"{name}.c"), *sorted(Path("csrc", name).glob("*.c")))
        if path.exists()
    ]


def extensions() -> list[Extension]:
    """One extension for each topic that has a Cython module, together with that topic's C."""
    return [
        Extension(
            f"fastnet._native.{pyx.stem}",
            [str(pyx), *c_sources(pyx.stem)],
            include_dirs=["csrc"],
            libraries=["m"],
            depends=[str(header) for header in Path("csrc").rglob("*.h")],
            extra_compile_args=CFLAGS if DEBUG else [*CFLAGS, "-g0"],
            extra_link_args=LDFLAGS if DEBUG else [*LDFLAGS, "-Wl,--strip-all"],
        )
        for pyx in sorted(Path("fastnet/_native").glob("*.pyx"))
    ]


class BuildAllOrNothing(build_ext):
    """Half an implementation would be worse than none: one extension that fails drops them all."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        in_tree = bool(self.inplace)  # noted now: a build that fails leaves it False
        try:
            super().run()
            if in_tree:
                Path(WHY_PURE).unlink(missing_ok=True)  # of an earlier build
        except (BaseError, CCompilerError, OSError) as error:
            if build_mode() == "native":
                raise
            print(f"fastnet: no native implementation ({error}); installing the pure one", file=sys.stderr)
            self.drop_extensions(in_tree)
            write_why_pure("." if in_tree else self.build_lib, shorten(f"native did not build: {error}", 120))

    def build_extensions(self) -> None:
        """With no folder for the loader to search that is not asked for: pyenv's Pythons add their own."""
        asked = os.environ.get("LDFLAGS", "").split()
        linker = self.compiler.linker_so
        self.compiler.linker_so = [word for word in linker if "-rpath" not in word or word in asked]
        super().build_extensions()

    def build_extension(self, extension: Extension) -> None:
        """With objects of its own: side by side, two that have a C file in common would write one object."""
        own = copy(self)
        own.build_temp = str(Path(self.build_temp, extension.name))
        super(BuildAllOrNothing, own).build_extension(extension)

    def drop_extensions(self, in_tree: bool) -> None:
        """Leave no extension, not of an earlier build either, and make a wheel that says it is pure."""
        for root in (self.build_lib, ".") if in_tree else (self.build_lib,):
            for extension in self.extensions:
                Path(root, self.get_ext_filename(extension.name)).unlink(missing_ok=True)
        self.extensions = self.distribution.ext_modules = []
        self.get_finalized_command("bdist_wheel").root_is_pure = True


class SameBytes(sdist):
    """Makes the same archive of the same files: when, where and by whom it was made is not in it."""

    def make_archive(self, base_name: str, format: str, *given: Any, base_dir: str, **named: Any) -> str:
        if format != "gztar":
            return super().make_archive(base_name, format, *given, base_dir=base_dir, **named)
        path, when = f"{base_name}.tar.gz", int(os.environ.get("SOURCE_DATE_EPOCH") or RELEASE_TIME)

        def normalized(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            member.mtime = when
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            return member

        with (
            open(path, "wb") as file,
            GzipFile("", "wb", fileobj=file, mtime=when) as packed,
            tarfile.open(fileobj=packed, mode="w", dereference=True) as archive,
        ):
            archive.add(base_dir, filter=normalized)  # a folder's files in order
        return path


class SameModes(bdist_wheel):
    """Makes the same wheel whatever the umask."""

    def write_wheelfile(self, *arguments: Any, **named: Any) -> None:
        """The last file before the archive is made."""
        super().write_wheelfile(*arguments, **named)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


class BuildPython(build_py):
    """Notes that a build without extensions was asked for, and removes what an earlier build left."""

    def run(self) -> None:
        super().run()
        root = "." if self.editable_mode else self.build_lib
        Path(root, WHY_PURE).unlink(missing_ok=True)
        if build_mode() == "pure":
            write_why_pure(root, "built without C, for every system")
            for extension in Path(root, WHY_PURE).parent.glob("*.so"):
                extension.unlink()


def manuals() -> list[tuple[str, list[str]]]:
    """Makes the manual pages and completions of shells. Returns where a wheel installs each."""
    shutil.rmtree(SHARE, ignore_errors=True)
    environment = {**os.environ, "FASTNET_IMPL": "pure"}  # native is not built yet
    subprocess.run([sys.executable, "tools/manuals.py", SHARE], env=environment, check=True)
    files = sorted(path for path in Path(SHARE).rglob("*") if path.is_file())
    return [(str(path.relative_to("build").parent), [str(path)]) for path in files]


def write_why_pure(root: str, reason: str) -> None:
    Path(root, WHY_PURE).write_text(reason + "\n", encoding="utf-8")


def cythonized() -> list[Extension]:
    from Cython.Build import cythonize

    directives = {
        "language_level": 3,
        "freethreading_compatible": True,
        "annotation_typing": False,  # annotations are the pure twin's contract, not C types
    }
    return cythonize(extensions(), compiler_directives=directives, build_dir="build/cython")


def repository() -> str:
    return os.environ.get("FASTNET_REPOSITORY", "").rstrip("/")


def urls() -> dict[str, str]:
    pages = {
        "Source": "",
        "Documentation": "/tree/HEAD/docs",
        "Changelog": "/blob/HEAD/CHANGELOG.md",
        "Issues": "/issues",
    }
    return {name: repository() + path for name, path in pages.items()} if repository() else {}


def description() -> str:
    """The README. A package index needs absolute links, which a release's build can make."""
    text = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?=[\w./]+[#)])", f"]({repository()}/blob/HEAD/", text) if repository() else text


setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    project_urls=urls(),
    data_files=manuals(),
    ext_modules=[] if build_mode() == "pure" else cythonized(),
    cmdclass={
        "bdist_wheel": SameModes,
        "build_ext": BuildAllOrNothing,
        "build_py": BuildPython,
        "sdist": SameBytes,
    },
)
