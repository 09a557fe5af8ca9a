"""The quick verification, which looks at no single record, and the one that goes on where it was broken off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import Report, verify
from interlock.audit.reader import SegmentReader
from interlock.model import Event
from tests.unit.audit.storage import World, call, die, settle


@pytest.fixture
def finished(world: World) -> World:
    """Several closed segments, one of a writer that died, with records that refer to another segment."""
    recorder = world.recorder(journal_size=900)
    for number in range(4):
        writer = world.writer(f"worker-{number}", size_limit=900)
        for at in range(3):
            call(writer, at)
        recorder.tick()
        if number == 2:
            writer.append(Event.CALL_INTENT.code, b"\x90")
            writer.flush()
            die(writer)
        else:
            writer.close()
        settle(recorder)
    assert recorder.stop()
    return world


def quick(world: World) -> Report:
    return verify(world.record, log=world.signer, quick=True)


def test_the_quick_one_is_content_with_what_is_whole_and_says_what_it_did_not_do(finished: World) -> None:
    report = quick(finished)
    assert report.ok, report.problems
    assert report.sealed == finished.verify().sealed
    assert any("no single record" in notice for notice in report.notices)


def test_the_quick_one_finds_every_flipped_byte_of_a_segment_a_journal_and_the_checkpoint(finished: World) -> None:
    missed = []
    log = finished.record / "log" / "checkpoint"
    for path in [*finished.segments(), *finished.journals(), finished.record / "head", log]:
        data = path.read_bytes()
        for at in range(0, len(data), 7):
            bad = bytearray(data)
            bad[at] ^= 0x10
            path.write_bytes(bad)
            if quick(finished).ok:
                missed.append((path.name, at))
        path.write_bytes(data)
    assert missed == []


def test_the_quick_one_finds_what_is_cut_removed_added_or_swapped(finished: World) -> None:
    first, second, *_ = finished.segments()
    for path in (first, second):
        data = path.read_bytes()
        for changed in (data[:-1], data[: len(data) // 2], data + b"x", data + data[-100:]):
            path.write_bytes(changed)
            assert not quick(finished).ok
        path.write_bytes(data)
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert not quick(finished).ok
    first.write_bytes(a)
    second.write_bytes(b)
    os.unlink(first)
    assert not quick(finished).ok


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments whose records were looked at."""
    found: list[str] = []
    walk = SegmentReader.walk

    def counted(self: SegmentReader, *arguments: Any) -> None:
        found.append(self.path.name)
        walk(self, *arguments)

    monkeypatch.setattr(SegmentReader, "walk", counted)
    return found


def resumed(world: World) -> Report:
    return verify(world.record, log=world.signer, resume=world.folder / "resume")


def content(report: Report) -> tuple[object, ...]:
    return report.ok, report.records, report.sealed, report.segments, sorted(report.notices), report.problems


def test_what_was_found_good_is_not_read_again_and_the_result_is_the_same(finished: World, reads: list[str]) -> None:
    expected = content(finished.verify())
    reads.clear()
    assert content(resumed(finished)) == expected
    assert len(reads) == len(finished.segments())
    reads.clear()
    assert content(resumed(finished)) == expected
    assert reads == []


def test_it_goes_on_where_it_was_broken_off_also_in_the_middle_of_a_line(finished: World, reads: list[str]) -> None:
    expected = content(resumed(finished))
    path = finished.folder / "resume"
    data = path.read_bytes()
    for size in (0, len(data) // 3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert content(resumed(finished)) == expected
        reads.clear()
        assert content(resumed(finished)) == expected
        assert reads == []


def test_a_segment_that_changed_is_read_again(finished: World, reads: list[str]) -> None:
    resumed(finished)
    path = finished.segments()[1]
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    reads.clear()
    assert not resumed(finished).ok
    assert path.name in reads
    assert not resumed(finished).ok, "what is bad is not remembered as good"
    data[-100] ^= 1
    path.write_bytes(data)
    assert resumed(finished).ok


def test_a_removed_segment_is_missed_though_it_was_found_good(finished: World) -> None:
    resumed(finished)
    finished.segments()[0].unlink()
    assert not resumed(finished).ok


def test_a_remembered_alarm_stays_one(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    call(writer)
    settle(recorder)
    forged = world.segments()[0]
    data = bytearray(forged.read_bytes())
    data[-3] ^= 1
    writer.append(Event.CALL_INTENT.code, b"\x90")
    writer.flush()
    Path(forged).unlink()
    settle(recorder)
    writer.close()
    recorder.stop()
    first = content(resumed(world))
    assert not first[0]
    assert content(resumed(world)) == first
