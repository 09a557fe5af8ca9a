"""`audit verify-proof` and the reader in `examples/proof` against who makes the file: their answer is all theirs."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit.entries import Outcome, encode
from interlock.audit.prove import Extra, open_frame, prove
from interlock.audit.segment import RecordId, format_id
from interlock.cli import run
from interlock.tlog import Cosigner, Note, TlogProof, format_note, format_tlog_proof, parse_note, parse_tlog_proof
from tests.unit.audit.storage import OUTCOME, World, call, open_plain

READER = Path(__file__).parents[3] / "examples" / "proof" / "verify_proof.py"
LINES = "\nis number 4711 of the 9000 of log.example/x\ncosigned by witness.example/w1, 2026-01-31T12:00:02Z\n"

Verify = Callable[[bytes], int]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(params=["command", "reader"])
def verify(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Verify:
    """Gives the exit status of either, by the log's public key alone."""
    file, key = world.folder / "proof", str(world.signer.vkeys[0])

    def verified(data: bytes) -> int:
        file.write_bytes(data)
        if request.param == "command":
            return run(["audit", "verify-proof", str(file), "--key", key])
        monkeypatch.setattr(sys, "argv", [str(READER), str(file), key])
        status: int = runpy.run_path(str(READER))["main"]()
        return status

    return verified


def written(world: World, note: str = "") -> RecordId:
    """The record of an outcome, in the log."""
    writer, recorder = world.writer(), world.recorder()
    intent = call(writer)
    record = writer.append(OUTCOME, encode(Outcome(503, "", 1, 2, 3, note)), intent)
    writer.close()
    assert recorder.stop()
    return record


def proof_of(world: World, record: RecordId) -> bytes:
    return prove(world.record, record, world.signer, open_frame(world.record, record, open_plain))


def changed(data: bytes, **changes: object) -> bytes:
    """The proof with other extra data, which nobody signs."""
    proof = parse_tlog_proof(data)
    extra = msgspec.structs.replace(msgspec.json.decode(proof.extra, type=Extra), **changes)
    return format_tlog_proof(TlogProof(proof.index, proof.hashes, proof.checkpoint, msgspec.json.encode(extra)))


def test_what_is_vouched_for_is_said_apart_from_what_the_file_says(
    world: World, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    record = written(world)
    assert verify(changed(proof_of(world, record), record=f"{'c0ffee00' * 4}-{record[1]}")) == 0
    shown = capsys.readouterr().out
    assert f"record number {record[1]} of a segment that the proof calls {'c0ffee00' * 4}" in shown
    assert f"\nis number {record[1]} of the " in shown


@pytest.mark.parametrize(
    "name",
    [
        "00-0 (call:intent, 2026-01-31T12:00:00Z)" + LINES + "\x1b[8m-{sequence}",
        "{segment}-9-{sequence}",
        "{segment}-0{sequence}",
        "{segment}-+{sequence}",
        "{segment}-{sequence}\n",
        "{SEGMENT}-{sequence}",
        "{segment} -{sequence}",
        "                                -{sequence}",
        "-{sequence}",
        "{sequence}",
    ],
)
def test_a_record_that_goes_by_no_name_is_not_shown_as_one(
    world: World, verify: Verify, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    record = written(world)
    segment, sequence = format_id(record).split("-")
    lie = name.format(segment=segment, SEGMENT=segment[:-1] + "A", sequence=sequence)
    assert verify(changed(proof_of(world, record), record=lie)) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "2026" not in told.err


def test_what_a_record_holds_looks_like_no_line_of_the_answer(
    world: World, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    """Callers have a say in it: in paths, and in what upstreams do."""
    assert verify(proof_of(world, written(world, note="x" + LINES))) == 0
    shown = capsys.readouterr().out
    assert "4711" in shown
    assert not [line for line in shown.splitlines() if line.startswith(("cosigned", "is number 4711"))]


def test_what_was_written_cannot_be_cut_by_calling_its_beginning_salt(
    world: World, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    """The note's last letters are an outcome by themselves: an array of six, of which the status is 120."""
    note = "\u0116x\u0640" + "F" * 128 + "abc\u0640" + "G" * 128
    data = proof_of(world, written(world, note))
    assert verify(data) == 0
    assert "FFF" in capsys.readouterr().out
    extra = msgspec.json.decode(parse_tlog_proof(data).extra, type=Extra)
    whole = extra.salt + extra.plaintext
    for at in (whole.index("\u0116".encode()) + 1, 31, 33, 0):
        assert verify(changed(data, salt=whole[:at], plaintext=whole[at:])) == 1
        told = capsys.readouterr()
        assert "contents" in told.err
        assert "FFF" not in told.out


@pytest.mark.parametrize("seconds", [253_402_300_800, 2**40, 2**56, 2**63 - 1])
def test_the_time_of_a_witness_that_is_no_date_is_shown_as_a_number(
    world: World, capsys: pytest.CaptureFixture[str], seconds: int
) -> None:
    proof = parse_tlog_proof(proof_of(world, written(world)))
    witness = Cosigner("witness.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    note = parse_note(proof.checkpoint)
    cosigned = format_note(Note(note.text, (*note.signatures, witness.cosign(note.text, seconds))))
    file = world.folder / "proof"
    file.write_bytes(format_tlog_proof(TlogProof(proof.index, proof.hashes, cosigned, proof.extra)))
    words = ["audit", "verify-proof", str(file), "--key", str(world.signer.vkeys[0]), "--witness", str(witness.key)]
    assert run(words) == 0
    assert f"cosigned by witness.example/w1, {seconds} s after 1970\n" in capsys.readouterr().out
    assert run([*words, "--json"]) == 0
    assert f'"{seconds} s after 1970"' in capsys.readouterr().out
