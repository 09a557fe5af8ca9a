"""The recorder: what it seals, what it notices, and what it does when its own steps fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from interlock.audit.attest import SLOTS
from interlock.audit.entries import Act, Outcome, decode
from interlock.audit.journal import Closed, Opened, Scan, Sealed
from interlock.audit.reader import decrypt
from interlock.audit.recorder_process import seal_now
from interlock.errors import RecordUnavailable
from interlock.model import Event
from interlock.tlog import leaf_hash
from tests.unit.audit.storage import (
    INTENT,
    OUTCOME,
    World,
    call,
    die,
    fail_nth,
    forge,
    intent,
    open_plain,
    outcome,
    settle,
)


def journal(world: World) -> list[object]:
    return [entry for path in world.journals() for entry in Scan(world.disk, path)]


def acts(world: World, event: Event) -> list[dict[str, object]]:
    """What the recorder put on the record."""
    found = []
    for path in world.segments():
        if "recorder" not in path.name:
            continue
        for frame, text in decrypt(path, open_plain):
            if frame.event == event.code:
                entry = decode(event, text)
                assert isinstance(entry, Act)
                found.append(entry.details)
    return found


def outcomes(world: World) -> dict[object, list[Outcome]]:
    found: dict[object, list[Outcome]] = {}
    for path in world.segments():
        for frame, text in decrypt(path, open_plain):
            if frame.event == OUTCOME:
                entry = decode(Event.CALL_OUTCOME, text)
                assert isinstance(entry, Outcome)
                found.setdefault(frame.refers, []).append(entry)
    return found


def closes(world: World) -> list[str]:
    return [entry.how for entry in journal(world) if isinstance(entry, Closed)]


def test_what_was_flushed_is_sealed_with_its_leaves(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    assert recorder.tick()
    seals = [entry for entry in journal(world) if isinstance(entry, Sealed)]
    leaves = [leaf_hash(frame.data) for frame, _ in decrypt(world.segments()[0], open_plain)]
    assert b"".join(seal.leaves for seal in seals) == b"".join(leaves)
    assert world.page.sealed == [world.clock.wall()]
    assert not recorder.tick()
    call(writer)
    recorder.tick()
    assert world.verify().sealed == 4


def test_a_segment_is_on_disk_before_the_journal_says_so(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    recorder.tick()
    call(writer)
    world.disk.steps.clear()
    recorder.tick()
    steps = [
        (name, path.name.startswith("journal")) for name, path in world.disk.steps if name in ("fdatasync", "write")
    ]
    assert steps.index(("fdatasync", False)) < steps.index(("write", True)) < steps.index(("fdatasync", True))


def test_a_good_order_ends_in_a_closed_record(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    for _ in range(5):
        call(writer)
        recorder.tick()
    writer.close()
    assert recorder.stop()
    report = world.verify()
    assert (report.ok, report.records, closes(world)) == (True, 10, ["clean"])
    assert world.attest.slots() == {}


def test_after_a_clean_stop_the_journal_goes_on_without_a_gap(world: World) -> None:
    for number in range(4):
        writer, recorder = world.writer(), world.recorder()
        call(writer, number)
        writer.close()
        assert recorder.stop()
    assert len(world.journals()) == 1
    assert acts(world, Event.RECORD_GAP_POSSIBLE) == []
    report = world.verify()
    assert (report.ok, report.records, report.notices) == (True, 8, report.notices[-1:])


def test_after_an_unclean_stop_the_first_record_is_the_gap(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    record = call(writer)
    recorder.tick()
    recorder.close()
    die(writer)
    recorder = world.recorder()
    settle(recorder)
    (gap,) = acts(world, Event.RECORD_GAP_POSSIBLE)
    assert gap["writers"] == [{"writer": "worker-3", "segment": record[0].hex(), "sequence": 1}]
    own = next(path for path in world.segments() if "recorder" in path.name)
    assert next(iter(decrypt(own, open_plain)))[0].event == Event.RECORD_GAP_POSSIBLE.code
    assert recorder.stop()
    report = world.verify()
    assert report.ok
    assert any("gap" in notice for notice in report.notices)
    assert len(world.journals()) == 2


@pytest.mark.parametrize("unseen", [False, True])
def test_a_killed_writer_leaves_no_intent_without_outcome(world: World, unseen: bool) -> None:
    writer, recorder = world.writer(), world.recorder()
    answered = call(writer)
    open_ = [writer.append(INTENT, intent(number)) for number in range(3)]
    writer.flush()
    if not unseen:
        recorder.tick()
    die(writer)
    settle(recorder)
    found = outcomes(world)
    assert [entry.reason for entry in found[answered]] == [""]
    assert all([entry.reason for entry in found[record]] == ["unknown"] for record in open_)
    assert recorder.stop()
    assert closes(world) == ["gone", "clean"]
    assert world.verify().ok


def test_a_living_writer_is_never_answered_for(world: World) -> None:
    """Also while one of its segments has ended and the outcome will come in another."""
    writer, recorder = world.writer(size_limit=1), world.recorder()
    record = writer.append(INTENT, intent())
    writer.flush()
    settle(recorder)
    call(writer, 1)
    settle(recorder)
    assert record not in outcomes(world)
    assert len(closes(world)) == 1  # the first one waits for its outcome, the last one is the writer's sign of life
    recorder.close()
    recorder = world.recorder()  # also a new recorder must not take it for dead
    settle(recorder)
    assert record not in outcomes(world)
    writer.append(OUTCOME, outcome(), record)
    writer.flush()
    settle(recorder)
    assert [entry.reason for entry in outcomes(world)[record]] == [""]
    writer.close()
    assert recorder.stop()
    assert world.verify().ok


def test_an_outcome_read_before_its_intent_settles_it(world: World) -> None:
    """The segment with the outcome may be read first."""
    writer, recorder = world.writer(size_limit=1), world.recorder()
    first = writer.append(INTENT, intent())
    writer.flush()
    hidden = world.segments()[0]
    aside = hidden.with_suffix(".aside")
    os.rename(hidden, aside)
    writer.append(OUTCOME, outcome(), first)
    writer.flush()
    recorder.tick()
    os.rename(aside, hidden)
    writer.close()
    assert recorder.stop()
    assert [entry.reason for entry in outcomes(world)[first]] == [""]
    assert world.verify().ok


def test_restarts_answer_once(world: World) -> None:
    """However often the recorder is killed, each intent left open gets exactly one outcome."""
    writer = world.writer()
    left = [writer.append(INTENT, intent(number)) for number in range(3)]
    writer.flush()
    die(writer)
    for ticks in (1, 1, 2, 1, 2, 3):
        recorder = world.recorder()
        for _ in range(ticks):
            recorder.tick()
        die(recorder._own)
        recorder.close()
    recorder = world.recorder()
    settle(recorder)
    assert recorder.stop()
    found = outcomes(world)
    assert sorted(found) == left
    assert all(len(entries) == 1 for entries in found.values())
    assert world.verify().ok


# -- what someone with a hand in the files does


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("attack", ["flip", "cut", "remove", "replace", "header"])
def test_alteration_before_sealing_is_noticed_and_not_sealed(world: World, attack: str) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    path = world.segments()[0]
    size = path.stat().st_size
    call(writer)
    if attack == "flip":
        flip(path, size + 70)
    elif attack == "header":  # what is sealed already; found when it is read again, and by verify
        flip(path, 30)
    elif attack == "cut":
        os.truncate(path, size + 100)
    elif attack == "remove":
        os.unlink(path)
    else:
        data = path.read_bytes()
        os.unlink(path)
        path.write_bytes(data)
    settle(recorder)
    if attack == "header":
        assert not world.verify().ok
        return
    assert recorder.alarms == world.page.alarms >= 1
    assert acts(world, Event.RECORD_ALTERED)
    with pytest.raises(RecordUnavailable):  # the writer is made to leave the segment
        call(writer)
    call(writer)
    writer.close()
    settle(recorder)
    recorder.stop()
    assert not world.verify().ok
    assert sum(entry.count for entry in journal(world) if isinstance(entry, Sealed)) >= 2


def test_an_ended_segment_that_is_removed_is_missed_once(world: World) -> None:
    writer, recorder = world.writer(size_limit=1), world.recorder()
    call(writer)
    settle(recorder)
    (last,) = [path for path in world.segments() if path.name not in recorder._journal.state.closed]
    os.unlink(last)
    settle(recorder)
    writer.close()
    assert recorder.stop()
    settle(world.recorder())
    assert world.page.alarms == 1
    assert not world.verify().ok


def test_a_segment_that_comes_back_is_no_new_one(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    writer.close()
    settle(recorder)
    path = world.segments()[0]
    data = path.read_bytes()
    os.unlink(path)
    settle(recorder)
    path.write_bytes(data)
    settle(recorder)
    recorder.stop()
    assert any("came back" in problem.message for problem in world.verify().problems)


def test_a_segment_removed_before_it_was_ever_seen_is_missed(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    recorder.tick()
    call(writer)
    os.unlink(world.segments()[0])
    recorder.tick()
    world.clock.advance(6)
    settle(recorder)
    assert world.page.alarms == 1
    with pytest.raises(RecordUnavailable):
        call(writer)


def test_a_closed_segment_that_is_removed_is_missed_once(world: World) -> None:
    writer, recorder = world.writer(size_limit=1), world.recorder()
    call(writer)
    call(writer)
    settle(recorder)
    closed = next(path for path in world.segments() if path.name in recorder._journal.state.closed)
    os.unlink(closed)
    settle(recorder)
    settle(recorder)
    assert world.page.alarms == 1
    writer.close()
    assert recorder.stop()
    again = world.recorder()
    settle(again)
    assert world.page.alarms == 1
    assert any("missing" in problem.message for problem in world.verify().problems)


@pytest.mark.parametrize("attack", ["flip", "cut", "remove", "header"])
def test_alteration_while_no_recorder_ran_is_noticed(world: World, attack: str) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    recorder.close()
    die(writer)
    path = world.segments()[0]
    if attack == "flip":
        flip(path, path.stat().st_size - 100)
    elif attack == "cut":
        os.truncate(path, path.stat().st_size - 100)
    elif attack == "header":
        flip(path, 40)
    else:
        os.unlink(path)
    recorder = world.recorder()
    settle(recorder)
    assert world.page.alarms >= 1
    assert acts(world, Event.RECORD_ALTERED)
    recorder.stop()
    assert not world.verify().ok


@pytest.mark.parametrize("attack", ["cut", "flip", "remove", "head"])
def test_a_journal_altered_while_no_recorder_ran_is_noticed(world: World, attack: str) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    writer.close()
    assert recorder.stop()
    path = world.journals()[0]
    if attack == "cut":
        os.truncate(path, path.stat().st_size - 20)
    elif attack == "flip":
        flip(path, path.stat().st_size // 2)
    elif attack == "remove":
        os.unlink(path)
    else:
        flip(world.record / "head", 40)
    assert not world.verify().ok
    recorder = world.recorder()
    settle(recorder)
    assert world.page.alarms >= 1
    recorder.stop()
    assert not world.verify().ok  # and it stays noticed


def test_strange_files_are_alarms_or_nothing(world: World) -> None:
    recorder = world.recorder()
    recorder.tick()
    folder = world.record / "segments"
    (folder / "notes.txt").write_text("x")
    settle(recorder)
    assert world.page.alarms == 0
    (folder / "20231114T221320Z-worker-1-00112233.seg").write_text("x")
    settle(recorder)
    settle(recorder)
    assert world.page.alarms == 1


def test_a_copy_of_a_segment_is_an_alarm(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    path = world.segments()[0]
    path.with_name("20231114T221320Z-worker-1-00112233.seg").write_bytes(path.read_bytes())
    settle(recorder)
    assert world.page.alarms == 1
    assert not world.verify().ok


# -- one file's trouble is its own


def test_an_outcome_in_a_closed_segment_is_remembered_by_the_next_recorder(world: World) -> None:
    """The segment with the outcome is not read again, and the one with the intent waits for another call."""
    writer, recorder = world.writer(size_limit=1), world.recorder(journal_size=600)
    done = writer.append(INTENT, intent(1))
    long = writer.append(INTENT, intent(2))
    writer.flush()
    writer.append(OUTCOME, outcome(), done)
    writer.flush()
    settle(recorder)
    for number in range(3):  # more journal files: it is carried over
        call(writer, number)
        settle(recorder)
    assert closes(world)
    for _ in range(2):
        die(recorder.own)
        recorder.close()
        recorder = world.recorder()
        settle(recorder)
    die(writer)
    settle(recorder)
    assert recorder.stop()
    found = outcomes(world)
    assert [entry.reason for entry in found[done]] == [""]
    assert [entry.reason for entry in found[long]] == ["unknown"]
    assert world.verify().ok


def test_a_condemned_segment_stays_so_for_the_next_recorder(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    first = call(writer)
    recorder.tick()
    call(writer)
    world.disk.fault = lambda name, path, done: (
        OSError(errno.EIO, "no") if (name, path.suffix) == ("fdatasync", ".seg") else None
    )
    recorder.tick()
    world.disk.fault = None
    die(recorder.own)
    recorder.close()
    recorder = world.recorder()
    settle(recorder)
    with pytest.raises(RecordUnavailable):
        call(writer)
    assert call(writer)[0] != first[0]
    writer.close()
    settle(recorder)
    assert recorder.stop()
    assert "unsynced" in closes(world)
    assert sum(entry.count for entry in journal(world) if isinstance(entry, Sealed) and entry.segment == first[0]) == 2
    synced = [path for name, path in world.disk.steps if name == "fdatasync" and first[0].hex()[:8] in path.name]
    assert len(synced) == 3  # at its birth, sealed once, failed once; never again
    assert world.verify().ok


def test_long_calls_hold_no_places(world: World) -> None:
    """A segment that has ended and is sealed needs none, however long its calls go on."""
    writer, recorder = world.writer(size_limit=1), world.recorder()
    begun = []
    for number in range(SLOTS + 10):
        begun.append(writer.append(INTENT, intent(number)))
        writer.flush()
        if number % 50 == 0:
            recorder.tick()
    recorder.tick()
    assert len(world.attest.slots()) < 5
    die(recorder.own)
    recorder.close()
    recorder = world.recorder()
    settle(recorder)
    world.clock.advance(6)
    recorder.tick()
    assert not recorder.trouble
    for record in begun:
        writer.append(OUTCOME, outcome(), record)
    writer.flush()
    writer.close()
    assert recorder.stop()
    assert world.page.alarms == 0
    assert all([entry.reason for entry in outcomes(world)[record]] == [""] for record in begun)
    assert world.verify().ok


@pytest.mark.parametrize(
    ("boot", "running"), [("this", True), ("this", False), ("earlier", True)], ids=["this", "not running", "earlier"]
)
def test_a_forged_segment_is_an_alarm_and_not_sealed(world: World, boot: str, running: bool) -> None:
    recorder = world.recorder()
    recorder.tick()
    if not running:
        writer = world.writer()
        call(writer)
        writer.close()
        assert recorder.stop()
        recorder = world.recorder()
    path = forge(world, world.boot if boot == "this" else "earlier", (b"s" * 16, 0))
    settle(recorder)
    assert world.page.alarms == 1
    assert recorder.stop()
    segment = next(entry.segment for entry in journal(world) if isinstance(entry, Opened) and entry.file == path.name)
    assert not [entry for entry in journal(world) if isinstance(entry, Sealed) and entry.segment == segment]
    assert not world.verify().ok


def test_segments_of_an_earlier_boot_are_sealed(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    recorder.tick()
    call(writer)
    die(writer)
    recorder.close()
    call(world.writer("other"))
    recorder = world.recorder()
    recorder.tick()
    recorder.close()
    die(recorder.own)
    close_all(world)
    world.reboot()
    recorder = world.recorder()
    settle(recorder)
    assert recorder.stop()
    assert world.page.alarms == 0
    assert world.verify().ok


def test_segments_whose_close_waits_for_the_disk_are_no_alarm(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    writer.close()
    world.disk.fault = lambda name, path, done: (
        OSError(errno.ENOSPC, "no") if path.name.startswith(("journal", ".journal")) else None
    )
    for _ in range(4):
        recorder.tick()
        assert recorder.trouble
        world.clock.advance(4)
    world.disk.fault = None
    settle(recorder)
    assert recorder.stop()
    assert world.page.alarms == 0
    assert world.verify().ok


@pytest.mark.parametrize("again", [False, True], ids=["followed", "taken up again"])
def test_a_segment_that_cannot_be_read_is_left_and_the_others_are_sealed(
    world: World, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    writers, recorder = [world.writer("worker-3"), world.writer("worker-4")], world.recorder()
    records = [call(writer) for writer in writers]
    recorder.tick()
    for writer in writers:
        call(writer)
    read = world.disk.read

    def fail(fd: int, size: int, offset: int) -> bytes:
        if records[0][0].hex()[:8] in world.disk._paths[fd].name and offset > 0 and size < 50_000:  # not the header
            raise OSError(errno.EIO, "no")
        return read(fd, size, offset)

    monkeypatch.setattr(world.disk, "read", fail)
    if again:
        die(recorder.own)
        recorder.close()
        recorder = world.recorder()
    settle(recorder)
    assert not recorder.trouble
    sealed = {entry.segment: entry.first + entry.count for entry in journal(world) if isinstance(entry, Sealed)}
    assert (sealed[records[0][0]], sealed[records[1][0]]) == (2, 4)
    assert len([act for act in acts(world, Event.RECORD_DAMAGED) if "cannot be read" in str(act["why"])]) == 1
    with pytest.raises(RecordUnavailable):
        call(writers[0])
    call(writers[0])
    for writer in writers:
        writer.close()
    assert recorder.stop()
    monkeypatch.undo()
    assert world.verify().ok


def test_what_is_no_file_is_an_alarm_each_and_stops_nothing(world: World) -> None:
    writer = world.writer()
    call(writer)
    folder = world.record / "segments"
    (folder / "20231114T221320Z-worker-1-00112233.seg").mkdir()
    os.mkfifo(folder / "20231114T221320Z-worker-1-00112234.seg")
    (folder / "20231114T221320Z-worker-1-00112235.seg").symlink_to(world.segments()[-1])
    (folder / ".x.seg.new").mkdir()
    (world.record / "journal-00099").mkdir()
    recorder = world.recorder()
    settle(recorder)
    settle(recorder)
    assert not recorder.trouble
    assert world.page.alarms == 4
    writer.close()
    assert recorder.stop()
    assert "clean" in closes_of(world, "worker-3")


def closes_of(world: World, writer: str) -> list[str]:
    opened = {entry.segment for entry in entries(world) if isinstance(entry, Opened) and entry.writer == writer}
    return [entry.how for entry in entries(world) if isinstance(entry, Closed) and entry.segment in opened]


def entries(world: World) -> list[object]:
    return [entry for path in world.journals() if path.is_file() for entry in Scan(world.disk, path)]


def test_sealed_bytes_cut_from_a_dead_writers_file_are_an_alarm(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    writer.append(INTENT, intent())
    writer.flush()
    recorder.tick()
    die(writer)
    path = world.segments()[0]
    os.truncate(path, path.stat().st_size - 50)
    settle(recorder)
    assert not recorder.trouble
    assert world.page.alarms == 1
    assert recorder.stop()
    assert not world.verify().ok


def test_an_altered_file_does_not_make_its_writer_dead(world: World) -> None:
    """Its writer holds that very file; calls of its earlier segments go on."""
    writer, recorder = world.writer(size_limit=1), world.recorder()
    record = writer.append(INTENT, intent())
    writer.flush()
    call(writer, 1)
    settle(recorder)
    (held,) = [path for path in world.segments() if world.disk.is_held(fd_of(path))]
    data = held.read_bytes()
    os.unlink(held)
    held.write_bytes(data)
    settle(recorder)
    assert world.page.alarms == 1
    assert record not in outcomes(world)


def fd_of(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def test_unknown_is_said_once_also_over_a_power_loss(world: World) -> None:
    """What the dead recorder had answered is read before anyone is answered for."""
    writer, recorder = world.writer(), world.recorder()
    record = writer.append(INTENT, intent())
    writer.flush()
    recorder.tick()
    die(writer)
    while record not in outcomes(world):
        recorder.tick()
    die(recorder.own)
    recorder.close()
    world.reboot()
    recorder = world.recorder()
    settle(recorder)
    assert recorder.stop()
    assert [entry.reason for entry in outcomes(world)[record]] == ["unknown"]
    assert world.verify().ok


def test_a_journals_tail_that_was_never_synced_may_go(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    good = world.journals()[0].stat().st_size
    call(writer)
    world.disk.fault = lambda name, path, done: (
        OSError(errno.EIO, "no") if (name, path.name) == ("fdatasync", "journal-00001") else None
    )
    recorder.tick()
    world.disk.fault = None
    settle(recorder)
    writer.close()
    assert recorder.stop()
    assert world.verify().ok
    assert world.journals()[0].stat().st_size > good
    os.truncate(world.journals()[0], good)  # what a power cut may do
    assert world.verify().ok


# -- what crashes and disks do


def test_a_torn_frame_of_a_dead_writer_is_left_out_and_remembered(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    record = call(writer)
    path = world.segments()[0]
    die(writer)
    with path.open("ab") as file:
        file.write(b"\x00\x00\x01\x00\x01torn")
    settle(recorder)
    assert recorder.stop()
    report = world.verify()
    assert report.ok
    assert any("unfinished" in notice for notice in report.notices)
    assert world.page.alarms == 0
    assert acts(world, Event.RECORD_DAMAGED)
    assert record
    flip(path, path.stat().st_size - 1)
    assert not world.verify().ok


def test_frames_flushed_but_not_attested_are_sealed(world: World) -> None:
    """Death between the write and the attestation."""
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    world.attest.publish = lambda *_: None  # type: ignore[method-assign]
    writer.append(INTENT, intent())
    writer.flush()
    die(writer)
    del world.attest.publish
    settle(recorder)
    assert recorder.stop()
    assert world.verify().records == 4  # with the outcome
    assert world.verify().ok


def test_a_writers_damage_is_closed_as_such(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    world.disk.room = 50
    world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "truncate" else None
    with pytest.raises(RecordUnavailable):
        call(writer)
    world.disk.room = None
    world.disk.fault = None
    world.clock.advance(1)
    call(writer)
    settle(recorder)
    writer.close()
    assert recorder.stop()
    assert closes(world) == ["damaged", "clean"]
    report = world.verify()
    assert report.ok
    assert any("50 bytes" in notice for notice in report.notices)


def test_a_segment_that_cannot_be_synced_is_condemned(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    first = call(writer)
    recorder.tick()
    call(writer)
    world.disk.fault = lambda name, path, done: (
        OSError(errno.EIO, "no") if (name, path.suffix) == ("fdatasync", ".seg") else None
    )
    recorder.tick()
    world.disk.fault = None
    with pytest.raises(RecordUnavailable):
        call(writer)
    assert call(writer)[0] != first[0]
    settle(recorder)
    writer.close()
    assert recorder.stop()
    assert "unsynced" in closes(world)
    report = world.verify()
    assert report.ok
    assert any("never confirmed" in notice for notice in report.notices)
    synced = [path for name, path in world.disk.steps if name == "fdatasync" and first[0].hex()[:8] in path.name]
    assert len(synced) == 3  # at its birth, sealed once, failed once; never again


def test_a_tick_that_failed_is_not_published(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    recorder.tick()
    published = len(world.page.sealed)
    call(writer)
    world.disk.fault = lambda name, path, done: (
        OSError(errno.EIO, "no") if path.name.startswith(("journal", ".journal")) else None
    )
    for _ in range(3):
        recorder.tick()
        assert recorder.trouble
    assert len(world.page.sealed) == published
    world.disk.fault = None
    settle(recorder)
    assert not recorder.trouble
    assert len(world.page.sealed) > published
    writer.close()
    assert recorder.stop()
    assert world.verify().ok


def test_a_writer_without_attestation_is_neither_passed_over_nor_sealed(world: World) -> None:
    from interlock.audit import SegmentWriter

    recorder = world.recorder()
    recorder.tick()
    writer = SegmentWriter(world.record, "w", world.recipient, clock=world.clock, files=world.disk, boot=world.boot)
    call(writer)
    recorder.tick()
    assert not recorder.trouble
    world.clock.advance(6)
    recorder.tick()
    assert "attestation" in recorder.trouble
    writer.close()
    settle(recorder)
    assert not recorder.trouble
    assert world.page.alarms == 1
    assert recorder.stop()
    assert not [entry for entry in journal(world) if isinstance(entry, Sealed) and entry.first == 0 and entry.count > 2]
    assert any("altered" in problem.message for problem in world.verify().problems)


def test_the_journal_spends_the_reserve_and_it_is_taken_back(world: World) -> None:
    recorder = world.recorder()
    recorder.tick()
    assert (world.record / "reserve").stat().st_size == 4096
    writer = world.writer()
    call(writer)
    full = True

    def fault(name: str, path: Path, done: bool) -> OSError | None:
        nonlocal full
        if name == "unlink" and path.name == "reserve":
            full = False
        return OSError(errno.ENOSPC, "no") if full and name == "write" and path.name.startswith("journal") else None

    world.disk.fault = fault
    recorder.tick()
    assert not recorder.trouble
    assert not (world.record / "reserve").exists()
    world.clock.advance(6)
    recorder.tick()
    assert (world.record / "reserve").exists()


def test_small_journals_go_on_in_the_next(world: World) -> None:
    writer, recorder = world.writer(size_limit=2000), world.recorder(journal_size=1000)
    for number in range(20):
        call(writer, number)
        recorder.tick()
    writer.close()
    assert recorder.stop()
    assert len(world.journals()) > 4
    report = world.verify()
    assert report.ok
    assert (report.records, report.sealed) == (40, 40 + sum(1 for how in closes(world) if how == "clean"))


def test_many_writers_and_rotations_verify(world: World) -> None:
    writers = [world.writer(f"worker-{number}", size_limit=1500) for number in range(3)]
    recorder = world.recorder(journal_size=3000)
    for number in range(15):
        for writer in writers:
            call(writer, number)
        if number % 3 == 0:
            recorder.tick()
    die(writers[0])
    for writer in writers[1:]:
        writer.close()
    assert recorder.stop()
    assert world.verify().ok
    assert world.verify().records == 90


def test_seal_now_seals_what_a_command_wrote(world: World) -> None:
    writer = world.writer("cli")
    call(writer)
    writer.close()
    assert seal_now(world.record, world.recipient, world.signer, world.attest)
    assert world.verify().sealed == 3
    assert [entry for entry in journal(world) if isinstance(entry, Opened)]


def scenario(world: World, confirmed: list[object]) -> None:
    """A short life: two workers, one dies, rotations, ticks in between. Goes on whatever fails."""
    writers = [world.writer("worker-3", size_limit=1200), world.writer("worker-4")]
    recorder = world.recorder(journal_size=1500)
    for number in range(5):
        for writer in writers:
            try:
                confirmed.append(call(writer, number))
            except RecordUnavailable:
                world.clock.advance(1)
        recorder.tick()
        world.clock.advance(1)
    try:
        writers[1].append(INTENT, intent())
        writers[1].flush()
    except RecordUnavailable:
        pass
    die(writers[1])
    recorder.tick()
    try:
        writers[0].close()
    except RecordUnavailable:
        pass
    recorder.stop()
    die(recorder._own)


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done but reported failed"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_every_step_failing_once(world: World, done: bool, code: int) -> None:
    """Whatever step fails, the next recorder goes on, all that was confirmed is sealed, and verify is content."""
    step = 0
    while True:
        step += 1
        folder = world.folder / f"{step}"
        folder.mkdir()
        here = World(folder)
        here.disk.fault = fail_nth(step, done, code)
        confirmed: list[object] = []
        scenario(here, confirmed)
        ended = len(here.disk.steps) < step
        here.disk.fault = None
        recorder = here.recorder()
        settle(recorder, 30)
        assert not recorder.trouble
        assert recorder.stop(), step
        report = here.verify()
        assert report.ok, (step, here.disk.steps[step - 1], report.problems)
        assert here.page.alarms == 0
        assert set(confirmed) <= set(outcomes(here))
        assert not [notice for notice in report.notices if "not sealed" in notice]
        if ended:
            break
    assert step > 60


@pytest.mark.parametrize("cut", [False, True], ids=["killed", "power cut"])
def test_death_at_every_step(world: World, cut: bool) -> None:
    """Everything stops at some step, for good; the next recorder goes on from what is left."""
    step = 0
    while True:
        step += 1
        folder = world.folder / f"{step}"
        folder.mkdir()
        here = World(folder)
        dead = Death(step)
        here.disk.fault = dead
        confirmed: list[object] = []
        try:
            scenario(here, confirmed)
        except Killed:
            pass
        sealed = {entry.segment: entry.first + entry.count for entry in journal(here) if isinstance(entry, Sealed)}
        here.disk.fault = None
        if cut:
            here.disk.power_cut()
            here.reboot()
        close_all(here)
        recorder = here.recorder()
        settle(recorder, 30)
        assert not recorder.trouble
        assert recorder.stop(), step
        report = here.verify()
        assert report.ok, (step, report.problems)
        assert here.page.alarms == 0, (step, acts(here, Event.RECORD_ALTERED))
        if not cut:
            assert set(confirmed) <= set(outcomes(here))
            now = {entry.segment: entry.first + entry.count for entry in journal(here) if isinstance(entry, Sealed)}
            assert all(now[segment] >= count for segment, count in sealed.items())
        if not dead.struck:
            break
    assert step > 60


class Killed(BaseException):
    pass


class Death:
    """From the nth step on, nothing happens any more."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.seen = 0
        self.struck = False

    def __call__(self, name: str, path: Path, done: bool) -> OSError | None:
        if not done:
            self.seen += 1
        if self.seen >= self.nth:
            self.struck = True
            raise Killed
        return None


def close_all(world: World) -> None:
    """A dead process holds no file, so no lock."""
    for fd in list(world.disk._paths):
        world.disk.close(fd)


def test_a_writer_that_begins_while_a_new_record_is_looked_at_is_no_orphan(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took its place after the places were looked at, and had written a call when the folder was."""
    look, places, began = world.disk.list, world.attest.slots, []

    def look_late(folder: Path) -> list[str]:
        if len(began) == 1:
            began.append(world.writer())
            call(began[1])
        return look(folder)

    def looked() -> dict[bytes, int]:
        if not began:
            began.append(None)
        return places()

    monkeypatch.setattr(world.disk, "list", look_late)
    monkeypatch.setattr(world.attest, "slots", looked)
    recorder = world.recorder()
    settle(recorder)
    assert world.page.alarms == 0
    began[1].close()
    settle(recorder)
    recorder.close()
    assert world.verify().ok
