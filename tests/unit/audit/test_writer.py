"""Writing segments on a disk that fails: what `flush` and `sync` returned from is there, nothing is torn."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import threading
from pathlib import Path

import pytest

from interlock.audit import ActRecorder, format_id
from interlock.audit.attest import DAMAGED, NOT_AS_WRITTEN, NOT_ON_DISK, UNSYNCED
from interlock.audit.entries import Act, SegmentEnd, decode
from interlock.audit.reader import SegmentReader, decrypt
from interlock.audit.segment import RecordId
from interlock.clock import SECOND
from interlock.errors import RecordError, RecordUnavailable
from interlock.model import Event
from interlock.model.events import BY_CODE
from tests.unit.audit.storage import INTENT, OUTCOME, World, call, fail_nth, intent, open_plain, outcome


def contents(path: Path) -> list[tuple[Event, object]]:
    return [(BY_CODE[frame.event], decode(BY_CODE[frame.event], text)) for frame, text in decrypt(path, open_plain)]


def records(world: World) -> dict[RecordId, Event]:
    """Every whole record there is; fails if a segment holds anything else."""
    found = {}
    for path in world.segments():
        with SegmentReader(path) as reader:
            for frame in reader.frames():
                found[(reader.header.id, frame.sequence)] = BY_CODE[frame.event]
            assert not reader.problem
            assert not reader.rest
    return found


def attested(world: World, record: RecordId) -> int:
    return world.attest.read(world.attest.slots()[record[0]]).frames


def test_nothing_is_in_the_kernel_before_flush(world: World) -> None:
    writer = world.writer()
    first = writer.append(INTENT, intent())
    assert records(world) == {}
    assert writer.pending == 1
    writer.flush()
    assert records(world) == {first: Event.CALL_INTENT}
    assert writer.pending == 0
    second = writer.append(OUTCOME, outcome(), first)
    writer.flush()
    assert (first[0], second) == (second[0], (first[0], 1))
    assert attested(world, first) == 2


def test_the_attested_hash_is_that_of_the_file(world: World) -> None:
    import hashlib

    writer = world.writer()
    record = call(writer)
    call(writer)
    data = world.segments()[0].read_bytes()
    found = world.attest.read(world.attest.slots()[record[0]])
    assert found == (len(data), 4, hashlib.sha256(data).digest())


def test_a_closed_segment_ends_with_its_count(world: World) -> None:
    writer = world.writer()
    call(writer)
    writer.close()
    assert contents(world.segments()[0])[-1] == (Event.SEGMENT_END, SegmentEnd(2))
    writer.close()  # and again, to no effect
    assert len(world.segments()) == 1


def test_segments_end_by_size_and_references_cross(world: World) -> None:
    writer = world.writer(size_limit=600)
    intents = []
    for number in range(6):
        intents.append(writer.append(INTENT, intent(number)))
        writer.flush()
    assert len({segment for segment, _ in intents}) > 1
    writer.append(OUTCOME, outcome(), intents[0])
    writer.flush()
    writer.close()
    frames = [frame for path in world.segments() for frame, _ in decrypt(path, open_plain)]
    assert [frame.refers for frame in frames if frame.event == OUTCOME] == [intents[0]]


def test_segments_end_with_the_day(world: World) -> None:
    writer = world.writer()
    call(writer)
    world.clock.advance(86_400)
    call(writer)
    days = [path.name[:8] for path in world.segments()]
    assert len(set(days)) == 2
    assert contents(world.segments()[0])[-1][0] is Event.SEGMENT_END


def test_a_living_writer_always_holds_a_segment(world: World) -> None:
    """The recorder takes a writer with no held segment for dead."""
    writer = world.writer(size_limit=1)  # every flush ends a segment
    call(writer)

    def held() -> bool:
        descriptors = [os.open(path, os.O_RDONLY) for path in world.segments()]
        try:
            return any(world.disk.is_held(fd) for fd in descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)

    assert held()
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "create" else None
    with pytest.raises(RecordUnavailable):
        call(writer)
    assert held()
    world.disk.fault = None
    world.clock.advance(1)
    call(writer)
    assert held()
    writer.close()
    assert not held()


def test_descriptors_do_not_pile_up(world: World) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    writer = world.writer(size_limit=1)
    for number in range(50):
        record = writer.append(INTENT, intent(number), None, bool(number % 2))
        writer.flush()
        if number % 4 == 3:
            writer.sync()
        assert record
    if before:
        assert len(os.listdir("/proc/self/fd")) - before < 8
    writer.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("code", [errno.EIO, errno.EFBIG, errno.EDQUOT, errno.ENOSPC])
def test_a_failed_write_costs_its_flush_and_the_segment(world: World, code: int) -> None:
    writer = world.writer()
    kept = call(writer)
    world.disk.fault = lambda name, path, done: OSError(code, "no") if name == "write" else None
    lost = [writer.append(INTENT, intent()) for _ in range(3)]
    with pytest.raises(RecordUnavailable):
        writer.flush()
    assert writer.pending == 0
    assert world.attest.state(world.attest.slots()[kept[0]]) == DAMAGED
    world.disk.fault = None
    world.clock.advance(1)
    after = call(writer)
    assert after[0] != kept[0]
    found = records(world)
    assert kept in found
    assert after in found
    assert not set(lost) & set(found)
    damage = contents(world.segments()[1])[0]
    assert damage[0] is Event.RECORD_DAMAGED
    assert isinstance(damage[1], Act)
    assert damage[1].details["file"] == world.segments()[0].name


def test_a_short_write_is_completed_or_cut_back(world: World) -> None:
    writer = world.writer()
    kept = call(writer)
    size = world.segments()[0].stat().st_size
    world.disk.room = 100
    with pytest.raises(RecordUnavailable):
        call(writer)
    assert world.segments()[0].stat().st_size == size
    world.disk.room = None
    world.clock.advance(1)
    call(writer)
    assert kept in records(world)


def test_a_write_in_pieces_is_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = world.disk.write
    monkeypatch.setattr(world.disk, "write", lambda fd, data, offset: whole(fd, bytes(data)[:7], offset))
    call(world.writer())
    assert len(records(world)) == 2


def test_a_cut_that_fails_leaves_nothing_that_counts(world: World) -> None:
    writer = world.writer()
    kept = call(writer)
    world.disk.room = 100
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "truncate" else None
    with pytest.raises(RecordUnavailable):
        call(writer)
    assert attested(world, kept) == 2
    assert world.attest.state(world.attest.slots()[kept[0]]) == DAMAGED


def test_the_reserve_is_spent_once_and_then_the_writer_is_tight(world: World) -> None:
    (world.record / "reserve").write_bytes(bytes(16 * 1024 * 1024))
    writer = world.writer()
    call(writer)
    full = True

    def fault(name: str, path: Path, done: bool) -> OSError | None:
        nonlocal full
        if name == "unlink" and path.name == "reserve" and path.exists():
            full = False
        return OSError(errno.ENOSPC, "no") if full and name == "write" else None

    world.disk.fault = fault
    record = call(writer)  # it did not even notice
    assert attested(world, record) == 4
    assert writer.tight
    assert not (world.record / "reserve").exists()
    full = True
    with pytest.raises(RecordUnavailable):
        call(writer)
    full = False
    world.clock.advance(2)
    call(writer)
    assert writer.tight
    (world.record / "reserve").write_bytes(bytes(16 * 1024 * 1024))  # the recorder took it back
    world.clock.advance(2)
    call(writer)
    assert not writer.tight


@pytest.mark.parametrize("when", ["looked at", "removed"])
def test_a_recorder_that_starts_may_take_a_new_segment_for_a_leftover(
    world: World, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Between its making and its lock, as the recorder does it: it asks whether the file is held, then removes it."""
    taken = []
    lock = world.disk.lock

    def late(fd: int) -> None:
        if not taken:
            (aside,) = (world.record / "segments").glob(".*.new")
            taken.append(aside)
            if when == "removed":
                aside.unlink()
            else:
                fcntl.flock(other := os.open(aside, os.O_RDONLY), fcntl.LOCK_SH)
                taken.append(other)
        lock(fd)

    monkeypatch.setattr(world.disk, "lock", late)
    writer = world.writer()
    writer.append(INTENT, intent())
    writer.flush()
    assert taken
    assert world.segments()
    assert not list((world.record / "segments").glob(".*.new"))


def test_a_full_disk_is_not_hammered(world: World) -> None:
    writer = world.writer()
    world.disk.room = 0
    for _ in range(100):
        with pytest.raises(RecordUnavailable):
            call(writer)
    assert sum(1 for name, _ in world.disk.steps if name == "create") <= 2


def test_a_failed_sync_is_never_tried_again_on_the_same_segment(world: World) -> None:
    writer = world.writer()
    record = writer.append(INTENT, intent(), None, True)
    writer.flush()
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "fdatasync" else None
    with pytest.raises(RecordUnavailable):
        writer.sync()
    world.disk.fault = None
    assert world.attest.state(world.attest.slots()[record[0]]) == UNSYNCED
    writer.append(INTENT, intent(), None, True)
    with pytest.raises(RecordUnavailable):
        writer.flush()  # what was appended to the lost segment is lost with it
    world.disk.steps.clear()
    again = writer.append(INTENT, intent(), None, True)
    writer.flush()
    writer.sync()
    assert again[0] != record[0]
    old = world.segments()[0] if world.segments()[0].name[-12:-4] == record[0].hex()[:8] else world.segments()[1]
    assert ("fdatasync", old) not in world.disk.steps
    assert ("write", old) not in world.disk.steps


def test_a_condemned_segment_is_left(world: World) -> None:
    writer = world.writer()
    record = call(writer)
    world.attest.condemn(world.attest.slots()[record[0]], NOT_AS_WRITTEN)
    with pytest.raises(RecordUnavailable):
        call(writer)
    assert call(writer)[0] != record[0]
    assert world.attest.state(world.attest.slots()[record[0]]) == DAMAGED


def test_a_flush_between_a_failed_sync_and_the_next_ticket_confirms_nothing(world: World) -> None:
    """The second call was flushed while the first one's sync was under way, and that sync failed."""
    writer = world.writer()
    first = writer.append(INTENT, intent(1), None, True)
    writer.flush()
    ticket = writer.sync_ticket()
    writer.append(INTENT, intent(2), None, True)
    writer.flush()
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "fdatasync" else None
    with pytest.raises(RecordUnavailable):
        ticket.run()
    world.disk.fault = None
    writer.append(INTENT, intent(3))
    with pytest.raises(RecordUnavailable):
        writer.flush()  # gives the segment up
    with pytest.raises(RecordUnavailable):
        writer.sync_ticket().run()
    again = writer.append(INTENT, intent(4), None, True)
    writer.flush()
    writer.sync_ticket().run()
    assert again[0] != first[0]
    writer.close()
    assert world.disk._paths == {}  # each descriptor was closed, and once


@pytest.mark.parametrize("flushed", [False, True], ids=["at the ticket", "at the next flush"])
def test_what_the_recorder_could_not_sync_is_not_synced_by_its_writer(world: World, flushed: bool) -> None:
    writer = world.writer()
    record = writer.append(INTENT, intent(1), None, True)
    writer.flush()
    slot = world.attest.slots()[record[0]]
    world.attest.condemn(slot, NOT_ON_DISK)
    if flushed:
        writer.append(INTENT, intent(2))
        with pytest.raises(RecordUnavailable):
            writer.flush()
        assert world.attest.state(slot) == UNSYNCED
    world.disk.steps.clear()
    with pytest.raises(RecordUnavailable):
        writer.sync_ticket().run()
    assert not [path for name, path in world.disk.steps if name == "fdatasync"]
    assert world.attest.state(slot) == UNSYNCED
    writer.close()


def test_a_ticket_covers_what_was_flushed_even_after_the_segment_ended(world: World) -> None:
    writer = world.writer(size_limit=1)
    record = writer.append(INTENT, intent(), None, True)
    writer.flush()
    ticket = writer.sync_ticket()
    call(writer)  # the first segment is closed by now
    world.disk.steps.clear()
    thread = threading.Thread(target=ticket.run)
    thread.start()
    thread.join()
    synced = [path.name[-12:-4] for name, path in world.disk.steps if name == "fdatasync"]
    assert synced == [record[0].hex()[:8]]


def test_written_records_ask_for_no_sync(world: World) -> None:
    writer = world.writer()
    call(writer)
    world.disk.steps.clear()
    call(writer)
    writer.sync()
    assert not [name for name, _ in world.disk.steps if name == "fdatasync"]


def test_a_record_too_large_harms_no_other(world: World) -> None:
    writer = world.writer()
    first = writer.append(INTENT, intent())
    with pytest.raises(RecordError):
        writer.append(INTENT, bytes(2 << 20))
    second = writer.append(INTENT, intent())
    writer.flush()
    assert (first[1], second[1]) == (0, 1)
    assert len(records(world)) == 2


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done but reported failed"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_every_step_failing_loses_nothing_that_was_confirmed(world: World, done: bool, code: int) -> None:
    """Whatever single step fails, what `flush` and `sync` returned from is whole on the record."""
    step = 0
    while True:
        step += 1
        folder = world.folder / f"{done}-{code}-{step}"
        folder.mkdir()
        here = World(folder)
        writer = here.writer("w", size_limit=900)
        here.disk.fault = fail_nth(step, done, code)
        confirmed: list[RecordId] = []
        for number in range(8):
            try:
                record = writer.append(INTENT, intent(number), None, True)
                writer.flush()
                writer.sync()
                confirmed.append(record)
            except RecordUnavailable:
                here.clock.advance(1)
        try:
            writer.close()
        except RecordUnavailable:
            pass
        found = records(here)
        assert set(confirmed) <= set(found)
        assert len(confirmed) >= 6
        if not fault_happened(here, step):
            break
    assert step > 25


def fault_happened(world: World, step: int) -> bool:
    return len(world.disk.steps) >= step


def test_a_power_cut_keeps_what_was_synced(world: World) -> None:
    writer = world.writer(size_limit=900)
    synced = []
    for number in range(6):
        synced.append(writer.append(INTENT, intent(number), None, True))
        writer.flush()
        writer.sync()
    written = writer.append(INTENT, intent(), None, False)
    writer.flush()
    world.disk.power_cut()
    found = records(world)
    assert set(synced) <= set(found)
    assert written not in found


def test_acts_are_on_disk_when_they_return(world: World) -> None:
    acts = ActRecorder(world.writer("control"), "os:node/root")
    name = acts.by("os:node/ada").act(Event.KEY_CREATE, {"id": "k1", "roles": ["a"]})
    world.disk.power_cut()
    assert contents(world.segments()[0]) == [
        (Event.KEY_CREATE, Act("os:node/ada", {"id": "k1", "roles": ["a"]})),
    ]
    assert name == format_id(next(iter(records(world))))


def test_an_act_that_cannot_be_recorded_says_so(world: World) -> None:
    acts = ActRecorder(world.writer("control"), "os:node/root")
    for step in ("create", "write", "fdatasync", "rename", "sync_folder"):
        world.disk.fault = lambda name, path, done, step=step: OSError(errno.EIO, "no") if name == step else None  # type: ignore[misc]
        with pytest.raises(RecordUnavailable):
            acts.act(Event.KEY_REVOKE, {"id": "k1"})
        world.clock.advance(1)
    world.disk.fault = None
    assert acts.act(Event.KEY_REVOKE, {"id": "k1"})


def test_what_is_held_is_written_at_once_when_it_is_let_go(world: World) -> None:
    writer = world.writer("control")
    acts = ActRecorder(writer, "os:node/root")
    acts.hold()
    names = [acts.by(f"os:node/{who}").note(Event.KEY_CREATE, {"id": who}) for who in ("ada", "bob", "cy")]
    assert (writer.pending, writer.flushes) == (3, 0)
    acts.release()
    assert (writer.pending, writer.flushes) == (0, 1)
    assert [format_id(record) for record in records(world)] == names
    acts.note(Event.KEY_CREATE, {"id": "after"})
    assert writer.flushes == 2


@pytest.mark.parametrize("step", ["write", "create"])
def test_what_is_held_and_cannot_be_written_is_told_of(world: World, step: str) -> None:
    acts = ActRecorder(world.writer("control"), "os:node/root")
    acts.note(Event.KEY_CREATE, {"id": "before"})
    acts.hold()
    acts.note(Event.KEY_CREATE, {"id": "lost"})
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "write" else None
    with pytest.raises(RecordUnavailable):
        acts.release()
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == step else None
    acts.hold()
    world.clock.advance(1)
    with pytest.raises(RecordUnavailable):
        acts.note(Event.KEY_CREATE, {"id": "lost, too"})
    with pytest.raises(RecordUnavailable):
        acts.release()
    world.disk.fault = None
    world.clock.advance(1)
    acts.hold()
    acts.note(Event.KEY_CREATE, {"id": "again"})
    acts.release()
    assert "lost" not in str([contents(path) for path in world.segments()])


def noted_beside(acts: ActRecorder) -> BaseException | None:
    """What another thread's note raised."""
    raised: list[BaseException] = []

    def note() -> None:
        try:
            acts.note(Event.KEY_CREATE, {"id": "beside"})
        except BaseException as problem:
            raised.append(problem)

    thread = threading.Thread(target=note)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@pytest.mark.parametrize("broken", [False, True])
def test_another_thread_writes_what_is_held_or_loses_it_for_all(world: World, broken: bool) -> None:
    """What it loses MUST NOT look written to the one who held it."""
    acts = ActRecorder(world.writer("control"), "os:node/root")
    acts.note(Event.KEY_CREATE, {"id": "before"})
    acts.hold()
    acts.note(Event.KEY_CREATE, {"id": "held"})
    if broken:
        world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "write" else None
    problem = noted_beside(acts)
    world.disk.fault = None
    assert isinstance(problem, RecordUnavailable) is broken
    if broken:
        with pytest.raises(RecordUnavailable):
            acts.release()
    else:
        acts.release()
    assert len(records(world)) == (1 if broken else 3)


@pytest.mark.parametrize("mine", [False, True])
def test_a_fault_of_ours_loses_what_waits_and_says_so(world: World, mine: bool) -> None:
    """Not an error of the disk: whoever waits for it MUST NOT find nothing left to write, and go on."""
    acts = ActRecorder(world.writer("control"), "os:node/root")
    acts.note(Event.KEY_CREATE, {"id": "before"})
    acts.hold()
    acts.note(Event.KEY_CREATE, {"id": "held"})

    def fault(name: str, path: Path, done: bool) -> None:
        if name == "write":
            raise MemoryError

    world.disk.fault = fault
    if mine:
        with pytest.raises(MemoryError):
            acts.release()
    else:
        assert isinstance(noted_beside(acts), MemoryError)
        world.disk.fault = None
        with pytest.raises(RecordUnavailable):
            acts.release()
    world.disk.fault = None
    assert acts.act(Event.KEY_REVOKE, {"id": "after"})
    there = [event for event in records(world).values() if event is not Event.RECORD_DAMAGED]
    assert len(there) == 2
    assert set(there) == {Event.KEY_CREATE, Event.KEY_REVOKE}, "in segments of one second, whose order is chance"
    assert "held" not in str([contents(path) for path in world.segments()])


def test_what_may_not_wait_is_written_with_all_before_it(world: World) -> None:
    writer = world.writer("control")
    acts = ActRecorder(writer, "os:node/root")
    acts.hold()
    acts.note(Event.KEY_CREATE, {"id": "held"})
    acts.note(Event.KEY_CREATE, {"id": "now"}, at_once=True)
    assert (writer.pending, acts.held) == (0, 1)
    acts.release()
    assert len(records(world)) == 2


def test_an_act_amid_what_is_held_is_on_disk_and_all_before_it(world: World) -> None:
    acts = ActRecorder(world.writer("control"), "os:node/root")
    acts.hold()
    acts.note(Event.KEY_CREATE, {"id": "held"})
    acts.act(Event.KEY_REVOKE, {"id": "held"})
    world.disk.power_cut()
    assert len(records(world)) == 2


def test_a_stepped_clock_does_no_harm(world: World) -> None:
    writer = world.writer()
    call(writer)
    world.clock.step(-3600)
    call(writer)
    world.clock.step(7200)
    call(writer)
    assert len(records(world)) == 6
    assert world.clock.monotonic() < SECOND
