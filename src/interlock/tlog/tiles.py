"""The log cut into tiles (C2SP tlog-tiles, text of commit 0ad71eb): where each hash is kept.

Level 0 holds the leaf hashes, level 1 the hash of each full tile of level 0, and so on; a tile is 256 hashes
of 32 bytes, the last one of a level may be narrower (*partial*). What is between two levels is computed. A
tile never changes: a partial one of another width is another tile, with another path. So what is written for
a tree of a given size is the same bytes, in whatever batches the tree grew.

Tiles are not authenticated by themselves: what is computed from them MUST be compared with the root of a
verified checkpoint. Only hash tiles are here; entry bundles (`tile/entries/...`) are not, since the log's
entries are kept elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from interlock.errors import LogError
from interlock.tlog.node import HASH_SIZE, MAX_SIZE, complete_subtrees, fold, node_hash
from interlock.tlog.tree import TILE_HEIGHT, Growth, Tree

TILE_WIDTH: Final = 1 << TILE_HEIGHT
_PATH: Final = re.compile(r"tile/(0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_MAX_LEVEL: Final = 63


class TileReader(Protocol):
    """Where tiles are read from. Its errors (a tile that is not there) are its own and pass through."""

    def read(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, exactly `width * 32` bytes; 256 for a full tile.

        Where the partial tile is gone because a wider one has replaced it, the beginning of that one.
        """


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place and width; `width` is 256 for a full tile."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`; index 1234067 is written `x001/x234/067`."""
        level, index, width = self.level, self.index, self.width
        if not (0 <= level <= _MAX_LEVEL and index >= 0 and 1 <= width <= TILE_WIDTH):
            raise LogError(f"there is no tile {index} of width {width} on level {level}")
        number = f"{index % 1000:03}"
        while index := index // 1000:
            number = f"x{index % 1000:03}/{number}"
        partial = "" if width == TILE_WIDTH else f".p/{width}"
        return f"tile/{level}/{number}{partial}"


def parse_tile_path(path: str) -> Tile:
    """The tile that a path names. Raises LogError unless it is spelt the one way there is."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise LogError(f"{path!r} is not the path of a tile")
    tile = Tile(int(found[1]), int(found[2].replace("x", "").replace("/", "")), int(found[3] or TILE_WIDTH))
    if tile.level > _MAX_LEVEL or tile.width > TILE_WIDTH or tile.path != path:
        raise LogError(f"{path!r} is not the path of a tile")
    return tile


def changed_tiles(before: int, after: int) -> list[Tile]:
    """The tiles of a tree of `after` leaves that the tree of `before` leaves does not have, level by level."""
    if not 0 <= before <= after <= MAX_SIZE:
        raise LogError(f"a tree cannot grow from {before} to {after} leaves")
    tiles: list[Tile] = []
    level = 0
    while after > before:  # counted in hashes of this level
        for index in range(before // TILE_WIDTH, (after - 1) // TILE_WIDTH + 1):
            tiles.append(Tile(level, index, min(TILE_WIDTH, after - index * TILE_WIDTH)))
        before >>= TILE_HEIGHT
        after >>= TILE_HEIGHT
        level += 1
    return tiles


def grown_tiles(growth: Growth, reader: TileReader) -> list[tuple[Tile, bytes]]:
    """The tiles to write after an append and their bytes: those of `changed_tiles`, in that order.

    From `reader` only the partial tiles of the tree before are read, at most one a level. All of it MUST be
    on disk before a checkpoint of the new size is signed.
    """
    written: list[tuple[Tile, bytes]] = []
    full = TILE_WIDTH * HASH_SIZE
    for level, added in enumerate(growth.levels):
        first, kept = divmod(growth.before >> (TILE_HEIGHT * level), TILE_WIDTH)
        data = (_read(reader, Tile(level, first, kept)) if kept else b"") + b"".join(added)
        for number, at in enumerate(range(0, len(data), full)):
            content = data[at : at + full]
            written.append((Tile(level, first + number, len(content) // HASH_SIZE), content))
    return written


class TiledTree:
    """Any hash of a tree of `size` leaves, from its tiles. Each tile is read once and kept as long as this lives."""

    def __init__(self, reader: TileReader, size: int) -> None:
        """`size` says how wide the last tiles are that the reader has; smaller trees can be asked for as well."""
        if not 0 <= size <= MAX_SIZE:
            raise LogError(f"a tree of {size} leaves cannot be")
        self.size = size
        self._reader = reader
        self._tiles: dict[tuple[int, int], bytes] = {}

    def node(self, height: int, index: int) -> bytes:
        """The hash of the complete subtree number `index` of 2**height leaves; height 0: a leaf hash."""
        if height < 0 or index < 0 or (index + 1) << height > self.size:
            raise LogError(f"a tree of {self.size} leaves has no complete subtree {index} of height {height}")
        level, above = divmod(height, TILE_HEIGHT)
        number, offset = divmod(index << above, TILE_WIDTH)
        tile = self._tile(level, number)
        hashes = [tile[at * HASH_SIZE : (at + 1) * HASH_SIZE] for at in range(offset, offset + (1 << above))]
        while len(hashes) > 1:
            hashes = [node_hash(left, right) for left, right in zip(hashes[0::2], hashes[1::2], strict=True)]
        return hashes[0]

    def leaf(self, index: int) -> bytes:
        """The hash of one leaf."""
        return self.node(0, index)

    def subtree(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]) of RFC 9162 section 2.1.1, for the ranges that its proofs consist of."""
        return fold([self.node(height, index) for height, index in complete_subtrees(start, end)])

    def frontier(self, size: int | None = None) -> tuple[bytes, ...]:
        """The right edge of this tree, or of the smaller one that it once was: what `Tree` goes on from."""
        end = self.size if size is None else size
        if not 0 <= end <= self.size:
            raise LogError(f"a tree of {self.size} leaves never had {end}")
        return tuple(self.node(height, index) for height, index in complete_subtrees(0, end))

    def root(self, size: int | None = None) -> bytes:
        """The root of this tree, or of the smaller one that it once was."""
        return fold(self.frontier(size))

    def tree(self, size: int | None = None) -> Tree:
        """The tree, ready to append to."""
        return Tree(self.size if size is None else size, self.frontier(size))

    def _tile(self, level: int, index: int) -> bytes:
        tile = self._tiles.get((level, index))
        if tile is None:
            width = min(TILE_WIDTH, (self.size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH)
            tile = self._tiles[level, index] = _read(self._reader, Tile(level, index, width))
        return tile


def _read(reader: TileReader, tile: Tile) -> bytes:
    data = reader.read(tile.level, tile.index, tile.width)
    if len(data) != tile.width * HASH_SIZE:
        raise LogError(f"{tile.path} is {len(data)} bytes instead of {tile.width * HASH_SIZE}")
    return data
