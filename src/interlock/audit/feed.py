"""Follows the record as it is sealed: every sealed frame once, in sealing order, from a place that can be kept.

It reads the journal's seals and then those frames of the segments, and checks what it reads: each entry
against the journal's running hash, each segment's beginning and each frame against what the journal says of
it. What does not hold, or is missing, raises `RecordError`; only what was pruned is passed over. It only reads.

A journal file ends where the next one says (what a crash left behind that place is no part of the chain). The
recorder may have written entries that it then could not sync; it writes them again, and so they come twice
here. Whoever keeps a cursor MUST take that as what it is: at least once.
"""

from __future__ import annotations

import os
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from interlock.audit.entries import Entry, decode
from interlock.audit.files import Files, read_all
from interlock.audit.header import SegmentHeader
from interlock.audit.journal import (
    MAGIC,
    MAX_ENTRY,
    Begin,
    Carried,
    Closed,
    Sealed,
    State,
    journal_path,
    numbers,
    read_state,
)
from interlock.audit.journal import Entry as JournalEntry
from interlock.audit.reader import Frame, OpenKey, SegmentReader, frame_reader, segment_files
from interlock.audit.segment import (
    ELSEWHERE,
    FRAME_HEADER,
    HEADER_SIZE,
    NOTHING,
    SMALLEST_FRAME,
    FrameReader,
    RecordId,
    format_id,
)
from interlock.clock import SECOND
from interlock.errors import RecordError
from interlock.model import Event
from interlock.model.events import BY_CODE
from interlock.tlog import START, extend, leaf_hash

VERSION = 1
_PREFIX = 36  # length and running hash of a journal entry
_CHUNK = 1024 * 1024
_DOUBT = 0.5  # seconds after which an entry that does not hold is not one that is being written
_FRESH = 2 * SECOND  # a folder changed so lately may change again within one tick of its clock
_SEGMENTS = 64  # kept open
_INDEXES = 4  # segments whose frames' places are remembered

_decode_entry = msgspec.msgpack.Decoder(JournalEntry).decode


class Cursor(NamedTuple):
    """A place in the sealed record. Its text form is durable: it stays good whatever is sealed after it."""

    journal: int  # number of the file; 0: before everything
    offset: int  # of the entry that comes next
    taken: int  # frames of that entry that were taken already
    running: bytes  # the running hash before that entry

    def __str__(self) -> str:
        return f"{VERSION}.{self.journal}.{self.offset}.{self.taken}.{self.running.hex()}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the text form; `RecordError` if it is not one, or of a later version."""
        parts = text.split(".")
        try:
            version, journal, offset, taken = (int(part) for part in parts[:4])
            running = bytes.fromhex(parts[4])
        except (ValueError, IndexError):
            raise RecordError(f"{text[:80]!r} is not a place in the record") from None
        if version != VERSION or len(parts) != 5 or len(running) != 32 or min(journal, offset, taken) < 0:
            raise RecordError(f"{text[:80]!r} is not a place in the record that this version knows")
        return cls(journal, offset, taken, running)


BEGINNING = Cursor(0, 0, 0, START)


class Fed(NamedTuple):
    """One sealed frame, opened."""

    record: RecordId
    frame: Frame
    event: Event | None  # None: of a later version, as `entry` is then
    entry: Entry | None
    payload: bytes  # what `entry` was read from
    after: Cursor  # the place after it


class _Seal:
    """A seal whose frames are being taken."""

    __slots__ = ("before", "file", "header_hash", "position", "sealed", "skip", "taken")

    def __init__(self, sealed: Sealed, before: Cursor, known: Carried | None) -> None:
        assert known is not None  # `State.apply` refuses the seal of a segment that was never opened
        self.sealed = sealed
        self.before = before
        self.file = known.file
        self.header_hash = known.header_hash
        self.position = known.offset  # of the next frame in the segment
        self.taken = 0
        self.skip = 0  # frames that were taken before the cursor was kept

    def place(self) -> Cursor:
        return self.before._replace(taken=self.taken)


class _Segment:
    """A segment that is open, and what opens its frames."""

    __slots__ = ("fd", "header", "opener")

    def __init__(self, fd: int, opener: FrameReader, header: SegmentHeader) -> None:
        self.fd = fd
        self.opener = opener
        self.header = header


class Feed:
    """Reads on from a cursor. For one thread; holds descriptors until it is closed."""

    def __init__(
        self,
        record: Path,
        open_key: OpenKey,
        cursor: Cursor = BEGINNING,
        *,
        files: Files | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._open_key = open_key
        self._files = files or Files()
        self._monotonic = monotonic
        self._cursor = cursor  # what was taken
        self._opened = False
        self._fd = -1
        self._number = 0  # of the journal file that is read
        self._offset = 0  # in it, after the last good entry
        self._running = START
        self._state = State()
        self._end: int | None = None  # where that file ends, once another goes on from it
        self._buffer = b""
        self._at = 0
        self._before = BEGINNING  # the place of the last good entry
        self._doubted: tuple[int, float] | None = None  # an entry that does not hold: where, since when
        self._folder_seen = -1  # the folder's mtime when it was last looked at
        self._seal: _Seal | None = None
        self._segments: OrderedDict[bytes, _Segment] = OrderedDict()
        self._indexes: OrderedDict[bytes, tuple[Path, array[int]]] = OrderedDict()
        self._pruned: set[str] = set()  # file names, as far as anybody asked

    @property
    def cursor(self) -> Cursor:
        """The place after the last frame that was read."""
        return self._cursor

    def read(self, limit: int = 1000) -> list[Fed]:
        """At most so many frames, in sealing order; none if nothing new is sealed. Raises `RecordError`.

        After an error the same place is tried again by the next call.
        """
        found: list[Fed] = []
        try:
            if not self._opened:
                self._open()
            while len(found) < limit:
                if self._seal is None and not self._next_seal():
                    break
                self._take(limit - len(found), found)
        except OSError as error:
            self._rewind()
            raise RecordError(f"the record cannot be read: {error.strerror}") from error
        except RecordError:
            self._rewind()
            if not found:  # else the next call meets it again
                raise
        return found

    def go_to_end(self) -> Cursor:
        """Pass over everything that is sealed by now; gives that place."""
        try:
            chain = self._chain(0)
            if chain:
                self._rewind()
                self._switch(chain[-1][0])
                self._opened = True
                while self._next_entry() is not None:
                    pass
                self._cursor = Cursor(self._number, self._offset, 0, self._running)
        except OSError as error:
            raise RecordError(f"the record cannot be read: {error.strerror}") from error
        return self._cursor

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
        frame = self._frame(read_all(self._files, found.fd, _CHUNK, offsets[sequence]), 0, offsets[sequence], segment)
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

    def close(self) -> None:
        """Let go of all files; reading again opens them again."""
        self._rewind()

    # -- the journal

    def _open(self) -> None:
        """Go to the cursor. What precedes it in its file is read for what it says of segments, and checked."""
        self._rewind()
        cursor = self._cursor
        if cursor.journal == 0:
            self._opened = self._move_on()
            return
        name = journal_path(self._record, cursor.journal).name
        try:
            self._switch(cursor.journal)
        except FileNotFoundError:
            raise RecordError(f"{name}, where the cursor is, is missing") from None
        while self._offset < cursor.offset and (entry := self._parse()) is not None:
            self._apply(entry)
        if (self._offset, self._running) != (cursor.offset, cursor.running):
            # Entries that were read but never put on disk may be gone after a power cut; the next file says so.
            following = [begin for _, begin in self._chain(cursor.journal) if begin.previous == cursor.journal]
            if not following or following[0].previous_offset > min(self._offset, cursor.offset):
                raise RecordError(f"{name} was altered: what the cursor remembers of offset {cursor.offset} is gone")
        self._opened = True

    def _rewind(self) -> None:
        if self._fd >= 0:
            self._files.close(self._fd)
        for segment in self._segments.values():
            self._files.close(segment.fd)
        self._segments.clear()
        self._fd = -1
        self._number = 0
        self._seal = None
        self._opened = False
        self._doubted = None
        self._folder_seen = -1

    def _next_seal(self) -> bool:
        """Go on to the next seal; False if there is none yet."""
        if not self._opened:
            return False
        while True:
            found = self._next_entry()
            if found is None:
                return False
            entry, known = found
            if isinstance(entry, Sealed):
                self._seal = _Seal(entry, self._before, known)
                self._seal.skip = self._cursor.taken if self._cursor[:2] == self._before[:2] else 0
                return True

    def _next_entry(self) -> tuple[JournalEntry, Carried | None] | None:
        """The next whole entry, with what was known of its segment before it; None if there is none yet."""
        while (entry := self._parse()) is None:
            if not self._move_on():
                self._check_doubt()
                return None
        return self._apply(entry)

    def _apply(self, entry: JournalEntry) -> tuple[JournalEntry, Carried | None]:
        known = self._state.known.get(entry.segment) if isinstance(entry, Sealed) else None
        carried = None if known is None else known.carried()
        self._state.apply(entry)
        if isinstance(entry, Closed) and (ended := self._segments.pop(entry.segment, None)) is not None:
            self._files.close(ended.fd)  # nor is its data key held any longer
        return entry, carried

    def _parse(self) -> JournalEntry | None:
        """The next entry of the file that is read; None if there is no whole one, or it does not hold."""
        if self._fd < 0 or self._offset == self._end:
            return None
        if not self._buffered(_PREFIX):
            return None
        length = int.from_bytes(self._buffer[self._at : self._at + 4], "big")
        if length == 0 or length > MAX_ENTRY:
            self._doubt()
            return None
        if not self._buffered(_PREFIX + length):
            return None
        payload = self._buffer[self._at + _PREFIX : self._at + _PREFIX + length]
        try:
            entry: JournalEntry = _decode_entry(payload)
        except ValueError:
            self._doubt()
            return None
        before = self._running
        if isinstance(entry, Begin) != (self._offset == len(MAGIC)):
            self._doubt()
            return None
        if isinstance(entry, Begin):
            before = entry.previous_running
        after = extend(before, payload)
        if self._buffer[self._at + 4 : self._at + _PREFIX] != after:
            self._doubt()
            return None
        self._before = Cursor(self._number, self._offset, 0, self._running)
        self._running = after
        self._offset += _PREFIX + length
        self._at += _PREFIX + length
        self._doubted = None
        return entry

    def _buffered(self, need: int) -> bool:
        """Have so many bytes from the present offset on; False if the file does not hold them."""
        if len(self._buffer) - self._at >= need:
            return True
        if self._files.fstat(self._fd).st_size < self._offset + need:
            return False
        self._buffer, self._at = read_all(self._files, self._fd, max(_CHUNK, need), self._offset), 0
        return len(self._buffer) >= need

    def _doubt(self) -> None:
        """What is there does not hold: perhaps it is being written."""
        self._buffer, self._at = b"", 0
        if self._doubted is None or self._doubted[0] != self._offset:
            self._doubted = (self._offset, self._monotonic())

    def _check_doubt(self) -> None:
        if self._doubted is not None and self._monotonic() - self._doubted[1] > _DOUBT:
            name = journal_path(self._record, self._number).name
            raise RecordError(f"{name} was altered at offset {self._offset}, or its end is what a crash left")

    def _move_on(self) -> bool:
        """Go on to the file after this one, or learn where this one ends; False if there is none after it."""
        seen = self._files.stat(self._record).st_mtime_ns if self._record.is_dir() else -1
        if seen == self._folder_seen:
            return False
        chain = self._chain(self._number)
        self._folder_seen = -1 if chain or abs(time.time_ns() - seen) < _FRESH else seen
        if not chain:
            return False
        number, begin = chain[0]
        if begin.previous != self._number:
            if begin.previous > self._number or self._number == 0:
                raise RecordError(f"journal-{begin.previous:05d} is missing")
            self._switch(number)  # the file that was read was given up, and what it held is written again
            return True
        if self._number and self._offset < begin.previous_offset:
            name = journal_path(self._record, self._number).name
            if self._end == begin.previous_offset:
                raise RecordError(f"{name} was altered at offset {self._offset}")
            self._end = begin.previous_offset  # it may have been completed since: look once more
            self._buffer, self._at = b"", 0
            return True
        if self._number and self._offset == begin.previous_offset and self._running != begin.previous_running:
            raise RecordError(f"journal-{number:05d} does not go on from the file before it")
        self._switch(number)
        return True

    def _chain(self, after: int) -> list[tuple[int, Begin]]:
        """The files after number `after` that lead to the newest one, in order, with their beginnings."""
        begins: dict[int, Begin] = {}
        for number in numbers(self._files, self._record) if self._record.is_dir() else ():
            if number > after and (begin := self._begin_of(number)) is not None:
                begins[number] = begin
        chain: list[tuple[int, Begin]] = []
        number = max(begins, default=0)
        while number in begins:
            chain.insert(0, (number, begins[number]))
            number = begins[number].previous
        return chain

    def _begin_of(self, number: int) -> Begin | None:
        """The first entry of a journal file; None if it cannot be read, which `verify` would find."""
        try:
            fd = self._files.open(journal_path(self._record, number))
        except OSError:
            return None
        try:
            prefix = read_all(self._files, fd, len(MAGIC) + _PREFIX, 0)
            length = int.from_bytes(prefix[len(MAGIC) : len(MAGIC) + 4], "big")
            if prefix[: len(MAGIC)] != MAGIC or not 0 < length <= MAX_ENTRY:
                return None
            payload = read_all(self._files, fd, length, len(MAGIC) + _PREFIX)
            entry = _decode_entry(payload)
        except (OSError, ValueError):
            return None
        finally:
            self._files.close(fd)
        sound = isinstance(entry, Begin) and entry.number == number
        return entry if sound and extend(entry.previous_running, payload) == prefix[len(MAGIC) + 4 :] else None

    def _switch(self, number: int) -> None:
        """Read that file from its beginning."""
        fd = self._files.open(journal_path(self._record, number))
        if self._fd >= 0:
            self._files.close(self._fd)
        self._fd, self._number, self._offset, self._end = fd, number, len(MAGIC), None
        self._buffer, self._at, self._doubted, self._folder_seen = b"", 0, None, -1
        self._state = State()

    # -- segments

    def _take(self, limit: int, found: list[Fed]) -> None:
        """Take up to `limit` frames of the seal at hand."""
        seal = self._seal
        assert seal is not None
        sealed = seal.sealed
        segment = self._segments.get(sealed.segment)
        if segment is None:
            try:
                segment = self._keep(sealed.segment, self._record / "segments" / seal.file, seal.header_hash)
            except RecordError:
                if not self._was_pruned(seal.file):
                    raise
                self._end_seal()
                return
        left = min(sealed.count, seal.taken + limit + seal.skip)
        while seal.taken < left:
            data = read_all(self._files, segment.fd, min(_CHUNK, sealed.offset - seal.position), seal.position)
            at = 0
            while seal.taken < left:
                length = int.from_bytes(data[at : at + 4], "big")
                if len(data) - at < SMALLEST_FRAME or len(data) - at < length:
                    break
                frame = self._frame(data, at, seal.position, sealed.segment)
                leaf = sealed.leaves[32 * seal.taken : 32 * seal.taken + 32]
                if leaf_hash(frame.data) != leaf or frame.sequence != sealed.first + seal.taken:
                    raise RecordError(f"{seal.file} was altered at offset {seal.position}")
                at += length
                seal.position += length
                seal.taken += 1
                if seal.skip:
                    seal.skip -= 1
                    continue
                done = seal.taken == sealed.count
                after = Cursor(self._number, self._offset, 0, self._running) if done else seal.place()
                event = BY_CODE.get(frame.event)
                record = (sealed.segment, frame.sequence)
                try:
                    payload = segment.opener.open(frame.data)
                    entry = None if event is None else decode(event, payload)
                except RecordError as error:
                    raise RecordError(f"{seal.file}, record {format_id(record)}: {error}") from error
                self._cursor = after
                found.append(Fed(record, frame, event, entry, payload, after))
            if at == 0:
                raise RecordError(f"{seal.file} was cut at offset {seal.position}")
        if seal.taken == sealed.count:
            if seal.position != sealed.offset:
                raise RecordError(f"{seal.file} was altered before offset {sealed.offset}")
            self._end_seal()

    def _end_seal(self) -> None:
        self._cursor = Cursor(self._number, self._offset, 0, self._running)
        self._seal = None

    def _was_pruned(self, file: str) -> bool:
        """Whether its time was over: what the journal says of that comes after its seals."""
        if file not in self._pruned:
            self._pruned = read_state(self._record, self._files).pruned
        return file in self._pruned

    def _frame(self, data: bytes, at: int, offset: int, segment: bytes) -> Frame:
        """The frame that begins at `at`."""
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

    def _keep(self, segment: bytes, path: Path, header_hash: bytes | None = None) -> _Segment:
        """Open a segment; its beginning MUST be what the journal says of it."""
        try:
            reader = SegmentReader(path, self._files)
        except FileNotFoundError:
            raise RecordError(f"{path.name} is missing") from None
        try:
            if reader.header.id != segment or header_hash not in (None, sha256(reader.head).digest()):
                raise RecordError(f"{path.name} was altered: it does not begin as the journal says")  # noqa: TRY301 - closed below
            kept = _Segment(reader.fd, frame_reader(reader.header, self._open_key), reader.header)
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


def journal_bytes_after(record: Path, cursor: Cursor) -> int:
    """How much of the journal lies after a place, roughly: a leaf is 32 bytes. 0 if nothing is there."""
    total = 0
    for number in numbers(Files(), record) if record.is_dir() else ():
        if number >= cursor.journal:
            size = os.stat(journal_path(record, number)).st_size
            total += size - cursor.offset if number == cursor.journal else size
    return max(0, total)
