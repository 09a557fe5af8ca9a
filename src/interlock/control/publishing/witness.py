"""A log's half of C2SP tlog-witness, for one witness: what is asked, and what of its answers is believed.

No socket: a request's body goes into `post`, status and body come back. A witness is a stranger. What it says of sizes
only chooses the proof that it is sent; its cosignature counts if it verifies over the text and is made now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from interlock.clock import SECOND, Clock
from interlock.errors import InterlockError, LogError
from interlock.tlog import (
    AddCheckpoint,
    Checkpoint,
    CosignatureVerifier,
    Signature,
    format_add_checkpoint,
    parse_cosignatures,
    parse_size,
    parse_vkey,
    timestamp_of,
)

SKEW: Final = 300  # seconds that a witness's clock may differ from ours
_TRIES: Final = 3  # what we believe that it knows, what it says, and once more if that changed meanwhile
_SAID: Final = 200  # characters of an answer that are shown


class WitnessError(InterlockError):
    """A witness did not cosign; why."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Candidate(NamedTuple):
    """A checkpoint to be cosigned."""

    note: bytes  # as the log signed it
    text: str
    checkpoint: Checkpoint
    signed_ns: int  # by the log's clock
    prove: Callable[[int], Sequence[bytes]]  # the consistency proof from a size; `LogError`, `RecordError`


class WitnessClient:
    """Remembers what the witness knows. For one thread."""

    def __init__(self, vkey: str, post: Callable[[bytes], Reply], clock: Clock) -> None:
        self._verifier = CosignatureVerifier(parse_vkey(vkey))
        self._post = post
        self._clock = clock
        self._known = 0

    def cosign(self, candidate: Candidate) -> Signature:
        """Its cosignature, verified. Raises `WitnessError`, and what `post` and `prove` raise."""
        size = candidate.checkpoint.size
        for _ in range(_TRIES):
            old = min(self._known, size)
            request = AddCheckpoint(old, tuple(candidate.prove(old)), candidate.note)
            reply = self._post(format_add_checkpoint(request))
            if reply.status == 200:
                signature = self._believed(reply.body, candidate.text)
                self._known = size
                return signature
            if reply.status == 409:
                self._known = self._learned(reply.body, old, size)
                continue
            if reply.status == 422:
                raise WitnessError(f"it knows another history of this log: {_shown(reply.body)}")
            raise WitnessError(f"it answered {reply.status}: {_shown(reply.body)}")
        raise WitnessError("it said another size each time")

    def _learned(self, body: bytes, old: int, size: int) -> int:
        try:
            known = parse_size(body)
        except LogError as error:
            raise WitnessError(f"its answer is malformed: {error}") from None
        if known > size:
            self._known = known
            raise WitnessError(
                f"it has cosigned {known} records, the record has {size}: it was set back, or another node has its key"
            )
        if known == old:
            if old == size:
                raise WitnessError(f"it knows another history of this log: its {size} records have another root")
            raise WitnessError("it contradicts itself")
        return known

    def _believed(self, body: bytes, text: str) -> Signature:
        """The cosignature of the witness's own key; those of unknown keys are ignored."""
        key = self._verifier.key
        try:
            for signature in parse_cosignatures(body):
                if (signature.name, signature.key_id) == (key.name, key.key_id):
                    self._verifier.verify(text.encode(), signature.value)
                    made = timestamp_of(signature)
                    break
            else:
                raise WitnessError("it answered without a cosignature by its key")
        except LogError as error:
            raise WitnessError(str(error)) from None
        if abs(made - self._clock.wall() // SECOND) > SKEW:
            raise WitnessError(
                f"its cosignature says that it was made {made - self._clock.wall() // SECOND:+} s from now"
            )
        return signature


def _shown(body: bytes) -> str:
    said = " ".join(body[:_SAID].decode("utf-8", "replace").split())
    return "".join(character for character in said if character.isprintable())
