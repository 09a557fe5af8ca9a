"""Shared memory of where tokens were first seen: in which network, under which TLS fingerprint, by any worker.

    header   16 words: magic, buckets, and a salt of 32 bytes
    buckets  160 words each: of 32 places, the low and high halves of the token's fingerprint, network, program, end

A place is taken when a token is first seen, until the token ends (ns of the monotonic clock) or was not seen in that
network for a week, since issuers write tokens that never end. It is never given up earlier: a full bucket is an answer.
A bucket is a stripe: it is changed only by the holder of its range lock (`fcntl`), which the kernel releases when the
holder dies. Everything in it is hashed under the table's salt; it says where nobody is. The table is lost when the
node starts anew: then every token is seen for the first time.

Where a route asks for this, a token without a place is refused, and anybody with a token may call others. So half of
each bucket is kept for tokens that are first seen where it is asked for. And those of one principal, however many, go
to a 32nd of the buckets, which differ from those of any other principal: a flood of them refuses its own, and few.
"""

from __future__ import annotations

import mmap
import os
import secrets
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from interlock.clock import SECOND
from interlock.snapshot.shared import attach, make

MAGIC = int.from_bytes(b"ILKSEEN2", "little")
SLOTS = 1 << 18  # 10 MiB
HELD = 7 * 86_400 * SECOND  # for how long a token that is not seen at home keeps its place

_HEADER = 16
_BUCKETS, _SALT = 1, 4  # words; the salt has 32 bytes
_PLACES = 32
_KEPT = 16  # of these, for tokens that are first seen where it is asked for
_BUCKET = 5 * _PLACES  # words
_SHARE = 32  # one principal's part of the buckets
_PATIENCE = 0.05  # seconds to wait for a bucket whose holder does not run


class Sighting(NamedTuple):
    """How a token's place compares with where it was first seen."""

    moved: bool  # another network
    changed: bool  # another TLS fingerprint
    known: bool = True  # False: there was no room to remember it


class SightingTable:
    """One per process; for one thread."""

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        self._fd = fd
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self._buckets = self._words[_BUCKETS]
        self._salt = bytes(memory[_SALT * 8 : _SALT * 8 + 32])

    @classmethod
    def create(cls, path: Path, slots: int = SLOTS) -> SightingTable:
        """A fresh table in place of the one there was."""
        buckets = max(1, slots // _PLACES)
        return cls(*make(path, _words(buckets), {0: MAGIC, _BUCKETS: buckets}, {_SALT: secrets.token_bytes(32)}))

    @classmethod
    def open(cls, path: Path) -> SightingTable:
        """Map the table of a running node."""
        return cls(*attach(path, "a table of sightings", MAGIC, _HEADER, lambda begins: _words(begins[_BUCKETS])))

    def close(self) -> None:
        self._words.release()
        self._memory.close()
        os.close(self._fd)

    def see(
        self, token: bytes, holder: bytes, network: bytes, program: bytes, *, asked: bool, until: int, now: int
    ) -> Sighting:
        """Compare with the first sighting of a token (its handle), or make this the first.

        `holder`: whose it is. `program`: TLS fingerprint, empty where there is none; two are compared, never one with
        none. `asked`: whether it is refused where it moved. `until`, when the token ends, and `now` in ns of the
        monotonic clock.
        """
        until = min(until, now + HELD)
        bucket, low, high = self._place(token, holder)
        where, what = self._hash(b"n" + network), self._hash(b"p" + program) if program else 0
        if not self._lock(bucket):
            return Sighting(False, False, known=False)
        try:
            base = _HEADER + bucket * _BUCKET
            return self._compare(base, (low, high, where, what), 0 if asked else _KEPT, until, now)
        finally:
            lockf(self._fd, LOCK_UN, 1, bucket)

    def _compare(self, base: int, seen: tuple[int, int, int, int], first: int, until: int, now: int) -> Sighting:
        """`first`: the place from which on it may take one. MUST be called under the bucket's lock."""
        words = self._words
        low, high, where, what = seen
        highs, networks, programs, last = (base + column * _PLACES for column in range(1, 5))
        lows, ends = words[base:highs].tolist(), words[last : last + _PLACES].tolist()
        if low in lows:
            for place in range(_PLACES):
                if lows[place] == low and words[highs + place] == high and ends[place] > now:
                    moved, program = words[networks + place] != where, words[programs + place]
                    if not program:
                        words[programs + place] = what
                    if not moved and ends[place] < until:
                        words[last + place] = until
                    return Sighting(moved, bool(what and program and what != program))
        for place in range(first, _PLACES):
            if ends[place] <= now:
                # The end comes last: what a killed holder leaves is a free place.
                for column, value in enumerate((low, high, where, what, until)):
                    words[base + column * _PLACES + place] = value
                return Sighting(False, False)
        return Sighting(False, False, known=False)

    def _place(self, token: bytes, holder: bytes) -> tuple[int, int, int]:
        """Bucket and fingerprint, by hashes keyed with the table's own salt: nobody outside can choose them."""
        digest = blake2b(token, digest_size=24, key=self._salt).digest()
        share = int.from_bytes(digest[:8], "little") % max(1, self._buckets // _SHARE)
        bucket = self._hash(b"h" + share.to_bytes(8, "little") + holder) % self._buckets
        return bucket, int.from_bytes(digest[8:16], "little") or 1, int.from_bytes(digest[16:], "little")

    def _hash(self, text: bytes) -> int:
        return int.from_bytes(blake2b(text, digest_size=8, key=self._salt).digest(), "little") or 1

    def _lock(self, bucket: int) -> bool:
        deadline = 0.0
        while True:
            try:
                lockf(self._fd, LOCK_EX | LOCK_NB, 1, bucket)
            except (BlockingIOError, PermissionError):
                moment = time.monotonic()
                deadline = deadline or moment + _PATIENCE
                if moment >= deadline:
                    return False
                time.sleep(0.0001)
            else:
                return True


def _words(buckets: int) -> int:
    return _HEADER + max(1, buckets) * _BUCKET
