"""The disk reserve: space set aside so that a full disk is noticed while there is still room to act.

The first writer that finds the disk full gives the reserve up and goes on, tight; the recorder takes it
back when there is space again. It MUST NOT be taken back by a writer.
"""

from __future__ import annotations

from pathlib import Path

from interlock.audit.files import Files

RESERVE_SIZE = 16 * 1024 * 1024
_ROOM = 4  # times the reserve must be free before it is taken back


class Reserve:
    """The file `reserve` in the record's folder."""

    def __init__(self, record: Path, files: Files, size: int = RESERVE_SIZE) -> None:
        self.path = record / "reserve"
        self.size = size
        self._files = files

    def present(self) -> bool:
        try:
            return self._files.stat(self.path).st_size >= self.size
        except OSError:
            return False

    def release(self) -> None:
        """Give the space back to the disk; it does not matter who was first."""
        try:
            self._files.unlink(self.path)
        except OSError:
            pass

    def restore(self) -> bool:
        """Set the space aside again if there is plenty; says whether it is set aside now."""
        if self.present():
            return True
        aside = self.path.with_name(".reserve.new")
        try:
            if self._files.free_space(self.path.parent) < _ROOM * self.size:
                return False
            try:
                self._files.unlink(aside)
            except FileNotFoundError:
                pass
            fd = self._files.create(aside)
            try:
                self._files.allocate(fd, self.size)
            finally:
                self._files.close(fd)
            self._files.rename(aside, self.path)
        except OSError:
            try:
                self._files.unlink(aside)
            except OSError:
                pass
            return False
        return True
