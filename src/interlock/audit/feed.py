"""Follows the record as it is sealed: every sealed frame once, in sealing order, from a place that can be kept.

It reads the journal's seals (`journal_feed.py`) and then those frames of the segments (`feed_segments.py`), and checks
what it reads: each entry against the journal's running hash, each segment's beginning and each frame against what the
journal says of it. What does not hold, or is missing, raises `RecordError`; only what was pruned is passed over.

Entries that the recorder could not sync it writes again, and so their frames come twice here. Whoever keeps a cursor
MUST take that as what it is: at least once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.entries import Entry, decode
from interlock.audit.feed_segments import CHUNK, OpenSegments, frame_at
from interlock.audit.files import Files, read_all
from interlock.audit.header import SegmentHeader
from interlock.audit.journal import Carried, Closed, Sealed, read_state
from interlock.audit.journal_feed import JournalFeed
from interlock.audit.reader import Frame, OpenKey
from interlock.audit.segment import SMALLEST_FRAME, RecordId, format_id
from interlock.errors import RecordError
from interlock.model import Event
from interlock.model.events import BY_CODE
from interlock.tlog import leaf_hash


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
        self._files = files or Files()
        self._cursor = cursor  # what was taken
        self._journal = JournalFeed(record, self._files, monotonic)
        self._segments = OpenSegments(record, open_key, self._files)
        self._seal: _Seal | None = None
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
            if not self._journal.opened:
                self._journal.open(self._cursor)
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
            place = self._journal.to_end()
            if place is not None:
                self._segments.close()
                self._seal = None
                self._cursor = place
        except OSError as error:
            raise RecordError(f"the record cannot be read: {error.strerror}") from error
        return self._cursor

    def look_up(self, record: RecordId) -> tuple[Frame, bytes] | None:
        """One record by its id, sealed or not: its frame and what is in it; None if it is not there.

        Raises `RecordError`.
        """
        return self._segments.look_up(record)

    def header(self, segment: bytes) -> SegmentHeader | None:
        """What a segment says of itself in the clear; None if it is not there."""
        return self._segments.header(segment)

    def close(self) -> None:
        """Let go of all files; reading again opens them again."""
        self._rewind()

    def _rewind(self) -> None:
        self._journal.close()
        self._segments.close()
        self._seal = None

    def _next_seal(self) -> bool:
        """Go on to the next seal; False if there is none yet."""
        if not self._journal.opened:
            return False
        while True:
            found = self._journal.next()
            if found is None:
                return False
            entry, known = found
            before = self._journal.before
            taken = self._cursor.taken if self._cursor[:2] == before[:2] else 0
            if taken and not (isinstance(entry, Sealed) and taken < entry.count):  # of a whole seal it is none
                raise RecordError(f"the cursor was altered: there are no {taken} frames to pass over where it is")
            if isinstance(entry, Closed):
                self._segments.ended(entry.segment)
            elif isinstance(entry, Sealed):
                self._seal = _Seal(entry, before, known)
                self._seal.skip = taken
                return True

    def _take(self, limit: int, found: list[Fed]) -> None:
        """Take up to `limit` frames of the seal at hand."""
        seal = self._seal
        assert seal is not None
        sealed = seal.sealed
        try:
            segment = self._segments.of_seal(sealed.segment, seal.file, seal.header_hash)
        except RecordError:
            if not self._was_pruned(seal.file):
                raise
            self._end_seal()
            return
        left = min(sealed.count, seal.taken + limit + seal.skip)
        while seal.taken < left:
            data = read_all(self._files, segment.fd, min(CHUNK, sealed.offset - seal.position), seal.position)
            at = 0
            while seal.taken < left:
                length = int.from_bytes(data[at : at + 4], "big")
                if len(data) - at < SMALLEST_FRAME or len(data) - at < length:
                    break
                frame = frame_at(data, at, seal.position, sealed.segment)
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
                after = self._journal.place if done else seal.place()
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
        self._cursor = self._journal.place
        self._seal = None

    def _was_pruned(self, file: str) -> bool:
        """Whether its time was over: what the journal says of that comes after its seals."""
        if file not in self._pruned:
            self._pruned = read_state(self._record, self._files).pruned
        return file in self._pruned
