"""What users of other programs type, and what to type here instead. What means the same is not listed.

Help pages, manual pages and usage errors show it; ``docs/habits.md`` has all of it.
"""

import re
from _collections_abc import Iterator, Sequence
from itertools import pairwise

from fastnet._typing import NamedTuple
from fastnet.cli.not_here import NOT_HERE

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
    def value(self) -> str:
        """What follows the option; empty if nothing does."""
        return self.theirs.partition(" ")[2]

    @property
    def takes_number(self) -> bool:
        """Whether a number follows the option; else nothing, or a name or an address."""
        return self.value.isdigit() or self.value in _NUMBERS


def _habits(program: str, *pairs: tuple[str, str]) -> tuple[Habit, ...]:
    return tuple(Habit(program, *pair) for pair in pairs)


HABITS: dict[str, tuple[Habit, ...]] = {
    "ping": (
        *_habits(
            "ping",
            ("HOST", "-l HOST"),
            ("-3", "(always so)"),
            ("-a", "(there is no bell)"),
            ("-A", "-f"),
            ("-b NET", "fastnet sweep NET"),
            ("-B", "-I ADDRESS"),
            ("-C", "(leave it out)"),
            ("-d", "(leave it out)"),
            ("-e N", "(leave it out)"),
            ("-H", "(addresses never have names)"),
            ("-l N", "(requests are not sent ahead of replies)"),
            ("-Q TOS", "--tos TOS"),
            ("-r", "-I NAME"),
            ("-R", "fastnet trace HOST"),
            ("-S BYTES", "(leave it out)"),
            ("-U", "(leave it out)"),
            ("-V", "(fastnet --version)"),
            ("-w 0", "(leave it out)"),
            ("-W 0", "(there is always a timeout)"),
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
            ("-m", "--all-addresses"),
            ("-N", "--textfile FILE"),
            ("-O TOS", "--tos TOS"),
            ("-A", "(always so)"),
            ("-n", "(names are not looked up)"),
            ("-d", "(addresses never have names)"),
            ("-e", "(always so)"),
            ("-o", "(always so)"),
            ("-s", "(always so)"),
            ("-v", "(fastnet --version)"),
            ("--iface NAME", "-I NAME"),
            ("--ipv4", "-4"),
            ("--ipv6", "-6"),
            ("--reachable N", "-x N"),
            ("--retry N", "-r N"),
            ("--squiet 10", "-Q 10"),
            ("--print-ttl", "(always so)"),
        ),
    ),
    "sweep": (
        *_habits(
            "nmap",
            ("-sn NET", "NET"),
            ("-sS NET", "fastnet portscan HOST"),
            ("-sT NET", "fastnet portscan HOST"),
            ("-p PORTS", "fastnet portscan -p PORTS HOST"),
            ("-iL FILE", "-f FILE"),
            ("-oX FILE", "--xml > FILE"),
            ("-oG FILE", "--csv > FILE"),
            ("-oN FILE", "NET > FILE"),
            ("-PA", "--engine tcp"),
            ("-PE", "--engine raw"),
            ("-PR", "--engine link"),
            ("-PS", "--engine tcp"),
            ("-T 4", "--timeout auto"),
            ("-n", "(always so)"),
            ("-V", "(fastnet --version)"),
            ("-e NAME", "--interface NAME"),
            ("--excludefile FILE", "--exclude-file FILE"),
            ("--max-retries N", "--retries N"),
            ("--randomize-hosts", "--seed N"),
        ),
        *_habits("fping", ("-a HOST", "--alive HOST"), ("-u HOST", "--inactive HOST"), ("-g NET", "NET")),
    ),
    "portscan": _habits(
        "nmap",
        ("-sT HOST", "HOST"),
        ("-sS HOST", "HOST"),
        ("-sn NET", "fastnet sweep NET"),
        ("-p T:22", "-p 22"),
        ("-p U:53", "(only TCP is scanned)"),
        ("-oX FILE", "--json > FILE"),
        ("-Pn", "(always so)"),
        ("-n", "(always so)"),
        ("-T 4", "(leave it out)"),
        ("-v", "(leave it out)"),
        ("-V", "(fastnet --version)"),
        ("--max-parallelism N", "--concurrency N"),
    ),
    "trace": _habits(
        "traceroute",
        ("-d", "(leave it out)"),
        ("-I", "--engine icmp"),
        ("-M icmp", "--engine icmp"),
        ("-N N", "(leave it out)"),
        ("-q N", "-c N"),
        ("-r", "--interface NAME"),
        ("-U", "--engine udp"),
        ("-w TIME", "-W TIME"),
        ("-s ADDRESS", "-I ADDRESS"),
        ("-i NAME", "--interface NAME"),
        ("-t TOS", "--tos TOS"),
        ("-V", "(fastnet --version)"),
        ("--fwmark N", "--mark N"),
        ("HOST 100", "(the whole packet's size: -s 72 here, -s 52 by IPv6)"),
    ),
    "forward": (
        *_habits(
            "socat",
            ("TCP-LISTEN:8080,fork TCP:HOST:80", "'*:8080' HOST:80"),
            ("TCP-LISTEN:8080,fork,bind=127.0.0.1 TCP:HOST:80", "127.0.0.1:8080 HOST:80"),
            ("UDP-LISTEN:53,fork UDP:HOST:53", "--udp '*:53' HOST:53"),
            ("UNIX-LISTEN:PATH,fork TCP:HOST:80", "unix:PATH HOST:80"),
            ("TCP-LISTEN:8080,fork UNIX:PATH", "'*:8080' unix:PATH"),
            ("-T TIME", "--idle-timeout TIME"),
            ("-v", "--dump"),
            ("-V", "(fastnet --version)"),
        ),
        *_habits(
            "haproxy",
            ("-c", "--dry-run"),
            ("-D", "(leave it out)"),
            ("-n N", "--max-connections N"),
            ("-v", "(fastnet --version)"),
        ),
    ),
    "echo": _habits("socat", ("TCP-LISTEN:7,fork PIPE", "fastnet echo serve --host '*' --port 7")),
}
"""By command."""

_LONG = {
    "fping": {
        "--addr": "-A",
        "--alive": "-a",
        "--dontfrag": "-M",
        "--elapsed": "-e",
        "--fast-reachable": "-X",
        "--fwmark": "-k",
        "--generate": "-g",
        "--name": "-n",
        "--netdata": "-N",
        "--outage": "-o",
        "--period": "-p",
        "--rdns": "-d",
        "--src": "-S",
        "--stats": "-s",
        "--unreach": "-u",
        "--vcount": "-C",
        "--version": "-v",
    },
    "nmap": {"--verbose": "-v", "--version": "-V"},
    "traceroute": {
        "--debug": "-d",
        "--icmp": "-I",
        "--module": "-M",
        "--queries": "-q",
        "--sim-queries": "-N",
        "--udp": "-U",
        "--version": "-V",
        "--wait": "-w",
    },
}
"""The long names of programs, where ours have others: the tables have the short ones."""


def table(command: str) -> str:
    """The habits of one command as text; empty if there are none."""
    rows = HABITS.get(command, ())
    width = max((len(f"{each.program} {each.theirs}") for each in rows), default=0)
    lines = (f"  {f'{each.program} {each.theirs}':{width}}  {each.ours}" for each in rows)
    return "\n".join((HEAD, *lines)) if rows else ""


def hint(command: str, message: str, words: Sequence[str]) -> str:
    """What other programs mean by the words of a usage error: ``; fping's `-C N`: `-c N` here``."""
    is_missing, is_unknown = message.startswith(_REQUIRED), message.startswith("unrecognized")
    if is_missing:
        named = {*words, *(f"-{word[-1]}" for word in words if word[:1] == "-" and word[1:].isalpha())}
    else:
        named = {*message.replace("/", " ").replace(":", " ").split()}
        named |= {word for word in words if word[:2] in named}
    named |= {word.partition("=")[0] for word in named}
    habits = [*_all(command)]
    by_long = is_missing or is_unknown
    rows = [each for each in habits if _is_named(each, named) or (by_long and _is_long(each, named))]
    if "not allowed with" in message:
        rows = [each for each in rows if each.takes_number and _is_number(_next(each.option, words))]
    elif message.startswith("argument "):
        _, _, value = message.partition("'")
        value = value.partition("'")[0]
        lacking = message.endswith("expected one argument")
        rows = [each for each in rows if _fits(each, value) or (lacking and not each.value)]
    if is_unknown or "invalid choice" in message:
        rows += [each for each in habits if not each.option and _has_kind(each, message)]
    return "".join(map(_in_words, rows))


def hint_of_letters(command: str, word: str, option: str) -> str:
    """What other programs mean by a word of several letters, of which this is the first that is no option."""
    single = [each for each in _all(command) if each.option and not each.option.startswith("--")]
    whole = [each for each in single if word.startswith(each.option)]
    letter = [each for each in single if each.option == option]
    return "".join(map(_in_words, [each for each in whole if each.value] or letter or whole))


def _all(command: str) -> Iterator[Habit]:
    yield from HABITS.get(command, ())
    yield from not_here(command)


def not_here(command: str) -> Iterator[Habit]:
    """The options without an equivalent, each name by itself."""
    for program, options in NOT_HERE.get(command, {}).items():
        for names, remark in options.items():
            yield from (Habit(program, name, f"({remark})") for name in names.split())


def _next(option: str, words: Sequence[str]) -> str:
    """The word after an option; empty if there is none."""
    return next((value for word, value in pairwise(words) if word == option), "")


def address_hint(command: str, address: str) -> str:
    """The lines with an address of this kind, as socat's ``TCP-LISTEN:80,fork``; empty if there are none."""
    if "-L" not in (kind := _kind(address)):
        return ""
    return "".join(_in_words(each) for each in HABITS.get(command, ()) if _kind(each.theirs) == kind)


def is_upstream_of_socat(address: str) -> bool:
    """Whether it is an address of socat, as ``TCP:HOST:80``; ``tcp:80`` may be a host and a port."""
    form = "(TCP|UDP)[46]?(-[A-Z]+)?:.+:|UNIX-(CONNECT|CLIENT|SENDTO):"
    return address.startswith("UNIX:") or bool(re.match(form, address.upper()))


def _has_kind(habit: Habit, message: str) -> bool:
    """Whether the message has a number or an address of the kind that the other program's words have."""
    kinds = {_kind(word) for word in habit.theirs.split()} - {""}
    return any(_kind(word.strip("'")) in kinds for word in message.split())


def _kind(word: str) -> str:
    """``1`` of a number, ``TCP-L`` of socat's ``TCP4-LISTEN:80``; else nothing."""
    if word.isdigit():
        return "1"
    found = re.match("([A-Z]+)[46]?(-L)?[A-Z-]*:", word.upper())
    return "".join(filter(None, found.groups())) if found else ""


def _is_named(habit: Habit, named: set[str]) -> bool:
    """Whether its option is among the words, also one of a single dash with its value in the same word."""
    option = habit.option
    if option.startswith("--") or not option:
        return option in named
    return any(word.startswith(option) for word in named)


def _is_long(habit: Habit, named: set[str]) -> bool:
    """Whether the long name of its option is among the words."""
    return any(_LONG.get(habit.program, {}).get(word) == habit.option for word in named)


def _fits(habit: Habit, value: str) -> bool:
    """Whether this value, which ours refuses, can be that of the other program's option, or what follows."""
    if ":" in habit.value:
        return _kind(habit.value) == _kind(value)
    if habit.value == "0":
        return value == "0"
    return value[:1] not in ("", "-") and habit.takes_number == _is_number(value)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() and not {*".:"} & {*text}


def _in_words(habit: Habit) -> str:
    ours = habit.ours.strip("()") if habit.ours.startswith("(") else f"`{habit.ours}` here"
    return f"; {habit.program}'s `{habit.theirs}`: {ours}"
