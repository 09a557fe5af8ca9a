"""Pruning: what was kept for long enough goes, in the open; nothing else does, whoever asks, whatever fails."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.audit import Recorder
from interlock.audit.feed import Feed
from interlock.audit.journal import Closed, Entry, Opened, Pruned, Scan, Sealed, encode_head, frame
from interlock.audit.prune import refusal, write_request
from interlock.errors import RecordError
from interlock.model import Event
from interlock.model.retention import SHORTEST
from tests.unit.audit.storage import World, call, die, fail_nth, open_plain, settle
from tests.unit.audit.test_recorder import acts, journal

DAY = 86_400
KEPT = {0: 30 * DAY * 10**9, 1: 300 * DAY * 10**9}


def recorder_of(world: World, **settings: object) -> Recorder:
    return world.recorder(prune=(world.folder / "prune", lambda: KEPT), **settings)


def ask(world: World, *names: str) -> None:
    write_request(world.folder / "prune", list(names))


def segment_of(world: World, number: int, **settings: object) -> Path:
    """One closed segment with one call in it."""
    before = set(world.segments())
    writer = world.writer(**settings)
    call(writer, number)
    writer.close()
    (path,) = set(world.segments()) - before
    return path


def run(recorder: Recorder, rounds: int = 40) -> None:
    for _ in range(rounds):
        recorder.tick()
        recorder._clock.advance(0.3)  # type: ignore[attr-defined]


def entries(world: World, kind: type[Entry]) -> list[object]:
    return [entry for entry in journal(world) if isinstance(entry, kind)]


@pytest.fixture
def old(world: World) -> tuple[World, Recorder, Path, Path]:
    """A segment 40 days old, and one of today, beside a recorder that goes on."""
    recorder = recorder_of(world)
    first = segment_of(world, 1)
    settle(recorder)
    world.clock.advance(40 * DAY)
    second = segment_of(world, 2)
    settle(recorder)
    return world, recorder, first, second


def test_what_is_old_enough_goes_and_the_record_stays_whole(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, second = old
    before = world.verify()
    kept = (world.record / "log" / "checkpoint").read_bytes()
    ask(world, first.name)
    run(recorder)
    assert not first.exists()
    assert second.exists()
    assert not (world.folder / "prune").exists()
    (entry,) = entries(world, Pruned)
    assert isinstance(entry, Pruned)
    assert (entry.file, entry.class_, entry.retention_ns) == (first.name, 0, KEPT[0])
    (act,) = acts(world, Event.RECORD_PRUNE)
    assert act == {
        "file": first.name,
        "segment": entry.segment.hex(),
        "class": "standard",
        "records": 3,
        "kept_days": 30,
    }
    for report in (world.verify(kept=[("kept", kept)]), world.verify(known_head=before.head)):
        assert report.ok, report.problems
        assert "1 segments with 3 records were pruned: their time was over" in report.notices
    assert recorder.stop()
    assert world.verify().ok
    assert world.page.alarms == 0
    assert acts(world, Event.RECORD_ALTERED) == []


@pytest.mark.parametrize("journal_size", [600, 64 * 1024 * 1024])
def test_a_pruned_record_goes_on_over_starts_and_files(world: World, journal_size: int) -> None:
    for number in range(5):
        recorder = recorder_of(world, journal_size=journal_size)
        path = segment_of(world, number)
        run(recorder, 3)
        world.clock.advance(40 * DAY)
        ask(world, path.name)
        run(recorder, 20)
        assert not path.exists()
        if number % 2:
            assert recorder.stop()
        else:
            recorder.close()
            die(recorder.own)
        report = world.verify()
        assert report.ok, report.problems
    recorder = recorder_of(world)
    run(recorder)
    assert recorder.stop()
    assert world.verify().ok
    assert len(entries(world, Pruned)) == 5


@pytest.mark.parametrize(
    "asked",
    ["second", "in use", "journal-00001", "../../etc/passwd", "20240101T000000Z-worker-3-00000000.seg", ""],
)
def test_a_forged_request_deletes_nothing_and_is_on_the_record(
    old: tuple[World, Recorder, Path, Path], asked: str
) -> None:
    world, recorder, first, second = old
    writer = world.writer("worker-5")
    call(writer)
    run(recorder, 2)
    names = {"second": second.name, "in use": next(path.name for path in world.segments() if "worker-5" in path.name)}
    before = {*world.segments(), *world.journals()}
    ask(world, names.get(asked, asked))
    run(recorder)
    assert before <= {*world.segments(), *world.journals()}
    assert first.exists()
    assert entries(world, Pruned) == []
    (refused,) = acts(world, Event.RECORD_PRUNE_REFUSED)
    assert refused["count"] == 1
    assert world.verify().ok


def test_garbage_is_refused_once(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, _ = old
    (world.folder / "prune").write_bytes(b"{")
    run(recorder)
    assert len(acts(world, Event.RECORD_PRUNE_REFUSED)) == 1
    assert first.exists()
    assert not (world.folder / "prune").exists()


def test_a_class_is_kept_for_its_own_time(world: World) -> None:
    recorder = recorder_of(world)
    phi, unknown = segment_of(world, 1, class_=1), segment_of(world, 2, class_=200)
    settle(recorder)
    world.clock.advance(40 * DAY)
    ask(world, phi.name, unknown.name)
    run(recorder)
    assert phi.exists()
    assert not unknown.exists()  # as the standard class
    (refused,) = acts(world, Event.RECORD_PRUNE_REFUSED)
    assert "(phi)" in str(refused["files"])
    world.clock.advance(265 * DAY)
    ask(world, phi.name)
    run(recorder)
    assert not phi.exists()
    assert world.verify().ok


def test_where_no_retention_is_configured_nothing_goes(world: World) -> None:
    def broken() -> None:
        raise ValueError("the file cannot be read")

    for retention in (lambda: None, broken):
        recorder = world.recorder(prune=(world.folder / "prune", retention))
        path = segment_of(world, 1)
        settle(recorder)
        world.clock.advance(4000 * DAY)
        ask(world, path.name)
        run(recorder)
        assert path.exists()
        assert recorder.stop()


def test_no_class_is_kept_for_less_than_the_shortest(world: World) -> None:
    recorder = world.recorder(prune=(world.folder / "prune", lambda: {0: 1}))
    path = segment_of(world, 1)
    settle(recorder)
    world.clock.advance(SHORTEST / 10**9 - 10)
    ask(world, path.name)
    run(recorder)
    assert path.exists()


def fail_from(nth: int, done: bool) -> Callable[[str, Path, bool], OSError | None]:
    """The nth changing step fails and so does every later one: what a process that dies there leaves."""
    seen = 0

    def fault(name: str, path: Path, is_done: bool) -> OSError | None:
        nonlocal seen
        if not is_done:
            seen += 1
        if seen > nth or (seen == nth and is_done == done):
            return OSError(errno.EIO, f"injected at {name} {path.name}")
        return None

    return fault


@pytest.mark.parametrize("failing", [fail_nth, fail_from])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("power", [False, True])
def test_whatever_step_fails_the_end_is_the_same(
    tmp_path: Path, done: bool, power: bool, failing: Callable[[int, bool], Callable[[str, Path, bool], OSError | None]]
) -> None:
    """Each step of a pruning fails, not done or done but reported failed; then the process dies, or the power goes."""
    for nth in range(1, 60):
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        world = World(folder)
        recorder = recorder_of(world)
        path = segment_of(world, 1)
        settle(recorder)
        world.clock.advance(40 * DAY)
        settle(recorder)
        world.disk.sync_folder(world.record)
        world.disk.sync_folder(world.record / "segments")
        world.disk.fault = failing(nth, done)
        world.disk.steps.clear()
        ask(world, path.name)
        run(recorder, 8)
        reached = len(world.disk.steps) >= nth
        world.disk.fault = None
        recorder.close()
        die(recorder.own)
        if power:
            world.disk.power_cut()
            world.reboot()
        ask(world, path.name)  # control does, as long as the file is there
        recorder = recorder_of(world)
        run(recorder, 12)
        assert not path.exists(), nth
        assert recorder.stop(), nth
        report = world.verify()
        assert report.ok, (nth, report.problems)
        assert acts(world, Event.RECORD_ALTERED) == [], nth
        if not reached:
            return
    pytest.fail("there are more steps than were tried")


def test_a_pruned_file_that_is_back_is_a_notice_and_goes_again(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, _ = old
    data = first.read_bytes()
    ask(world, first.name)
    run(recorder)
    first.write_bytes(data)
    report = world.verify()
    assert report.ok, report.problems
    assert any("still there" in notice for notice in report.notices)
    run(recorder, 10)
    assert recorder.stop()
    recorder = recorder_of(world)
    run(recorder, 3)
    assert not first.exists()
    assert recorder.stop()
    assert world.verify().ok
    assert len(entries(world, Opened)) == len({entry.file for entry in entries(world, Opened)})  # type: ignore[attr-defined]


def test_only_what_was_pruned_may_be_absent(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, second = old
    ask(world, first.name)
    run(recorder)
    assert recorder.stop()
    second.unlink()
    assert [problem.file for problem in world.verify().problems] == [second.name]


# -- someone with a hand in the files, who can write the journal and not sign


def forge_entry(world: World, entry: Entry) -> None:
    """Append an entry to the stopped journal, with a running hash and a head that hold."""
    path = world.journals()[-1]
    scan = Scan(world.disk, path)
    for _ in scan:
        pass
    data, running = frame(scan.running, entry)
    path.write_bytes(path.read_bytes() + data)
    number = int(path.name[-5:])
    (world.record / "head").write_bytes(encode_head(number, scan.offset + len(data), running, world.clock.wall()))


def opened(world: World, path: Path) -> Opened:
    return next(entry for entry in entries(world, Opened) if entry.file == path.name)  # type: ignore[attr-defined,return-value]


@pytest.mark.parametrize("kept", [0, 1, KEPT[0]])
@pytest.mark.parametrize("ahead", [0, 31, 4000])
def test_a_forged_entry_for_yesterday_is_found(old: tuple[World, Recorder, Path, Path], kept: int, ahead: int) -> None:
    world, recorder, first, second = old
    ask(world, first.name)
    run(recorder)
    world.clock.advance(DAY)
    assert recorder.stop()
    (real,) = entries(world, Pruned)
    assert isinstance(real, Pruned)
    now = world.clock.wall() + ahead * DAY * 10**9
    segment = opened(world, second).segment
    forge_entry(world, Pruned(segment, second.name, 0, kept, real.act_segment, real.act_sequence, now))
    second.unlink()
    (problem,) = world.verify().problems
    assert problem.file == second.name
    assert "pruned" in problem.message


@pytest.mark.parametrize("act", ["of another", "of another kind", "beyond", "nowhere"])
def test_a_forged_entry_for_what_is_old_needs_a_sealed_act(old: tuple[World, Recorder, Path, Path], act: str) -> None:
    world, recorder, first, second = old
    ask(world, first.name)
    run(recorder)
    world.clock.advance(50 * DAY)
    run(recorder, 3)
    assert recorder.stop()
    (real,) = entries(world, Pruned)
    assert isinstance(real, Pruned)
    of = {
        "of another": (real.act_segment, real.act_sequence),
        "of another kind": (opened(world, second).segment, 0),
        "beyond": (real.act_segment, 10_000),
        "nowhere": (b"n" * 16, 0),
    }[act]
    segment = opened(world, second).segment
    forge_entry(world, Pruned(segment, second.name, 0, KEPT[0], *of, world.clock.wall()))
    second.unlink()
    (problem,) = world.verify().problems
    assert problem.file == second.name
    assert problem.message in (
        "was pruned, and no sealed record says so",
        "was pruned, and what is called its act is older than it could be",
    )


def test_a_forged_entry_of_another_class_is_found(world: World) -> None:
    recorder = recorder_of(world)
    phi = segment_of(world, 1, class_=1)
    settle(recorder)
    world.clock.advance(40 * DAY)
    assert recorder.stop()
    forge_entry(world, Pruned(opened(world, phi).segment, phi.name, 0, KEPT[0], b"n" * 16, 0, world.clock.wall()))
    phi.unlink()
    (problem,) = world.verify().problems
    assert problem.message == "was pruned as standard, and is phi"


def test_two_forged_entries_do_not_vouch_for_each_other(world: World) -> None:
    recorder = recorder_of(world)
    paths = [segment_of(world, number) for number in (1, 2)]
    settle(recorder)
    world.clock.advance(40 * DAY)
    assert recorder.stop()
    ids = [opened(world, path).segment for path in paths]
    for path, own, other in ((paths[0], ids[0], ids[1]), (paths[1], ids[1], ids[0])):
        forge_entry(world, Pruned(own, path.name, 0, KEPT[0], other, 0, world.clock.wall()))
        path.unlink()
    assert {problem.file for problem in world.verify().problems} == {path.name for path in paths}


def test_a_forged_entry_for_what_is_open_or_unknown_breaks_the_journal(
    old: tuple[World, Recorder, Path, Path],
) -> None:
    world, recorder, _, _ = old
    assert recorder.stop()
    name = "20240101T000000Z-worker-3-00000000.seg"
    forge_entry(world, Pruned(b"x" * 16, name, 0, KEPT[0], b"n" * 16, 0, world.clock.wall()))
    assert any("is no closed segment" in problem.message for problem in world.verify().problems)


def test_the_act_may_be_pruned_in_its_turn(world: World) -> None:
    recorder = recorder_of(world)
    first = segment_of(world, 1)
    settle(recorder)
    world.clock.advance(40 * DAY)
    ask(world, first.name)
    run(recorder)
    holder = next(path for path in world.segments() if "recorder" in path.name)
    world.clock.advance(DAY)
    ask(world, "nothing")  # the refusal begins the recorder's next segment
    run(recorder)
    world.clock.advance(40 * DAY)
    ask(world, holder.name)
    run(recorder)
    assert not holder.exists()
    assert recorder.stop()
    report = world.verify()
    assert report.ok, report.problems
    assert len(entries(world, Pruned)) == 2


def test_leaves_stay(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, _ = old
    segment = opened(world, first).segment
    ask(world, first.name)
    run(recorder)
    seals = [entry for entry in entries(world, Sealed) if entry.segment == segment]  # type: ignore[attr-defined]
    assert sum(entry.count for entry in seals) == 3  # type: ignore[attr-defined]


def test_the_feed_passes_over_what_was_pruned(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, second = old
    ids = [opened(world, path).segment for path in (first, second)]
    ask(world, first.name)
    run(recorder)
    feed = Feed(world.record, open_plain)
    found = []
    while fed := feed.read():
        found += [one.record[0] for one in fed]
    assert ids[0] not in found
    assert found.count(ids[1]) == 3
    second.unlink()
    with pytest.raises(RecordError, match="missing"):
        Feed(world.record, open_plain).read()


def test_a_clock_that_was_set_back_keeps_longer(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, second = old
    state = recorder._journal.state
    now = world.clock.wall()
    assert refusal(state, first.name, KEPT, now) == ""
    assert "is kept until" in refusal(state, first.name, KEPT, now - 20 * DAY * 10**9)
    assert "is kept until" in refusal(state, second.name, KEPT, now)
    assert [entry for entry in entries(world, Closed) if entry.time_ns > now] == []  # type: ignore[attr-defined]


def test_a_file_that_cannot_be_deleted_is_tried_again(old: tuple[World, Recorder, Path, Path]) -> None:
    world, recorder, first, _ = old

    def fault(name: str, path: Path, done: bool) -> OSError | None:
        return OSError(errno.EIO, "injected") if name == "unlink" and path == first else None

    world.disk.fault = fault
    ask(world, first.name)
    run(recorder)
    assert first.exists()
    report = world.verify()
    assert report.ok
    assert not recorder.trouble
    world.disk.fault = None
    run(recorder, 3)
    assert not first.exists()
