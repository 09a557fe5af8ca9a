"""The tree over the record: checkpoints that come when they should, and tell what was done to the files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from interlock.audit import LogVerifier, parse_id, verify
from interlock.audit.prove import Extra, newest_checkpoint, open_frame, prove, verify_proof
from interlock.audit.segment import format_id
from interlock.audit.signing import LogSigner
from interlock.errors import LogError, RecordError
from interlock.model import Event
from interlock.tlog import Checkpoint, TlogProof, format_tlog_proof, parse_tlog_proof, parse_vkey
from tests.unit.audit.storage import World, call, open_plain, settle
from tests.unit.audit.test_recorder import acts


def checkpoint(world: World) -> Checkpoint:
    return world.signer.open(newest_checkpoint(world.record))


def grow(world: World, calls: int) -> None:
    """A record of that many calls, stopped in good order."""
    writer, recorder = world.writer(), world.recorder()
    for number in range(calls):
        call(writer, number)
    writer.close()
    assert recorder.stop()


def alarms(world: World) -> list[str]:
    return [str(details["what"]) for details in acts(world, Event.RECORD_ALTERED)]


def test_a_checkpoint_a_second_while_there_is_something_and_one_a_minute_else(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    recorder.tick()
    assert checkpoint(world).size == 0
    call(writer)
    recorder.tick()
    assert checkpoint(world).size == 0, "too early"
    world.clock.advance(1)
    recorder.tick()
    assert checkpoint(world).size == 2
    signed = recorder.checkpoints
    for _ in range(59):
        world.clock.advance(1)
        recorder.tick()
    assert recorder.checkpoints == signed
    before = world.signer.time_of(world.signer.open_signed(newest_checkpoint(world.record)))
    world.clock.advance(1)
    recorder.tick()
    assert recorder.checkpoints == signed + 1
    after = world.signer.open_signed(newest_checkpoint(world.record))
    assert after.checkpoint.size == 2
    assert world.signer.time_of(after) == before + 60
    writer.close()
    assert recorder.stop()


def test_the_root_does_not_depend_on_when_the_recorder_looked(tmp_path: Path) -> None:
    """Frames differ (keys are random), so: the tree of one recorder is that of another over the same files."""
    (tmp_path / "a").mkdir()
    world = World(tmp_path / "a")
    writer, recorder = world.writer(), world.recorder()
    for number in range(700):
        call(writer, number)
        if number % 97 == 0:
            world.clock.advance(1)
            recorder.tick()
    writer.close()
    assert recorder.stop()
    before = checkpoint(world)
    shutil.rmtree(world.record / "log" / "tile")
    again = world.recorder()
    settle(again)
    assert again.stop()
    assert alarms(world), "tiles that are gone are an alarm"
    report = world.verify(kept=[("kept", world.signer.sign(before.size, before.root, 0))])
    assert [problem.message for problem in report.problems] == ["the recorder raised an alarm; nobody acknowledged it"]


def test_only_what_the_newest_checkpoint_needs_stays(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    for number in range(300):
        call(writer, number)
        world.clock.advance(1)
        recorder.tick()
    writer.close()
    assert recorder.stop()
    tiles = sorted(
        str(path.relative_to(world.record / "log")) for path in (world.record / "log").rglob("*") if path.is_file()
    )
    size = checkpoint(world).size
    full, rest = divmod(size, 256)
    assert full >= 2
    expected = ["checkpoint", *(f"tile/0/{at:03}" for at in range(full)), f"tile/1/000.p/{full}"]
    assert tiles == sorted([*expected, f"tile/0/{full:03}.p/{rest}"] if rest else expected)
    assert world.verify().ok


def test_a_checkpoint_kept_elsewhere_finds_another_history(world: World) -> None:
    grow(world, 3)
    kept = [("kept", newest_checkpoint(world.record))]
    grow(world, 2)
    assert world.verify(kept=kept).ok, "the record goes on from it"
    shutil.rmtree(world.record)
    world.record.mkdir()
    world.attest.close()
    (world.folder / "attest").unlink()
    world.reboot()
    grow(world, 9)
    assert world.verify().ok, "a replaced record is whole by itself"
    report = world.verify(kept=kept)
    assert ["another history" in str(problem) for problem in report.problems] == [True]


def test_a_machine_that_was_set_back_is_found(world: World) -> None:
    grow(world, 3)
    backup = world.folder / "backup"
    shutil.copytree(world.record, backup)
    grow(world, 3)
    kept = [("kept", newest_checkpoint(world.record))]
    shutil.rmtree(world.record)
    shutil.move(backup, world.record)
    assert world.verify().ok
    (problem,) = world.verify(kept=kept).problems
    assert "cut or set back" in problem.message


def test_a_journal_set_back_under_its_checkpoint_is_an_alarm_at_the_start(world: World) -> None:
    grow(world, 3)
    aside = {path: path.read_bytes() for path in [*world.journals(), world.record / "head"]}
    segments = set(world.segments())
    grow(world, 3)
    for path, data in aside.items():
        path.write_bytes(data)
    for path in set(world.segments()) - segments:
        path.unlink()
    assert any("set back" in str(problem) for problem in world.verify().problems)
    recorder = world.recorder()
    settle(recorder)
    assert recorder.stop()
    assert any("it was set back" in what for what in alarms(world))


@pytest.mark.parametrize("what", ["checkpoint", "tile/0/000", "tile/0/001.p", "head", "journal-00001", "segment"])
def test_the_running_recorder_notices_removal_within_a_second(world: World, what: str) -> None:
    writer, recorder = world.writer(), world.recorder()
    for number in range(200):
        call(writer, number)
    world.clock.advance(1)
    settle(recorder)
    world.clock.advance(5)
    settle(recorder)
    assert world.page.alarms == 0
    path = {"head": world.record / "head", "journal-00001": world.record / "journal-00001"}.get(what)
    path = world.segments()[0] if what == "segment" else path or world.record / "log" / what
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    world.clock.advance(1)
    recorder.tick()
    assert world.page.alarms >= 1, what
    assert any("removed" in text for text in alarms(world))


def test_the_running_recorder_notices_that_a_file_was_changed_or_put_in_place_of_another(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    call(writer)
    settle(recorder)
    world.clock.advance(2)
    settle(recorder)
    path = world.record / "journal-00001"
    data = path.read_bytes()
    path.write_bytes(data + b"x")
    world.clock.advance(1)
    recorder.tick()
    assert alarms(world) == ["journal-00001 was changed by somebody else"]
    aside = world.folder / "aside"
    aside.write_bytes(data)
    os.replace(aside, path)
    world.clock.advance(1)
    recorder.tick()
    assert alarms(world)[1:] == ["journal-00001 was replaced by somebody else"]


def test_another_key_cannot_sign(world: World) -> None:
    grow(world, 2)
    stranger = LogSigner(world.signer.origin, bytes(32))
    head = checkpoint(world)
    (world.record / "log" / "checkpoint").write_bytes(stranger.sign(head.size, head.root, 0))
    (problem,) = world.verify().problems
    assert "no known key" in problem.message
    other = LogSigner("log.example/other", bytes(range(32)))
    (world.record / "log" / "checkpoint").write_bytes(other.sign(head.size, head.root, 0))
    assert not world.verify().ok


def test_after_the_key_turned_older_checkpoints_still_count(world: World) -> None:
    grow(world, 2)
    kept = [("kept", newest_checkpoint(world.record))]
    world.signer = LogSigner(world.signer.origin, bytes(32), [key.public_key for key in world.signer.vkeys])
    grow(world, 2)
    assert world.verify(kept=kept).ok
    world.signer = LogSigner(world.signer.origin, bytes(32))
    (problem,) = world.verify(kept=kept).problems
    assert "no known key" in problem.message


# -- proofs


def proof_of(world: World, number: int = 1) -> tuple[bytes, str]:
    writer, recorder = world.writer(), world.recorder()
    records = [call(writer, at) for at in range(number + 5)]
    writer.close()
    assert recorder.stop()
    return prove(world.record, records[number], world.signer), format_id(records[number])


@pytest.mark.parametrize("number", [0, 1, 140])
def test_a_proof_needs_nothing_but_the_public_key(world: World, number: int) -> None:
    data, record = proof_of(world, number)
    shutil.rmtree(world.record)
    log = LogVerifier.of([str(key) for key in world.signer.vkeys])
    proven = verify_proof(data, log)
    assert (proven.record, proven.event, proven.opened, proven.entry) == (record, "call:intent", False, None)
    assert parse_vkey(str(world.signer.vkeys[0])).public_key == log.vkeys[0].public_key


def test_an_opened_proof_shows_its_record_and_no_other(world: World) -> None:
    _, record = proof_of(world)
    opening = open_frame(world.record, parse_id(record), open_plain)
    data = prove(world.record, parse_id(record), world.signer, opening)
    proven = verify_proof(data, world.signer)
    assert proven.opened
    assert proven.entry.action == "GET"
    lie = msgspec.structs.replace(opening, plaintext=opening.plaintext.replace(b"GET", b"PUT"))
    with pytest.raises(RecordError, match="not what it commits to"):
        prove(world.record, parse_id(record), world.signer, lie)
    told = parse_tlog_proof(data)
    extra = msgspec.json.decode(told.extra, type=Extra)
    forged = msgspec.json.encode(msgspec.structs.replace(extra, plaintext=lie.plaintext))
    with pytest.raises(LogError, match="not what it commits to"):
        verify_proof(format_tlog_proof(TlogProof(told.index, told.hashes, told.checkpoint, forged)), world.signer)


def test_every_changed_byte_of_a_proof_is_found(world: World) -> None:
    data, _ = proof_of(world)
    passed = []
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 1
        try:
            verify_proof(bytes(bad), world.signer)
        except LogError:
            continue
        passed.append(at)
    # The segment's name is not in the frame: of an id, the sequence is what the proof vouches for.
    extra = data.index(b"extra ")
    assert all(extra < at < data.index(b"\n", extra) for at in passed), passed


def test_what_is_not_sealed_or_not_there_cannot_be_proven(world: World) -> None:
    proof_of(world)
    writer = world.writer()
    fresh = call(writer)
    with pytest.raises(RecordError, match="in no checkpoint yet"):
        prove(world.record, fresh, world.signer)
    with pytest.raises(RecordError, match="in no checkpoint yet"):
        prove(world.record, (bytes(16), 3), world.signer)


def test_without_the_signing_key_records_are_sealed_and_the_next_recorder_signs_them(world: World) -> None:
    """Revoking must not need the key-encryption key, so neither must sealing the record of it."""
    grow(world, 2)
    before = checkpoint(world)
    signer, world.signer = world.signer, None  # type: ignore[assignment]
    grow(world, 2)
    world.signer = signer
    assert checkpoint(world) == before
    report = world.verify()
    assert report.ok, report.problems
    grow(world, 1)
    assert checkpoint(world).size == world.verify().sealed


def test_without_a_public_key_the_tree_is_checked_and_said_to_be_unsigned(world: World) -> None:
    grow(world, 3)
    assert any("signature was not checked" in notice for notice in verify(world.record).notices)
    path = next((world.record / "log" / "tile").rglob("*.p")) / str(checkpoint(world).size)
    path.write_bytes(bytes(len(path.read_bytes())))
    assert not verify(world.record).ok
