"""What must hold of each case, and of the forwarder's counters and records."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from .cases import Case, World
from .ends import End
from .lives import DENIED
from .options import Row
from .windows import Windows

CUTS = {"idle": "idle_timeout", "half-closed": "half_closed_timeout", "late head": "head_timeout"}
"""Ends that a limit brings about, and the option that allows them."""

BY_UPSTREAMS = ("upstream reset", "bad response")


def movable(world: World, row: Row) -> list[str]:
    """What is still due to an end that reads: where nothing moves any more, it has stalled."""
    found = []
    for case in world.cases:
        client, upstream = case.client, case.upstream
        if world.http and case.reached_unknown:
            continue  # What is no response is not passed on.
        if client and upstream:
            found += [_owed(case, *pair) for pair in ((client, upstream), (upstream, client))]
        elif (
            client
            and client.stream.due
            and not (client.done or client.receiver.ended or _may_wait(case, row))
        ):
            found.append(f"life {case.life.number}: its upstream has heard nothing of it ({client.state})")
    return [text for text in found if text]


def _owed(case: Case, sender: End, receiver: End) -> str:
    if not receiver.wants or sender.aborted or sender.failed:
        return ""
    way = "up" if sender is case.client else "down"
    due, count = sender.stream.due, receiver.receiver.count
    if count < due and not case.garbage:
        return f"life {case.life.number}: {due - count} of {due} bytes on the way {way} have not come"
    if sender.stream.ended:
        return f"life {case.life.number}: the end of the way {way} has not come, all bytes have"
    return ""


def _may_wait(case: Case, row: Row) -> bool:
    """A client that need not have been connected by now."""
    return bool(
        case.garbage
        or row["max_connections"] < 100
        or row["descriptors"] == "few"
        or row["change"] == "upstreams die"
        or case.life.header in ("bad", "partial")
        or case.reached_unknown
    )


class Judge:
    """Checks the cases of a round that is over."""

    def __init__(
        self, world: World, row: Row, records: list[dict[str, Any]] | None, windows: Windows, *, ours: bool
    ) -> None:
        self._world = world
        self._windows = windows
        self._row = row
        self._ours = ours
        self._records: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in records or ():
            self._records[record["client"]].append(record)
        self._strangers_left = any((end.aborted or end.begun) and not end.peer for end in world.upstream_ends)
        """Upstreams have ended some connections without having learnt whose."""
        self._recorded = records is not None and row["listen"] != "unix"

    def problems(self) -> Iterator[str]:
        for end in self._world.upstream_ends:
            if end.wrong and not end.peer:
                yield f"an upstream's end: {end.wrong}"
        for case in self._world.cases:
            for text in (*case.wrongs, *self._of_case(case)):
                yield f"{text} [{self._outcome(case)}]"

    def _outcome(self, case: Case) -> str:
        record = self._record(case)
        ends = "; ".join(f"{'client' if end is case.client else 'upstream'} {end.state}" for end in case.ends)
        return f"life {case.life.number}: {ends}; record: {record and record['ended']}"

    def _record(self, case: Case) -> dict[str, Any] | None:
        if not case.address:
            return None
        host, port = case.address
        found = self._records.get(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", [])
        return found[0] if len(found) == 1 else None

    def _of_case(self, case: Case) -> Iterator[str]:
        client, upstream = case.client, case.upstream
        assert client
        if self._must_be_denied(case):
            if upstream:
                yield "reached the upstream, though it must be denied"
            return
        if not client.connected or case.garbage:
            return
        if self._windows.touch(case.began, case.ended_at):
            yield from self._of_shortage(case)
            return
        if self._is_excused(case):
            return
        if not upstream:
            if client.stream.due and not client.aborted and not client.receiver.answer:
                yield "never reached an upstream"
            return
        answer = client.answer
        refused = bool(case.conversation and case.conversation.refused)
        # One that was cut short while it waited for its turn may have sent what is refused.
        must_refuse = refused and not (client.cut_short or client.aborted or upstream.aborted or self._leaves)
        is_refusal = answer.startswith(b"HTTP/1.1 400 ")
        if must_refuse and not is_refusal:
            yield f"was not answered 400, but {answer[:40]!r}"
        elif answer and not (refused and is_refusal) and not is_bad_gateway(client, upstream):
            yield f"was answered {answer[:40]!r}"
        yield from self._of_way(case, client, upstream)
        yield from self._of_way(case, upstream, client)
        yield from self._of_record(case)

    @property
    def _leaves(self) -> bool:
        """Whether connections end between two requests: a later one is not read, or finds nobody."""
        return self._world.http and self._row["finish"] == "drain"

    def _of_shortage(self, case: Case) -> Iterator[str]:
        """In a shortage it may have been cut, but nobody takes a part for the whole."""
        if self._world.http and case.reached_unknown:
            return
        client = case.client
        served = case.upstream or self._strangers_left or self._world.http
        if client and not served and client.is_tcp and client.receiver.ended == "eof":
            yield "in a shortage, ended in order without an upstream"
        for sender, receiver in ((case.client, case.upstream), (case.upstream, case.client)):
            if not sender or not receiver or receiver.aborted or sender.aborted or sender.failed:
                continue
            if self._leaves and sender is case.client:
                continue
            if receiver.receiver.ended != "eof" or receiver.receiver.answer or not receiver.is_tcp:
                continue
            if (count := receiver.receiver.count) < sender.stream.due:
                yield f"in a shortage, ended in order after {count} of {sender.stream.due} bytes"

    def _of_way(self, case: Case, sender: End, receiver: End) -> Iterator[str]:
        if receiver.aborted:
            return
        way = "up" if sender is case.client else "down"
        due, count, ended = sender.stream.due, receiver.receiver.count, receiver.receiver.ended
        if self._leaves and (way == "up" or count == due):
            return
        refused = case.conversation and case.conversation.refused
        if ended == "eof" and sender.aborted and not (self._ours and receiver.is_tcp):
            return  # HAProxy passes resets on as ends, and a Unix socket knows none.
        if ended == "eof" and count < due:
            yield f"way {way}: ended in order after {count} of {due} bytes"
        elif ended == "eof" and sender.stream.ended == "reset" and self._ours and not refused:
            if is_bad_gateway(receiver, sender):
                return
            yield f"way {way}: a reset arrived as an end in order"
        elif ended == "eof" and not sender.stream.ended and not refused:
            yield f"way {way}: ended, though its sender had not"
        elif ended != "eof" and not (sender.aborted or sender.failed):
            if refused and way == "up":
                return
            yield f"way {way}: cut after {count} of {due} bytes (errno {receiver.failed})"

    def _of_record(self, case: Case) -> Iterator[str]:
        record = self._record(case)
        if not record or not case.upstream or not case.client:
            return
        if case.client.aborted or case.upstream.aborted or record["ended"] == "refused":
            return
        received = (case.upstream.receiver.total, case.client.receiver.total)
        if (record["up"], record["down"]) != received:
            yield f"its record has {record['up']} bytes up, {record['down']} down; received were {received}"

    def _must_be_denied(self, case: Case) -> bool:
        row, life = self._row, case.life
        if life.header in ("bad", "partial"):
            return True
        return row["access"] != "all" and life.source.startswith(DENIED) and row["listen"] == "ipv4"

    def _is_excused(self, case: Case) -> bool:
        """Whether this connection may have been cut, or not been served."""
        row, record = self._row, self._record(case)
        if row["finish"] == "stop" or (self._world.http and case.reached_unknown):
            return True
        if row["finish"] == "drain" and not case.upstream and not record:
            return True  # It waited in the backlog.
        if not case.upstream and self._strangers_left and (not record or record["ended"] in BY_UPSTREAMS):
            return True
        allowed = {name for name, option in CUTS.items() if row[option] and row[option] < 1}
        if row["max_per_source"]:
            allowed.add("denied")
        if (
            row["upstreams"] in ("refused first", "black hole first", "dying")
            or row["change"] == "upstreams die"
        ):
            allowed |= {"unreachable", *(("upstream reset", "bad response") if not case.upstream else ())}
        if row["upstreams"] == "dying" and not case.upstream:
            return True
        if not self._recorded or not record:
            return bool(allowed)
        return record["ended"] in allowed


def is_bad_gateway(client: End, upstream: End) -> bool:
    """The upstream was reset while a request waited for its response, and the client got an error."""
    return upstream.aborted and client.answer.startswith(b"HTTP/1.1 502 ")


def count_problems(
    world: World,
    row: Row,
    stats: dict[str, int],
    records: list[dict[str, Any]] | None,
    lost: int,
) -> list[str]:
    """What does not add up when all is over."""
    found = []
    clients = [case.client for case in world.cases if case.client]
    connected = sum(client.connected for client in clients)
    most = sum(client.failed not in (errno.ECONNREFUSED, errno.ENOENT) for client in clients)
    received_up = sum(end.receiver.total for end in world.upstream_ends)
    received_down = sum(case.client.receiver.total for case in world.cases if case.client)
    if stats["active"]:
        found.append(f"{stats['active']} connections are counted as active, all have ended")
    if stats["accepted"] > most:
        found.append(f"{stats['accepted']} connections were accepted, {most} were made")
    # Where accepting pauses, some that have gone may still wait for it at the end.
    if stats["accepted"] < connected and row["finish"] == "calm" and row["descriptors"] == "many":
        found.append(f"only {stats['accepted']} of {connected} connections were accepted")
    for name, sent, received in (
        ("up", stats["sent_up"], received_up),
        ("down", stats["sent_down"], received_down),
    ):
        if received > sent:
            found.append(f"{received} bytes {name} were received, {sent} sent")
    if records is not None:
        if len(records) + lost != stats["accepted"]:
            found.append(f"{len(records)} records and {lost} lost of {stats['accepted']} connections")
        for name in ("up", "down"):
            total = sum(record[name] for record in records)
            if total != stats[f"sent_{name}"] and not lost:
                found.append(f"records: {total} bytes {name}, counters: {stats[f'sent_{name}']}")
    return found
