"""`log/published`: held against the record by verify, used by proofs, and no alarm of the recorder's."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit.prove import newest_checkpoint, prove, verify_proof
from interlock.audit.segment import RecordId
from interlock.audit.signing import LogSigner
from interlock.errors import LogError
from interlock.tlog import Cosigner, Note, WitnessPolicy, format_note, parse_note
from tests.unit.audit.storage import World, call, settle

WITNESS = Cosigner("witness.example.com/w1", Ed25519PrivateKey.from_private_bytes(bytes(32)))
POLICY = WitnessPolicy(1, [WITNESS.key])


def path(world: World) -> Path:
    return world.record / "log" / "published"


def cosigned(note: bytes) -> bytes:
    parsed = parse_note(note)
    return format_note(Note(parsed.text, (*parsed.signatures, WITNESS.cosign(parsed.text, 1_700_000_000))))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def run(world: World, calls: int) -> list[RecordId]:
    """A node's life, to a clean end."""
    writer, recorder = world.writer(), world.recorder()
    made = [call(writer, number) for number in range(calls)]
    settle(recorder)
    writer.close()
    settle(recorder)
    recorder.close()
    return made


def test_it_is_held_against_the_record(world: World) -> None:
    run(world, 3)
    path(world).write_bytes(cosigned(newest_checkpoint(world.record)))
    assert world.verify().problems == []
    run(world, 5)
    assert world.verify().problems == [], "the record has grown"


def test_one_of_a_larger_record_or_another_history_or_log_is_a_problem(world: World) -> None:
    run(world, 3)
    size = world.signer.open(newest_checkpoint(world.record)).size
    for data, said in (
        (world.signer.sign(size + 5, bytes(32), 1), "cut or set back"),
        (world.signer.sign(size, bytes(32), 1), "another history"),
        (world.signer.sign(size - 1, bytes(32), 1), "another history"),
        (LogSigner("log.example/test", bytes(32)).sign(size, bytes(32), 1), "no checkpoint of this log"),
        (b"hello", "no checkpoint of this log"),
    ):
        path(world).write_bytes(data)
        (problem,) = world.verify().problems
        assert problem.file == "log/published"
        assert said in problem.message
    path(world).unlink()
    path(world).mkdir()
    assert [problem.file for problem in world.verify().problems] == ["log/published"]


def test_a_proof_takes_it_where_it_covers_the_record(world: World) -> None:
    (early, *_) = run(world, 3)
    path(world).write_bytes(cosigned(newest_checkpoint(world.record)))
    late = run(world, 3)[-1]
    shown = verify_proof(prove(world.record, early, world.signer), world.signer, POLICY)
    assert shown.witnesses == {"witness.example.com/w1": 1_700_000_000}
    data = prove(world.record, late, world.signer)
    assert verify_proof(data, world.signer).checkpoint.size > shown.checkpoint.size
    with pytest.raises(LogError, match="0 witnesses"):
        verify_proof(data, world.signer, POLICY)


def test_a_proof_does_without_one_that_is_not_of_this_log(world: World) -> None:
    (early, *_) = run(world, 3)
    path(world).write_bytes(b"hello")
    assert verify_proof(prove(world.record, early, world.signer), world.signer).checkpoint.size >= 3


def test_the_recorder_does_not_mind_what_control_puts_there(world: World) -> None:
    writer, recorder = world.writer(), world.recorder()
    for number in range(3):
        call(writer, number)
        settle(recorder)
        world.clock.advance(1.5)
        recorder.tick()
        note = cosigned(newest_checkpoint(world.record))
        aside = path(world).with_name(".published.new")
        aside.write_bytes(note)
        world.clock.advance(1.5)
        recorder.tick()
        aside.rename(path(world))
        world.clock.advance(1.5)
        recorder.tick()
    path(world).unlink()
    world.clock.advance(1.5)
    recorder.tick()
    assert world.page.alarms == 0
    writer.close()
    settle(recorder)
    recorder.close()
    assert world.verify().problems == []
