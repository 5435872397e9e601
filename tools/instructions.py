"""Compare the instructions of operations of the core, counted by callgrind, with the kept counts:

make -C csrc instructions           # fails if a count differs by more than 2 %
make -C csrc instructions-renew     # writes the file anew

The counts are those of one compiler and one C library, of CI's system. The C library's functions for newer
CPUs are switched off, since valgrind runs some of them on some machines only.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = Path(__file__).parents[1] / "csrc/instructions/counts.txt"
HEAD = "# Instructions of an operation on {system}.\n# Renew them by: make -C csrc instructions-renew\n"
MOST = 0.02
"""Greatest difference, relative to the kept count."""
NEWER = ("AVX2", "AVX_Fast_Unaligned_Load", "ERMS", "SSSE3", "SSE4_1", "SSE4_2")
"""CPU features, as glibc names them, that choose other functions."""
TUNABLES = f"glibc.cpu.hwcaps={','.join(f'-{name}' for name in NEWER)}"

Counts = dict[str, int]


def system() -> str:
    """What the counts depend on."""

    def output(*command: str) -> str:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    machine, version = output("gcc", "-dumpmachine"), output("gcc", "-dumpfullversion")
    return f"{machine} with gcc {version} and {output('getconf', 'GNU_LIBC_VERSION')}"


def count(program: str, **environment: str) -> Counts:
    """The instructions of each operation of the program."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        options = ("--combine-dumps=yes", "--toggle-collect=fn_measured", "--dump-after=fn_measured")
        done = subprocess.run(
            ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", *options, program),
            env={"PATH": os.environ["PATH"], "GLIBC_TUNABLES": TUNABLES, **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        totals = [int(found) for found in re.findall(r"^totals: (\d+)$", out.read_text(), re.MULTILINE)]
    *totals, after = totals
    if after or len(totals) != len(names := done.stdout.split()):
        sys.exit(f"callgrind counted {len(totals)} operations, the program ran {len(names)}")
    return dict(zip(names, totals, strict=True))


def read(text: str) -> tuple[str, Counts]:
    """The system and the counts that are kept."""
    head, *lines = [line for line in text.splitlines() if line and not line.startswith("# Renew")]
    found = head.removeprefix("# Instructions of an operation on ").removesuffix(".")
    return found, {name: int(number) for name, number in map(str.split, lines)}


def write(system: str, counts: Counts) -> str:
    return HEAD.format(system=system) + "".join(f"{name} {number}\n" for name, number in counts.items())


def differences(kept: Counts, counted: Counts) -> list[str]:
    """A line about each operation whose count is not the kept one."""
    lines = [f"{name}: not kept yet" for name in counted if name not in kept]
    for name, before in kept.items():
        if (after := counted.get(name)) is None:
            lines.append(f"{name}: not counted any more")
        elif abs(after - before) > MOST * before:
            lines.append(f"{name}: {before} -> {after} instructions ({after / before - 1:+.1%})")
    return lines


def check(here: str, text: str, counted: Counts) -> str:
    """Why the kept counts can't stay; "" if they can."""
    there, kept = read(text)
    if here != there:
        return (
            f"the kept counts are of {there}; this is {here}, where they differ. "
            "Compare there, in a system that tools/debian_root makes. "
            "If CI moves to another system: make -C csrc instructions-renew"
        )
    if lines := differences(kept, counted):
        advice = "If it is meant: make -C csrc instructions-renew, and commit the counts with the reason"
        return "\n".join((f"more than {MOST:.0%} off the kept counts:", *lines, advice))
    return ""


def main() -> None:
    program, *options = sys.argv[1:]
    counted, again = count(program), count(program, ANOTHER="environment" * 100)
    if counted != again:
        sys.exit(f"not the same twice: {counted} and {again}")
    if options == ["--renew"]:
        KEPT.write_text(write(system(), counted))
    elif wrong := check(system(), KEPT.read_text(), counted):
        sys.exit(wrong)
    else:
        print(f"instructions of {len(counted)} operations: within {MOST:.0%} of the kept counts")


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is missing: apt-get install valgrind gcc python3")
