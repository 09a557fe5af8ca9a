"""Rows made of the sealed record as it comes are the rows of a query."""

from __future__ import annotations

import pytest

import interlock.audit.joined
from interlock.audit import ActRecorder, HandshakeRefused, Refusals, encode, query
from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.feed import Feed
from interlock.audit.joined import Joined, Joiner
from interlock.model import Event
from tests.unit.audit.storage import INTENT, REFUSED, World, call, die, intent, open_plain, refused, settle


def rows(world: World, cursor: Cursor = BEGINNING) -> list[Joined]:
    feed = Feed(world.record, open_plain, cursor)
    joiner = Joiner(feed)
    return [row for fed in feed.read() if (row := joiner.add(fed)) is not None]


def by_id(found: object) -> list[dict[str, object]]:
    return sorted(found, key=lambda row: str(row["id"]))  # type: ignore[call-overload, no-any-return]


def test_they_are_the_rows_of_a_query(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    for number in range(3):
        call(writer, number)
    writer.append(REFUSED, refused())
    writer.append(Event.CALL_REFUSALS.code, encode(Refusals("10.0.0.9", 5, {"no-route": 5}, world.clock.wall())))
    writer.append(Event.TLS_REFUSED.code, encode(HandshakeRefused("10.0.0.8", "tls-handshake")))
    writer.flush()
    ActRecorder(world.writer("control"), "os:host/root").act(Event.KEY_CREATE, {"id": "k1"})
    settle(recorder)
    found = rows(world)
    calls = [one.row for one in found if one.kind == "calls"]
    acts = [one.row for one in found if one.kind == "acts"]
    assert by_id(calls) == by_id(query(world.record, open_plain))
    assert by_id(acts) == by_id(query(world.record, open_plain, kind="acts"))
    assert len(calls) == 6


def test_a_call_whose_beginning_was_not_followed_is_whole(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    record = writer.append(INTENT, intent(7))
    writer.flush()
    settle(recorder)
    feed = Feed(world.record, open_plain)
    cursor = feed.go_to_end()
    die(writer)
    settle(recorder)
    (found,) = [one for one in rows(world, cursor) if one.kind == "calls"]
    assert found.row["principal"] == "user:iss/u7"
    assert found.row["outcome"] == "unknown"
    assert found.records[0] == record
    assert len(found.records) == 2


def test_only_so_many_calls_are_remembered_and_the_others_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interlock.audit.joined, "WAITING", 2)
    recorder, writer = world.recorder(), world.writer()
    begun = [writer.append(INTENT, intent(number)) for number in range(5)]
    writer.flush()
    for record in begun:
        writer.append(Event.CALL_OUTCOME.code, b"\x91\xcc\xc8", record)
    writer.flush()
    settle(recorder)
    assert [one.row["resource"] for one in rows(world)] == [f"/a/{number}" for number in range(5)]
