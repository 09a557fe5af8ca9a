"""What publishing reads of the record and puts there: only what goes on, and whole whatever fails."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit.files import Files
from interlock.audit.prove import newest_checkpoint
from interlock.clock import SECOND
from interlock.control.paths import Paths
from interlock.control.publishing.record_log import RecordLog
from interlock.errors import LogError, RecordError
from interlock.keys.log_key import LogNames
from interlock.tlog import Cosigner, WitnessPolicy, parse_note, verify_cosignatures
from tests.unit.audit.storage import Disk, World, call

WITNESS = Cosigner("witness.example.com/w1", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "keys").mkdir()
    made = World(tmp_path)
    names = LogNames(1, made.signer.origin, [one.public_key for one in made.signer.vkeys])
    (tmp_path / "keys" / "log.pub").write_bytes(msgspec.json.encode(names))
    return made


def log_of(world: World, files: Files | None = None) -> RecordLog:
    return RecordLog(Paths(world.folder), files or Files())


def grow(world: World, calls: int) -> None:
    writer, recorder = world.writer(), world.recorder()
    for number in range(calls):
        call(writer, number)
    writer.close()
    assert recorder.stop()
    world.clock.advance(5)


def publish(world: World, files: Files | None = None) -> bytes:
    log = log_of(world, files)
    candidate = log.candidate()
    log.must_go_on(candidate)
    return log.publish(candidate, [WITNESS.cosign(candidate.text, 1_700_000_000)])


def test_a_checkpoint_is_published_with_its_cosignatures(world: World) -> None:
    grow(world, 3)
    assert log_of(world).published() is None
    data = publish(world)
    assert (world.record / "log" / "published").read_bytes() == data
    (one,) = verify_cosignatures(parse_note(data), WitnessPolicy(1, [WITNESS.key]))
    assert one.witness == "witness.example.com/w1"
    found = log_of(world).published()
    assert found is not None
    assert found.size == world.signer.open(data).size
    assert found.signed_ns % SECOND == 0
    grow(world, 3)
    candidate = log_of(world).candidate()
    assert len(candidate.prove(found.size)) > 0
    assert candidate.prove(0) == candidate.prove(candidate.checkpoint.size) == []
    publish(world)


def test_a_record_that_was_set_back_or_replaced_is_not_published(world: World) -> None:
    grow(world, 3)
    backup = world.folder / "backup"
    shutil.copytree(world.record, backup)
    grow(world, 30)
    before = publish(world)
    shutil.rmtree(world.record)
    shutil.copytree(backup, world.record)
    (world.record / "log" / "published").write_bytes(before)
    with pytest.raises(RecordError, match="set back"):
        publish(world)
    grow(world, 60)  # beyond, with another history
    with pytest.raises(RecordError, match="another history"):
        publish(world)
    assert (world.record / "log" / "published").read_bytes() == before, "the evidence stays"


def test_a_damaged_tile_is_never_proven_from(world: World) -> None:
    grow(world, 20)
    tile = next(path for path in (world.record / "log" / "tile" / "0").rglob("*") if path.is_file())
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(data)
    with pytest.raises(LogError):
        log_of(world).candidate().prove(7)
    head = world.signer.open(newest_checkpoint(world.record))
    (world.record / "log" / "published").write_bytes(world.signer.sign(head.size, head.root, 0))
    with pytest.raises(RecordError, match="do not lead"):
        publish(world)


def test_what_somebody_else_put_there_is_replaced(world: World) -> None:
    grow(world, 3)
    (world.record / "log" / "published").write_bytes(b"hello")
    publish(world)
    assert world.verify().problems == []


@pytest.mark.parametrize("done", [False, True])
def test_whatever_step_fails_what_is_published_is_whole(world: World, done: bool) -> None:
    """After any failure and a power cut: the old one or the new one."""
    grow(world, 3)
    for failing in range(7):
        (world.record / "log" / "published").unlink(missing_ok=True)
        disk = Disk()
        old = publish(world, disk)
        grow(world, 1)
        seen = 0

        def fault(name: str, path: Path, after: bool, failing: int = failing) -> OSError | None:
            nonlocal seen
            if after is done:
                seen += 1
                if seen == failing + 1:
                    return OSError(errno.EIO, "the disk fails")
            return None

        disk.fault = fault
        new = b""
        try:
            new = publish(world, disk)
        except OSError:
            pass
        disk.fault = None
        found = (world.record / "log" / "published").read_bytes()
        assert world.signer.open(found).size >= world.signer.open(old).size
        if new:
            assert found == new
        assert world.verify().problems == []
        publish(world)
