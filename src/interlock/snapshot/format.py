"""The snapshot's frame on disk: sections, a directory, digests. It knows nothing of what the sections say.

    header      8  magic "ILKSNAP1"
                4  version (1)                     little-endian, as all numbers here
                4  zero
                8  offset of the directory
                8  length of the directory
                32 SHA-256 of the 32 bytes above and the directory
    sections    one after another, without gaps
    directory   msgpack: [[name, offset, length, SHA-256, details], ...], to the end of the file

Every byte of the file is under a digest, and nothing may follow the directory, so a file that opens is
the file that was written. A reader MUST refuse a version or a magic it does not know. New kinds of
section may be added under the same version: readers pass over names they do not know.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from interlock.errors import SnapshotError

MAGIC = b"ILKSNAP1"
VERSION = 1
_HEADER = struct.Struct("<8sIIQQ")
_START = _HEADER.size + 32
_COPY = 1 << 20
_AT_ONCE = 4 << 20  # bytes given to the disk together: while it takes in a hundred MiB, no worker writes its record


class Section(msgspec.Struct, frozen=True, array_like=True):
    """Where a section lies in the file; `details` are its own numbers (counts, inner offsets)."""

    name: str
    offset: int
    length: int
    digest: bytes
    details: dict[str, int] = {}


class SnapshotFile:
    """Writes one file aside; `finish` puts it in place, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file: IO[bytes] = os.fdopen(os.open(self._aside, flags, 0o600), "w+b", buffering=_COPY)
        self._file.write(bytes(_START))
        self._offset = _START
        self._sections: list[Section] = []
        self._begun = _START
        self._unsynced = 0
        self._hash = hashlib.sha256()

    @property
    def position(self) -> int:
        """Bytes written to the present section."""
        return self._offset - self._begun

    def write(self, data: bytes | bytearray) -> None:
        """Add to the present section."""
        self._file.write(data)
        self._hash.update(data)
        self._offset += len(data)
        self._unsynced += len(data)
        if self._unsynced >= _AT_ONCE:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._unsynced = 0

    def copy(self, source: IO[bytes]) -> None:
        """Add all of a file to the present section."""
        source.seek(0)
        while block := source.read(_COPY):
            self.write(block)

    def end_section(self, name: str, details: Mapping[str, int] | None = None) -> None:
        """What was written since the last section is section `name`."""
        section = Section(name, self._begun, self._offset - self._begun, self._hash.digest(), dict(details or {}))
        self._sections.append(section)
        self._begun = self._offset
        self._hash = hashlib.sha256()

    def finish(self) -> None:
        """Write the directory, sync, rename, sync the folder. The old file stays for those who map it."""
        directory = msgspec.msgpack.encode(self._sections)
        self._file.write(directory)
        header = _HEADER.pack(MAGIC, VERSION, 0, self._offset, len(directory))
        self._file.seek(0)
        self._file.write(header + hashlib.sha256(header + directory).digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._aside, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abandon(self) -> None:
        """Leave the file in place as it was."""
        self._file.close()
        self._aside.unlink(missing_ok=True)


def map_sections(path: Path) -> tuple[mmap.mmap, dict[str, Section]]:
    """Map a snapshot and check every digest; `SnapshotError` says what is wrong.

    Hashing releases the interpreter's lock, so a thread can do this beside a running event loop.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _START:
                raise SnapshotError(f"{path}: too short for a snapshot")
            memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error
    try:
        sections = _read_directory(path, memory)
        for section in sections.values():
            _check(path, memory, section)
    except BaseException:
        memory.close()
        raise
    return memory, sections


def _check(path: Path, memory: mmap.mmap, section: Section) -> None:
    with memoryview(memory) as view, view[section.offset : section.offset + section.length] as part:
        if hashlib.sha256(part).digest() != section.digest:
            raise SnapshotError(f"{path}: section {section.name!r} is damaged")


def _read_directory(path: Path, memory: mmap.mmap) -> dict[str, Section]:
    header = memory[: _HEADER.size]
    magic, version, _, offset, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise SnapshotError(f"{path}: not a snapshot")
    if version != VERSION:
        raise SnapshotError(f"{path}: snapshot version {version} is not known here")
    if offset < _START or offset + length != len(memory):
        raise SnapshotError(f"{path}: cut short or added to")
    directory = memory[offset:]
    if hashlib.sha256(header + directory).digest() != memory[_HEADER.size : _START]:
        raise SnapshotError(f"{path}: the directory is damaged")
    sections: dict[str, Section] = {}
    end = _START
    for section in _decode(directory, list[Section], path):
        if section.offset != end or section.name in sections:
            raise SnapshotError(f"{path}: the directory contradicts itself")
        end += section.length
        sections[section.name] = section
    if end != offset:
        raise SnapshotError(f"{path}: the directory contradicts itself")
    return sections


def _decode(data: bytes, kind: Any, path: Path) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"{path}: {error}") from error
