"""What users of other programs type, and what to type here instead. What means the same is not listed.

Help pages, manual pages and usage errors show it; ``docs/habits.md`` has all of it.
"""

from collections.abc import Sequence

from fastnet._typing import NamedTuple

HEAD = "from other programs:"
_NUMBERS = ("BYTES", "N", "TIME", "TOS", "TTL")
_REQUIRED = "the following arguments are required"


class Habit(NamedTuple):
    """One line of the table."""

    program: str
    theirs: str
    """Its option, or its words."""
    ours: str
    """The option of the same meaning, a command that begins with ``fastnet``, or a remark in parentheses."""

    @property
    def option(self) -> str:
        """The option of the other program; empty if it is about words."""
        first = self.theirs.partition(" ")[0]
        return first if first.startswith("-") else ""

    @property
    def takes_number(self) -> bool:
        """Whether a number follows the option; else nothing, or a name or an address."""
        value = self.theirs.partition(" ")[2]
        return value.isdigit() or value in _NUMBERS


def _habits(program: str, *pairs: tuple[str, str]) -> tuple[Habit, ...]:
    return tuple(Habit(program, *pair) for pair in pairs)


HABITS: dict[str, tuple[Habit, ...]] = {
    "ping": (
        *_habits(
            "ping",
            ("HOST", "-l HOST"),
            ("-A", "-f"),
            ("-Q TOS", "--tos TOS"),
            ("-R", "fastnet trace HOST"),
            ("-V", "(fastnet --version)"),
        ),
        *_habits(
            "fping",
            ("-a HOST", "fastnet sweep --alive HOST"),
            ("-u HOST", "fastnet sweep --inactive HOST"),
            ("-g NET", "fastnet sweep NET"),
            ("-f FILE", "--file FILE"),
            ("-C N", "-c N"),
            ("-J", "--json"),
            ("-k N", "-m N"),
            ("-X N", "-x N"),
            ("-p 500", "-i 500ms"),
            ("-i 10", "(requests to many hosts are 1 ms apart)"),
            ("-t 500", "-W 500ms"),
            ("-b BYTES", "-s BYTES"),
            ("-H TTL", "-t TTL"),
            ("-S ADDRESS", "-I ADDRESS"),
            ("-M", "-M do"),
            ("-m", "-A"),
            ("-O TOS", "--tos TOS"),
            ("-A", "(always so)"),
            ("-n", "(names are not looked up)"),
            ("-d", "(addresses never have names)"),
            ("-e", "(always so)"),
            ("-o", "(always so)"),
            ("-s", "(always so)"),
        ),
    ),
    "sweep": (
        *_habits(
            "nmap",
            ("-sn NET", "NET"),
            ("-iL FILE", "-f FILE"),
            ("-oX FILE", "--xml > FILE"),
            ("-PE", "--engine raw"),
            ("-PR", "--engine link"),
            ("-PS", "--engine tcp"),
            ("-e NAME", "--interface NAME"),
            ("--excludefile FILE", "--exclude-file FILE"),
            ("--max-retries N", "--retries N"),
        ),
        *_habits("fping", ("-a -g NET", "--alive NET"), ("-u -g NET", "--inactive NET")),
    ),
    "portscan": _habits(
        "nmap",
        ("-sT HOST", "HOST"),
        ("-p-", "-p 1-65535"),
        ("-Pn", "(always so)"),
        ("-n", "(always so)"),
        ("--max-parallelism N", "--concurrency N"),
    ),
    "trace": _habits(
        "traceroute",
        ("-I", "--engine icmp"),
        ("-m N", "--max-hops N"),
        ("-q N", "-c N"),
        ("-w TIME", "-W TIME"),
        ("-s ADDRESS", "-I ADDRESS"),
        ("-i NAME", "--interface NAME"),
        ("-t TOS", "--tos TOS"),
        ("HOST BYTES", "-s BYTES HOST"),
    ),
    "forward": _habits(
        "socat",
        ("TCP-LISTEN:8080,fork TCP:HOST:80", "'*:8080' HOST:80"),
        ("TCP-LISTEN:8080,fork,bind=127.0.0.1 TCP:HOST:80", "127.0.0.1:8080 HOST:80"),
        ("UDP-LISTEN:53,fork UDP:HOST:53", "--udp '*:53' HOST:53"),
        ("UNIX-LISTEN:PATH,fork TCP:HOST:80", "unix:PATH HOST:80"),
        ("TCP-LISTEN:8080,fork UNIX:PATH", "'*:8080' unix:PATH"),
    ),
    "echo": _habits("socat", ("TCP-LISTEN:7,fork PIPE", "fastnet echo serve --host '*' --port 7")),
}
"""By command."""

_FPING = {
    "--alive": "-a",
    "--dontfrag": "-M",
    "--elapsed": "-e",
    "--fast-reachable": "-X",
    "--fwmark": "-k",
    "--generate": "-g",
    "--outage": "-o",
    "--period": "-p",
    "--rdns": "-d",
    "--src": "-S",
    "--stats": "-s",
    "--unreach": "-u",
    "--vcount": "-C",
}
"""fping's long names, where ours have others: the tables have the short ones."""


def table(command: str) -> str:
    """The habits of one command as text; empty if there are none."""
    rows = HABITS.get(command, ())
    width = max((len(f"{each.program} {each.theirs}") for each in rows), default=0)
    lines = (f"  {f'{each.program} {each.theirs}':{width}}  {each.ours}" for each in rows)
    return "\n".join((HEAD, *lines)) if rows else ""


def hint(command: str, message: str, words: Sequence[str]) -> str:
    """What other programs mean by the options of a usage error: ``; fping's `-C N`: `-c N` here``."""
    if message.startswith(_REQUIRED):
        named = {*words}
    else:
        named = {*message.replace("/", " ").replace(":", " ").split()}
        named |= {word for word in words if word[:2] in named}
    named |= {word[:2] for word in named} | {word.partition("=")[0] for word in named}
    long = {_FPING.get(word) for word in named} if message.startswith("unrecognized") else set()
    rows = [
        each
        for each in HABITS.get(command, ())
        if each.option in named or (each.program == "fping" and each.option in long)
    ]
    if message.startswith("argument "):
        _, _, value = message.partition("'")
        rows = [each for each in rows if value and each.takes_number == _is_number(value.partition("'")[0])]
    return "".join(map(_in_words, rows))


def _is_number(text: str) -> bool:
    return text.removeprefix("-")[:1].isdigit() and not {*".:"} & {*text}


def _in_words(habit: Habit) -> str:
    ours = habit.ours.strip("()") if habit.ours.startswith("(") else f"`{habit.ours}` here"
    return f"; {habit.program}'s `{habit.theirs}`: {ours}"
