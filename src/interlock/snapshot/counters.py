"""Shared counters: one table of rate-limit cells for all workers of the node, exact under contention.

    header   64 words: magic, buckets per region, salt
    buckets  64 words each: 32 fingerprints, then the 32 times that belong to them

A cell is one subject of one limit: a fingerprint and the theoretical arrival time (TAT) of GCRA in
nanoseconds. A bucket is a stripe: it is changed only by the holder of its range lock (`fcntl`), which the
kernel releases when the holder dies. A cell whose TAT has passed (for a second, since callers read their
clocks before they wait for the lock) says nothing and is free; a live cell is never given up, so a full
bucket is an answer (`TABLE_FULL`), and the caller MUST refuse on it.

A holder may be killed between any two writes: a new cell's fingerprint is written before its TAT, so it
is free until it counts; a call under several limits may have been counted by some. Nothing is undercounted.

There are two regions, so that a flood from many addresses fills the anonymous one only.
"""

from __future__ import annotations

import mmap
import os
import secrets
import time
from collections.abc import Sequence
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeAlias

from interlock.snapshot.shared import attach, make

MAGIC: Final = int.from_bytes(b"ILKCNTR1", "little")
DEFAULT_SLOTS: Final = 1 << 19  # 8 MiB, shared by all workers
TABLE_FULL: Final = -1
TABLE_BUSY: Final = -2

_HEADER: Final = 64
_SALT: Final = 8  # word; 32 bytes
_PLACES: Final = 32  # cells in a bucket
_BUCKET: Final = 2 * _PLACES  # words
_REGIONS: Final = 2
_TRY: Final = LOCK_EX | LOCK_NB
_CELLS: Final = 16_384  # remembered per process
_PATIENCE: Final = 0.25  # seconds to wait for a bucket whose holder does not run
_Rate: Final[TypeAlias] = tuple[int, int, int]  # emission, tolerance, and what the limiter makes of it
_SKEW: Final = 1_000_000_000  # callers' clocks are no further apart than this
_SET_BACK: Final = 5_000_000_000  # a TAT this far beyond what any call leaves: the clock was set back


class Cell:
    """Where one subject of one limit is counted; made by `CounterTable.cell` and kept there."""

    __slots__ = ("at", "base", "bucket", "fingerprint")

    def __init__(self, bucket: int, fingerprint: int) -> None:
        self.bucket = bucket
        self.fingerprint = fingerprint
        self.base = _HEADER + bucket * _BUCKET
        self.at = self.base  # where it was last found


class CounterTable:
    """One per process: range locks belong to the process, and closing any descriptor of the file drops them."""

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        self._fd = fd
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self._buckets = self._words[1]
        self._salt = bytes(memory[_SALT * 8 : _SALT * 8 + 32])
        self._cells: dict[tuple[bytes, bytes], Cell] = {}

    @classmethod
    def create(cls, path: Path, slots: int = DEFAULT_SLOTS) -> CounterTable:
        """A fresh table for at least `slots` cells, in place of the one there was."""
        buckets = max(1, -(-slots // (_PLACES * _REGIONS)))
        return cls(*make(path, _words(buckets), {0: MAGIC, 1: buckets}, {_SALT: secrets.token_bytes(32)}))

    @classmethod
    def open(cls, path: Path) -> CounterTable:
        """Map the table of a running node."""
        return cls(*attach(path, "a table of counters", MAGIC, _HEADER, lambda begins: _words(begins[1])))

    def close(self) -> None:
        self._words.release()
        self._memory.close()
        os.close(self._fd)

    def cell(self, limit: bytes, subject: bytes, *, anonymous: bool = False) -> Cell:
        """The cell of a subject under a limit (`limit`: 16 bytes naming it on every worker alike).

        Placed by a hash keyed with the table's own salt, so nobody outside can choose who shares a bucket.
        """
        cell = self._cells.get((limit, subject))
        if cell is None:
            if len(self._cells) >= _CELLS:
                self._cells.clear()
            digest = blake2b(limit + subject, digest_size=16, key=self._salt).digest()
            bucket = int.from_bytes(digest[:8], "little") % self._buckets
            fingerprint = int.from_bytes(digest[8:], "little") or 1
            cell = self._cells[limit, subject] = Cell(bucket + (self._buckets if anonymous else 0), fingerprint)
        return cell

    def spend(self, cell: Cell, emission: int, tolerance: int, now: int) -> tuple[bool, int]:
        """Count one call in one cell: (whether it is allowed, the TAT after it).

        `now` in ns of a clock that all processes share. A refused call changes nothing; its TAT is the
        cell's, or `TABLE_FULL`, or `TABLE_BUSY` (somebody holds the bucket and does not run).
        """
        bucket = cell.bucket
        fd = self._fd
        try:
            lockf(fd, _TRY, 1, bucket)
        except (BlockingIOError, PermissionError):
            if not self._wait(bucket):
                return False, TABLE_BUSY
        try:
            words = self._words
            at = cell.at
            if words[at] != cell.fingerprint:
                at = self._find(cell)
            tat = words[at + _PLACES] if at else 0
            if tat < now:
                tat = now
            elif tat > now + tolerance + _SET_BACK:
                tat = words[at + _PLACES] = now + tolerance
            if tat + emission > now + tolerance:
                return False, tat
            tat += emission
            if not at:
                at = self._take(cell, now)
                if not at:
                    return False, TABLE_FULL
            words[at + _PLACES] = tat
            return True, tat
        finally:
            lockf(fd, LOCK_UN, 1, bucket)

    def spend_all(self, cells: Sequence[Cell], rates: Sequence[_Rate], now: int) -> tuple[bool, list[int]]:
        """Count one call under several limits: in all of the cells or, if one refuses, in none.

        `rates`: emission and tolerance of each. Gives each cell's TAT as `spend` does. The buckets are
        locked in order, so two calls cannot wait for each other.
        """
        words, fd = self._words, self._fd
        locked: list[int] = []
        try:
            for bucket in sorted([cell.bucket for cell in cells]):
                if locked and locked[-1] == bucket:
                    continue
                try:
                    lockf(fd, _TRY, 1, bucket)
                except (BlockingIOError, PermissionError):
                    if not self._wait(bucket):
                        return False, [TABLE_BUSY] * len(cells)
                locked.append(bucket)
            allowed = True
            tats: list[int] = []
            for cell, rate in zip(cells, rates, strict=True):
                at = cell.at if words[cell.at] == cell.fingerprint else self._find(cell)
                tat = words[at + _PLACES] if at else 0
                latest = now + rate[1]
                if tat < now:
                    tat = now
                elif tat > latest + _SET_BACK:
                    tat = words[at + _PLACES] = latest
                tats.append(tat)
                if tat + rate[0] > latest:
                    allowed = False
            return self._commit(cells, rates, tats, now) if allowed else (False, tats)
        finally:
            for bucket in locked:
                lockf(fd, LOCK_UN, 1, bucket)

    def _commit(
        self, cells: Sequence[Cell], rates: Sequence[_Rate], tats: list[int], now: int
    ) -> tuple[bool, list[int]]:
        words = self._words
        undo: list[tuple[int, int]] = []
        for number, cell in enumerate(cells):
            at = cell.at if words[cell.at] == cell.fingerprint else self._find(cell) or self._take(cell, now)
            if not at:
                for place, before in undo:
                    words[place] = before
                tats[number] = TABLE_FULL
                return False, tats
            at += _PLACES
            undo.append((at, words[at]))
            tats[number] += rates[number][0]
            words[at] = tats[number]
        return True, tats

    def _find(self, cell: Cell) -> int:
        """The word of the cell's fingerprint, or 0. MUST be called under the bucket's lock."""
        base = cell.base
        try:
            at = base + self._words[base : base + _PLACES].tolist().index(cell.fingerprint)
        except ValueError:
            return 0
        cell.at = at
        return at

    def _take(self, cell: Cell, now: int) -> int:
        """Give the cell a free place, or 0. MUST be called under the bucket's lock."""
        words = self._words
        passed = now - _SKEW
        for at in range(cell.base, cell.base + _PLACES):
            tat = words[at + _PLACES]
            if tat <= passed or not tat:
                words[at] = cell.fingerprint
                cell.at = at
                return at
        return 0

    def _wait(self, bucket: int) -> bool:
        """Somebody holds the bucket; that takes a microsecond unless its process was put aside."""
        deadline = time.monotonic() + _PATIENCE
        pause = 0.0
        while True:
            time.sleep(pause)
            try:
                lockf(self._fd, _TRY, 1, bucket)
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= deadline:
                    return False
                pause = min(pause + 0.00002, 0.001)
            else:
                return True


def _words(buckets: int) -> int:
    return _HEADER + _REGIONS * max(1, buckets) * _BUCKET
