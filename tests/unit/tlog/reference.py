"""The definitions of RFC 9162 section 2.1 written down as they stand: slow, recursive, over lists of leaf hashes."""

from __future__ import annotations

from hashlib import sha256

from interlock.tlog import Tile, Tree, grown_tiles, leaf_hash


def leaves(count: int) -> list[bytes]:
    """The leaf hashes of entries 0, 1, 2, ..."""
    return [leaf_hash(str(number).encode()) for number in range(count)]


def mth(hashes: list[bytes]) -> bytes:
    """MTH, section 2.1.1."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return sha256(b"\x01" + mth(hashes[:middle]) + mth(hashes[middle:])).digest()


def path(index: int, hashes: list[bytes]) -> list[bytes]:
    """PATH, section 2.1.3.1."""
    if len(hashes) == 1:
        return []
    middle = _split(len(hashes))
    if index < middle:
        return [*path(index, hashes[:middle]), mth(hashes[middle:])]
    return [*path(index - middle, hashes[middle:]), mth(hashes[:middle])]


def subproof(first: int, hashes: list[bytes], known: bool = True) -> list[bytes]:
    """SUBPROOF, section 2.1.4.1."""
    if first == len(hashes):
        return [] if known else [mth(hashes)]
    middle = _split(len(hashes))
    if first <= middle:
        return [*subproof(first, hashes[:middle], known), mth(hashes[middle:])]
    return [*subproof(first - middle, hashes[middle:], False), mth(hashes[:middle])]


def _split(width: int) -> int:
    middle = 1
    while middle * 2 < width:
        middle *= 2
    return middle


class Folder:
    """Tiles in memory, by path. What is written once is never written otherwise."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reads: list[str] = []

    def read(self, level: int, index: int, width: int) -> bytes:
        name = Tile(level, index, width).path
        self.reads.append(name)
        return self.files[name]

    def grow(self, tree: Tree, new: list[bytes]) -> list[Tile]:
        written = grown_tiles(tree.append(new), self)
        for tile, content in written:
            assert self.files.setdefault(tile.path, content) == content
        return [tile for tile, _ in written]

    def latest(self, size: int) -> dict[str, bytes]:
        """Those that a tree of this size consists of."""
        kept: dict[str, bytes] = {}
        level = 0
        while size >> (8 * level):
            count = size >> (8 * level)
            for index in range((count + 255) // 256):
                name = Tile(level, index, min(256, count - 256 * index)).path
                kept[name] = self.files[name]
            level += 1
        return kept


def filled(count: int) -> tuple[Folder, Tree]:
    """A folder and a tree of that many leaves, made in one batch."""
    folder, tree = Folder(), Tree()
    folder.grow(tree, leaves(count))
    return folder, tree
