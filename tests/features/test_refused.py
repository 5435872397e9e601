"""Systems that refuse calls, as sandboxes do: to receive, and what a socket can be without."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from environment import Run
from namespaces import Namespace
from sandbox import SANDBOX, refusing

from fastnet._system import permission

pytestmark = pytest.mark.xdist_group("icmp")
COMMANDS = [
    ("ping", "-c1", "-W200ms", "127.0.0.1"),
    ("ping", "-c1", "-W200ms", "--engine=datagram", "::1"),
    ("ping", "-f", "-c3", "-W200ms", "127.0.0.1"),
    ("ping", "--mtu", "-W200ms", "127.0.0.1"),
    ("trace", "-W200ms", "127.0.0.1"),
    ("trace", "-W200ms", "--engine=icmp", "::1"),
    ("sweep", "--timeout=200ms", "--engine=raw", "127.0.0.1"),
    ("sweep", "--timeout=200ms", "--engine=datagram", "::1"),
]
CLAIMS = re.compile(r"100% loss|inactive\n|inactive  |no answer|not reached|no MTU")


@pytest.fixture
def alone(namespace) -> Namespace:
    host: Namespace = namespace()
    host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    return host


class TestReceiving:
    """It is an error, and never silence."""

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    @pytest.mark.parametrize("code", ["EPERM", "ENOSYS", "EINVAL", "ENOMEM", "EACCES"])
    def test_refused(self, alone: Namespace, fastnet: Run, words, code: str) -> None:
        prefix = (*alone.prefix, *refusing(f"recvmmsg={code}", f"recvmsg={code}"))
        ran = fastnet(*words, prefix=prefix)
        assert not CLAIMS.search(ran.stdout)
        assert re.fullmatch(rf"(.*\n)*fastnet {words[0]}: receiving: .+\n", ran.stderr)
        assert ran.returncode == 3

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_errors_alone_refused(self, engines, fastnet: Run, engine: str) -> None:
        """The native core reads replies and errors by two calls."""
        left, right = engines
        left.ip("route", "add", "10.88.0.0/24", "via", "10.77.0.2")
        right.ip("route", "add", "unreachable", "10.88.0.0/24")
        right.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        words = ("sweep", "--timeout=500ms", f"--engine={engine}", "10.88.0.1")
        ran = fastnet(*words, prefix=(*left.prefix, *refusing("recvmsg=EPERM")))
        assert not CLAIMS.search(ran.stdout)
        assert (ran.returncode, "receiving: Operation not permitted" in ran.stderr) == (3, True)

    @pytest.mark.parametrize(
        "words",
        [
            ("ping", "-l", "-q", "-i20ms", "--json", "127.0.0.1"),
            ("sweep", "--rate=100", "--json", "--engine=raw", "127.0.0.0/24"),
            ("sweep", "--rate=100", "--stream", "--json", "--engine=raw", "127.0.0.0/24"),
        ],
        ids=" ".join,
    )
    def test_what_was_known_is_printed(self, alone: Namespace, words: tuple[str, ...]) -> None:
        """As where a filter is loaded that this program knows nothing of."""
        code = (
            "import signal, sys\n"
            f"sys.path.insert(0, {str(SANDBOX.parent)!r})\n"
            "import sandbox\n"
            "def refuse_later(*_):\n"
            "    rows = [line.split() for line in open('/proc/self/net/snmp') if line.startswith('Icmp:')]\n"
            "    if int(dict(zip(*rows))['InEchoReps']) >= 20:\n"
            "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
            "        [sandbox.refuse(f'{name}=EPERM') for name in ('recvmmsg', 'recvmsg')]\n"
            "signal.signal(signal.SIGALRM, refuse_later)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
            "from fastnet.cli import main\n"
            f"sys.exit(main({list(words)!r}))"
        )
        ran = subprocess.run(
            [*alone.prefix, sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        told = [*map(json.loads, ran.stdout.splitlines())]
        if words[0] == "ping":
            ((summary),) = told
            assert summary["received"] > 0
        else:
            assert {each["state"] for each in told} == {"alive"}
            assert 0 < len(told) < 256
        assert ran.stderr.endswith(f"fastnet {words[0]}: receiving: Operation not permitted\n")
        assert ran.returncode == 3


SOL_SOCKET, IPPROTO_IP, SOL_RAW = 1, 0, 255
OPTIONAL = {
    "SO_TIMESTAMPNS": (SOL_SOCKET, 35, "no kernel timestamps: round-trip times end when a reply is read"),
    "SO_TIMESTAMPING": (
        *(SOL_SOCKET, 37),
        "no transmit timestamps: round-trip times begin before the packet is sent",
    ),
    "IP_RECVTTL": (IPPROTO_IP, 12, "the TTL or hop limit of replies is not known"),
    "IP_MTU_DISCOVER": (IPPROTO_IP, 10, "packets have an IP id"),
    "ICMP_FILTER": (SOL_RAW, 1, "no filter: the socket receives other programs' ICMP messages too"),
    "SO_ATTACH_FILTER": (
        *(SOL_SOCKET, 26),
        "no filter: the socket receives other programs' ICMP messages too",
    ),
}


class TestSettings:
    @pytest.mark.parametrize("name", OPTIONAL)
    def test_what_is_done_without(self, alone: Namespace, fastnet: Run, name: str) -> None:
        level, option, note = OPTIONAL[name]
        prefix = (*alone.prefix, *refusing(f"setsockopt:{level}:{option}=ENOPROTOOPT"))
        ran = fastnet("ping", "-c2", "-i10ms", "--json", "-v", "127.0.0.1", prefix=prefix)
        line = f"{note} (Protocol not available)"
        assert ran.stderr.splitlines() == ["127.0.0.1 is 127.0.0.1, by a raw socket", line]
        *replies, _ = map(json.loads, ran.stdout.splitlines())
        assert (ran.returncode, len(replies)) == (0, 2)
        for reply in replies:
            assert 0 < reply["rtt_ms"] < 1000
            assert reply["ttl"] == (None if name == "IP_RECVTTL" else 64)
        quiet = fastnet("ping", "-c1", "127.0.0.1", prefix=prefix)
        assert (quiet.returncode, quiet.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("words", "first"),
        [
            (("sweep", "--engine=raw", "127.0.0.1"), []),
            (("trace", "--engine=raw", "127.0.0.1"), ["127.0.0.1 is 127.0.0.1, by a raw socket"]),
            (("ping", "--mtu", "127.0.0.1"), ["127.0.0.1 is 127.0.0.1, by a raw socket"]),
        ],
    )
    def test_the_other_commands_say_so_too(self, alone: Namespace, fastnet: Run, words, first) -> None:
        level, option, note = OPTIONAL["SO_TIMESTAMPNS"]
        prefix = (*alone.prefix, *refusing(f"setsockopt:{level}:{option}=EPERM"))
        ran = fastnet(*words, "-v", prefix=prefix)
        assert ran.stderr.splitlines()[: len(first) + 1] == [*first, f"{note} (Operation not permitted)"]
        assert ran.returncode == 0
        assert note not in fastnet(*words, prefix=prefix).stderr

    def test_buffers(self, alone: Namespace, fastnet: Run) -> None:
        options = [f"setsockopt:1:{option}=EPERM" for option in (7, 8, 32, 33)]
        ran = fastnet("ping", "-c1", "-v", "127.0.0.1", prefix=(*alone.prefix, *refusing(*options)))
        assert ran.returncode == 0
        assert [line.partition(":")[0] for line in ran.stderr.splitlines()[1:]] == [
            "the receive buffer can't be enlarged",
            "the send buffer can't be enlarged",
        ]

    def test_a_sweep_of_a_link(self, linked, fastnet: Run) -> None:
        prefix = (*linked[0].prefix, *refusing("setsockopt:1:35=EPERM"))
        ran = fastnet("sweep", "-v", "10.77.0.2", prefix=prefix)
        assert ran.stderr.startswith("no kernel timestamps: ")
        assert (ran.returncode, "alive" in ran.stdout) == (0, True)

    def test_errors_are_not_done_without(self, alone: Namespace, fastnet: Run) -> None:
        """Without IP_RECVERR who is unreachable would look silent."""
        prefix = (*alone.prefix, *refusing("setsockopt:0:11=EPERM"))
        for words in (("ping", "-c1"), ("trace",), ("sweep", "--engine=raw")):
            ran = fastnet(*words, "127.0.0.1", prefix=prefix)
            assert (ran.returncode, ran.stdout) == (3, "")
            assert ran.stderr == f"fastnet {words[0]}: Operation not permitted\n"


NO_RIGHTS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
NO_DATAGRAM, NO_STREAM = "socket:524290=EPERM", "socket:524289=EPERM"
"""With SOCK_CLOEXEC, and whatever protocol."""
BY_UDP = "`fastnet ping --engine udp`, `trace`"
BY_TCP = "`sweep --engine tcp` and `wait` work here"
BY_TCP_ALONE = f"`fastnet ping --engine tcp` (without -s, -p, -M, -m and --mtu), {BY_TCP}"
BOTH = f"{BY_UDP}, `ping --engine tcp`, {BY_TCP}"
READ = "dac_read_search"
"""The interpreter may lie in root's home."""
USERS = {
    "root": (),
    "nobody": (
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(f"--inh-caps=-all,+{READ}", f"--ambient-caps=-all,+{READ}"),
    ),
}
LIMITS = {
    "": (),
    "no_new_privs": ("setpriv", "--no-new-privs"),
    "bounding set": ("setpriv", "--inh-caps=-net_raw", "--bounding-set=-net_raw"),
    "both": ("setpriv", "--no-new-privs", "--inh-caps=-net_raw", "--bounding-set=-net_raw"),
}
_BOUNDED = (
    "have the capability CAP_NET_RAW from the start "
    "(AmbientCapabilities= and CapabilityBoundingSet= in a systemd unit, or cap_add for root in a container)"
)
RAW_CURES = {
    "": (
        "have the capability CAP_NET_RAW (root, AmbientCapabilities= in a systemd unit, "
        "cap_add for root in a container, or setcap cap_net_raw+ep "
        f"{os.path.realpath(sys.executable)}, which grants it to all that this Python runs)"
    ),
    "no_new_privs": (
        "have the capability CAP_NET_RAW from the start "
        "(root, AmbientCapabilities= in a systemd unit, or cap_add for root in a container)"
    ),
    "bounding set": _BOUNDED,
    "both": _BOUNDED,
}
CURE = "permit {} ones in the sandbox or security policy (seccomp, SELinux) that refuses them"


def test_a_shortage_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_descriptors(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(permission.socket, "socket", without_descriptors)
    with pytest.raises(OSError, match="Too many open files"):
        permission.refusal("UDP", socket.AF_INET)


class TestOpening:
    """Who may not open a socket reads which it is, what would permit it, and only what works there."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    @pytest.mark.parametrize(
        ("words", "what"),
        [
            (("trace",), "UDP"),
            (("ping", "--engine=udp"), "UDP"),
            (("ping", "--engine=raw"), "raw ICMP"),
            (("ping", "-m5"), "ICMP"),
            (("ping", "-s100"), "ICMP"),
            (("ping", "-pff"), "ICMP"),
            (("ping", "-Mdo"), "ICMP"),
            (("ping", "--mtu"), "ICMP"),
            (("sweep",), "ICMP"),
        ],
        ids=str,
    )
    def test_no_datagram_socket(self, alone: Namespace, fastnet: Run, words, what: str, host: str) -> None:
        ran = fastnet(*words, host, prefix=(*alone.prefix, *NO_RIGHTS, *refusing(NO_DATAGRAM)))
        kinds = what if what == "UDP" else f"{what} and UDP"
        assert ran.stderr == (
            f"fastnet {words[0]}: no {what} socket is permitted here: {CURE.format(kinds)}; {BY_TCP_ALONE}\n"
        )
        assert (ran.returncode, ran.stdout) == (3, "")

    @pytest.mark.parametrize(
        ("words", "what", "kinds"),
        [
            (("ping",), "ICMP", "ICMP, UDP and TCP"),
            (("ping", "--engine=tcp"), "TCP", "TCP and UDP"),
            (("trace",), "UDP", "UDP and TCP"),
            (("sweep",), "ICMP", "ICMP, UDP and TCP"),
        ],
        ids=str,
    )
    def test_no_socket_at_all(self, alone: Namespace, fastnet: Run, words, what: str, kinds: str) -> None:
        prefix = (*alone.prefix, *NO_RIGHTS, *refusing(NO_DATAGRAM, NO_STREAM))
        ran = fastnet(*words, "127.0.0.1", prefix=prefix)
        assert ran.stderr == (
            f"fastnet {words[0]}: no {what} socket is permitted here: {CURE.format(kinds)}\n"
        )
        assert (ran.returncode, ran.stdout) == (3, "")

    @pytest.mark.parametrize(
        "words", [("ping", "--engine=tcp"), ("sweep", "--engine=tcp"), ("portscan", "-p22")], ids=str
    )
    def test_no_stream_socket(self, alone: Namespace, fastnet: Run, words: tuple[str, ...]) -> None:
        ran = fastnet(*words, "127.0.0.1", prefix=(*alone.prefix, *NO_RIGHTS, *refusing(NO_STREAM)))
        assert ran.stderr == (
            f"fastnet {words[0]}: no TCP socket is permitted here: {CURE.format('TCP')}; "
            "`fastnet ping --engine udp` and `trace` work here\n"
        )
        assert (ran.returncode, ran.stdout) == (3, "")

    @pytest.mark.parametrize("more", [(), ("--gone",)], ids=str)
    def test_no_stream_socket_to_wait_with(
        self, alone: Namespace, fastnet: Run, more: tuple[str, ...]
    ) -> None:
        words = ("wait", "--timeout=300ms", *more, "127.0.0.1:9")
        ran = fastnet(*words, prefix=(*alone.prefix, *refusing(NO_STREAM)))
        assert ran.stderr.endswith(": 127.0.0.1:9: no stream socket is permitted here\n")
        assert (ran.returncode, ran.stdout) == (124, "")

    @pytest.mark.once
    @pytest.mark.parametrize("limits", ["", "no_new_privs", "bounding set", "both"])
    @pytest.mark.parametrize("who", ["root", "nobody"])
    @pytest.mark.parametrize(
        ("words", "what"),
        [
            (("ping", "--engine=icmp"), "ICMP"),
            (("ping", "--engine=raw"), "raw ICMP"),
            (("trace", "--engine=raw"), "raw ICMP"),
            (("sweep", "--engine=auto"), "ICMP"),
            (("sweep", "--engine=raw"), "raw ICMP"),
            (("sweep", "--engine=link"), "packet"),
            (("sweep", "--engine=scapy"), "raw"),
        ],
        ids=str,
    )
    def test_no_capability(self, linked, fastnet: Run, words, what: str, who: str, limits: str) -> None:
        """Only what can give it to such a process is named."""
        left, _ = linked
        left.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
        ran = fastnet(*words, "10.77.0.2", prefix=(*left.prefix, *LIMITS[limits], *USERS[who]))
        if who == "root" and limits in ("", "no_new_privs"):
            assert (ran.returncode, "no socket" in ran.stderr) == (0, False)
            return
        cures = (permission.DATAGRAM_CURE, RAW_CURES[limits]) if what == "ICMP" else (RAW_CURES[limits],)
        assert ran.stderr == (
            f"fastnet {words[0]}: no {what} socket is permitted here: {', or '.join(cures)}; {BOTH}\n"
        )
        assert (ran.returncode, ran.stdout) == (3, "")

    @pytest.mark.parametrize("limits", ["", "bounding set"])
    def test_a_file_that_is_not_known_is_not_named(self, alone: Namespace, fastnet: Run, limits: str) -> None:
        """Nor are limits taken for known without /proc."""
        without_proc = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
        prefix = (*alone.prefix, *without_proc, *LIMITS[limits], *USERS["nobody"])
        ran = fastnet("ping", "--engine=raw", "::1", prefix=prefix)
        assert ran.stderr == (
            "fastnet ping: no raw ICMP socket is permitted here: have the capability CAP_NET_RAW (root, "
            f"AmbientCapabilities= in a systemd unit, or cap_add for root in a container); {BOTH}\n"
        )
        assert (ran.returncode, ran.stdout) == (3, "")

    def test_fields_that_are_not_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As before Linux 4.10; a program's name may be any bytes."""
        status = tmp_path / "status"
        status.write_bytes(b"Name:\t\xff:\nUmask:\t0022\n")
        monkeypatch.setattr(permission, "_STATUS", str(status))
        assert permission.raw_cure() == RAW_CURES[""]


@pytest.mark.parametrize("kind", ["blackhole", "prohibit"])
@pytest.mark.parametrize("version", [4, 6])
def test_routes_that_lead_nowhere_are_named(linked, fastnet: Run, kind: str, version: int) -> None:
    left, _ = linked
    prefix, host = {4: ("10.88.0.0/24", "10.88.0.1"), 6: ("fd88::/64", "fd88::1")}[version]
    left.ip(f"-{version}", "route", "add", kind, prefix)
    for words in (("ping", "-c1"), ("ping", "--mtu"), ("trace",), ("sweep",), ("sweep", "--engine=tcp")):
        ran = fastnet(*words, host, prefix=left.prefix)
        assert f"{kind} route" in ran.stdout
        assert ran.returncode == 1
        assert not CLAIMS.search(ran.stdout.replace("no MTU: not sent", "").replace("not reached in", ""))


BLACKHOLE = "(a blackhole route, or a link-local address without its interface)"


@pytest.mark.parametrize("host", ["10.88.0.1", "fd88::1"])
def test_a_route_that_swallows_connections_is_named(linked, fastnet: Run, host: str) -> None:
    left, _ = linked
    left.ip("route", "add", "blackhole", host)
    ran = fastnet("portscan", "-p", "9-10", host, prefix=left.prefix)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == f"fastnet portscan: {host} port 9: Invalid argument {BLACKHOLE}\n"
    target = f"[{host}]:9" if ":" in host else f"{host}:9"
    ran = fastnet("wait", "--timeout=300ms", "--gone", target, prefix=left.prefix)
    assert ran.returncode == 124
    assert ran.stderr.endswith(f"{target}: invalid argument {BLACKHOLE}\n")
