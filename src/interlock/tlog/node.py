"""The hash of an inner node (RFC 9162 section 2.1.1) and the shape of a tree that is not a power of two wide.

The prefix keeps a node from ever being taken for a leaf; it MUST NOT be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

HASH_SIZE: Final = 32
NODE_PREFIX: Final = b"\x01"
EMPTY_ROOT: Final[bytes] = sha256(b"").digest()  # the root of a tree without leaves
_NODE: Final = sha256(NODE_PREFIX)  # copied for each node, which costs less than beginning anew
MAX_SIZE: Final = 2**63 - 1  # what every implementation can hold: many keep sizes in a signed 64-bit integer


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes."""
    return sha256(NODE_PREFIX + left + right).digest()


def parents(hashes: list[bytes]) -> list[bytes]:
    """The hash of each pair of neighbours; an odd last one is left out."""
    begin = _NODE.copy
    made: list[bytes] = []
    for at in range(1, len(hashes), 2):
        node = begin()
        node.update(b"%b%b" % (hashes[at - 1], hashes[at]))
        made.append(node.digest())
    return made


def cut(joined: bytes) -> list[bytes]:
    """Hashes that stand one after another, each by itself."""
    return [joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)]


def all_hashes(those: Sequence[bytes]) -> bool:
    """Whether each is as long as a hash."""
    return all(len(one) == HASH_SIZE for one in those)


def split(width: int) -> int:
    """The largest power of two that is smaller than `width`, which is at least 2: `k` in RFC 9162 section 2.1.1."""
    return 1 << ((width - 1).bit_length() - 1)


def complete_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """The complete subtrees that the leaves from `start` up to `end` consist of, left to right, as (height, index).

    `start` must be 0 or divisible by a power of two that is at least `end - start`: so are all ranges that
    RFC 9162 takes the hash of.
    """
    found: list[tuple[int, int]] = []
    while start < end:
        height = (end - start).bit_length() - 1
        found.append((height, start >> height))
        start += 1 << height
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of the tree whose complete subtrees, left to right, have these hashes; none: `EMPTY_ROOT`."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for position in range(len(hashes) - 2, -1, -1):
        root = node_hash(hashes[position], root)
    return root
