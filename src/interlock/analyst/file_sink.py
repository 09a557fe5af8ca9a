"""A file that lines are added to: on disk before they count as delivered. May be renamed away at any time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from interlock.analyst.sink import Message, SinkError
from interlock.audit.files import Files, write_all

_BACK = 64 * 1024


class FileSink:
    """Adds to one file, of this user alone, and makes it again when it was renamed or removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = Files()
        self._fd = -1
        self._size = 0

    def send(self, batch: Sequence[Message]) -> bool:
        try:
            self._open()
            data = b"".join(message.data for message in batch)
            write_all(self._files, self._fd, data, self._size)
            self._files.fdatasync(self._fd)
        except OSError as error:
            self.close()
            raise SinkError(f"{self._path}: {error.strerror}") from error
        self._size += len(data)
        return True

    def confirm(self) -> None:
        """Every batch was."""

    def close(self) -> None:
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        if self._fd >= 0:
            mine = os.fstat(self._fd)
            try:
                there = os.stat(self._path)
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                if there.st_size < self._size:  # emptied in place
                    self._size = there.st_size
                return
            self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = self._whole_lines()
        self._files.truncate(self._fd, self._size)
        self._files.sync_folder(self._path.parent)

    def _whole_lines(self) -> int:
        """How far the file holds whole lines: what follows was never confirmed, and comes again."""
        end = os.fstat(self._fd).st_size
        while end > 0:
            start = max(0, end - _BACK)
            found = self._files.read(self._fd, end - start, start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0
