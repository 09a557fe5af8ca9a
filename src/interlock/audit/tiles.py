"""The tree's tiles on disk, under `log/` in the record: C2SP tlog-tiles paths, any static file server can serve them.

    log/checkpoint                  the newest signed checkpoint
    log/tile/<L>/<N>[.p/<W>]        hashes, 32 bytes each; entry bundles there are none: entries are the frames

A tile is written aside, synced and renamed; one that is there is never changed. Partial tiles of an earlier
size go once a checkpoint of a later one is published, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from interlock.audit.files import Files, create_anew, read_all, write_all
from interlock.audit.watch import Watch
from interlock.errors import RecordError
from interlock.tlog import HASH_SIZE, TILE_WIDTH, Tile

TOGETHER = 64  # tiles
_LOOKS = 3  # the recorder may put a wider tile in the place of a partial one between a look and the opening


class Tiles:
    """Reads and writes the tiles of one record. Is a `tlog.TileReader`."""

    def __init__(self, log: Path, files: Files, watch: Watch | None = None) -> None:
        self._log = log
        self._watch = watch
        self._files = files
        self._folders: set[Path] = set()  # known to be there, and on disk

    def make_ready(self) -> None:
        """The folder, on disk."""
        self._make_folder(self._log)

    def read(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, from the tile itself or from a wider one; else `RecordError`."""
        for _ in range(_LOOKS):
            for path in self._holding(Tile(level, index, width)):
                try:
                    fd = self._files.open(path)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise RecordError(f"{path} cannot be read: {error.strerror}") from error
                try:
                    return read_all(self._files, fd, width * HASH_SIZE, 0)
                finally:
                    self._files.close(fd)
        raise RecordError(f"{self._log / Tile(level, index, width).path} is missing")

    def write(self, tiles: Iterable[tuple[Tile, bytes]]) -> None:
        """Put them on disk under their names, or raise `OSError`; some may be there then, and nothing is lost."""
        folders: dict[str, Path] = {}  # written to, by their place in the log
        try:
            self._write(tiles, folders)
            for folder in folders.values():
                self._files.sync_folder(folder)
        finally:
            for folder in folders.values():
                self._noted(folder)

    def _write(self, tiles: Iterable[tuple[Tile, bytes]], folders: dict[str, Path]) -> None:
        """Some at a time: what is synced together, a journaling file system commits once and not for each file."""
        left = iter(tiles)
        while some := list(islice(left, TOGETHER)):
            made: list[tuple[int, Path, Path]] = []
            try:
                for tile, data in some:
                    place, _, name = tile.path.rpartition("/")
                    if (folder := folders.get(place)) is None:
                        self._make_folder(self._log / place)
                        folder = folders[place] = self._log / place
                    aside = folder / f".{name}.new"
                    made.append((create_anew(self._files, aside), aside, folder / name))
                    write_all(self._files, made[-1][0], data, 0)
                for fd, _, _ in made:
                    self._files.fdatasync(fd)
            finally:
                for fd, _, _ in made:
                    self._files.close(fd)
            for _, aside, path in made:
                self._files.rename(aside, path)

    def forget_partial(self, tiles: Iterable[Tile]) -> None:
        """Remove all partial tiles in the places of `tiles` but those themselves. An error is no matter."""
        for tile in tiles:
            folder = (self._log / Tile(tile.level, tile.index, 1).path).parent
            try:
                for name in self._files.list(folder):
                    if name != str(tile.width) or tile.width == TILE_WIDTH:
                        self._files.unlink(folder / name)
                if tile.width == TILE_WIDTH:
                    folder.rmdir()
                    self._folders.discard(folder)
            except OSError:
                pass
            self._noted(folder)
            self._noted(folder.parent)

    def _holding(self, tile: Tile) -> list[Path]:
        """Where the tile's hashes may be, the likeliest first."""
        full = self._log / Tile(tile.level, tile.index, TILE_WIDTH).path
        if tile.width == TILE_WIDTH:
            return [full]
        exact = self._log / tile.path
        try:
            names = self._files.list(exact.parent)
        except OSError:
            names = []
        wider = sorted(int(name) for name in names if name.isdecimal() and int(name) > tile.width)
        return [exact, full, *(exact.parent / str(width) for width in wider)]

    def _make_folder(self, folder: Path) -> None:
        if folder in self._folders:
            return
        if folder != self._log:
            self._make_folder(folder.parent)
        self._files.make_folder(folder)
        self._files.sync_folder(folder.parent)
        self._folders.add(folder)
        if folder != self._log:
            self._noted(folder.parent)

    def _noted(self, folder: Path) -> None:
        if self._watch is not None and folder != self._log:  # the checkpoint is replaced in it, and watched by itself
            self._watch.note_folder(folder)
