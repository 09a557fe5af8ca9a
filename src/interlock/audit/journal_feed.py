"""Follows the journal from a place: entry after entry, over the ends of its files, checked against the running hash.

A journal file ends where the next one says (what a crash left behind that place is no part of the chain). The
recorder may have written entries that it then could not sync; it writes them again, and so they come twice
here. It only reads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.files import Files, read_all
from interlock.audit.journal import (
    MAGIC,
    MAX_ENTRY,
    Begin,
    Carried,
    Entry,
    Sealed,
    State,
    journal_path,
    numbers,
)
from interlock.clock import SECOND
from interlock.errors import RecordError
from interlock.tlog import START, extend

_PREFIX = 36  # length and running hash of an entry
_CHUNK = 1024 * 1024
_DOUBT = 0.5  # seconds after which an entry that does not hold is not one that is being written
_FRESH = 2 * SECOND  # a folder changed so lately may change again within one tick of its clock

_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class JournalFeed:
    """The journal of one record. For one thread; holds a descriptor until it is closed."""

    def __init__(self, record: Path, files: Files, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.before = BEGINNING  # the place of the entry that `next` gave last
        self.opened = False
        self._record = record
        self._files = files
        self._monotonic = monotonic
        self._fd = -1
        self._number = 0  # of the file that is read
        self._offset = 0  # in it, after the last good entry
        self._running = START
        self._state = State()
        self._end: int | None = None  # where that file ends, once another goes on from it
        self._buffer = b""
        self._at = 0
        self._doubted: tuple[int, float] | None = None  # an entry that does not hold: where, since when
        self._folder_seen = -1  # the folder's mtime when it was last looked at

    @property
    def place(self) -> Cursor:
        """After the last good entry."""
        return Cursor(self._number, self._offset, 0, self._running)

    def open(self, cursor: Cursor) -> None:
        """Go to the cursor. What precedes it in its file is read for what it says of segments, and checked."""
        self.close()
        if cursor.journal == 0:
            self.opened = self._move_on()
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
        self.opened = True

    def to_end(self) -> Cursor | None:
        """Pass over all that is there by now; None if there is no journal yet."""
        chain = self._chain(0)
        if not chain:
            return None
        self.close()
        self._switch(chain[-1][0])
        self.opened = True
        while self.next() is not None:
            pass
        return self.place

    def close(self) -> None:
        if self._fd >= 0:
            self._files.close(self._fd)
        self._fd = -1
        self._number = 0
        self.opened = False
        self._doubted = None
        self._folder_seen = -1

    def next(self) -> tuple[Entry, Carried | None] | None:
        """The next whole entry, with what was known of its segment before it; None if there is none yet."""
        while (entry := self._parse()) is None:
            if not self._move_on():
                self._check_doubt()
                return None
        return self._apply(entry)

    def _apply(self, entry: Entry) -> tuple[Entry, Carried | None]:
        known = self._state.known.get(entry.segment) if isinstance(entry, Sealed) else None
        carried = None if known is None else known.carried()
        self._state.apply(entry)
        return entry, carried

    def _parse(self) -> Entry | None:
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
            entry: Entry = _decode_entry(payload)
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
        self.before = Cursor(self._number, self._offset, 0, self._running)
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


def journal_bytes_after(record: Path, cursor: Cursor) -> int:
    """How much of the journal lies after a place, roughly: a leaf is 32 bytes. 0 if nothing is there."""
    total = 0
    for number in numbers(Files(), record) if record.is_dir() else ():
        if number >= cursor.journal:
            size = os.stat(journal_path(record, number)).st_size
            total += size - cursor.offset if number == cursor.journal else size
    return max(0, total)
