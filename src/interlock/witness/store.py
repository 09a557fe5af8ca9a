"""What a witness must never forget, in its folder.

    lock                          held for as long as the witness lives: two MUST NOT share a folder
    key                           its name and private key, see `key`
    logs/<SHA-256 of origin>      the latest checkpoint that was cosigned for a log, as JSON
    logs/<...>.conflict           the first checkpoint that contradicted it, as its log signed it: proof against it

A file is written aside, synced and renamed, and the folder synced, before `keep` returns. What cannot be read is an
error, never the beginning of a new history.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec

from interlock.audit.files import Files, read_all, write_aside
from interlock.errors import NodeError, StateError
from interlock.tlog import HASH_SIZE
from interlock.witness.protocol import Known

VERSION = 1
_LARGEST = 1 << 20


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    origin: str
    size: int
    root: bytes
    note: bytes


class Store:
    """For one thread at a time. Errors of the disk are `OSError`, of what is there `StateError`."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        """Take the folder, which is made if it is missing; `NodeError` if another witness has it."""
        self.folder = folder
        self._files = files or Files()
        self._logs = folder / "logs"
        self._files.make_folder(self._logs)
        self._files.sync_folder(folder)
        self._files.sync_folder(folder.parent)
        self._lock = self._take()

    def close(self) -> None:
        """Let go of the folder."""
        self._files.close(self._lock)

    def known(self, origin: str) -> Known:
        """The latest checkpoint that was cosigned for a log."""
        path = self._path(origin)
        try:
            fd = self._files.open(path)
        except FileNotFoundError:
            return Known()
        try:
            data = read_all(self._files, fd, _LARGEST, 0)
        finally:
            self._files.close(fd)
        try:
            kept = msgspec.json.decode(data, type=_Kept)
        except ValueError:
            raise StateError(f"{path} is damaged: nothing is cosigned for that log") from None
        if kept.version != VERSION or kept.origin != origin or len(kept.root) != HASH_SIZE or kept.size < 0:
            raise StateError(f"{path} is damaged, or of a later version: nothing is cosigned for that log")
        return Known(kept.size, kept.root, kept.note)

    def keep(self, origin: str, known: Known) -> None:
        """On disk when this returns."""
        data = msgspec.json.encode(_Kept(VERSION, origin, known.size, known.root, known.note)) + b"\n"
        write_aside(self._files, self._path(origin), data)

    def keep_conflict(self, origin: str, note: bytes) -> None:
        """The first one is enough, and nobody can fill the disk with them."""
        path = self._path(origin).with_suffix(".conflict")
        if not path.exists():
            write_aside(self._files, path, note)

    def _path(self, origin: str) -> Path:
        return self._logs / sha256(origin.encode()).hexdigest()

    def _take(self) -> int:
        path = self.folder / "lock"
        try:
            fd = self._files.create(path)
        except FileExistsError:
            fd = self._files.reopen(path)
        try:
            self._files.lock(fd)
        except BlockingIOError:
            self._files.close(fd)
            raise NodeError(f"another witness uses {self.folder}") from None
        return fd
