"""Following the sealed record: everything once and in order, from any place, over restarts; nothing altered passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.audit import read_frames
from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.feed import Fed, Feed
from interlock.audit.files import Files
from interlock.audit.journal import Scan, Sealed
from interlock.errors import RecordError
from tests.unit.audit.storage import INTENT, World, call, die, fail_nth, intent, open_plain, settle


def feed(world: World, cursor: Cursor = BEGINNING, **settings: object) -> Feed:
    return Feed(world.record, open_plain, cursor, **settings)  # type: ignore[arg-type]


def ids(found: list[Fed]) -> list[tuple[bytes, int]]:
    return [fed.record for fed in found]


def sealed_ids(world: World) -> list[tuple[bytes, int]]:
    """What the journal says is sealed, in its order, by the reader that `verify` uses."""
    found = []
    for path in world.journals():
        for entry in Scan(Files(), path):
            if isinstance(entry, Sealed):
                found += [(entry.segment, entry.first + number) for number in range(entry.count)]
    return found


def test_an_empty_record_has_nothing_and_that_is_no_error(world: World) -> None:
    reader = feed(world)
    assert reader.read() == []
    assert reader.cursor == BEGINNING
    assert feed(world).go_to_end() == BEGINNING


def test_what_is_sealed_comes_in_order_and_what_is_not_does_not_come(world: World) -> None:
    recorder, reader = world.recorder(), feed(world)
    writer, other = world.writer(), world.writer("worker-4")
    for number in range(5):
        call(writer, number)
        call(other, number)
    assert reader.read() == []
    settle(recorder)
    found = reader.read()
    assert ids(found) == sealed_ids(world)
    assert len(found) == 20
    assert [fed.entry.principal for fed in found if fed.event and fed.event.code == INTENT][:2] == [  # type: ignore[union-attr]
        "user:iss/u0",
        "user:iss/u1",
    ]
    call(writer, 9)
    assert reader.read() == []
    settle(recorder)
    assert len(reader.read()) == 2
    assert reader.read() == []


def test_a_frame_is_as_the_segment_has_it(world: World) -> None:
    recorder = world.recorder()
    call(world.writer())
    settle(recorder)
    assert [fed.frame for fed in feed(world).read()] == list(read_frames(world.segments()[0]))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_every_cursor_is_a_place_to_go_on_from(world: World, limit: int) -> None:
    recorder = world.recorder()
    writer = world.writer()
    for number in range(4):
        call(writer, number)
        if number % 2:
            settle(recorder)
    expected = sealed_ids(world)
    found: list[tuple[bytes, int]] = []
    cursor = BEGINNING
    while True:
        some = feed(world, Cursor.parse(str(cursor))).read(limit)
        if not some:
            break
        assert len(some) <= limit
        found += ids(some)
        cursor = some[-1].after
    assert found == expected
    assert len(found) == 8


def test_it_goes_through_journal_files_restarts_and_closed_segments(world: World) -> None:
    reader = feed(world)
    found: list[Fed] = []
    for life in range(4):
        recorder = world.recorder(journal_size=600)
        writer = world.writer(f"worker-{life}")
        for number in range(6):
            call(writer, number)
            settle(recorder)
            found += reader.read(3)
        if life == 1:
            die(writer)  # its open intents get outcomes in the recorder's segment
        else:
            writer.close()
        settle(recorder)
        if life == 2:
            recorder.close()  # as a crash
        else:
            assert recorder.stop()
        found += reader.read()
    assert len(world.journals()) > 4
    assert ids(found) == sealed_ids(world)
    assert ids(feed(world).read(10_000)) == sealed_ids(world)
    assert world.verify().problems == []


def test_a_kept_cursor_outlives_a_reboot(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    call(writer)
    settle(recorder)
    some = feed(world).read()
    die(writer)
    recorder.close()
    world.reboot()
    recorder = world.recorder()
    call(world.writer("worker-5"), 7)
    settle(recorder)
    rest = feed(world, Cursor.parse(str(some[-1].after))).read()
    assert ids(some) + ids(rest) == sealed_ids(world)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("nth", range(1, 30))
def test_whatever_step_of_the_recorder_fails_nothing_is_left_out(world: World, nth: int, done: bool) -> None:
    """At least once: entries that could not be synced are written again and may come twice."""
    recorder, writer, reader = world.recorder(), world.writer(), feed(world)
    call(writer, 0)
    settle(recorder)
    found = set(ids(reader.read()))
    world.disk.fault = fail_nth(nth, done)
    for number in range(1, 4):
        try:
            call(writer, number)
        except Exception:
            writer = world.writer(f"worker-{number}")
        settle(recorder)
        found |= set(ids(reader.read()))
    world.disk.fault = None
    call(world.writer("worker-9"), 9)
    settle(recorder, 40)
    for _ in range(3):
        found |= set(ids(reader.read()))
    missing = [one for one in sealed_ids(world) if one not in found]
    assert missing == []


def test_the_end_is_found_without_reading_what_is_before(world: World) -> None:
    recorder, writer = world.recorder(journal_size=600), world.writer()
    for number in range(6):
        call(writer, number)
        settle(recorder)
    reader = feed(world)
    reader.go_to_end()
    assert reader.read() == []
    record = call(writer, 7)
    settle(recorder)
    assert ids(reader.read())[0] == record


def test_one_record_is_looked_up_by_its_id(world: World) -> None:
    writer = world.writer()
    for number in range(3):
        record = call(writer, number)
    reader = feed(world)
    found = reader.look_up(record)
    assert found is not None
    assert found[1] == intent(2)
    assert reader.look_up((record[0], 99)) is None
    assert reader.look_up((bytes(16), 0)) is None
    later = call(writer, 8)
    assert reader.look_up(later) is not None


def test_idle_costs_two_looks_at_the_disk_and_no_read(world: World) -> None:
    class Counting(Files):
        reads = 0

        def read(self, fd: int, size: int, offset: int) -> bytes:
            self.reads += 1
            return super().read(fd, size, offset)

    recorder = world.recorder()
    call(world.writer())
    settle(recorder)
    files = Counting()
    reader = feed(world, files=files)
    reader.read()
    before = files.reads
    for _ in range(20):
        assert reader.read() == []
    assert files.reads == before


def test_a_flipped_byte_in_a_sealed_frame_is_an_error_and_stays_one(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    call(writer)
    settle(recorder)
    path = world.segments()[0]
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    reader = feed(world)
    assert len(reader.read()) == 1
    for _ in range(2):
        with pytest.raises(RecordError, match="altered at offset"):
            reader.read()
    data[-20] ^= 1
    path.write_bytes(data)
    assert len(reader.read()) == 1


def test_a_segment_that_is_missing_cut_or_another_is_an_error(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    call(writer)
    settle(recorder)
    path = world.segments()[0]
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    reader = feed(world)
    reader.read()
    with pytest.raises(RecordError, match="cut at offset"):
        reader.read()
    path.write_bytes(data.replace(b'"writer":"worker-3"', b'"writer":"worker-4"'))
    with pytest.raises(RecordError, match="does not begin as the journal says"):
        feed(world).read()
    path.unlink()
    with pytest.raises(RecordError, match="is missing"):
        feed(world).read()


def test_an_altered_or_missing_journal_is_an_error(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    for number in range(3):
        call(writer, number)
        settle(recorder)
    path = world.journals()[0]
    data = bytearray(path.read_bytes())
    cursor = feed(world).read()[-1].after
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    now = 0.0
    reader = feed(world, monotonic=lambda: now)
    reader.read()
    now = 1.0
    with pytest.raises(RecordError, match="altered at offset"):
        reader.read()
    with pytest.raises(RecordError, match="what the cursor remembers"):
        feed(world, cursor).read()
    path.unlink()
    with pytest.raises(RecordError, match="is missing"):
        feed(world, cursor).read()


def test_an_entry_half_written_is_waited_for(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    call(writer)
    settle(recorder)
    path = world.journals()[0]
    data = path.read_bytes()
    scan = Scan(Files(), path)
    (end,) = [scan.offset for entry in scan if isinstance(entry, Sealed)]
    path.write_bytes(data[: end - 10])
    reader = feed(world)
    assert reader.read() == []
    path.write_bytes(data)
    assert len(reader.read()) == 2


def test_a_frame_of_a_later_version_comes_without_its_contents(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    writer.append(250, intent())
    writer.flush()
    settle(recorder)
    (fed,) = feed(world).read()
    assert (fed.event, fed.entry) == (None, None)


ZERO = "00" * 32


@pytest.mark.parametrize("text", ["", "1.2.3", f"2.1.8.0.{ZERO}", "1.1.8.0.zz", f"1.-1.8.0.{ZERO}", "x" * 500])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match="not a place in the record"):
        Cursor.parse(text)


def test_the_text_of_a_cursor_is_fixed() -> None:
    cursor = Cursor(3, 120, 2, bytes(range(32)))
    text = "1.3.120.2.000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    assert str(cursor) == text
    assert Cursor.parse(text) == cursor


def test_the_cursor_of_another_node_passes_over_nothing_in_silence(tmp_path: Path) -> None:
    """Where it lies beyond a file that was ended, it looks like one whose entries a power cut took away: what marks the
    record apart is kept beside it (`analyst/place.py`)."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = World(tmp_path / "ours"), World(tmp_path / "theirs")
    for world, calls in ((ours, 3), (theirs, 40)):
        writer, recorder = world.writer(), world.recorder()
        for number in range(calls):
            call(writer, number)
        settle(recorder)
        recorder.stop()
    feed = Feed(theirs.record, open_plain)
    cursors = [BEGINNING]
    while found := feed.read(5):
        cursors.append(found[-1].after)
    feed.close()
    for cursor in cursors[1:]:
        feed = Feed(ours.record, open_plain, cursor)
        with pytest.raises(RecordError, match=r"altered|missing"):
            feed.read(1000)
        feed.close()


@pytest.mark.parametrize("more", [1, 9, 9999, 2**70])
def test_a_cursor_that_says_more_was_taken_than_there_was_passes_over_nothing(world: World, more: int) -> None:
    recorder, writer = world.recorder(), world.writer()
    for number in range(3):
        call(writer, number)
    settle(recorder)
    reader = feed(world)
    first = reader.read(1)[0].after
    rest = len(reader.read())
    assert first.taken == 1
    reader = feed(world, first._replace(taken=rest + more))
    for _ in range(2):
        with pytest.raises(RecordError, match="the cursor was altered"):
            reader.read()
    assert len(feed(world, first._replace(taken=rest)).read()) == 1


def test_a_cursor_that_says_frames_were_taken_of_what_is_no_seal_is_an_altered_one(world: World) -> None:
    recorder, writer = world.recorder(), world.writer()
    call(writer)
    settle(recorder)
    (path,) = world.journals()
    scan = Scan(Files(), path)
    places = [(type(entry), Cursor(1, scan.offset, 1, scan.running)) for entry in scan]
    after_begin = places[0][1]
    assert places[1][0] is not Sealed
    with pytest.raises(RecordError, match="the cursor was altered"):
        feed(world, after_begin).read()
