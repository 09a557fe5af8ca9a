"""A Merkle tree that only grows, held by its right edge (RFC 9162 section 2.1).

A tree of any size is fixed by its size and its *frontier*: the hashes of the complete subtrees that it
consists of, from left to right, one for each bit that is set in the size. That is at most 63 hashes, and all
that is needed to append. A batch is hashed level by level, each node once, whatever the batch sizes; what
the tiles of the log need falls out of the same pass (`Growth.levels`, for `tiles.grown_tiles`).

It MUST NOT be given an entry where a leaf hash is expected: both may be 32 bytes long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from interlock.errors import LogError
from interlock.tlog.node import HASH_SIZE, MAX_SIZE, all_hashes, fold, parents

TILE_HEIGHT: Final = 8  # C2SP tlog-tiles, "Merkle Tree": a tile spans eight levels


class Growth(NamedTuple):
    """What an append made: the sizes, the new root, and the new hashes at the heights that tiles are made of."""

    before: int
    size: int
    root: bytes
    levels: tuple[Sequence[bytes], ...]  # [L]: the new complete subtrees of 256**L leaves, left to right

    # `levels[L]` begins at index `before >> 8 * L`; a level without anything new, and all above it, is left out.


class Tree:
    """An append-only tree. Not thread-safe; a call that raises leaves it as it was."""

    def __init__(self, size: int = 0, frontier: Sequence[bytes] = ()) -> None:
        """The tree of `size` leaves with that frontier. Raises LogError if they do not fit each other."""
        if not 0 <= size <= MAX_SIZE:
            raise LogError(f"a tree of {size} leaves cannot be")
        if len(frontier) != size.bit_count() or any(len(one) != HASH_SIZE for one in frontier):
            raise LogError(f"the frontier of {size} leaves is {size.bit_count()} hashes of {HASH_SIZE} bytes")
        self._size = size
        self._edge: list[bytes] = [b""] * size.bit_length()  # by height; empty where the size has a 0 bit
        left_to_right = iter(frontier)
        for height in range(size.bit_length() - 1, -1, -1):
            if (size >> height) & 1:
                self._edge[height] = next(left_to_right)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    @property
    def frontier(self) -> tuple[bytes, ...]:
        """The hashes of the complete subtrees, from left (the largest) to right."""
        return tuple([one for one in reversed(self._edge) if one])

    def root(self) -> bytes:
        """The Merkle tree hash, RFC 9162 section 2.1.1; of no leaves, SHA-256 of nothing."""
        return fold(self.frontier)

    def append(self, leaves: Sequence[bytes]) -> Growth:
        """Add leaf hashes (32 bytes each, RFC 9162 section 2.1.1) in order. Raises LogError on another length."""
        before = self._size
        size = before + len(leaves)
        if not all_hashes(leaves):
            raise LogError(f"a leaf hash is {HASH_SIZE} bytes")
        if size > MAX_SIZE:
            raise LogError("the tree is full")
        edge = list(self._edge)
        levels: list[Sequence[bytes]] = []
        height = 0
        new = list(leaves)  # the new complete subtrees of this height
        while new:
            if height % TILE_HEIGHT == 0:
                levels.append(new)
            if height == len(edge):
                edge.append(b"")
            if edge[height]:
                new = [edge[height], *new]  # the left sibling of the first new one
            edge[height] = new[-1] if len(new) & 1 else b""
            new = parents(new)  # an odd last one has no sibling yet and stays on the edge
            height += 1
        self._edge = edge
        self._size = size
        return Growth(before, size, self.root(), tuple(levels))
