"""Proofs of single records, for someone who has neither the record nor its keys: C2SP tlog-proof files.

The extra data carry the frame as stored, so that a file is all that a verifier needs, beside the log's public
key. They may also carry what opens it: plaintext and salt, which must hash to the commitment in the frame. So one
record can be shown without its neighbours.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from interlock.audit.entries import decode
from interlock.audit.files import Files
from interlock.audit.journal import numbers
from interlock.audit.reader import OpenKey, SegmentReader, frame_reader, segment_files
from interlock.audit.segment import FRAME_HEADER, SALT_SIZE, SMALLEST_FRAME, RecordId, format_id, parse_id
from interlock.audit.signing import LogVerifier
from interlock.audit.tiles import Tiles
from interlock.audit.tree import CHECKPOINT, PUBLISHED, read_checkpoint, seals
from interlock.errors import LogError, RecordError
from interlock.model.events import BY_CODE
from interlock.tlog import (
    Checkpoint,
    TiledTree,
    WitnessPolicy,
    format_tlog_proof,
    leaf_hash,
    make_tlog_proof,
    parse_tlog_proof,
    verify_tlog_proof,
)


class Opening(msgspec.Struct, frozen=True, omit_defaults=True):
    """What opens one frame: SHA-256(salt || plaintext) is its commitment."""

    salt: bytes
    plaintext: bytes


class Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """The extra data of a proof, as JSON with base64."""

    record: str
    frame: bytes
    salt: bytes = b""
    plaintext: bytes = b""


class Proven(msgspec.Struct, frozen=True):
    """What a proof has shown of a record."""

    record: str  # nothing vouches for the segment's name in it
    sequence: int  # of the record in its segment, by the frame
    index: int
    checkpoint: Checkpoint
    signed: int  # seconds since 1970, by the log's clock
    witnesses: dict[str, int]  # who else saw that tree, and when
    event: str
    time_ns: int
    opened: bool
    entry: Any = None  # what is in it, if it was opened


def newest_checkpoint(record: Path, files: Files | None = None) -> bytes:
    """The signed checkpoint as it lies there; `RecordError` if there is none."""
    try:
        return read_checkpoint(files or Files(), record / "log" / CHECKPOINT)
    except FileNotFoundError:
        raise RecordError("there is no checkpoint yet: the recorder signs the first within a second") from None
    except OSError as error:
        raise RecordError(f"the checkpoint cannot be read: {error.strerror}") from error


def published_checkpoint(record: Path, files: Files | None = None) -> bytes | None:
    """The one that witnesses have cosigned, as it lies there; None if there is none."""
    try:
        return read_checkpoint(files or Files(), record / "log" / PUBLISHED)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"the published checkpoint cannot be read: {error.strerror}") from error


def prove(record: Path, wanted: RecordId, log: LogVerifier, opening: Opening | None = None) -> bytes:
    """The proof of one record: in the published checkpoint, if it covers the record, else in the newest one.

    `RecordError`, `LogError`.
    """
    files = Files()
    published = published_checkpoint(record, files)  # first: then the newest one covers as much
    checkpoint = newest_checkpoint(record, files)
    size = log.open(checkpoint).size
    index = index_of(record, wanted, files)
    if index is None or index >= size:
        raise RecordError(f"{format_id(wanted)} is in no checkpoint yet: try again in a second")
    if published is not None and _covers(log, published, index, size):
        checkpoint = published
    frame = frame_of(record, wanted)
    extra = Extra(format_id(wanted), frame)
    if opening is not None:
        _check_opening(frame, opening.salt, opening.plaintext)
        extra = Extra(format_id(wanted), frame, opening.salt, opening.plaintext)
    tree = TiledTree(Tiles(record / "log", files), size)
    if tree.leaf(index) != leaf_hash(frame):
        raise RecordError(f"{format_id(wanted)} is not what was sealed: run `interlock audit verify`")
    return format_tlog_proof(make_tlog_proof(tree, index, checkpoint, msgspec.json.encode(extra)))


def _covers(log: LogVerifier, published: bytes, index: int, size: int) -> bool:
    """Whether a published checkpoint is one for that leaf; what is none of this log is for `verify` to find."""
    try:
        return index < log.open(published).size <= size
    except LogError:
        return False


def verify_proof(data: bytes, log: LogVerifier, policy: WitnessPolicy | None = None) -> Proven:
    """Verify a file that `prove` made, with nothing else but the log's public keys. `LogError`.

    1. The frame in it hashes to a leaf that is in the tree of a checkpoint that the log signed.
    2. The record's name is one, and its sequence that of the frame. The segment's name is not in the frame.
    3. What is shown as its contents hashes to the frame's commitment.
    """
    proof = parse_tlog_proof(data)
    try:
        extra = msgspec.json.decode(proof.extra, type=Extra)
    except ValueError:  # msgspec's, or bytes that are not UTF-8
        raise LogError("the proof holds no record: its extra data are not ours") from None
    frame = extra.frame
    if len(frame) < SMALLEST_FRAME:
        raise LogError("the proof holds no frame")
    shown = verify_tlog_proof(proof, leaf_hash(frame), log.verifiers, policy, origin=log.origin)  # 1
    signed = log.open_signed(proof.checkpoint)
    _, _, event, _, _, sequence, time_ns, _, _ = FRAME_HEADER.unpack_from(frame)
    if _named(extra.record)[1] != sequence:  # 2
        raise LogError(f"the frame is number {sequence} of its segment, not the one that the proof names")
    entry = None
    known = BY_CODE.get(event)
    opened = bool(extra.salt or extra.plaintext)
    if opened:
        try:
            _check_opening(frame, extra.salt, extra.plaintext)  # 3
            entry = decode(known, extra.plaintext) if known is not None else None
        except RecordError as error:
            raise LogError(str(error)) from error
    return Proven(
        record=extra.record,
        sequence=sequence,
        index=shown.index,
        checkpoint=shown.checkpoint,
        signed=log.time_of(signed),
        witnesses={one.witness: one.timestamp for one in shown.cosignatures},
        event=str(known) if known is not None else f"event {event}",
        time_ns=time_ns,
        opened=opened,
        entry=entry,
    )


def _named(record: str) -> RecordId:
    """The id in a proof, only as we write it: it is shown with what was verified, and nobody signed it."""
    try:
        found = parse_id(record)
    except RecordError:
        found = None
    if found is None or format_id(found) != record:
        raise LogError("what the proof calls its record is not the name of one")
    return found


def index_of(record: Path, wanted: RecordId, files: Files) -> int | None:
    """The record's place in the tree, from the journal; None if it is not sealed."""
    segment, sequence = wanted
    found = numbers(files, record)
    if not found:
        raise RecordError("there is no journal")
    for index, seal in seals(files, record, (found[-1], None), 0):
        if seal.segment == segment and seal.first <= sequence < seal.first + seal.count:
            return index + sequence - seal.first
    return None


def frame_of(record: Path, wanted: RecordId) -> bytes:
    """One frame as stored; `RecordError` if it is not there."""
    with _segment_of(record, wanted) as reader:
        return _frame(reader, wanted)


def open_frame(record: Path, wanted: RecordId, open_key: OpenKey) -> Opening:
    """What opens one frame, for who holds the record's key; `RecordError`."""
    with _segment_of(record, wanted) as reader:
        return Opening(*frame_reader(reader.header, open_key).opening(_frame(reader, wanted)))


def _segment_of(record: Path, wanted: RecordId) -> SegmentReader:
    for path in segment_files(record):
        if path.name[-12:-4] == wanted[0].hex()[:8]:
            reader = SegmentReader(path)
            if reader.header.id == wanted[0]:
                return reader
            reader.close()
    raise RecordError(f"there is no segment {wanted[0].hex()}")


def _frame(reader: SegmentReader, wanted: RecordId) -> bytes:
    for frame in reader.frames():
        if frame.sequence == wanted[1]:
            return frame.data
    raise RecordError(f"there is no record {format_id(wanted)}")


def _check_opening(frame: bytes, salt: bytes, plaintext: bytes) -> None:
    # With a salt of another length the beginning of what was written could pass for salt.
    if len(salt) != SALT_SIZE or sha256(salt + plaintext).digest() != FRAME_HEADER.unpack_from(frame)[8]:
        raise RecordError("what is shown as the record's contents is not what it commits to")
