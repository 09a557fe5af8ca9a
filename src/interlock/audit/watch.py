"""Sees, while the recorder runs, that a file of the record was removed, replaced or changed by somebody else.

It compares what `stat` says with what it said after our own last change: cheap enough for every second. What
is changed so that `stat` does not show it is found by `verify`. Segments in use are watched by the follower.
"""

from __future__ import annotations

from pathlib import Path

from interlock.audit.files import Files

Seen = tuple[int, int, int]  # inode, size, time of the last change


class Watch:
    """What the recorder's own files looked like when it last touched them. For its thread."""

    def __init__(self, record: Path, files: Files) -> None:
        self._record = record
        self._files = files
        self._seen: dict[Path, Seen] = {}
        self._counts: dict[Path, int] = {}  # of folders: the files in them

    def note(self, path: Path) -> None:
        """We touched the file, or tried to: as it is now, it is ours."""
        try:
            self._seen[path] = self._stat(path)
        except OSError:
            self._seen.pop(path, None)

    def note_grown(self, path: Path) -> None:
        """We wrote on in a file that is the same one: another in its place is none of ours."""
        seen = self._seen.get(path)
        if seen is None or seen[0] == self._inode(path):
            self.note(path)

    def note_folder(self, folder: Path) -> None:
        """The same for a folder: files may only come into it by us, and none may go."""
        self.note(folder)
        try:
            self._counts[folder] = len(self._files.list(folder))
        except OSError:
            self._counts.pop(folder, None)

    def forget(self, path: Path) -> None:
        """We removed it, or do not mind any more."""
        self._seen.pop(path, None)
        self._counts.pop(path, None)

    def look(self) -> list[str]:
        """What is not as it was, each said once."""
        found = []
        for path, seen in list(self._seen.items()):
            try:
                now = self._stat(path)
            except FileNotFoundError:
                self.forget(path)
                found.append(f"{self._name(path)} was removed")
                continue
            except OSError:
                continue  # the disk's trouble, which shows where it matters
            if now == seen:
                continue
            if path in self._counts:
                before = self._counts[path]
                self.note_folder(path)
                if (gone := before - self._counts.get(path, 0)) > 0:
                    found.append(f"{gone} files of {self._name(path)} were removed")
            else:
                self._seen[path] = now
                what = "replaced" if now[0] != seen[0] else "changed"
                found.append(f"{self._name(path)} was {what} by somebody else")
        return found

    def _inode(self, path: Path) -> int:
        try:
            return self._files.stat(path).st_ino
        except OSError:
            return 0

    def _stat(self, path: Path) -> Seen:
        found = self._files.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._record))
