"""One segment: the exact bytes of its header and of its frames. Pure of I/O.

    file    magic "ILKSEG1\\n" | u32 length | JSON header | frame...
    frame   u32 length of the whole frame | u8 version = 1 | u8 event | u8 class | u8 flags
            u64 sequence | u64 time, wall ns | u64 refers (2^64-1: nothing) | 32 bytes commitment
            [16 bytes segment, if flag ELSEWHERE: `refers` is a sequence in that segment, not in this one]
            ciphertext: AES-256-GCM under the segment's data key, nonce = 4 zero bytes | u64 sequence,
            additional data = everything in the frame before it

All numbers are big-endian. The commitment is SHA-256(salt | plaintext), with a salt of its own per frame:
32 bytes at position 32 x sequence of an AES-256-CTR key stream (counter from 0) under a key that HKDF
derives from the data key. So one frame can be opened to an auditor without opening its neighbours.

A data key serves one segment in one process and MUST NOT be used after that process forgot `count`: a
sequence used twice is a nonce used twice. It is sealed to a public recipient at birth and kept nowhere else,
so that a writer cannot read what another one wrote. Flags and header members are only ever added.
"""

from __future__ import annotations

import base64
import os
import re
import time
from hashlib import sha256
from struct import Struct
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.audit.header import ID_SIZE, VERSION, SegmentHeader, encode_header, key_info
from interlock.audit.subjects import SubjectSealer, intake_info
from interlock.errors import RecordError

NOTHING: Final = 2**64 - 1  # `refers` of a frame that refers to no other
ELSEWHERE: Final = 0x01  # flag: the frame referred to is in the segment named after the header
MAX_FRAME: Final = 1024 * 1024
FRAME_HEADER: Final = Struct(">IBBBBQQQ32s")
SHORT_SIZE: Final = 32  # without the commitment
HEADER_SIZE: Final = 64
TAG_SIZE: Final = 16
SMALLEST_FRAME: Final = HEADER_SIZE + TAG_SIZE
SALT_SIZE: Final = 32
MAX_PLAINTEXT: Final = MAX_FRAME - SMALLEST_FRAME - ID_SIZE
FILE_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[a-z0-9][a-z0-9-]{0,31}-[0-9a-f]{8}\.seg")

_WRITER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SHORT: Final = Struct(">IIQQQ").pack  # the four bytes after the length as one number, which costs less
_NONCE: Final = Struct(">4xQ")
_LAST: Final = [bytes([number]) for number in range(256)]  # of a nonce: what changes from one frame to the next
_SALTS_AT_ONCE: Final = 1024
_COMMITMENT: Final = sha256()  # copied for each frame, which costs less than beginning anew

RecordId = tuple[bytes, int]  # the 16-byte segment and the sequence in it: names one record for ever


class Recipient(Protocol):
    """To whom data keys are sealed."""

    @property
    def id(self) -> str: ...

    @property
    def class_(self) -> int:
        """The retention class of what is sealed to it, once `id` was asked."""
        ...

    def seal(self, data_key: bytes, info: bytes) -> bytes: ...


def commitment_key(data_key: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"interlock record commitment 1").derive(data_key)


def salts(key: bytes, first: int, count: int) -> bytes:
    """The commitment salts of `count` frames from sequence `first`, 32 bytes each."""
    stream = Cipher(AES(key), CTR((2 * first).to_bytes(16, "big"))).encryptor()
    return stream.update(bytes(32 * count))


def format_id(record: RecordId) -> str:
    """The text form of a record's name: `<segment in hex>-<sequence>`."""
    return f"{record[0].hex()}-{record[1]}"


def parse_id(text: str) -> RecordId:
    """Read the text form; `RecordError` if it is not one."""
    segment, dash, sequence = text.partition("-")
    if len(segment) != 32 or not dash or not sequence.isascii() or not sequence.isdigit():
        raise RecordError(f"{text!r} does not name a record")
    try:
        return bytes.fromhex(segment), int(sequence)
    except ValueError:
        raise RecordError(f"{text!r} does not name a record") from None


class Segment:
    """The writing side: makes frames with consecutive sequences. Holds the data key; for one thread."""

    __slots__ = (
        "_commit",
        "_encrypt",
        "_heads",
        "_plaintexts",
        "_salts",
        "_salts_at",
        "_salts_end",
        "_what",
        "count",
        "file_name",
        "head",
        "header",
        "id",
        "subjects",
    )

    def __init__(self, header: SegmentHeader, data_key: bytes, subjects: SubjectSealer | None = None) -> None:
        self.header = header
        self.id = header.id
        self.head = encode_header(header)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(header.opened_ns // 1_000_000_000))
        self.file_name = f"{stamp}-{header.writer}-{header.segment[:8]}.seg"
        self.subjects = subjects
        self.count = 0  # records added so far; the next frame's sequence
        self._what = int.from_bytes(bytes((VERSION, 0, header.class_, 0)), "big")  # of each frame: version and class
        self._heads: list[bytes] = []  # of records whose frames are not made: without the commitment
        self._plaintexts: list[bytes] = []
        self._encrypt = AESGCM(data_key).encrypt
        self._commit = commitment_key(data_key)
        self._salts = b""
        self._salts_at = 0
        self._salts_end = 0

    @classmethod
    def create(
        cls,
        writer: str,
        recipient: Recipient,
        opened_ns: int,
        *,
        instance: str = "",
        boot_id: str = "",
        class_: int | None = None,
        intake: Recipient | None = None,
    ) -> Segment:
        """A new segment with a fresh data key from the operating system, and a subject key if there is an `intake`.

        Its retention class is that of the recipient, unless one is given.
        """
        if not _WRITER.fullmatch(writer):
            raise RecordError(f"{writer!r} cannot name a writer")
        segment, data_key = os.urandom(ID_SIZE), os.urandom(32)
        subject_key, subjects = b"", ""
        if intake is not None:
            subject_key = os.urandom(32)
            subjects = base64.b64encode(intake.seal(subject_key, intake_info(segment))).decode("ascii")
        recipient_id = recipient.id
        header = SegmentHeader(
            version=VERSION,
            segment=segment.hex(),
            writer=writer,
            instance=instance or os.urandom(8).hex(),
            opened_ns=opened_ns,
            boot_id=boot_id,
            recipient=recipient_id,
            sealed=base64.b64encode(recipient.seal(data_key, key_info(segment))).decode("ascii"),
            class_=recipient.class_ if class_ is None else class_,
            intake=intake.id if intake is not None else "",
            subjects=subjects,
        )
        return cls(header, data_key, SubjectSealer(segment, subject_key) if subject_key else None)

    @property
    def waiting(self) -> int:
        """Records added whose frames are not made."""
        return len(self._plaintexts)

    def add(self, event: int, plaintext: bytes, time_ns: int, refers: int, elsewhere: bytes) -> int:
        """Use the next sequence, which is given, for a record: `take` makes the frame later, or nobody does.

        `elsewhere` is the segment in which `refers` is a sequence, when that is not this one. The plaintext MUST
        NOT be over MAX_PLAINTEXT.
        """
        assert event < 256
        sequence = self.count
        if elsewhere:
            size, flags = SMALLEST_FRAME + ID_SIZE, ELSEWHERE
        else:
            size, flags = SMALLEST_FRAME, 0
        what = self._what + event * 0x1_0000 + flags
        head: bytes = _SHORT(size + len(plaintext), what, sequence, time_ns, refers)
        self._heads.append(head + elsewhere if elsewhere else head)
        self._plaintexts.append(plaintext)
        self.count = sequence + 1
        return sequence

    def take(self) -> bytes:
        """The frames of all records added since this was last called, one after another.

        Made together, each of them costs less.
        """
        heads, plaintexts = self._heads, self._plaintexts
        self._heads, self._plaintexts = [], []
        sequence = self.count - len(heads)
        if sequence < self._salts_at or self.count > self._salts_end:
            self._salts = salts(self._commit, sequence, max(_SALTS_AT_ONCE, len(heads)))
            self._salts_at = sequence
            self._salts_end = sequence + len(self._salts) // 32
        salt = self._salts
        at = (sequence - self._salts_at) * 32
        encrypt, begin = self._encrypt, _COMMITMENT.copy
        front = _NONCE.pack(sequence)[:-1]
        made: list[bytes] = []
        for number, head in enumerate(heads):
            plaintext = plaintexts[number]
            last = sequence & 255
            if last == 0:
                front = _NONCE.pack(sequence)[:-1]
            digest = begin()
            digest.update(b"%b%b" % (salt[at : at + 32], plaintext))
            if len(head) == SHORT_SIZE:
                clear = b"%b%b" % (head, digest.digest())
            else:
                clear = b"%b%b%b" % (head[:SHORT_SIZE], digest.digest(), head[SHORT_SIZE:])
            made.append(clear)
            made.append(encrypt(b"%b%b" % (front, _LAST[last]), plaintext, clear))
            at += 32
            sequence += 1
        return b"".join(made)

    def frame(
        self, event: int, plaintext: bytes, time_ns: int, refers: int = NOTHING, elsewhere: bytes = b""
    ) -> tuple[int, bytes]:
        """The next frame alone, when none waits: its sequence and its bytes.

        A plaintext over MAX_PLAINTEXT raises `RecordError` and uses no sequence.
        """
        if len(plaintext) > MAX_PLAINTEXT:
            raise RecordError(f"a record of {len(plaintext)} bytes is too large")
        assert not self._heads
        return self.add(event, plaintext, time_ns, refers, elsewhere), self.take()


class FrameReader:
    """The reading side, for who holds the data key: opens frames and checks commitments."""

    __slots__ = ("_commit", "_decrypt", "_salts", "_salts_at")

    def __init__(self, data_key: bytes) -> None:
        self._decrypt = AESGCM(data_key).decrypt
        self._commit = commitment_key(data_key)
        self._salts = b""  # of frames that come one after another, from sequence `_salts_at` on
        self._salts_at = 0

    def open(self, frame: bytes) -> bytes:
        """The plaintext of one whole frame; `RecordError` if it is not what was written."""
        fields = FRAME_HEADER.unpack_from(frame)
        start = HEADER_SIZE + ID_SIZE if fields[4] & ELSEWHERE else HEADER_SIZE
        sequence: int = fields[5]
        try:
            plaintext = self._decrypt(_NONCE.pack(sequence), frame[start:], frame[:start])
        except Exception as error:  # cryptography.exceptions.InvalidTag, ValueError for a cut frame
            raise RecordError(f"record {sequence} was altered: it cannot be opened") from error
        if sha256(self._salt(sequence) + plaintext).digest() != fields[8]:
            raise RecordError(f"record {sequence} does not match its commitment")
        return plaintext

    def _salt(self, sequence: int) -> bytes:
        """One frame's; where they are opened in order, those of the next ones are made with it."""
        at = 32 * (sequence - self._salts_at)
        if not 0 <= at < len(self._salts):
            ahead = _SALTS_AT_ONCE if at == len(self._salts) else 1
            self._salts, self._salts_at, at = salts(self._commit, sequence, ahead), sequence, 0
        return self._salts[at : at + 32]

    def opening(self, frame: bytes) -> tuple[bytes, bytes]:
        """Salt and plaintext: with them anybody can see that the frame commits to the plaintext, and no other frame."""
        plaintext = self.open(frame)
        return salts(self._commit, FRAME_HEADER.unpack_from(frame)[5], 1), plaintext
