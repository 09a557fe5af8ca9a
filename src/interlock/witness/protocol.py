"""The protocol as two pure functions (C2SP tlog-witness, "add-checkpoint"): no file, no socket, no clock.

    body -> read_submission -> judge, with what is known of that log -> what must be on disk, and then the answer

`read_submission`, which needs no state:

 1. The body is a request and the checkpoint in it is one: else 400.
 2. Its origin is that of a log we know: else 404.
 3. One of that log's keys signed it, and no signature by one of them fails: else 403.
 4. The old size is not larger than the checkpoint's: else 400.

`judge`, under the lock of the log's state:

 5. The old size is the one that is known: else 409, with that one.
 6. A checkpoint of the known size has the known root: else 409. The log has signed two histories.
 7. The proof leads from the known root to the checkpoint's: else 422.
 8. The checkpoint is what is known from now on, and is cosigned. The answer MUST NOT leave before it is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from interlock.errors import LogError
from interlock.tlog import (
    EMPTY_ROOT,
    SIZE_TYPE,
    AddCheckpoint,
    Checkpoint,
    Cosigner,
    Verifier,
    open_note,
    parse_add_checkpoint,
    parse_checkpoint,
    parse_note,
    verify_consistency,
)

MAX_BODY: Final = 64 * 1024  # bytes: a proof is at most 2835, the rest is for the signatures of others
TEXT: Final = "text/plain; charset=utf-8"
Logs = Mapping[str, Sequence[Verifier]]  # origin -> the keys that are trusted for it


class Known(NamedTuple):
    """The latest checkpoint that was cosigned for a log; at first that of the empty tree."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    note: bytes = b""  # as the log signed it


class Response(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    content_type: str = TEXT


class Submission(NamedTuple):
    """A request whose checkpoint its log has signed."""

    request: AddCheckpoint
    checkpoint: Checkpoint
    text: str  # what is cosigned


class Answer(NamedTuple):
    """A response, and what must be on disk before it leaves."""

    response: Response
    known: Known | None = None  # instead of what was known
    conflict: bytes | None = None  # a checkpoint that its log signed and that contradicts the known one


def read_submission(body: bytes, logs: Logs) -> Submission | Response:
    """Steps 1 to 4."""
    try:
        request = parse_add_checkpoint(body)
        text = parse_note(request.checkpoint).text
        checkpoint = parse_checkpoint(text)
    except LogError as error:
        return _refused(400, str(error))  # 1
    keys = logs.get(checkpoint.origin)
    if keys is None:
        return _refused(404, "this log is not known here")  # 2
    try:
        open_note(request.checkpoint, keys)
    except LogError as error:
        return _refused(403, str(error))  # 3
    if request.old > checkpoint.size:
        return _refused(400, "the old size is larger than the checkpoint's")  # 4
    return Submission(request, checkpoint, text)


def judge(submission: Submission, known: Known, cosigner: Cosigner, now: int) -> Answer:
    """Steps 5 to 8; `now` in seconds since 1970."""
    request, checkpoint, text = submission
    if request.old != known.size:
        return Answer(_conflict(known))  # 5
    if checkpoint.size == known.size and checkpoint.root != known.root:
        return Answer(_conflict(known), conflict=request.checkpoint)  # 6
    try:
        verify_consistency(known.size, checkpoint.size, request.proof, known.root, checkpoint.root)
    except LogError as error:
        return Answer(_refused(422, str(error)))  # 7
    line = f"{cosigner.cosign(text, now)}\n".encode()
    return Answer(Response(200, line), Known(checkpoint.size, checkpoint.root, request.checkpoint))  # 8


def _conflict(known: Known) -> Response:
    return Response(409, b"%d\n" % known.size, SIZE_TYPE)


def _refused(status: int, why: str) -> Response:
    return Response(status, f"{why}\n".encode())
