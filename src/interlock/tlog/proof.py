"""Inclusion and consistency proofs: made from tiles, verified from hashes alone (RFC 9162 sections 2.1.3, 2.1.4).

An inclusion proof shows that a leaf is in the tree with a given root; a consistency proof, that a tree is the
beginning of a larger one. A verification raises LogError or returns what it has shown; there is no boolean.
It MUST be given a root that comes from a verified checkpoint: a proof says nothing about who made the root.
"""

from __future__ import annotations

from collections.abc import Sequence

from interlock.errors import LogError
from interlock.tlog.node import EMPTY_ROOT, HASH_SIZE, MAX_SIZE, node_hash, split
from interlock.tlog.tiles import TiledTree


def inclusion_proof(tree: TiledTree, index: int, size: int | None = None) -> list[bytes]:
    """PATH(index, D_size) of RFC 9162 section 2.1.3.1, from the leaf's sibling up; `size` defaults to the tree's."""
    end = tree.size if size is None else size
    if not 0 <= index < end <= tree.size:
        raise LogError(f"leaf {index} is not in a tree of {end} leaves")
    start = 0
    path: list[bytes] = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(tree.subtree(middle, end))
            end = middle
        else:
            path.append(tree.subtree(start, middle))
            start = middle
    path.reverse()
    return path


def consistency_proof(tree: TiledTree, first: int, second: int | None = None) -> list[bytes]:
    """PROOF(first, D_second) of RFC 9162 section 2.1.4.1; `second` defaults to the tree's size.

    From an empty tree, and between trees of one size, the proof is empty.
    """
    end = tree.size if second is None else second
    if not 0 <= first <= end <= tree.size:
        raise LogError(f"a tree of {first} leaves is not the beginning of one of {end}")
    start = 0
    path: list[bytes] = []
    while 0 < first < end:
        middle = start + split(end - start)
        if first <= middle:
            path.append(tree.subtree(middle, end))
            end = middle
        else:
            path.append(tree.subtree(start, middle))
            start = middle
    if start:  # SUBPROOF with b = false: what is left of the old tree is not known to the verifier by itself
        path.append(tree.subtree(start, end))
    path.reverse()
    return path


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that the proof leads to, for a leaf hash, steps 1 to 4 of RFC 9162 section 2.1.3.2.

    Raises LogError if no tree of that size has a proof of that length for that index.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise LogError(f"leaf {index} is not in a tree of {size} leaves")
    _check_hashes([leaf, *proof])
    fn, sn, root = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise LogError("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            root = node_hash(root, sibling)
        fn >>= 1
        sn >>= 1
    if sn:
        raise LogError("the inclusion proof is too short")
    return root


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """That the tree of `size` leaves with that root has that leaf hash at that index, RFC 9162 section 2.1.3.2.

    Raises LogError if it is not shown.
    """
    if root_from_inclusion(leaf, index, size, proof) != root:
        raise LogError(f"the proof does not lead from leaf {index} to the root of {size} leaves")


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    """That the tree of `first` leaves is the beginning of the one of `second`, RFC 9162 section 2.1.4.2.

    Raises LogError if it is not shown. An empty tree is the beginning of every tree.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise LogError(f"a tree of {first} leaves is not the beginning of one of {second}")
    _check_hashes([first_root, second_root, *proof])
    if (first == 0 and first_root != EMPTY_ROOT) or (second == 0 and second_root != EMPTY_ROOT):
        raise LogError("a tree without leaves has another root")
    if first in (0, second):
        if proof:
            raise LogError("the consistency proof is too long")
        if first and first_root != second_root:
            raise LogError(f"two trees of {first} leaves have different roots")
        return
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    if not path:
        raise LogError("the consistency proof is too short")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise LogError("the consistency proof is too long")
        if fn & 1 or fn == sn:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            new = node_hash(new, sibling)
        fn >>= 1
        sn >>= 1
    if sn:
        raise LogError("the consistency proof is too short")
    if old != first_root or new != second_root:
        raise LogError(f"the tree of {second} leaves is not shown to begin with the one of {first}")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if any(len(one) != HASH_SIZE for one in hashes):
        raise LogError(f"a hash is {HASH_SIZE} bytes")
