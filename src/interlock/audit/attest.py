"""The attest page: what each living writer says its segment holds, out of reach of whoever edits the files.

    page    4096 bytes: magic "ILKATT1\\n" | u64 slots | u64 changes of slots | 40 bytes boot id, NUL padded
            then slots of 128 bytes
    slot    16 bytes segment (zeros: free) | u64 turn | u8 writer's state | u8 the recorder's verdict | 6 spare
            two copies of (u64 offset | u64 count | 32 bytes SHA-256 of the file up to offset)

A writer fills copy (turn + 1) & 1 and then raises `turn`, so a reader, or a death in between, finds one
whole statement. Numbers are in the machine's byte order: the page never leaves the machine or this boot.
Only the recorder frees a slot, once everything the slot vouches for is sealed and its writer publishes no
more: freeing it earlier would make a dead writer's last records deniable.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from interlock.audit.files import boot_id as this_boot
from interlock.errors import RecordUnavailable

MAGIC = b"ILKATT1\n"
HEADER_SIZE = 4096
SLOT_SIZE = 128
SLOTS = 256
FREE = bytes(16)

LIVE = 0  # states a writer gives its segment
DAMAGED = 1  # a write failed: nothing beyond the attested offset counts
UNSYNCED = 2  # a sync failed: what was not sealed before may never reach the disk

NOT_ON_DISK = 1  # verdicts of the recorder: a sync failed, and MUST NOT be tried again by anyone
NOT_AS_WRITTEN = 2  # the file was altered

_TURN = 2  # words in a slot
_STATE = 24  # bytes in a slot
_VERDICT = 25
_COPIES = 32
_COPY_SIZE = 48
_CHANGES = 2  # words in the page
_BOOT_AT = 24
_BOOT_SIZE = 40
_ORDER = sys.byteorder


class Attested(NamedTuple):
    """The first `offset` bytes of the segment hold `frames` frames and hash to `digest`."""

    offset: int
    frames: int
    digest: bytes


class AttestPage:
    """A mapped page shared by writers and the recorder."""

    def __init__(self, fd: int, writable: bool = True) -> None:
        self._fd = fd
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(fd, HEADER_SIZE + SLOTS * SLOT_SIZE, access=access)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("Q")

    @classmethod
    def open(cls, path: Path, boot_id: str | None = None) -> AttestPage:
        """Map the page, making it when it is missing or of an earlier boot.

        A page of this boot is kept as it is: it is all that vouches for segments whose writers and recorder
        were killed together.
        """
        boot = (this_boot() if boot_id is None else boot_id).encode("ascii", "replace")[:_BOOT_SIZE]
        boot = boot.ljust(_BOOT_SIZE, b"\0")
        size = HEADER_SIZE + SLOTS * SLOT_SIZE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # against another process making it now
            head = os.pread(fd, _BOOT_AT + _BOOT_SIZE, 0)
            if os.fstat(fd).st_size != size or head[:8] != MAGIC or head[_BOOT_AT:] != boot:
                fresh = MAGIC + SLOTS.to_bytes(8, _ORDER) + bytes(8) + boot
                os.ftruncate(fd, size)
                os.pwrite(fd, fresh.ljust(size, b"\0"), 0)
            fcntl.flock(fd, fcntl.LOCK_UN)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def look(cls, path: Path, boot_id: str | None = None) -> AttestPage | None:
        """Map the page of this boot without making or changing one; None if there is none."""
        boot = (this_boot() if boot_id is None else boot_id).encode("ascii", "replace")[:_BOOT_SIZE]
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        head = os.pread(fd, _BOOT_AT + _BOOT_SIZE, 0)
        whole = os.fstat(fd).st_size == HEADER_SIZE + SLOTS * SLOT_SIZE
        if not whole or head[:8] != MAGIC or head[_BOOT_AT:].rstrip(b"\0") != boot:
            os.close(fd)
            return None
        return cls(fd, writable=False)

    def close(self) -> None:
        self._words.release()
        self._bytes.release()
        self._map.close()
        os.close(self._fd)

    @property
    def changes(self) -> int:
        """Raised whenever a slot is claimed or freed."""
        return self._words[_CHANGES]

    def has_room(self) -> bool:
        """Is a slot free now?"""
        return len(self.slots()) < SLOTS

    def claim(self, segment: bytes, offset: int, digest: bytes) -> int:
        """Take a free slot for `segment`, with its first statement; `RecordUnavailable` if there is none."""
        with self._changing():
            for slot in range(SLOTS):
                at = HEADER_SIZE + slot * SLOT_SIZE
                if self._bytes[at : at + 16] == FREE:
                    self._bytes[at + 16 : at + SLOT_SIZE] = bytes(SLOT_SIZE - 16)
                    self.publish(slot, offset, 0, digest)
                    self._bytes[at : at + 16] = segment
                    return slot
        raise RecordUnavailable("no place is left on the attest page: the recorder does not keep up")

    def free(self, slot: int, segment: bytes) -> None:
        """Give back the slot of `segment`, if it is still its own."""
        with self._changing():
            at = HEADER_SIZE + slot * SLOT_SIZE
            if self._bytes[at : at + 16] == segment:
                self._bytes[at : at + 16] = FREE

    def publish(self, slot: int, offset: int, count: int, digest: bytes) -> None:
        """The writer's statement after each flush."""
        at = HEADER_SIZE + slot * SLOT_SIZE
        words, word = self._words, at >> 3
        turn = words[word + _TURN] + 1
        copy = at + _COPIES + (turn & 1) * _COPY_SIZE
        words[copy >> 3] = offset
        words[(copy >> 3) + 1] = count
        self._bytes[copy + 16 : copy + 48] = digest
        words[word + _TURN] = turn

    def read(self, slot: int) -> Attested:
        """The newest whole statement of a slot."""
        at = HEADER_SIZE + slot * SLOT_SIZE
        words, word = self._words, at >> 3
        while True:
            turn = words[word + _TURN]
            copy = at + _COPIES + (turn & 1) * _COPY_SIZE
            found = Attested(words[copy >> 3], words[(copy >> 3) + 1], bytes(self._bytes[copy + 16 : copy + 48]))
            if words[word + _TURN] == turn:
                return found

    def slots(self) -> dict[bytes, int]:
        """Which slot each segment has."""
        found = {}
        for slot in range(SLOTS):
            at = HEADER_SIZE + slot * SLOT_SIZE
            segment = bytes(self._bytes[at : at + 16])
            if segment != FREE:
                found[segment] = slot
        return found

    def state(self, slot: int) -> int:
        return self._bytes[HEADER_SIZE + slot * SLOT_SIZE + _STATE]

    def set_state(self, slot: int, segment: bytes, state: int) -> None:
        """The writer gives up its segment, if the slot is still its own."""
        at = HEADER_SIZE + slot * SLOT_SIZE
        if self._bytes[at : at + 16] == segment:
            self._bytes[at + _STATE] = state

    def condemned(self, slot: int, segment: bytes | None = None) -> int:
        """The recorder's verdict, 0 if there is none; with `segment`, only if the slot is still its own."""
        at = HEADER_SIZE + slot * SLOT_SIZE
        if segment is not None and self._bytes[at : at + 16] != segment:
            return 0
        return self._bytes[at + _VERDICT]

    def condemn(self, slot: int, verdict: int) -> None:
        """The recorder will seal no more of this segment: the writer MUST begin another."""
        self._bytes[HEADER_SIZE + slot * SLOT_SIZE + _VERDICT] = verdict

    @contextmanager
    def _changing(self) -> Iterator[None]:
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 8, 0)  # dropped by the kernel if we die
        try:
            yield
            self._words[_CHANGES] += 1
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 8, 0)
