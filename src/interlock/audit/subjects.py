"""Who a record is about, held so that it can be taken away again: subject frames. Pure of I/O.

What identifies a person stands in no frame that says what happened. It stands once per segment in a frame of
its own, `record:subject`, and the others refer to that one by its sequence:

    payload   msgpack [version = 1, wrapped, sealed]
    wrapped   a fresh content key under the segment's subject key
    sealed    u32 length | msgpack [kind, value, more] | zeros up to a multiple of 64, under the content key

Both are AES-256-GCM with the nonce 4 zero bytes | u64 sequence; the associated data are ASCII words, the
segment's id and the sequence. The subject key serves each sequence once, the content key this one frame.
Whoever holds the data key can recompute a frame's commitment, so the value MUST NOT be in the payload but
under the content key: once that is gone, there is nothing to compare a guess with.

The subject key is fresh in each segment, sealed (HPKE) to the intake key in the header, and kept nowhere.
"""

from __future__ import annotations

import base64
import os
from struct import Struct
from typing import NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.audit.entries import SubjectFrame
from interlock.audit.header import SegmentHeader
from interlock.errors import KeyMaterialError, RecordError

VERSION = 1
PRINCIPAL, SOURCE, PATH = "principal", "source", "path"
ERASED, LOST, HIDDEN = "erased", "lost", "hidden"  # what a reader finds instead
_KEY = 32
_STEP = 64  # what a value's length is rounded up to: how long a name is tells too much of it
_NONCE = Struct(">4xQ")
_SEQUENCE = Struct(">Q")
_LENGTH = Struct(">I")

_encode = msgspec.msgpack.Encoder().encode


class OpenIntake(Protocol):
    """Opens a sealed subject key with the private half of the intake key named; `KeyMaterialError`."""

    def __call__(self, intake_id: str, sealed: bytes, info: bytes, /) -> bytes: ...


class Subject(NamedTuple):
    """An identifying value. `more` is a principal's credential, or whom a path parameter identifies."""

    kind: str
    value: str
    more: str = ""

    @property
    def id(self) -> str:
        """How people name it: `user:iss/alice`, `source:192.0.2.1`, `patient:4711`."""
        if self.kind == SOURCE:
            return f"{SOURCE}:{self.value}"
        return f"{self.more}:{self.value}" if self.kind == PATH else self.value

    @classmethod
    def named(cls, subject_id: str) -> Subject:
        """Whom the text names; `ValueError` if it names nobody."""
        kind, colon, value = subject_id.partition(":")
        if not colon or not kind or not value:
            raise ValueError(f"{subject_id!r} is not of the form KIND:VALUE")
        if kind == SOURCE:
            return cls(SOURCE, value)
        if "/" in value:  # no segment of a path has one
            return cls(PRINCIPAL, subject_id)
        return cls(PATH, value, kind)


_decode_frame = msgspec.msgpack.Decoder(SubjectFrame).decode
_decode_value = msgspec.msgpack.Decoder(tuple[str, str, str]).decode


def intake_info(segment: bytes) -> bytes:
    """The `info` that binds a sealed subject key to its segment."""
    return b"interlock record subjects 1 " + segment


def _about(what: bytes, segment: bytes, sequence: int) -> bytes:
    return b"interlock subject " + what + b" 1 " + segment + _SEQUENCE.pack(sequence)


class SubjectSealer:
    """The writing side, for one segment: makes the payloads of its subject frames."""

    __slots__ = ("_key", "_segment")

    def __init__(self, segment: bytes, key: bytes) -> None:
        self._segment = segment
        self._key = AESGCM(key)

    def seal(self, sequence: int, subject: Subject) -> bytes:
        """The payload of the frame with this sequence. MUST NOT be called twice for one."""
        content, nonce = os.urandom(_KEY), _NONCE.pack(sequence)
        value = _encode(tuple(subject))
        plain = _LENGTH.pack(len(value)) + value
        plain += bytes(-len(plain) % _STEP)
        wrapped = self._key.encrypt(nonce, content, _about(b"key", self._segment, sequence))
        sealed = AESGCM(content).encrypt(nonce, plain, _about(b"value", self._segment, sequence))
        return _encode((VERSION, wrapped, sealed))


def subject_key(header: SegmentHeader, open_intake: OpenIntake) -> bytes:
    """A segment's subject key; `KeyMaterialError` if the intake key it was sealed to is gone, or it has none."""
    if not header.subjects:
        raise KeyMaterialError(f"segment {header.segment} has no subjects")
    try:
        sealed = base64.b64decode(header.subjects, validate=True)
    except ValueError as error:
        raise RecordError(f"the subject key of segment {header.segment} cannot be read") from error
    return open_intake(header.intake, sealed, intake_info(header.id))


def content_key(key: bytes, segment: bytes, sequence: int, payload: bytes) -> bytes:
    """The content key of one subject frame, opened with its segment's subject key."""
    frame = _frame(sequence, payload)
    try:
        return AESGCM(key).decrypt(_NONCE.pack(sequence), frame.wrapped, _about(b"key", segment, sequence))
    except (InvalidTag, ValueError) as error:
        raise RecordError(f"subject {sequence} was altered, or is of another segment") from error


def open_subject(content: bytes, segment: bytes, sequence: int, payload: bytes) -> Subject:
    """Who a subject frame names, opened with its content key."""
    frame = _frame(sequence, payload)
    try:
        plain = AESGCM(content).decrypt(_NONCE.pack(sequence), frame.sealed, _about(b"value", segment, sequence))
        end = _LENGTH.size + _LENGTH.unpack_from(plain)[0]
        return Subject(*_decode_value(plain[_LENGTH.size : end]))
    except (InvalidTag, ValueError, msgspec.MsgspecError) as error:
        raise RecordError(f"subject {sequence} was altered, or is of another segment") from error


def _frame(sequence: int, payload: bytes) -> SubjectFrame:
    try:
        frame = _decode_frame(payload)
    except ValueError as error:
        raise RecordError(f"subject {sequence} cannot be read") from error
    if frame.version != VERSION:
        raise RecordError(f"subject {sequence} is of unknown version {frame.version}")
    return frame
