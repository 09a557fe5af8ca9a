"""Reads segments: frames without any key, and what is in them with the record's own.

It only reads. What does not hold raises `RecordError`; nothing is skipped in silence.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from interlock.audit.files import Files, read_all
from interlock.audit.header import ID_SIZE, MAX_HEADER, VERSION, SegmentHeader, decode_header, key_info
from interlock.audit.leaves import Walk
from interlock.audit.segment import (
    ELSEWHERE,
    FILE_NAME,
    FRAME_HEADER,
    HEADER_SIZE,
    MAX_FRAME,
    NOTHING,
    SMALLEST_FRAME,
    FrameReader,
    RecordId,
)
from interlock.errors import KeyMaterialError, RecordError

_CHUNK = 4 * 1024 * 1024


class OpenKey(Protocol):
    """Opens a sealed data key with the private half of the recipient named."""

    def __call__(self, recipient_id: str, sealed: bytes, info: bytes, /) -> bytes: ...


class Frame(NamedTuple):
    """One frame as stored."""

    offset: int
    event: int
    sequence: int
    time_ns: int
    refers: RecordId | None
    data: bytes


def segment_files(record: Path, files: Files | None = None) -> list[Path]:
    """The record's segment files in the order in which they were opened."""
    folder = record / "segments"
    try:
        names = (files or Files()).list(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if FILE_NAME.fullmatch(name)]


class SegmentReader:
    """One segment file, frame by frame.

    After iterating to the end, `offset` and `count` are those after the last whole frame and `rest` is the
    number of bytes that follow it. `problem` says why there was no frame at `offset`, when the reason is
    other than that the file ends there or within the frame.
    """

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self.path = path
        self._files = files or Files()
        self.fd = self._files.open(path)
        try:
            head = read_all(self._files, self.fd, MAX_HEADER + 64, 0)
            self.header, self.header_size = decode_header(head)
            self.head = head[: self.header_size]
        except BaseException:
            self._files.close(self.fd)
            raise
        self.offset = self.header_size
        self.count = 0
        self.rest = 0
        self.problem = ""

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._files.close(self.fd)

    def frames(self) -> Iterator[Frame]:
        segment, unpack = self.header.id, FRAME_HEADER.unpack_from
        buffer, at = b"", 0
        while True:
            if len(buffer) - at < HEADER_SIZE or len(buffer) - at < int.from_bytes(buffer[at : at + 4], "big"):
                buffer, at = read_all(self._files, self.fd, _CHUNK, self.offset), 0
                if len(buffer) < SMALLEST_FRAME:
                    break
            length, version, event, _, flags, sequence, time_ns, refers, _ = unpack(buffer, at)
            if version != VERSION or not SMALLEST_FRAME <= length <= MAX_FRAME:
                self.problem = "there is no frame here"
                break
            if sequence != self.count:
                self.problem = f"record {self.count} is missing; {sequence} follows"
                break
            data = buffer[at : at + length]
            if len(data) < length:
                break
            about: RecordId | None = None
            if flags & ELSEWHERE:
                about = (data[HEADER_SIZE : HEADER_SIZE + ID_SIZE], refers)
            elif refers != NOTHING:
                about = (segment, refers)
            offset = self.offset
            self.offset += length
            self.count += 1
            at += length
            yield Frame(offset, event, sequence, time_ns, about, data)
        self.rest = max(0, self._files.fstat(self.fd).st_size - self.offset)

    def walk(self, walk: Walk, most: int, hashed: int, step: Callable[[], None]) -> None:
        """Walk over the frames, at most `most`, without making anything of each; `step` after each piece.

        Afterwards the same is to be known as after iterating.
        """
        taken = -1
        while taken and walk.count < most and not walk.problem:
            taken = walk.over(read_all(self._files, self.fd, _CHUNK, self.offset), most, hashed, True)
            self.offset += taken
            self.count = walk.count
            step()
        self.problem = walk.problem
        self.rest = max(0, self._files.fstat(self.fd).st_size - self.offset)


def read_frames(path: Path) -> Iterator[Frame]:
    """All whole frames of a segment file; `RecordError` where it goes on with something else."""
    with SegmentReader(path) as reader:
        yield from reader.frames()
        if reader.problem:
            raise RecordError(f"{path.name}, offset {reader.offset}: {reader.problem}")


def frame_reader(header: SegmentHeader, open_key: OpenKey) -> FrameReader:
    """What opens the frames of this segment."""
    try:
        sealed = base64.b64decode(header.sealed, validate=True)
    except ValueError as error:
        raise RecordError(f"the data key of segment {header.segment} cannot be read") from error
    try:
        data_key = open_key(header.recipient, sealed, key_info(header.id))
    except KeyMaterialError as error:
        raise RecordError(f"segment {header.segment} cannot be opened: {error}") from error
    return FrameReader(data_key)


def decrypt(path: Path, open_key: OpenKey) -> Iterator[tuple[Frame, bytes]]:
    """All whole frames of a segment file with their plaintext."""
    with SegmentReader(path) as reader:
        opener = frame_reader(reader.header, open_key)
        for frame in reader.frames():
            yield frame, opener.open(frame.data)
        if reader.problem:
            raise RecordError(f"{path.name}, offset {reader.offset}: {reader.problem}")
