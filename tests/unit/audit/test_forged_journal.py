"""Who can write all files of the record and has no key: the journal is made anew, with sound running hashes and a head
that fits, and the leaves of the tree stay as they were signed. Each is found by every way of verifying, and by the
recorder when it starts, which would else sign the forgery."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from interlock.audit.bound import journal_of
from interlock.audit.journal import (
    MAGIC,
    Closed,
    Entry,
    Opened,
    Pruned,
    Scan,
    Sealed,
    Signed,
    encode_head,
    frame,
    journal_path,
    numbers,
)
from interlock.audit.prove import newest_checkpoint
from interlock.audit.reader import SegmentReader
from interlock.audit.verify import verify
from interlock.tlog import START, leaf_hash, parse_checkpoint, parse_note
from tests.unit.audit.storage import World, call, settle
from tests.unit.audit.test_prune import DAY, ask, recorder_of, run, segment_of


def journal(world: World) -> list[Entry]:
    (number,) = numbers(world.disk, world.record)
    return list(Scan(world.disk, journal_path(world.record, number)))


def forge(world: World, entries: Iterable[Entry]) -> None:
    """Put these entries in the place of the journal's, as if they had been written so."""
    (number,) = numbers(world.disk, world.record)
    data, running = MAGIC, START
    for entry in entries:
        more, running = frame(running, entry)
        data += more
    journal_path(world.record, number).write_bytes(data)
    (world.record / "head").write_bytes(encode_head(number, len(data), running, world.clock.wall()))


def two_segments(world: World) -> tuple[Opened, Opened]:
    recorder = world.recorder()
    writers = [world.writer(name) for name in ("worker-3", "worker-4")]
    for round_ in range(3):
        for writer in writers:
            call(writer, round_)
        recorder.tick()
        world.clock.advance(1)
    for writer in writers:
        writer.close()
    assert recorder.stop()
    assert world.verify().ok
    opened = {entry.writer: entry for entry in journal(world) if isinstance(entry, Opened)}
    return opened["worker-3"], opened["worker-4"]


def refit(world: World, entries: Iterable[Entry], changed: dict[bytes, Path]) -> list[Entry]:
    """Entries of segments whose files were changed, so that hashes, offsets and digests are those of the files."""
    found = []
    readers = {}
    for segment, path in changed.items():
        with SegmentReader(path, world.disk) as reader:
            readers[segment] = (reader.header_size, [each.offset + len(each.data) for each in reader.frames()])
    for entry in entries:
        segment = getattr(entry, "segment", b"")
        if segment in changed:
            data, (header, ends) = changed[segment].read_bytes(), readers[segment]
            if isinstance(entry, Opened):
                entry = msgspec.structs.replace(entry, header_hash=sha256(data[:header]).digest(), header_size=header)
            elif isinstance(entry, Sealed):
                end = ends[entry.first + entry.count - 1]
                entry = msgspec.structs.replace(entry, offset=end, digest=sha256(data[:end]).digest())
            elif isinstance(entry, Closed):
                entry = msgspec.structs.replace(entry, offset=ends[entry.count - 1])
        found.append(entry)
    return found


def behind_a_pruning(world: World) -> None:
    """Today's segment goes, and its leaves become those of one that was pruned in good order."""
    recorder = recorder_of(world)
    first = segment_of(world, 1)
    settle(recorder)
    world.clock.advance(40 * DAY)
    ask(world, first.name)
    run(recorder)
    victim = segment_of(world, 2)
    settle(recorder)
    run(recorder, 8)
    assert recorder.stop()
    assert world.verify().ok
    entries = journal(world)
    ids = {entry.file: entry.segment for entry in entries if isinstance(entry, Opened)}
    old, new = ids[first.name], ids[victim.name]
    count = sum(entry.count for entry in entries if isinstance(entry, Sealed) and entry.segment == old)
    kept: list[Entry] = []
    last: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Opened | Closed) and entry.segment == new:
            continue
        if isinstance(entry, Closed | Pruned) and entry.segment == old:
            last.append(entry)
            continue
        if isinstance(entry, Sealed) and entry.segment == new:
            entry = msgspec.structs.replace(entry, segment=old, first=count)
            count += entry.count
        kept.append(entry)
    stopped = kept.pop()
    closed, pruned = last
    assert isinstance(closed, Closed)
    forge(world, [*kept, msgspec.structs.replace(closed, count=count), pruned, stopped])
    victim.unlink()


def another_header(world: World) -> None:
    """Who wrote a segment, and what its key is sealed to, is changed: nobody can open it any more."""
    one, _ = two_segments(world)
    path = world.record / "segments" / one.file
    data = path.read_bytes().replace(b'"worker-3"', b'"worker-9"')
    at = data.index(b'"sealed":"') + 20
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    forge(world, refit(world, journal(world), {one.segment: path}))


def frames_of_another(world: World) -> None:
    """Frames change places between two segments, and so do their seals."""
    opened = two_segments(world)
    paths = [world.record / "segments" / one.file for one in opened]
    parts = []
    for path in paths:
        with SegmentReader(path, world.disk) as reader:
            cut = list(reader.frames())[2].offset
        parts.append((path.read_bytes()[:cut], path.read_bytes()[cut:]))
    for path, (begins, _), (_, ends) in zip(paths, parts, parts[::-1], strict=True):
        path.write_bytes(begins + ends)
    other = {opened[0].segment: opened[1].segment, opened[1].segment: opened[0].segment}
    entries = [
        msgspec.structs.replace(entry, segment=other[entry.segment])
        if isinstance(entry, Sealed) and entry.first >= 2 and entry.segment in other
        else entry
        for entry in journal(world)
    ]
    forge(world, refit(world, entries, {one.segment: path for one, path in zip(opened, paths, strict=True)}))


def other_leaves(world: World) -> None:
    """Every frame of a segment is changed, and its leaves in the journal with them; the tiles stay as they were."""
    one, _ = two_segments(world)
    path = world.record / "segments" / one.file
    data = bytearray(path.read_bytes())
    with SegmentReader(path, world.disk) as reader:
        frames = list(reader.frames())
    for each in frames:
        data[each.offset + len(each.data) - 1] ^= 1
    path.write_bytes(data)
    leaves = [leaf_hash(bytes(data[each.offset : each.offset + len(each.data)])) for each in frames]
    entries = [
        msgspec.structs.replace(entry, leaves=b"".join(leaves[entry.first : entry.first + entry.count]))
        if isinstance(entry, Sealed) and entry.segment == one.segment
        else entry
        for entry in journal(world)
    ]
    forge(world, refit(world, entries, {one.segment: path}))


def nothing_signed(world: World) -> None:
    """A segment never was, and neither was a checkpoint."""
    _, victim = two_segments(world)
    entries = [
        entry
        for entry in journal(world)
        if getattr(entry, "segment", None) != victim.segment and not isinstance(entry, Signed)
    ]
    forge(world, entries)
    (world.record / "segments" / victim.file).unlink()
    shutil.rmtree(world.record / "log")


FORGERIES = [behind_a_pruning, another_header, frames_of_another, other_leaves, nothing_signed]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("how", ["full", "quick", "resume"])
def test_a_journal_that_was_made_anew_is_found(world: World, forgery: Callable[[World], None], how: str) -> None:
    forgery(world)
    resume = world.folder / "resume" if how == "resume" else None
    report = verify(
        world.record, log=world.signer, now=world.clock.wall(), quick=how == "quick", resume=resume, files=world.disk
    )
    assert any(problem.file == "log/checkpoint" for problem in report.problems), report.problems


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda one: one.__name__)
def test_the_recorder_does_not_sign_it_without_a_word(world: World, forgery: Callable[[World], None]) -> None:
    forgery(world)
    recorder = world.recorder()
    run(recorder, 10)
    assert recorder.alarms > 0


def test_each_checkpoint_names_the_journal_before_it_and_is_made_anew_when_that_goes_on(world: World) -> None:
    recorder = world.recorder()
    writer = world.writer()
    call(writer)
    settle(recorder)
    first = parse_checkpoint(parse_note(newest_checkpoint(world.record)).text)
    assert journal_of(first) == recorder._journal.running
    writer.close()
    settle(recorder)
    world.clock.advance(1)
    recorder.tick()
    second = parse_checkpoint(parse_note(newest_checkpoint(world.record)).text)
    assert journal_of(second) == recorder._journal.running != journal_of(first)
    assert world.verify(kept=[("kept", newest_checkpoint(world.record))]).ok
