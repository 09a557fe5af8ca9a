"""What a log and a witness say to each other (C2SP tlog-witness, text of commit 055270b). Forms only, no decisions.

A log POSTs the size that the witness knows, a consistency proof from there, and its checkpoint. The witness answers
with cosignature lines, or with a status that says why not. What is read here is not verified.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from interlock.errors import LogError
from interlock.tlog.encoding import decode_hash, decode_size, encode_base64
from interlock.tlog.note import Signature, parse_signature

ADD_CHECKPOINT: Final = "add-checkpoint"  # under the submission prefix
SIZE_TYPE: Final = "text/x.tlog.size"  # of a 409's body, which is the size that the witness knows
MAX_PROOF: Final = 63  # lines
_MAX_ANSWER: Final = 100  # cosignature lines


class AddCheckpoint(NamedTuple):
    """The body of a request."""

    old: int
    proof: tuple[bytes, ...]  # hashes of 32 bytes
    checkpoint: bytes  # the signed note


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """The body. Raises LogError if it would not read back as the same request."""
    hashes = "".join(f"{encode_base64(one)}\n" for one in request.proof)
    data = f"old {request.old}\n{hashes}\n".encode() + request.checkpoint
    if parse_add_checkpoint(data) != request:
        raise LogError("that cannot be written as a request to a witness")
    return data


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read a body; the checkpoint in it is not looked at. Raises LogError if it is malformed."""
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise LogError("the request is not ASCII before its checkpoint") from None
    if not blank or not lines[0].startswith("old "):
        raise LogError("a request begins with the old size and has an empty line before its checkpoint")
    if len(lines) > 1 + MAX_PROOF:
        raise LogError(f"a consistency proof is at most {MAX_PROOF} lines")
    old = decode_size(lines[0].removeprefix("old "))
    return AddCheckpoint(old, tuple(decode_hash(line) for line in lines[1:]), checkpoint)


def parse_cosignatures(data: bytes) -> tuple[Signature, ...]:
    """The signature lines of a 200. Raises LogError if they are malformed."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        raise LogError("the cosignatures are not UTF-8") from None
    if lines.pop() != "" or not 1 <= len(lines) <= _MAX_ANSWER:
        raise LogError("an answer is one or more lines, each ending with a newline")
    return tuple(parse_signature(line) for line in lines)


def parse_size(data: bytes) -> int:
    """The size in the body of a 409. Raises LogError if it is malformed."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise LogError("a size is ASCII") from None
    if not text.endswith("\n"):
        raise LogError("a size ends with a newline")
    return decode_size(text[:-1])
