"""Reading the record: one row per call, and nothing left out in silence."""

from __future__ import annotations

import os

import pytest

from interlock.audit import ActRecorder, HandshakeRefused, Refusals, encode, format_id, query, read_frames
from interlock.clock import SECOND
from interlock.errors import KeyMaterialError, RecordError
from interlock.model import Event
from tests.unit.audit.storage import (
    INTENT,
    OUTCOME,
    REFUSED,
    World,
    call,
    die,
    intent,
    open_plain,
    outcome,
    refused,
    settle,
)


def rows(world: World, **filters: object) -> list[dict[str, object]]:
    return list(query(world.record, open_plain, **filters))  # type: ignore[arg-type]


def test_an_empty_record_has_no_rows(world: World) -> None:
    assert rows(world) == []


def test_a_call_is_one_row_with_its_outcome(world: World) -> None:
    writer = world.writer()
    record = call(writer, 7)
    (row,) = rows(world)
    assert row == {
        "id": format_id(record),
        "time": "2023-11-14T22:13:20.000000Z",
        "event": "call:intent",
        "principal": "user:iss/u7",
        "methods": ["jwt"],
        "action": "GET",
        "host": "h",
        "route": "GET /a",
        "resource": "/a/7",
        "source": "10.0.0.1",
        "credential": "",
        "trace_id": f"{7:032x}",
        "service": "up",
        "decision": "allow",
        "outcome": "done",
        "reason": "",
        "status": 200,
        "duration_ms": 1.5,
        "bytes": 30,
        "bytes_in": 10,
        "bytes_out": 20,
        "upstream": "http://up",
        "mode": "written",
    }


def test_refusals_floods_and_handshakes_are_denied_rows(world: World) -> None:
    writer = world.writer()
    writer.append(REFUSED, refused())
    flood = Refusals("10.0.0.9", 500, {"no-route": 499, "malformed-request": 1}, world.clock.wall())
    writer.append(Event.CALL_REFUSALS.code, encode(flood))
    writer.append(Event.TLS_REFUSED.code, encode(HandshakeRefused("10.0.0.8", "tls-handshake")))
    writer.flush()
    found = rows(world)
    assert [(row["decision"], row["reason"], row["source"]) for row in found] == [
        ("deny", "token-expired", "10.0.0.2"),
        ("deny", "no-route", "10.0.0.9"),
        ("deny", "tls-handshake", "10.0.0.8"),
    ]
    assert found[1]["count"] == 500
    keys = set(found[0])
    assert {
        "id",
        "time",
        "principal",
        "methods",
        "action",
        "route",
        "resource",
        "status",
        "duration_ms",
        "bytes",
    } <= keys


def test_calls_under_way_and_of_unknown_outcome_say_so(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    writer.append(INTENT, intent())
    writer.flush()
    (row,) = rows(world)
    assert (row["outcome"], row["status"], row["duration_ms"]) == ("open", None, None)
    die(writer)
    settle(recorder)
    (row,) = rows(world)
    assert (row["outcome"], row["reason"], row["status"]) == ("unknown", "unknown", None)


def test_outcomes_are_found_over_segments(world: World) -> None:
    writer = world.writer(size_limit=1)
    first = writer.append(INTENT, intent(1))
    writer.flush()
    world.clock.advance(1)
    call(writer, 2)
    world.clock.advance(1)
    writer.append(OUTCOME, outcome(503), first)
    writer.flush()
    assert [(row["resource"], row["status"]) for row in rows(world)] == [("/a/2", 200), ("/a/1", 503)]


def test_an_outcome_stamped_before_its_intent_is_joined(world: World) -> None:
    writer = world.writer(size_limit=1)
    first = writer.append(INTENT, intent(1))
    writer.flush()
    world.clock.step(-100)
    writer.append(OUTCOME, outcome(503), first)
    writer.flush()
    assert [row["status"] for row in rows(world)] == [503]


def test_writers_are_merged_by_time(world: World) -> None:
    writers = [world.writer(f"worker-{number}") for number in range(3)]
    for number in range(9):
        world.clock.advance(1)
        call(writers[number % 3], number)
    assert [row["resource"] for row in rows(world)] == [f"/a/{number}" for number in range(9)]


def test_filters(world: World) -> None:
    writer = world.writer()
    start = world.clock.wall()
    for number in range(4):
        call(writer, number)
        writer.append(REFUSED, refused("rate-limited" if number % 2 else "token-expired"))
        writer.flush()
        world.clock.advance(10)
    assert len(rows(world)) == 8
    assert len(rows(world, decision="allow")) == len(rows(world, decision="deny")) == 4
    assert len(rows(world, reason="rate-limited")) == 2
    assert [row["resource"] for row in rows(world, principal="user:iss/u2")] == ["/a/2"]
    assert len(rows(world, principal="user:iss/*")) == 4
    assert rows(world, principal="user:iss/u") == []
    assert len(rows(world, since=start + 20 * SECOND)) == 4
    assert len(rows(world, until=start + 20 * SECOND)) == 4
    assert len(rows(world, since=start + 10 * SECOND, until=start + 20 * SECOND)) == 2
    assert len(rows(world, route="GET /a")) == 4
    assert [row["resource"] for row in rows(world, decision="allow", limit=2)] == ["/a/2", "/a/3"]
    assert rows(world, limit=0) == []


def test_calls_under_way_do_not_crowd_out_the_newest(world: World) -> None:
    writer = world.writer()
    for number in range(3):
        writer.append(INTENT, intent(number))
    writer.flush()
    for number in range(3, 6):
        world.clock.advance(1)
        call(writer, number)
    assert [row["resource"] for row in rows(world, limit=2)] == ["/a/4", "/a/5"]
    assert [row["resource"] for row in rows(world, limit=4)] == ["/a/2", "/a/3", "/a/4", "/a/5"]


def test_old_segments_are_not_even_opened(world: World) -> None:
    writer = world.writer()
    call(writer)
    old = world.segments()[0]
    world.clock.advance(3 * 86_400)
    call(writer, 1)
    data = bytearray(old.read_bytes())
    data[-1] ^= 1
    old.write_bytes(data)
    assert [row["resource"] for row in rows(world, since=world.clock.wall() - 3600 * SECOND)] == ["/a/1"]


def test_acts_are_rows_of_their_own(world: World) -> None:
    acts = ActRecorder(world.writer("control"), "os:node/root")
    name = acts.act(Event.KEY_CREATE, {"id": "k"})
    (row,) = rows(world, kind="acts")
    assert (row["id"], row["event"], row["actor"], row["details"]) == (name, "key:create", "os:node/root", {"id": "k"})
    assert rows(world) == []
    assert rows(world, kind="acts", principal="os:node/ada") == []


@pytest.mark.parametrize("where", ["frame", "header", "structure"])
def test_what_cannot_be_read_is_never_left_out_in_silence(world: World, where: str) -> None:
    writer = world.writer()
    for number in range(3):
        call(writer, number)
    path = world.segments()[0]
    data = bytearray(path.read_bytes())
    first = 12 + int.from_bytes(data[8:12], "big")
    data[{"frame": -1, "header": 20, "structure": first + 4}[where]] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordError):
        rows(world)
    problems: list[RecordError] = []
    found = rows(world, on_problem=problems.append)
    assert len(problems) == 1
    assert len(found) == {"frame": 3, "header": 0, "structure": 0}[where]


def test_frames_are_read_without_any_key(world: World) -> None:
    writer = world.writer()
    record = call(writer)
    frames = list(read_frames(world.segments()[0]))
    assert [(frame.event, frame.sequence, frame.refers) for frame in frames] == [(1, 0, None), (2, 1, record)]
    with world.segments()[0].open("ab") as file:
        file.write(os.urandom(200))
    with pytest.raises(RecordError):
        list(read_frames(world.segments()[0]))


def test_a_segment_for_another_key_is_told_as_such(world: World) -> None:
    def refuse(recipient_id: str, sealed: bytes, info: bytes) -> bytes:
        raise KeyMaterialError("sealed to another key")

    call(world.writer())
    with pytest.raises(RecordError, match="another key"):
        list(query(world.record, refuse))
