"""The folder `cache/parquet/`: a sealed manifest says which files count, and how far in the record they go.

A file is on disk before a manifest names it, and goes once none does: killed at any step, the next one finds
the manifest of before or of after, and removes what neither names. What cannot be opened, is of another version
or says something else than the state database of who was erased, is thrown away: it can be made anew.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.audit.columns.parquet import footer
from interlock.audit.columns.schema import VERSION
from interlock.audit.cursor import BEGINNING
from interlock.audit.files import Files, write_aside

MANIFEST = "manifest"
_NONCE = 12
_ABOUT = b"interlock columns manifest 1"


class File(msgspec.Struct, frozen=True):
    name: str
    kind: str
    rows: int
    footer: bytes
    segments: tuple[str, ...]  # of its records, hex


class Manifest(msgspec.Struct):
    version: int = VERSION
    state: str = ""  # fresh with each one
    erased: str = ""  # who was, by what `Builder` says of it
    cursor: str = str(BEGINNING)
    files: list[File] = []
    under_way: list[str] = []  # records of calls that have not ended
    seen: dict[str, int] = {}  # segment to the next sequence: the record may be told twice
    problems: list[str] = []  # what could not be named


class Cache:
    """One node's. What it raises is `OSError`."""

    def __init__(self, folder: Path) -> None:
        """`folder`: `DATA/cache`, which erasing somebody empties."""
        self._root = folder
        self.folder = folder / "parquet"
        self._files = Files()

    @contextmanager
    def held(self, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
        """Nobody else changes it meanwhile; gives False if others hold it and `wait` is not wanted."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def load(self, key: bytes) -> Manifest | None:
        """What is there; None if that is nothing, or nothing that can be used."""
        try:
            data = (self.folder / MANIFEST).read_bytes()
            plain = AESGCM(key).decrypt(data[:_NONCE], data[_NONCE:], _ABOUT)
            manifest = msgspec.msgpack.decode(plain, type=Manifest)
            whole = all(footer(self.folder / file.name) == file.footer for file in manifest.files)
        except (OSError, InvalidTag, ValueError):
            return None
        return manifest if whole and manifest.version == VERSION else None

    def publish(self, manifest: Manifest, key: bytes) -> None:
        """From now on this counts; files that it does not name go."""
        manifest.state = secrets.token_hex(8)
        nonce = os.urandom(_NONCE)
        self._files.sync_folder(self.folder)
        plain = msgspec.msgpack.encode(manifest)
        write_aside(self._files, self.folder / MANIFEST, nonce + AESGCM(key).encrypt(nonce, plain, _ABOUT))
        self.tidy(manifest)

    def tidy(self, manifest: Manifest) -> None:
        """Remove what it does not name."""
        named = {MANIFEST, *(file.name for file in manifest.files)}
        for entry in self.folder.iterdir():
            if entry.name in named:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def throw_away(self) -> None:
        (self.folder / MANIFEST).unlink(missing_ok=True)
        self.tidy(Manifest())
