"""Checkpoints: the signed head of a log (C2SP tlog-checkpoint, text of commit 2793893).

The text is the origin, the size in decimal and the root in base64, a line each, then extension lines. A log
MUST NOT sign two checkpoints that no consistency proof connects; nothing here can prevent it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from interlock.errors import LogError
from interlock.tlog.encoding import decode_hash, decode_size, encode_base64
from interlock.tlog.node import EMPTY_ROOT
from interlock.tlog.note import OpenedNote, Signature, Signer, Verifier, check_text, open_note, sign_note


class Checkpoint(NamedTuple):
    """What a log says of itself: which log, how many leaves, and their root."""

    origin: str
    size: int
    root: bytes  # 32 bytes
    extensions: tuple[str, ...] = ()  # nobody but the log vouches for them


class SignedCheckpoint(NamedTuple):
    """A checkpoint that a known key of its log has signed, and the note that it came in."""

    checkpoint: Checkpoint
    opened: OpenedNote


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """The note text ("Note text"). Raises LogError if it would not read back as the same checkpoint."""
    lines = (checkpoint.origin, str(checkpoint.size), encode_base64(checkpoint.root), *checkpoint.extensions)
    text = "".join(f"{line}\n" for line in lines)
    if parse_checkpoint(text) != checkpoint:
        raise LogError("that cannot be written as a checkpoint")
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note. Raises LogError if it is not a checkpoint, or is of no leaves with another root."""
    check_text(text)
    lines = text.split("\n")
    if lines.pop() != "" or len(lines) < 3 or not all(lines):
        raise LogError("a checkpoint is at least three lines, none of them empty")
    checkpoint = Checkpoint(lines[0], decode_size(lines[1]), decode_hash(lines[2]), tuple(lines[3:]))
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise LogError("a tree without leaves has another root")
    return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[Signer], others: Sequence[Signature] = ()) -> bytes:
    """The signed note. A signer's name SHOULD be the origin: `open_checkpoint` asks for it unless told otherwise."""
    return sign_note(format_checkpoint(checkpoint), signers, others)


def open_checkpoint(data: bytes, log: Sequence[Verifier], *, origin: str | None = None) -> SignedCheckpoint:
    """Read a checkpoint and verify that its log signed it. Raises LogError if one of these does not hold.

    1. The note is well-formed, a key of `log` has signed it, and no signature of such a key fails.
    2. The text is a checkpoint.
    3. Its origin is `origin`; if that is not given, the name of a key that signed it.

    Witnesses' keys do not belong in `log`, since they speak for no log: see `cosignature.verify_cosignatures`.
    """
    opened = open_note(data, log)  # 1
    checkpoint = parse_checkpoint(opened.text)  # 2
    if checkpoint.origin not in ({one.name for one in opened.verified} if origin is None else {origin}):  # 3
        raise LogError(f"the checkpoint is of {checkpoint.origin!r}, another log")
    return SignedCheckpoint(checkpoint, opened)
