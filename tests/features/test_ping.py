"""Ping against real kernels, silent hosts, routers that send errors, and a responder that misbehaves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from forking import forked

import fastnet
from fastnet._ping import Pinger, PingResult, Reply, multiping_async, ping_async
from fastnet._ping.results import result_of
from fastnet.errors import InvalidArgument, NameNotResolved, NoAddress

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
"""No capability at all; still root's files, since the interpreter may lie in root's home."""
PING_GROUPS = ("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
NO_PING_GROUPS = ("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
QUICK: dict[str, Any] = {"count": 2, "interval": 0.01, "timeout": 0.3}


def records(output: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in map(json.loads, output.splitlines()) if record["kind"] == kind]


class TestOnLoopback:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_a_host_that_answers(self, root, host):
        result = fastnet.ping(host, **QUICK)
        assert (result.host, result.address, result.alive, result.sent, result.received) == (
            host,
            host,
            True,
            2,
            2,
        )
        assert result.engine == "raw"
        assert result.loss_percent == 0
        assert result.error is None
        assert [reply.seq for reply in result.replies] == [0, 1]
        assert all(
            reply.ttl == 64 and reply.error is None and not reply.duplicate for reply in result.replies
        )
        assert 0 < result.rtt_min_ms <= result.rtt_avg_ms <= result.rtt_max_ms < 1000
        assert 0 <= result.rtt_stddev_ms <= result.rtt_max_ms

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    @pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1473, 65507])
    def test_any_payload_size(self, root, host, size):
        assert fastnet.ping(host, 1, size=size).alive

    def test_our_own_request_is_not_a_reply(self, namespace, fastnet):
        # A silent host sees only the requests that it sends to itself.
        alone = namespace()
        alone.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1", "net.ipv6.icmp.echo_ignore_all=1")
        ran = fastnet("ping", "-c1", "-W", "200ms", "127.0.0.1", "::1", prefix=alone.prefix)
        assert ran.returncode == 1
        assert "127.0.0.1: seq=0 no answer\n" in ran.stdout
        assert "::1: seq=0 no answer\n" in ran.stdout

    def test_a_name_is_resolved_once(self, root, monkeypatch):
        asked = []
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *args, **kw: asked.append(os.fsdecode(args[0])) or real(*args, **kw)
        )
        result = fastnet.ping("localhost", family=socket.AF_INET, **QUICK)
        assert (result.host, result.address, result.received) == ("localhost", "127.0.0.1", 2)
        assert len(asked) == 1

    def test_many_hosts_of_both_families_over_one_socket_each(self, root):
        hosts = [*(f"127.0.1.{n}" for n in range(1, 100)), "::1"]
        with Pinger() as pinger:
            before = descriptors()
            results = pinger.multiping([*hosts, hosts[0]], 3, 0.05, 0.5)
            assert descriptors() <= before + 2
        assert [result.host for result in results] == hosts
        assert all((result.sent, result.received, result.duplicates) == (3, 3, 0) for result in results)

    def test_source(self, root):
        assert fastnet.ping("127.0.0.1", 1, source="127.0.0.9").alive
        with pytest.raises(NoAddress, match=r"source 192\.0\.2\.99"):
            fastnet.ping("127.0.0.1", 1, source="192.0.2.99")

    @pytest.mark.parametrize("host", ["0.0.0.0", "224.0.0.1", "::", "ff02::1"])
    def test_what_is_not_one_host_is_refused(self, root, host):
        with pytest.raises(InvalidArgument, match="not the address of one host"):
            fastnet.ping(host)

    def test_a_link_local_address_needs_its_interface(self, root):
        with pytest.raises(InvalidArgument, match=r"as fe80::1%eth0"):
            fastnet.ping("fe80::1")

    @pytest.mark.parametrize(
        "bad",
        [
            {"count": 0},
            {"count": 1 << 63},
            {"interval": -1},
            {"interval": float("nan")},
            {"timeout": 0},
            {"timeout": float("inf")},
            {"size": -1},
            {"size": 65508},
            {"ttl": 0},
            {"ttl": 256},
            {"engine": "magic"},
        ],
    )
    def test_a_value_that_is_out_of_range_is_refused(self, root, bad):
        with pytest.raises(InvalidArgument, match=str(*bad)):
            fastnet.ping("127.0.0.1", **bad)

    def test_one_text_is_not_several_hosts(self, root):
        with pytest.raises(InvalidArgument, match="several hosts"):
            fastnet.multiping("127.0.0.1")
        assert fastnet.multiping([]) == []

    def test_an_unknown_name_is_told_before_anything_is_sent(self, root):
        with pytest.raises(NameNotResolved, match=r"no\.\.name"):
            fastnet.ping("no..name")


class TestAsync:
    def test_ping_async(self, root):
        result = asyncio.run(ping_async("127.0.0.1", **QUICK))
        assert (result.received, result.sent) == (2, 2)

    def test_many_at_once_do_not_mix(self, root):
        async def all_of_them() -> list[list[PingResult]]:
            groups = [[f"127.{group}.0.{n}" for n in range(1, 6)] for group in range(1, 21)]
            return await asyncio.gather(*(multiping_async(group, 2, 0.02, 1.0) for group in groups))

        for group in asyncio.run(all_of_them()):
            assert all((result.received, result.duplicates) == (2, 0) for result in group)

    def test_cancelling_leaves_nothing_open(self, namespace, root):
        before = descriptors()

        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ping_async("127.0.0.1", 100, 1.0), 0.05)
            assert descriptors() - inside == 0

        async def run() -> None:
            nonlocal inside
            await asyncio.to_thread(int)
            inside = descriptors()
            await give_up()

        inside = 0
        asyncio.run(run())
        assert descriptors() == before


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class TestTogether:
    def test_32_threads_with_one_pinger(self, root):
        with Pinger() as pinger:
            self.threads(lambda hosts: pinger.multiping(hosts, 5, 0.01, 2.0))

    def test_32_threads_with_sockets_of_their_own(self, root):
        self.threads(lambda hosts: fastnet.multiping(hosts, 5, 0.01, 2.0))

    def threads(self, ping: Callable[[list[str]], list[PingResult]]) -> None:
        """Disjoint sets of hosts: every second one of each set is a silent address."""
        results: dict[int, list[PingResult]] = {}

        def work(number: int) -> None:
            results[number] = ping([f"127.0.{number}.{n}" for n in range(1, 5)] + ["::1"])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(32))
        for number, group in results.items():
            assert [result.host for result in group] == [f"127.0.{number}.{n}" for n in range(1, 5)] + ["::1"]
            for result in group:
                assert [reply.seq for reply in result.replies] == [0, 1, 2, 3, 4]
                assert (result.received, result.duplicates) == (5, 0)

    def test_a_thousand_pings_leave_no_descriptor(self, root):
        fastnet.ping("127.0.0.1", 1)
        before = descriptors()
        for _ in range(1000):
            assert fastnet.ping("127.0.0.1", 1).alive
        assert descriptors() == before

    def test_a_thousand_pings_leave_no_memory(self, root, python):
        program = """if True:
            import asyncio, gc, fastnet
            from fastnet._ping import ping_async

            def bare():
                assert fastnet.ping("127.0.0.1", 1).alive

            async def many():
                for _ in range(500):
                    assert (await ping_async("127.0.0.1", 1)).alive

            def grown(run, times):
                run()
                gc.collect()
                before = len(gc.get_objects())
                for _ in range(times):
                    run()
                gc.collect()
                return len(gc.get_objects()) - before

            print(grown(bare, 1000) < 50, grown(lambda: asyncio.run(many()), 2) < 50)
        """
        assert python("-c", program).stdout == "True True\n"

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_a_flood_loses_nothing(self, root, host):
        result = fastnet.ping(host, 5000, 0)
        assert (result.sent, result.received, result.duplicates) == (5000, 5000, 0)

    def test_fork_in_mid_use(self, root):
        with Pinger() as pinger:
            replies = pinger.replies(["127.0.0.1", "::1"], 50, 0.01, 1.0)
            next(replies)

            def ping() -> None:
                result = pinger.multiping(["127.0.0.1", "::1"], 20, 0.01, 1.0)
                assert [each.received for each in result] == [20, 20]

            def ping_beside_a_child() -> None:
                with forked(ping):
                    ping()

            with forked(ping_beside_a_child):
                rest = list(replies)
        assert len(rest) == 99
        assert all(reply.error is None for reply in rest)


class TestAdversary:
    """What a responder does, and what must be believed of it, by each kind of socket."""

    VERDICTS = {  # noqa: RUF012
        "honest": None,
        "options": None,
        "redirect-then-reply": None,
        "error-then-reply": None,
        "noise": None,
        "three": None,
        "checksum": "no answer",
        "source": "no answer",
        "ident": "no answer",
        "sequence": "no answer",
        "cookie": "no answer",
        "truncated": "no answer",
        "headless": "no answer",
        "request": "no answer",
        "silence": "no answer",
        "late": "no answer",
        "error-for-other-ident": "no answer",
        "error-for-other-host": "no answer",
        "error-bad-cookie": "no answer",
        "error": "host unreachable from 10.77.0.2",
        "error-short-quote": "administratively prohibited from 10.77.0.2",
    }

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    @pytest.mark.parametrize(("timeout_ms", "duplicates"), [(5000, 4), (400, 0)], ids=["in time", "late"])
    def test_verdicts(self, linked, responder, fastnet, engine, timeout_ms, duplicates):
        """A busy machine delays answers: in time needs a long timeout, late (after 0.6 s) a short one."""
        verdicts = {
            behaviour: verdict
            for behaviour, verdict in self.VERDICTS.items()
            if (behaviour == "late") == (timeout_ms < 600)
        }
        hosts = {responder(behaviour): behaviour for behaviour in verdicts}
        words = ("ping", "-c2", "-i", "1.2", "-W", f"{timeout_ms}ms", "--engine", engine, "--json")
        ran = fastnet(*words, *hosts, prefix=linked[0].prefix)
        assert ran.stderr == ""
        assert ran.returncode == 1
        summaries = records(ran.stdout, "summary")
        assert {hosts[each["host"]]: each["error"] for each in summaries} == verdicts
        assert {each["engine"] for each in summaries} == {engine}
        for each in summaries:
            alive = verdicts[hosts[each["host"]]] is None
            assert (each["sent"], each["received"]) == (2, 2 if alive else 0)
            assert each["duplicates"] == (4 if hosts[each["host"]] == "three" else 0)
        replies = records(ran.stdout, "reply")
        assert sum(each["duplicate"] for each in replies) == duplicates
        assert all(each["rtt_ms"] is None or 0 < each["rtt_ms"] < timeout_ms for each in replies)


class TestNamespaces:
    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_a_neighbour_by_each_of_its_addresses(self, engines, fastnet, engine):
        left, right = engines
        found = re.search(r"fe80::\S+(?=/64)", right.ip("-6", "address", "show", "dev", "veth0"))
        index = left.run("cat", "/sys/class/net/veth0/ifindex").stdout.strip()
        # The last one has a scope where none is needed.
        hosts = ["10.77.0.2", "fd77::2", f"{found.group() if found else ''}%veth0", f"fd77::2%{index}"]
        words = ("ping", "-c2", "-i", "50ms", "--engine", engine, "--json")
        ran = fastnet(*words, *hosts, prefix=left.prefix)
        summaries = records(ran.stdout, "summary")
        assert [each["host"] for each in summaries] == hosts
        assert [each["address"] for each in summaries[:3]] == hosts[:3]
        assert [(each["received"], each["engine"]) for each in summaries] == [(2, engine)] * 4
        assert ran.returncode == 0

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_the_reasons_that_a_router_gives(self, engines, fastnet, engine):
        left, right = engines
        right.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        right.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
        for family, via, prefixes in (
            ("-4", "10.77.0.2", ("10.88.1.0/24", "10.88.2.0/24", "10.88.3.0/24")),
            ("-6", "fd77::2", ("fd88:1::/64", "fd88:2::/64", "fd88:3::/64")),
        ):
            left.ip(family, "route", "add", "default", "via", via)
            for kind, prefix in zip(("unreachable", "prohibit", "blackhole"), prefixes, strict=True):
                right.ip(family, "route", "add", kind, prefix)
        left.ip("-4", "route", "add", "unreachable", "10.88.4.0/24")
        left.ip("-4", "route", "add", "prohibit", "10.88.5.0/24")
        expected = {
            "10.88.1.1": "host unreachable from 10.77.0.2",
            "10.88.2.1": "administratively prohibited from 10.77.0.2",
            "10.88.3.1": "no answer",
            "10.88.4.1": "not sent: No route to host",
            "10.88.5.1": "not sent: Permission denied (a broadcast address, or a prohibit route)",
            "10.77.0.255": "not sent: Permission denied (a broadcast address, or a prohibit route)",
            "fd88:1::1": "no route from fd77::2",
            "fd88:2::1": "administratively prohibited from fd77::2",
            "fd88:3::1": "no answer",
            "10.77.0.2": None,
            "fd77::2": None,
        }
        ran = fastnet(
            "ping",
            "-c2",
            "-i",
            "100ms",
            "-W",
            "500ms",
            "--engine",
            engine,
            "--json",
            *expected,
            prefix=left.prefix,
        )
        assert {each["host"]: each["error"] for each in records(ran.stdout, "summary")} == expected
        assert ran.returncode == 1

    def test_a_neighbour_that_is_not_there(self, linked, fastnet):
        # The kernel gives up asking for its hardware address after three seconds, and reports it itself.
        ran = fastnet("ping", "-c1", "-W", "4s", "10.77.0.9", prefix=linked[0].prefix)
        assert "10.77.0.9: seq=0 host unreachable from 10.77.0.1\n" in ran.stdout
        assert ran.returncode == 1

    @pytest.mark.parametrize("engine", ["raw", "datagram"])
    def test_the_ttl_is_kept(self, engines, fastnet, engine):
        left, right = engines
        right.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        left.ip("route", "add", "10.88.0.0/16", "via", "10.77.0.2")
        left.ip("-6", "route", "add", "fd88::/16", "via", "fd77::2")
        right.ip("route", "add", "10.88.0.0/16", "via", "10.77.0.1")
        right.ip("-6", "route", "add", "fd88::/16", "via", "fd77::1")
        ran = fastnet(
            "ping",
            "-c1",
            "-t1",
            "-W",
            "500ms",
            "--engine",
            engine,
            "10.88.1.1",
            "fd88::1",
            prefix=left.prefix,
        )
        assert "10.88.1.1: seq=0 time to live exceeded from 10.77.0.2\n" in ran.stdout
        assert "fd88::1: seq=0 hop limit exceeded from fd77::2\n" in ran.stdout

    def test_32_threads_of_which_half_ping_silent_hosts(self, linked):
        left, right = linked
        right.ip("route", "add", "local", "10.99.0.0/16", "dev", "lo")
        left.ip("route", "add", "10.99.0.0/16", "via", "10.77.0.2")
        left.ip("neighbour", "add", "10.77.0.50", "lladdr", "02:00:00:00:00:50", "dev", "veth0")
        left.ip("route", "add", "10.98.0.0/16", "via", "10.77.0.50")
        program = """if True:
            import fastnet
            from concurrent.futures import ThreadPoolExecutor
            groups = [[f"10.{98 + n % 2}.{n}.{m}" for m in range(1, 6)] for n in range(32)]
            with fastnet.Pinger() as pinger, ThreadPoolExecutor(32) as threads:
                for results in threads.map(lambda group: pinger.multiping(group, 4, 0.05, 1.0), groups):
                    for result in results:
                        print(result.address, result.received, result.duplicates)
        """
        lines = left.run(sys.executable, "-c", program).stdout.splitlines()
        assert sorted(lines) == sorted(
            f"10.{98 + n % 2}.{n}.{m} {4 * (n % 2)} 0" for n in range(32) for m in range(1, 6)
        )


class TestPrivilege:
    def test_the_ladder(self, engines, fastnet):
        left, _ = engines
        ran = fastnet("ping", "-c1", "-v", "10.77.0.2", "fd77::2", prefix=left.prefix)
        assert ran.stderr.count("by a raw socket\n") == 2
        ran = fastnet("ping", "-c1", "-v", "10.77.0.2", "fd77::2", prefix=(*left.prefix, *UNPRIVILEGED))
        assert ran.stderr.splitlines() == [
            "10.77.0.2 is 10.77.0.2, by a datagram socket",
            "fd77::2 is fd77::2, by a datagram socket",
        ]
        assert ran.returncode == 0

    @pytest.mark.parametrize("engine", ["icmp", "raw", "datagram"])
    def test_nothing_is_permitted(self, namespace, fastnet, engine):
        alone = namespace()
        alone.run(*NO_PING_GROUPS)
        ran = fastnet("ping", "--engine", engine, "127.0.0.1", prefix=(*alone.prefix, *UNPRIVILEGED))
        assert ran.returncode == 3
        assert ran.stdout == ""
        assert ("net.ipv4.ping_group_range" in ran.stderr) == (engine != "raw")
        assert ("CAP_NET_RAW" in ran.stderr) == (engine != "datagram")
        assert ran.stderr.count("\n") == 1

    def test_an_engine_that_is_insisted_on_is_not_replaced(self, namespace, fastnet):
        alone = namespace()
        alone.run(*PING_GROUPS)
        ran = fastnet("ping", "--engine=raw", "127.0.0.1", prefix=(*alone.prefix, *UNPRIVILEGED))
        assert ran.returncode == 3
        assert ran.stderr.startswith("fastnet ping: no raw ICMP socket is permitted here:")

    def test_the_tour_goes_on_without_icmp(self, namespace, python):
        alone = namespace()
        alone.run(*NO_PING_GROUPS)
        program = """if True:
            from fastnet.tour import ping, sweep
            for stop in ping, sweep:
                print(*(f"{sight.ok} {sight.result}" for sight in stop.visit()), sep="\\n")
        """
        ran = python("-c", program, prefix=(*alone.prefix, *UNPRIVILEGED))
        assert "50 answered" in ran.stdout
        assert ran.stdout.count("True no ICMP socket is permitted here: allow") == 1
        assert "False" not in ran.stdout
        assert ran.stderr == ""


class TestResult:
    def reply(self, rtt_ms: float | None, **more: Any) -> Reply:
        return Reply("h", "192.0.2.1", 0, rtt_ms, None, None if rtt_ms else "no answer", **more)

    def test_statistics(self):
        replies = (self.reply(1.0), self.reply(3.0), self.reply(None), self.reply(9.0, duplicate=True))
        result = result_of("h", "192.0.2.1", "raw", replies)
        assert (result.sent, result.received, result.duplicates) == (3, 2, 1)
        assert (result.rtt_min_ms, result.rtt_avg_ms, result.rtt_max_ms, result.rtt_stddev_ms) == (1, 2, 3, 1)
        assert result.loss_percent == pytest.approx(100 / 3)

    def test_without_any_reply(self):
        result = result_of("h", "192.0.2.1", "raw", (self.reply(None),))
        assert not result.alive
        assert result.error == "no answer"
        assert (result.rtt_min_ms, result.rtt_avg_ms, result.rtt_max_ms, result.rtt_stddev_ms) == (None,) * 4
        assert result.loss_percent == 100
        assert result_of("h", "192.0.2.1", "raw", ()).loss_percent is None
