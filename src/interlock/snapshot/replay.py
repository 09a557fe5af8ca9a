"""Shared memory of proofs that were used: each is accepted once, by whichever process it came to.

    header   64 words: magic, buckets of the larger region, birth, farthest and latest clock, salt
    buckets  96 words each: 32 low halves of fingerprints, 32 high halves, and until when each is kept

A place is taken from when a proof is accepted until it can be accepted no more, in ns of the monotonic clock, which
nobody sets. It is never given up earlier: a full bucket is an answer, and the caller MUST refuse on it. A bucket is a
stripe: it is changed only by the holder of its range lock (`fcntl`), which the kernel releases when the holder dies.
The fingerprint is written before the time, so what a killed holder leaves is a free place or a proof that was used.

The table is lost when the node starts anew, and what it forgot can be wanted again when the wall clock is set back.
It knows both: when it was made, and how far any caller's wall clock was ahead of the monotonic one. A proof that it
may have forgotten is `UNSURE`, unless a nonce in it says that it was made since (`interlock.jose.dpop_nonce`). Once a
clock that was set back has passed all that it ever showed, the table counts as made then.

One key fills a quarter of a region at most, and token endpoints, where anybody may bring a key, have a region of
their own: a flood of proofs refuses proofs of few others.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import time
from enum import Enum
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from hashlib import blake2b
from pathlib import Path

from interlock.clock import SECOND
from interlock.snapshot.shared import attach, make

MAGIC = int.from_bytes(b"ILKRPLY1", "little")
SLOTS_OF_A_WORKER = 1 << 19  # 12 MiB; at 60 s each, good for some 5,000 proofs a second
MOST_SLOTS = 1 << 23

CALLS, TOKENS = 0, 1  # regions

_HEADER = 64
_BUCKETS, _BORN, _FARTHEST, _LATEST, _SALT = 1, 2, 3, 4, 8  # words; the salt has 32 bytes
_PLACES = 32  # in a bucket
_BUCKET = 3 * _PLACES  # words
_SHARE = 4  # one key's part of a region
_TOKENS = 8  # the smaller region's part of the larger
_SLACK = 2 * SECOND  # kept longer than needed, since clocks are read one after the other
_STEP = SECOND  # a wall clock that is farther ahead by no more is not noted
_OFTEN = 10 * SECOND  # how often the latest time is noted
_SET_BACK = 5 * SECOND  # a wall clock that lags by less may just have been read long before the other
_PATIENCE = 0.25  # seconds to wait for a bucket whose holder does not run
_CLOCK_LOCK = 1 << 40  # of the header; beyond all buckets


class Claim(Enum):
    """What the table says of a proof; everything but `NEW` refuses it."""

    NEW = "new"  # and now it is used
    SEEN = "seen"
    UNSURE = "unsure"  # it may have been used before the table was made, or was set back
    FULL = "full"
    BUSY = "busy"  # somebody holds the bucket and does not run


class ReplayTable:
    """One per process: range locks belong to the process, and closing any descriptor of the file drops them."""

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        self._fd = fd
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self._buckets = self._words[_BUCKETS]
        self._salt = bytes(memory[_SALT * 8 : _SALT * 8 + 32])
        self._threads = threading.Lock()  # which range locks do not keep apart

    @classmethod
    def create(cls, path: Path, *, wall: int, monotonic: int, slots: int = SLOTS_OF_A_WORKER) -> ReplayTable:
        """A fresh table in place of the one there was, born now; `slots` for the larger region."""
        buckets = max(_SHARE, -(-min(slots, MOST_SLOTS) // _PLACES))
        begins = {0: MAGIC, _BUCKETS: buckets, _BORN: wall, _FARTHEST: max(0, wall - monotonic), _LATEST: wall}
        return cls(*make(path, _words(buckets), begins, {_SALT: secrets.token_bytes(32)}))

    @classmethod
    def open(cls, path: Path) -> ReplayTable:
        """Map the table of a running node."""
        return cls(*attach(path, "a table of used proofs", MAGIC, _HEADER, lambda begins: _words(begins[_BUCKETS])))

    def close(self) -> None:
        self._words.release()
        self._memory.close()
        os.close(self._fd)

    @property
    def born(self) -> int:
        """Wall ns."""
        return self._words[_BORN]

    @property
    def tokens(self) -> int:
        """For how many proofs the region of token endpoints has places."""
        return _smaller(self._buckets) * _PLACES

    def claim(
        self,
        holder: bytes,
        name: bytes,
        *,
        iat: int,
        wall: int,
        monotonic: int,
        window: int,
        ahead: int,
        nonce_ends: int = 0,
        since: int = 0,
        region: int = CALLS,
    ) -> Claim:
        """Use a proof, if it is new: that of key `holder` (32 bytes) with the identifier `name`.

        `iat` and `wall` in wall ns, the latter read before `monotonic` (ns). The caller has seen to it that `iat` is
        no older than `window` and no more than `ahead` ahead. `nonce_ends`: until when the nonce in it is good
        (monotonic ns; nobody accepts the proof after that), 0 without one. `since`: nobody took proofs of this holder
        before (wall ns), so that a table which is older than that has forgotten none.
        """
        with self._threads:
            if not nonce_ends and self._may_have_forgotten(iat, wall, monotonic, window, ahead, since):
                return Claim.UNSURE
            keep = nonce_ends or monotonic + max(0, iat + window - wall) + _SLACK
            bucket, low, high = self._place(holder, name, region)
            try:
                lockf(self._fd, LOCK_EX | LOCK_NB, 1, bucket)
            except (BlockingIOError, PermissionError):
                if not self._wait(bucket):
                    return Claim.BUSY
            try:
                return self._take(_HEADER + bucket * _BUCKET, low, high, keep, monotonic)
            finally:
                lockf(self._fd, LOCK_UN, 1, bucket)

    def unsure(self, *, iat: int, wall: int, monotonic: int, window: int, ahead: int, since: int = 0) -> bool:
        """Whether a proof without a nonce would be `UNSURE`, as `claim` would say it; takes no room."""
        with self._threads:
            return self._may_have_forgotten(iat, wall, monotonic, window, ahead, since)

    def _may_have_forgotten(self, iat: int, wall: int, monotonic: int, window: int, ahead: int, since: int) -> bool:
        farthest = self._clock(wall, monotonic)
        born = self._words[_BORN]
        young = born < since <= wall  # one that is yet to come was written by a clock that was ahead, and says nothing
        return (not young and iat <= born + ahead) or iat + window <= monotonic + farthest

    def _take(self, base: int, low: int, high: int, keep: int, now: int) -> Claim:
        """MUST be called under the bucket's lock."""
        words = self._words
        lows = words[base : base + _PLACES].tolist()
        if low in lows:
            highs = words[base + _PLACES : base + 2 * _PLACES].tolist()
            if (low, high) in zip(lows, highs, strict=True):
                return Claim.SEEN
        ends = words[base + 2 * _PLACES : base + 3 * _PLACES].tolist()
        for place, end in enumerate(ends):
            if end <= now:
                words[base + place] = low
                words[base + _PLACES + place] = high
                words[base + 2 * _PLACES + place] = keep
                return Claim.NEW
        return Claim.FULL

    def _place(self, holder: bytes, name: bytes, region: int) -> tuple[int, int, int]:
        """Bucket and fingerprint, by hashes keyed with the table's own salt: nobody outside can choose them."""
        first, buckets = (0, self._buckets) if region == CALLS else (self._buckets, _smaller(self._buckets))
        start = int.from_bytes(blake2b(holder, digest_size=8, key=self._salt).digest(), "little")
        digest = blake2b(holder + name, digest_size=24, key=self._salt).digest()
        offset = int.from_bytes(digest[:8], "little") % max(1, buckets // _SHARE)
        low, high = int.from_bytes(digest[8:16], "little") or 1, int.from_bytes(digest[16:], "little")
        return first + (start + offset) % buckets, low, high

    def _clock(self, wall: int, monotonic: int) -> int:
        """The farthest that a wall clock was ahead of the monotonic one, this caller's included. Read before the birth.

        Whatever was used so far has an `iat` of no more than `ahead` after the latest time that was noted, and
        `_OFTEN` more. Where the wall clock comes to that again by another way than the monotonic one, it was set back.
        """
        words = self._words
        offset = wall - monotonic
        if offset > words[_FARTHEST] + _STEP or wall > words[_LATEST] + _OFTEN:
            lockf(self._fd, LOCK_EX, 1, _CLOCK_LOCK)
            try:
                latest = words[_LATEST]
                if wall > latest + _OFTEN:
                    if offset < words[_FARTHEST] - _SET_BACK:
                        words[_BORN] = latest + _OFTEN
                        words[_FARTHEST] = max(0, offset)
                    words[_LATEST] = wall
                words[_FARTHEST] = max(words[_FARTHEST], offset)
            finally:
                lockf(self._fd, LOCK_UN, 1, _CLOCK_LOCK)
        return words[_FARTHEST]

    def _wait(self, bucket: int) -> bool:
        """Somebody holds the bucket; that takes a microsecond unless its process was put aside."""
        deadline = time.monotonic() + _PATIENCE
        pause = 0.0
        while True:
            time.sleep(pause)
            try:
                lockf(self._fd, LOCK_EX | LOCK_NB, 1, bucket)
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= deadline:
                    return False
                pause = min(pause + 0.00002, 0.001)
            else:
                return True


def _words(buckets: int) -> int:
    return _HEADER + max(1, buckets + _smaller(buckets)) * _BUCKET


def _smaller(buckets: int) -> int:
    return max(1, buckets // _TOKENS)
