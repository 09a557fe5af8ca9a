"""The change log: what became true of keys, revocations and marks since the snapshot was written.

    header  8  magic "ILKCHNG1"
    frames  u32 length of the payload | u32 CRC-32 of it | payload: msgpack [kind, ...]    (little-endian)

Appended under `flock`, on disk before it is announced by raising the page's epoch, which is the number of
bytes that are valid. A torn tail (a crash while appending) is cut at the next append; whole frames that
were never announced are kept, since whoever wrote them may have told somebody so. Readers MUST NOT read
past the epoch, and MUST refuse what they cannot read: going on without a revocation fails open.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import msgspec

from interlock.errors import SnapshotError
from interlock.snapshot.page import EPOCH, NodePage

MAGIC = b"ILKCHNG1"
START = len(MAGIC)  # offset of the first frame, and the epoch of an empty log
_FRAME = struct.Struct("<II")
_LONGEST = 1 << 20


class KeyAdded(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The key with this lookup hash now has this value, whatever the snapshot says of it."""

    hash: bytes
    value: bytes


class Revoked(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Whatever can be revoked under this handle is revoked from now on.

    `until`: wall ns after which nothing it could match is alive, so that no snapshot need hold it; 0: never.
    """

    handle: bytes
    until: int = 0


class NotBefore(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Whatever carries this handle and was issued before this second is refused from now on.

    `since` is in whole seconds, as `iat` is compared. Revoking in second S sets it to S + 1: what was issued in
    second S or earlier is refused, since nobody can tell before and after within one second. Of several marks
    of one handle the latest counts. `until` as in `Revoked`.
    """

    handle: bytes
    since: int
    until: int = 0


class Risk(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Whatever carries this handle is this risky from now on: 0, not at all, to 100. The last word on a handle counts.

    `until` as in `Revoked`.
    """

    handle: bytes
    value: int
    until: int = 0


Change: TypeAlias = KeyAdded | Revoked | NotBefore | Risk

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeyAdded | Revoked | NotBefore | Risk).decode


class ChangeLog:
    """The writing side, for the control process and for commands; any number may write."""

    def __init__(self, path: Path, page: NodePage | None = None) -> None:
        """`page`: of the running node; without one, nobody is told."""
        self._path = path
        self._page = page

    def create(self) -> None:
        """Begin an empty log, at start, when no process reads the old one and state holds all of it."""
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, MAGIC)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(aside, self._path)
        except OSError as error:
            raise SnapshotError(f"{self._path}: {error.strerror}") from error
        if self._page is not None:
            self._page.words[EPOCH] = START

    def append(self, changes: Iterable[Change]) -> int:
        """Put changes on disk and raise the epoch; gives the new epoch.

        When this returns, no worker authorises a call on older state, but one may still be in the middle
        of authorising: `announce` waits for that. `SnapshotError` if it cannot be written: nothing is
        announced then.
        """
        data = b"".join(_frame(change) for change in changes)
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                end = self._valid_end(fd)
                os.ftruncate(fd, end)
                try:
                    _write_all(fd, data, end)
                    os.fdatasync(fd)
                except OSError:
                    os.ftruncate(fd, end)
                    raise
                epoch = end + len(data)
                if self._page is not None:
                    self._page.words[EPOCH] = epoch
                return epoch
            finally:
                os.close(fd)
        except OSError as error:
            raise SnapshotError(f"{self._path}: {error.strerror}") from error

    def end(self) -> int:
        """How far the log is valid now."""
        if self._page is not None:
            return self._page.words[EPOCH]
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return self._valid_end(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise SnapshotError(f"{self._path}: {error.strerror}") from error

    def _valid_end(self, fd: int) -> int:
        if os.pread(fd, START, 0) != MAGIC:
            raise SnapshotError(f"{self._path}: not a change log")
        size = os.fstat(fd).st_size
        at = START if self._page is None else self._page.words[EPOCH]
        if not START <= at <= size:
            raise SnapshotError(f"{self._path}: {size} bytes, but {at} were announced")
        while True:
            payload = _payload(os.pread(fd, _FRAME.size, at), fd, at)
            if payload is None:
                return at
            at += _FRAME.size + len(payload)


def read_changes(path: Path, start: int, end: int) -> list[Change]:
    """What was appended between two epochs (`start` may be 0: from the beginning).

    `SnapshotError` if anything in between is missing, damaged or of an unknown kind.
    """
    start = max(start, START)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.pread(fd, START, 0) != MAGIC:
                raise SnapshotError(f"{path}: not a change log")
            data = os.pread(fd, max(0, end - start), start)
        finally:
            os.close(fd)
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error
    if len(data) != max(0, end - start):
        raise SnapshotError(f"{path}: {end} bytes were announced and are not there")
    changes: list[Change] = []
    at = 0
    while at < len(data):
        if len(data) - at < _FRAME.size:
            raise SnapshotError(f"{path}: damaged at {start + at}")
        length, crc = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(payload) != length or zlib.crc32(payload) != crc:
            raise SnapshotError(f"{path}: damaged at {start + at}")
        try:
            changes.append(_decode(payload))
        except msgspec.MsgspecError as error:
            raise SnapshotError(f"{path}: not understood at {start + at}: {error}") from error
        at += _FRAME.size + length
    return changes


def _frame(change: Change) -> bytes:
    if len(change.hash if isinstance(change, KeyAdded) else change.handle) != 32:
        raise SnapshotError("a change names a key or handle by 32 bytes")
    if isinstance(change, NotBefore) and not 0 < change.since < 1 << 63:
        raise SnapshotError("a mark is a second of this era")
    if isinstance(change, Risk) and not 0 <= change.value <= 100:
        raise SnapshotError("a risk is a number from 0 to 100")
    payload = _encode(change)
    if len(payload) > _LONGEST:
        raise SnapshotError("a change is too long")
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _payload(head: bytes, fd: int, at: int) -> bytes | None:
    """The whole frame at `at`, or None where there is none."""
    if len(head) < _FRAME.size:
        return None
    length, crc = _FRAME.unpack(head)
    if not 0 < length <= _LONGEST:
        return None
    payload = os.pread(fd, length, at + _FRAME.size)
    return payload if len(payload) == length and zlib.crc32(payload) == crc else None


def _write_all(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        at += written
        view = view[written:]
