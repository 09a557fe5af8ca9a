"""Verification finds whatever was done to the files, and is content with what crashes leave."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.audit import ActRecorder, parse_id, verify
from interlock.audit.journal import Scan, frame
from interlock.errors import RecordError
from interlock.model import Event
from tests.unit.audit.storage import INTENT, World, call, die, forge, intent, settle


@pytest.fixture
def finished(world: World) -> World:
    """A record of two writers and two journals, stopped in good order."""
    recorder = world.recorder(journal_size=900)
    writers = [world.writer("worker-3", size_limit=900), world.writer("worker-4")]
    for number in range(3):
        for writer in writers:
            call(writer, number)
        recorder.tick()
    for writer in writers:
        writer.close()
    assert recorder.stop()
    assert len(world.journals()) >= 2
    assert len(world.segments()) >= 3
    assert world.verify().ok
    return world


def all_files(world: World) -> list[Path]:
    log = [path for path in (world.record / "log").rglob("*") if path.is_file()]
    return [*world.journals(), *world.segments(), world.record / "head", *log]


def test_nothing_at_all_is_a_whole_record(tmp_path: Path) -> None:
    report = verify(tmp_path / "record")
    assert (report.ok, report.records, report.segments) == (True, 0, 0)


def test_verification_changes_nothing(finished: World) -> None:
    def state() -> dict[Path, tuple[bytes, int]]:
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in all_files(finished)}

    before, names = state(), sorted(finished.record.rglob("*"))
    finished.verify(attest=True)
    assert (state(), sorted(finished.record.rglob("*"))) == (before, names)


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_anywhere_is_found(finished: World, bit: int) -> None:
    """Flip one bit of any byte of any file of the record, and verify says so."""
    missed = []
    for path in all_files(finished):
        data = path.read_bytes()
        for at in range(bit, len(data), 1 if path.name == "head" else 9):
            bad = bytearray(data)
            bad[at] ^= 1 << bit
            path.write_bytes(bad)
            if finished.verify().ok:
                missed.append((path.name, at, data[max(0, at - 10) : at + 10]))
        path.write_bytes(data)
    assert missed == []


def test_the_place_of_an_altered_record_is_named(finished: World) -> None:
    path = finished.segments()[0]
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    (problem, *_) = finished.verify().problems
    assert problem.file == path.name
    assert problem.sequence is not None
    assert problem.offset is not None
    assert problem.offset <= len(data) - 200
    assert path.name in str(problem)


def test_every_removed_file_is_missed(finished: World) -> None:
    for path in all_files(finished):
        aside = finished.folder / "aside"
        os.rename(path, aside)
        report = finished.verify()
        assert not report.ok, path.name
        os.rename(aside, path)
    assert finished.verify().ok


def test_every_cut_is_found(finished: World) -> None:
    for path in all_files(finished):
        data = path.read_bytes()
        for size in {0, 1, len(data) // 3, len(data) // 2, len(data) - 100, len(data) - 1}:
            path.write_bytes(data[:size])
            assert not finished.verify().ok, (path.name, size)
        path.write_bytes(data)


def test_a_journal_cut_between_entries_is_found(finished: World) -> None:
    for path in finished.journals():
        data = path.read_bytes()
        scan = Scan(finished.disk, path)
        for _ in scan:
            if scan.offset < len(data):
                path.write_bytes(data[: scan.offset])
                assert not finished.verify().ok, (path.name, scan.offset)
                path.write_bytes(data)


def test_every_addition_is_found(finished: World) -> None:
    for path in [*finished.journals(), *finished.segments()]:
        data = path.read_bytes()
        for more in (b"x", bytes(100), data[-80:]):
            path.write_bytes(data + more)
            assert not finished.verify().ok, path.name
        path.write_bytes(data)


def test_swapped_copied_and_renamed_files_are_found(finished: World) -> None:
    def swapped(first: Path, second: Path) -> None:
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
        assert not finished.verify().ok
        first.write_bytes(a)
        second.write_bytes(b)

    segments, journals = finished.segments(), finished.journals()
    swapped(segments[0], segments[1])
    swapped(journals[0], journals[1])
    copy = segments[0].with_name("20231114T221320Z-worker-9-00112233.seg")
    shutil.copy(segments[0], copy)
    assert not finished.verify().ok
    os.unlink(segments[0])
    assert not finished.verify().ok
    os.rename(copy, segments[0])
    assert finished.verify().ok
    extra = finished.record / "journal-00099"
    shutil.copy(journals[0], extra)
    assert not finished.verify().ok
    os.unlink(extra)
    os.unlink(segments[0])
    os.symlink(segments[1], segments[0])
    assert not finished.verify().ok


def test_frames_left_out_or_swapped_are_found(finished: World) -> None:
    path = max(finished.segments(), key=lambda path: path.stat().st_size)
    data = path.read_bytes()
    ends = [int.from_bytes(data[8:12], "big") + 12]
    while ends[-1] < len(data):
        ends.append(ends[-1] + int.from_bytes(data[ends[-1] : ends[-1] + 4], "big"))
    for at in range(len(ends) - 1):
        path.write_bytes(data[: ends[at]] + data[ends[at + 1] :])
        assert not finished.verify().ok
    for at in range(len(ends) - 2):
        first, second = data[ends[at] : ends[at + 1]], data[ends[at + 1] : ends[at + 2]]
        path.write_bytes(data[: ends[at]] + second + first + data[ends[at + 2] :])
        assert not finished.verify().ok


def test_a_rewritten_journal_is_found_by_a_head_kept_elsewhere_only(finished: World) -> None:
    """Someone with a hand in all files can make a record of its own; only what is kept elsewhere tells."""
    kept = finished.verify().head
    assert finished.verify(known_head=kept).ok
    for path in all_files(finished):
        os.unlink(path)
    writer, recorder = finished.writer("worker-3"), finished.recorder()
    call(writer)
    writer.close()
    assert recorder.stop()
    assert finished.verify().ok
    report = finished.verify(known_head=kept)
    assert not report.ok
    assert "kept elsewhere" in str(report.problems[0])


def test_a_head_kept_elsewhere_stays_good_as_the_record_grows(world: World) -> None:
    heads = []
    for number in range(5):
        writer, recorder = world.writer(), world.recorder(journal_size=800)
        call(writer, number)
        writer.close()
        assert recorder.stop()
        heads.append(world.verify().head)
    assert len(set(heads)) == 5
    assert all(world.verify(known_head=head).ok for head in heads)
    assert not world.verify(known_head="0" * 63 + "1").ok


@pytest.mark.parametrize("harm", ["nothing", "flip", "cut"])
def test_a_journal_removed_with_its_head_is_missed_before_and_after_a_restart(finished: World, harm: str) -> None:
    for path in [*finished.journals(), finished.record / "head"]:
        os.unlink(path)
    path = finished.segments()[0]
    if harm == "flip":
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        os.truncate(path, path.stat().st_size - 20)
    assert not finished.verify().ok
    finished.reboot()
    recorder = finished.recorder()
    settle(recorder)
    assert recorder.alarms >= 1
    recorder.stop()
    assert not finished.verify().ok


@pytest.mark.parametrize("journal", [False, True], ids=["head alone", "head and last journal"])
def test_a_head_that_is_removed_is_missed_after_a_restart(finished: World, journal: bool) -> None:
    os.unlink(finished.record / "head")
    if journal:
        os.unlink(finished.journals()[-1])
    recorder = finished.recorder()
    settle(recorder)
    assert recorder.alarms >= 1
    recorder.stop()
    assert not finished.verify().ok


def test_a_journal_has_its_head_before_its_second_entry(world: World) -> None:
    """Death in between, at the very first start, is no alarm."""
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    world.disk.fault = lambda name, path, done: OSError(5, "no") if path.name.endswith("head") else None
    recorder.tick()
    world.disk.fault = None
    recorder.close()
    assert len(list(Scan(world.disk, world.journals()[0]))) == 1
    assert world.verify().ok
    recorder = world.recorder()
    settle(recorder)
    assert recorder.alarms == 0
    assert (world.record / "head").exists()


def test_only_what_is_sealed_acknowledges(world: World) -> None:
    recorder = world.recorder()
    recorder._voice.alarm("a drill")
    settle(recorder)
    (alarm,) = world.verify().problems
    forge(world, world.boot, parse_id(alarm.file))
    assert alarm in world.verify().problems
    settle(recorder)
    assert recorder.stop()
    assert alarm in world.verify().problems


def test_what_is_no_file_is_a_problem_and_holds_nothing_up(finished: World) -> None:
    folder = finished.record / "segments"
    (folder / "20231114T221320Z-worker-1-00112233.seg").mkdir()
    os.mkfifo(folder / "20231114T221320Z-worker-1-00112234.seg")
    (folder / "20231114T221320Z-worker-1-00112235.seg").symlink_to("nowhere")
    assert len(finished.verify().problems) == 3


def test_a_reordered_history_is_found(finished: World) -> None:
    """Recomputing the running hash of one file does not help without all that follow it."""
    first = finished.journals()[0]
    entries = list(Scan(finished.disk, first))
    del entries[2]
    data, running = b"ILKJNL1\n", bytes(32)
    for entry in entries:
        piece, running = frame(running, entry)
        data += piece
    first.write_bytes(data)
    assert not finished.verify().ok


# -- a running node, and what crashes leave


def test_a_running_node_verifies(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    assert world.verify(attest=True).ok
    call(writer)  # the recorder did not see the segment yet
    report = _verified(world, world.folder / "attest")
    assert (report.ok, report.records, report.sealed) == (True, 2, 0)
    assert any("journal is missing" in problem.message for problem in world.verify().problems)  # without the page
    recorder.tick()
    writer.append(INTENT, intent())
    writer.flush()
    report = world.verify(attest=True)
    assert (report.ok, report.records, report.sealed) == (True, 3, 2)
    assert "1 records are not sealed yet" in report.notices


@pytest.mark.parametrize("where", [-1, -150])
def test_the_attest_page_shows_what_is_altered_before_it_is_sealed(world: World, where: int) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    call(writer)
    path = world.segments()[0]
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    page = world.folder / "attest"
    assert world.verify(attest=True).ok  # of another boot than this machine's: it says nothing
    assert not _verified(world, page).ok
    os.unlink(path)
    os.mkfifo(path)  # nobody waits for it
    assert not _verified(world, page).ok
    os.unlink(path)
    assert not _verified(world, page).ok


def _verified(world: World, page: Path):  # type: ignore[no-untyped-def]
    """`verify`, on the boot of this world."""
    from interlock.audit import attest as module

    before = module.this_boot
    module.this_boot = lambda: world.boot
    try:
        return verify(world.record, attest=page)
    finally:
        module.this_boot = before


def test_after_kill_all_the_record_is_whole_before_and_after_the_restart(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    writer.append(INTENT, intent())
    writer.flush()
    die(writer)
    die(recorder.own)
    recorder.close()
    assert world.verify().ok
    recorder = world.recorder()
    settle(recorder)
    assert world.verify().ok
    assert recorder.stop()
    report = world.verify()
    assert report.ok
    assert not [notice for notice in report.notices if "not sealed" in notice]


def test_gaps_and_alarms_are_shown_until_acknowledged(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    recorder.tick()
    die(writer)
    recorder.close()
    recorder = world.recorder()
    settle(recorder)
    recorder._voice.alarm("a drill")
    settle(recorder)
    report = world.verify()
    (alarm,) = report.problems
    (gap,) = [notice for notice in report.notices if "gap" in notice]
    acts = ActRecorder(world.writer("control"), "os:node/root")
    acts.act(Event.CONFIG_LOAD, {})
    acts.acknowledge(parse_id(gap.partition(":")[0]), "power cut")
    acts.acknowledge(parse_id(alarm.file), "was me")
    acts.close()
    assert recorder.stop()
    report = world.verify()
    assert report.ok
    assert not [notice for notice in report.notices if "gap" in notice]


def test_an_intent_without_outcome_in_a_closed_segment_is_a_problem(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder sees to it that there is none; should it fail to, verify says so."""
    writer, recorder = world.writer(), world.recorder()
    writer.append(INTENT, intent())
    writer.flush()
    writer.close()
    with monkeypatch.context() as blind:
        blind.setattr("interlock.audit.leaves._INTENT", 99)
        assert recorder.stop()
    report = world.verify()
    assert "1 intents have no outcome" in str(report.problems[0])


def test_progress_reaches_the_end(finished: World) -> None:
    told: list[tuple[int, int]] = []
    verify(finished.record, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == sum(path.stat().st_size for path in finished.segments())


def test_an_unreadable_file_is_a_problem_and_no_crash(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlock.audit.files import Files

    real: Callable[..., bytes] = Files.read

    def read(self: Files, fd: int, size: int, offset: int) -> bytes:
        if offset > 0:
            raise OSError(5, "Input/output error")
        return real(self, fd, size, offset)

    monkeypatch.setattr(Files, "read", read)
    assert not finished.verify().ok


def test_problems_name_no_more_than_they_know(finished: World) -> None:
    with pytest.raises(RecordError):
        parse_id(str(finished.verify().head))
