"""A segment's header: what a file of the record says of itself in the clear, and how that is sealed to it."""

from __future__ import annotations

from typing import Final

import msgspec

from interlock.errors import RecordError

MAGIC: Final = b"ILKSEG1\n"
VERSION: Final = 1
CLASS_STANDARD: Final = 0  # retention class
MAX_HEADER: Final = 64 * 1024
ID_SIZE: Final = 16


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says of itself in the clear; members are only added, with a default."""

    version: int
    segment: str  # 32 hex digits
    writer: str
    instance: str  # 16 hex digits: one life of one writer; all its segments name it
    opened_ns: int
    boot_id: str
    recipient: str
    sealed: str  # the data key, HPKE, base64
    class_: int = msgspec.field(name="class", default=CLASS_STANDARD)
    intake: str = ""  # whom the subject key is sealed to; empty: identifying values stand in the clear
    subjects: str = ""  # the subject key, HPKE, base64

    @property
    def id(self) -> bytes:
        return bytes.fromhex(self.segment)


def key_info(segment: bytes) -> bytes:
    """The `info` that binds a sealed data key to its segment."""
    return b"interlock record segment 1 " + segment


def encode_header(header: SegmentHeader) -> bytes:
    """The bytes with which the file begins."""
    body = msgspec.json.encode(header)
    return MAGIC + len(body).to_bytes(4, "big") + body


def decode_header(data: bytes) -> tuple[SegmentHeader, int]:
    """Read the beginning of a file: the header and the offset of the first frame; else `RecordError`."""
    start = len(MAGIC) + 4
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise RecordError("this is not a segment of the record")
    end = start + int.from_bytes(data[len(MAGIC) : start], "big")
    if end - start > MAX_HEADER or len(data) < end:
        raise RecordError("the segment's header is cut short")
    try:
        header = msgspec.json.decode(data[start:end], type=SegmentHeader)
        if header.version != VERSION or len(header.id) != ID_SIZE:
            raise RecordError(f"a segment of unknown version {header.version}")
    except ValueError as error:
        raise RecordError("the segment's header cannot be read") from error
    return header, end
