"""Opaque access tokens: what each stands for, written by the issuer and read by whoever meets one.

    run/tokens/HOUR   one file for the tokens that expire within one hour of wall time
    header  8  magic "ILKTOKN1"
    frames  u32 length of the payload | u32 CRC-32 of it | payload: 32 bytes keyed hash | JSON    (little-endian)

Only appended to; a whole file goes when its hour is over. A token is written before it is given out, so whoever meets
one that is not known yet reads what is new at the end of the files, and nobody else reads anything: no epoch is raised,
nothing is looked at again, and no snapshot holds tokens that are dead when it is used.

Nothing is synced. Whatever process dies, the kernel has what was written; if the machine does, tokens of the last
seconds are refused, and their clients ask for others.

A hash tells nothing of a token; the JSON names its principal, for two hours at most.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interlock.errors import SnapshotError

MAGIC: Final = b"ILKTOKN1"
HASH: Final = 32
HOUR: Final = 3600 * 1_000_000_000  # ns
LONGEST: Final = HOUR  # no access token lives longer (`issuer.access_token`)
SLACK: Final = 300 * 1_000_000_000  # by how much a token may be taken after it has expired
MOST: Final = 250_000  # tokens of one hour; more are not given out
_FRAME: Final = struct.Struct("<II")
_LARGEST: Final = 1 << 16  # bytes of a payload
_PIECE: Final = 1 << 20  # bytes read at a time


class ReferenceLog:
    """The writing side; one process at a time writes, in any number of threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[int, _Writing] = {}

    def add(self, lookup: bytes, value: bytes, expires: int, now: int) -> None:
        """What the token of this hash stands for, until `expires` (wall ns). `SnapshotError` if it cannot be kept."""
        if len(lookup) != HASH or len(value) > _LARGEST - HASH or not now < expires <= now + LONGEST:
            raise SnapshotError("a token is kept by 32 bytes, with 64 KiB, for an hour at most")
        payload = lookup + value
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        hour = expires // HOUR
        with self._lock:
            try:
                file = self._files.get(hour)
                if file is None:
                    self._sweep(now)
                    file = self._files[hour] = _Writing(self._folder, hour)
                file.append(frame)
            except OSError as error:
                raise SnapshotError(f"{self._folder}: {error.strerror}") from error

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                os.close(file.fd)
            self._files.clear()

    def _sweep(self, now: int) -> None:
        """Forget the hours that are over."""
        first = (now - SLACK) // HOUR
        for hour in [hour for hour in self._files if hour < first]:
            os.close(self._files.pop(hour).fd)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.iterdir():
            if path.name.isdigit() and int(path.name) < first:
                path.unlink(missing_ok=True)


class _Writing:
    """One hour. What a crash has left half-written at the end is cut."""

    def __init__(self, folder: Path, hour: int) -> None:
        self.fd = os.open(folder / str(hour), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(self.fd).st_size < len(MAGIC):
                os.ftruncate(self.fd, 0)
                os.pwrite(self.fd, MAGIC, 0)
            self.end, self.count = len(MAGIC), 0
            for _, at, length in _frames(self.fd, self.end):
                self.end, self.count = at + length, self.count + 1
            os.ftruncate(self.fd, self.end)
        except BaseException:
            os.close(self.fd)
            raise

    def append(self, frame: bytes) -> None:
        if self.count >= MOST:
            raise SnapshotError(f"{MOST} opaque tokens expire within this hour already")
        written = os.pwrite(self.fd, frame, self.end)
        if written != len(frame):
            os.ftruncate(self.fd, self.end)
            raise SnapshotError("there is no room for opaque tokens")
        self.end += written
        self.count += 1


class References:
    """The reading side, for one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[int, _Reading] = {}

    def find(self, lookup: bytes, now: int) -> bytes | None:
        """What the token of a 32-byte keyed hash stands for; None if nobody knows it. `now` in wall ns."""
        first, last = (now - SLACK) // HOUR, (now + LONGEST) // HOUR
        with self._lock:
            for hour in [hour for hour in self._files if not first <= hour <= last]:
                os.close(self._files.pop(hour).fd)
            for hour in range(last, first - 1, -1):
                with contextlib.suppress(OSError):  # what cannot be read is not known
                    found = self._within(hour, lookup)
                    if found is not None:
                        return found
        return None

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                os.close(file.fd)
            self._files.clear()

    def _within(self, hour: int, lookup: bytes) -> bytes | None:
        file = self._files.get(hour)
        if file is None:
            try:
                fd = os.open(self._folder / str(hour), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            file = self._files[hour] = _Reading(fd)
        return file.find(lookup)


class _Reading:
    """One hour: where each token's payload lies. Values stay in the file until they are asked for."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read = 0

    def find(self, lookup: bytes) -> bytes | None:
        place = self._places.get(lookup)
        if place is None:
            self._catch_up()
            place = self._places.get(lookup)
            if place is None:
                return None
        at, length = place
        return os.pread(self.fd, length, at)[HASH:]

    def _catch_up(self) -> None:
        if os.fstat(self.fd).st_size <= self._read:
            return
        if self._read == 0:
            if os.pread(self.fd, len(MAGIC), 0) != MAGIC:
                return
            self._read = len(MAGIC)
        for lookup, at, length in _frames(self.fd, self._read):
            self._places[lookup] = (at, length)
            self._read = at + length


def _frames(fd: int, at: int) -> Iterator[tuple[bytes, int, int]]:
    """The hash, place and length of each payload from `at` on; ends before the first that is not whole."""
    piece, begins = os.pread(fd, _PIECE, at), at
    while True:
        found = _frame(piece, at - begins)
        if found is None and at > begins:
            piece, begins = os.pread(fd, _PIECE, at), at
            found = _frame(piece, 0)
        if found is None:
            return
        yield found[:HASH], at + _FRAME.size, len(found)
        at += _FRAME.size + len(found)


def _frame(piece: bytes, start: int) -> bytes | None:
    """The payload of the frame there; None if it is not whole."""
    if len(piece) - start < _FRAME.size:
        return None
    length, crc = _FRAME.unpack_from(piece, start)
    payload = piece[start + _FRAME.size : start + _FRAME.size + length]
    if not HASH <= length <= _LARGEST or len(payload) != length or zlib.crc32(payload) != crc:
        return None
    return payload
