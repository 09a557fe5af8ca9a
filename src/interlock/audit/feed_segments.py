"""Segments that a feed has open, and single records by their id. It only reads."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path

from interlock.audit.files import Files, read_all
from interlock.audit.header import SegmentHeader
from interlock.audit.reader import Frame, OpenKey, SegmentReader, frame_reader, segment_files
from interlock.audit.segment import (
    ELSEWHERE,
    FRAME_HEADER,
    HEADER_SIZE,
    NOTHING,
    SMALLEST_FRAME,
    FrameReader,
    RecordId,
)
from interlock.errors import RecordError

CHUNK = 1024 * 1024
_SEGMENTS = 64  # kept open
_INDEXES = 4  # segments whose frames' places are remembered


class OpenSegment:
    """A segment that is open, and what opens its frames."""

    __slots__ = ("fd", "header", "opener")

    def __init__(self, fd: int, opener: FrameReader, header: SegmentHeader) -> None:
        self.fd = fd
        self.opener = opener
        self.header = header


class OpenSegments:
    """Those used last. For one thread; holds descriptors, and what opens their frames, until it is closed."""

    def __init__(self, record: Path, open_key: OpenKey, files: Files) -> None:
        self._record = record
        self._open_key = open_key
        self._files = files
        self._segments: OrderedDict[bytes, OpenSegment] = OrderedDict()
        self._indexes: OrderedDict[bytes, tuple[Path, array[int]]] = OrderedDict()

    def of_seal(self, segment: bytes, file: str, header_hash: bytes) -> OpenSegment:
        """The segment that a seal is of; its beginning MUST be what the journal says of it. Raises `RecordError`."""
        found = self._segments.get(segment)
        return found or self._keep(segment, self._record / "segments" / file, header_hash)

    def ended(self, segment: bytes) -> None:
        """Nothing more of it is sealed: nor is its data key held any longer."""
        if (found := self._segments.pop(segment, None)) is not None:
            self._files.close(found.fd)

    def close(self) -> None:
        """Let go of all; what was remembered of places in files stays."""
        for segment in self._segments.values():
            self._files.close(segment.fd)
        self._segments.clear()

    def look_up(self, record: RecordId) -> tuple[Frame, bytes] | None:
        """One record by its id, sealed or not: its frame and what is in it; None if it is not there.

        Raises `RecordError`.
        """
        segment, sequence = record
        index = self._indexes.get(segment)
        if index is None or sequence >= len(index[1]):
            index = self._index(segment)
        if index is None or sequence >= len(index[1]):
            return None
        path, offsets = index
        found = self._segments.get(segment) or self._keep(segment, path)
        frame = frame_at(read_all(self._files, found.fd, CHUNK, offsets[sequence]), 0, offsets[sequence], segment)
        return frame, found.opener.open(frame.data)

    def header(self, segment: bytes) -> SegmentHeader | None:
        """What a segment says of itself in the clear; None if it is not there."""
        found = self._segments.get(segment)
        if found is None:
            index = self._indexes.get(segment) or self._index(segment)
            if index is None:
                return None
            found = self._keep(segment, index[0])
        return found.header

    def _keep(self, segment: bytes, path: Path, header_hash: bytes | None = None) -> OpenSegment:
        """Open a segment; its beginning MUST be what the journal says of it."""
        try:
            reader = SegmentReader(path, self._files)
        except FileNotFoundError:
            raise RecordError(f"{path.name} is missing") from None
        try:
            if reader.header.id != segment or header_hash not in (None, sha256(reader.head).digest()):
                raise RecordError(f"{path.name} was altered: it does not begin as the journal says")  # noqa: TRY301 - closed below
            kept = OpenSegment(reader.fd, frame_reader(reader.header, self._open_key), reader.header)
        except BaseException:
            self._files.close(reader.fd)
            raise
        self._segments[segment] = kept
        if len(self._segments) > _SEGMENTS:
            _, oldest = self._segments.popitem(last=False)
            self._files.close(oldest.fd)
        return kept

    def _index(self, segment: bytes) -> tuple[Path, array[int]] | None:
        """Where each frame of a segment begins, as far as it is written."""
        ending = f"-{segment.hex()[:8]}.seg"
        for path in segment_files(self._record, self._files):
            if not path.name.endswith(ending):
                continue
            with SegmentReader(path, self._files) as reader:
                if reader.header.id != segment:
                    continue
                offsets = array("Q", (frame.offset for frame in reader.frames()))
            self._indexes[segment] = path, offsets
            self._indexes.move_to_end(segment)
            if len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
            return path, offsets
        return None


def frame_at(data: bytes, at: int, offset: int, segment: bytes) -> Frame:
    """The frame that begins at `at` of `data`, and at `offset` of its segment. Raises `RecordError`."""
    if len(data) - at < SMALLEST_FRAME:
        raise RecordError(f"segment {segment.hex()} was cut at offset {offset}")
    length, _, event, _, flags, sequence, time_ns, refers, _ = FRAME_HEADER.unpack_from(data, at)
    if not SMALLEST_FRAME <= length <= len(data) - at:
        raise RecordError(f"segment {segment.hex()} was altered at offset {offset}")
    frame = data[at : at + length]
    about: RecordId | None = None
    if flags & ELSEWHERE:
        about = (frame[HEADER_SIZE : HEADER_SIZE + len(segment)], refers)
    elif refers != NOTHING:
        about = (segment, refers)
    return Frame(offset, event, sequence, time_ns, about, frame)
