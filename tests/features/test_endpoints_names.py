"""Service names and localhost, also on a machine without /etc/services, /etc/hosts and a resolver."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable

import pytest
from environment import Run, absent
from namespaces import MakeNamespace

from fastnet import endpoints

BOTH = ["::1", "127.0.0.1"]
BARE_FILES = "/etc/services /etc/hosts /etc/resolv.conf"
RESOLVE = """
import json, socket, sys
from fastnet.endpoints import resolve
from fastnet.errors import NameNotResolved
family = getattr(socket, sys.argv[1])
for name in sys.argv[2:]:
    try:
        print(json.dumps([answer.host for answer in resolve(name, 80, family=family)]))
    except NameNotResolved as error:
        print(json.dumps(str(error)))
"""

Resolve = Callable[..., list[list[str] | str]]


@pytest.fixture
def bare(root: None, peer: Callable[[str], str]) -> tuple[str, ...]:
    """The words that run a command without those files, and with no network to ask over."""
    empty = f'for file in {BARE_FILES}; do [ ! -e $file ] || mount --bind /dev/null $file; done; exec "$@"'
    prefix = (peer("unshare"), "--mount", "--net", "sh", "-ec", empty, "sh")
    if subprocess.run([*prefix, "true"], check=False).returncode != 0:
        absent("the privilege to make namespaces")
    return prefix


@pytest.fixture
def resolved(python: Run) -> Resolve:
    """``resolved(prefix, "AF_UNSPEC", name, ...)``: the addresses of each name, or why there are none."""

    def run(prefix: tuple[str, ...], *words: str) -> list[list[str] | str]:
        ran = python("-c", RESOLVE, *words, prefix=prefix)
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return run


def test_services_have_ports_without_a_table_of_them(bare: tuple[str, ...], python: Run) -> None:
    code = "import sys; from fastnet.endpoints import parse_port; print(*map(parse_port, sys.argv[1:]))"
    ran = python("-c", code, "http", "https", "ssh", "domain", "postgresql", "redis", prefix=bare)
    assert (ran.stdout, ran.stderr) == ("80 443 22 53 5432 6379\n", "")


def test_an_unknown_service_is_refused_in_one_line(bare: tuple[str, ...], fastnet: Run) -> None:
    refused = fastnet("wait", "localhost:no-such-service", prefix=bare)
    assert (refused.stdout, refused.returncode) == ("", 2)
    assert "port 'no-such-service': expected a number or a service name" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", sorted(endpoints._SERVICES))
def test_a_service_is_where_the_system_has_it(name: str) -> None:
    try:
        port = socket.getservbyname(name)
    except OSError:
        pytest.skip("this machine's /etc/services has no such name")
    assert endpoints._SERVICES[name] == port


def test_localhost_is_the_loopback_without_a_resolver(bare: tuple[str, ...], resolved: Resolve) -> None:
    names = ("localhost", "LocalHost", "localhost.", "app.localhost", "a.b.localhost.")
    assert resolved(bare, "AF_UNSPEC", *names) == [BOTH] * len(names)
    assert resolved(bare, "AF_INET", *names) == [["127.0.0.1"]] * len(names)
    assert resolved(bare, "AF_INET6", *names) == [["::1"]] * len(names)


def test_other_names_are_asked_for(bare: tuple[str, ...], resolved: Resolve) -> None:
    names = ("notlocalhost", "localhost.example", ".localhost", "a..localhost", f"{'x' * 64}.localhost")
    for name, answer in zip(names, resolved(bare, "AF_UNSPEC", *names), strict=True):
        assert isinstance(answer, str)
        assert answer.startswith(f"{name}: ")


def test_the_hosts_file_comes_first(knowing: Callable[[str], tuple[str, ...]], resolved: Resolve) -> None:
    lines = "# 127.0.0.8 app.localhost\n127.0.0.9 web.localhost App.localhost # theirs\n127.0.0.7 localhost\n"
    prefix = knowing(lines)
    names = ("app.localhost", "WEB.localhost.", "other.localhost", "localhost")
    assert resolved(prefix, "AF_UNSPEC", *names) == [["127.0.0.9"], ["127.0.0.9"], BOTH, ["127.0.0.7"]]
    assert resolved(prefix, "AF_INET6", *names) == [["::1"]] * 4


def test_without_ipv6_the_other_loopback_comes_first(namespace: MakeNamespace, resolved: Resolve) -> None:
    host = namespace()
    host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    assert resolved(host.prefix, "AF_UNSPEC", "app.localhost") == [["127.0.0.1", "::1"]]


def test_a_command_takes_both(fastnet: Run, knowing: Callable[[str], tuple[str, ...]]) -> None:
    answered = fastnet("ping", "-c1", "app.localhost", prefix=knowing("127.0.0.1 localhost\n"))
    assert answered.returncode == 0, answered.stderr
    assert "1 sent, 1 received" in answered.stdout
    gone = fastnet("wait", "--gone", "app.localhost:http", prefix=knowing("127.0.0.1 localhost\n"))
    assert gone.returncode == 0, gone.stderr
