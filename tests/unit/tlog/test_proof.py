"""Proofs: published ones, all of every small tree against the definitions, and no other passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from interlock.errors import LogError
from interlock.tlog import (
    EMPTY_ROOT,
    MAX_SIZE,
    TiledTree,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
)
from tests.unit.tlog.reference import Folder, filled, leaves, mth, path, subproof
from tests.unit.tlog.test_tree import ENTRIES, ROOTS

SMALL = 70

# nodes of the published tree that its published proofs consist of
L1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
L4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
N23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
N45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
N67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
N47 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"


def published() -> TiledTree:
    folder, tree = Folder(), Tree()
    folder.grow(tree, [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES])
    return TiledTree(folder, 8)


def root(size: int) -> bytes:
    return bytes.fromhex(ROOTS[size - 1])


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (0, 8, [L1, N23, N47]),
        (5, 8, [L4, N67, ROOTS[3]]),
        (2, 3, [ROOTS[1]]),
        (1, 5, [ROOTS[0], N23, L4]),
    ],
)
def test_published_inclusion_proofs(index: int, size: int, proof: list[str]) -> None:
    made = inclusion_proof(published(), index, size)
    assert [one.hex() for one in made] == proof
    verify_inclusion(leaf_hash(bytes.fromhex(ENTRIES[index])), index, size, made, root(size))


@pytest.mark.parametrize(
    ("first", "second", "proof"),
    [(1, 1, []), (1, 8, [L1, N23, N47]), (6, 8, [N45, N67, ROOTS[3]]), (2, 5, [N23, L4])],
)
def test_published_consistency_proofs(first: int, second: int, proof: list[str]) -> None:
    made = consistency_proof(published(), first, second)
    assert [one.hex() for one in made] == proof
    verify_consistency(first, second, made, root(first), root(second))


def test_every_inclusion_proof_of_small_trees() -> None:
    hashes = leaves(SMALL)
    tiled = TiledTree(filled(SMALL)[0], SMALL)
    for size in range(1, SMALL + 1):
        top = mth(hashes[:size])
        for index in range(size):
            proof = inclusion_proof(tiled, index, size)
            assert proof == path(index, hashes[:size])
            verify_inclusion(hashes[index], index, size, proof, top)
            assert root_from_inclusion(hashes[index], index, size, proof) == top


def test_every_consistency_proof_of_small_trees() -> None:
    hashes = leaves(SMALL)
    tiled = TiledTree(filled(SMALL)[0], SMALL)
    roots = [mth(hashes[:size]) for size in range(SMALL + 1)]
    for second in range(SMALL + 1):
        for first in range(second + 1):
            proof = consistency_proof(tiled, first, second)
            assert proof == (subproof(first, hashes[:second]) if first else [])
            verify_consistency(first, second, proof, roots[first], roots[second])


@pytest.mark.parametrize("size", [255, 256, 257, 65535, 65536, 65537])
def test_proofs_across_tiles(size: int) -> None:
    hashes = leaves(size)
    tiled = TiledTree(filled(size)[0], size)
    top = mth(hashes)
    for index in sorted({0, 1, 127, 254, min(255, size - 1), size // 2, size - 2, size - 1, min(256, size - 1)}):
        proof = inclusion_proof(tiled, index)
        assert proof == path(index, hashes)
        verify_inclusion(hashes[index], index, size, proof, top)
    for first in sorted({1, 2, 128, 254, 255, size // 2, size - 1, size, min(256, size)}):
        verify_consistency(first, size, consistency_proof(tiled, first), tiled.root(first), top)


def other(hashes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Every list of hashes that one change makes of this one."""
    for at, one in enumerate(hashes):
        for byte in range(len(one)):
            yield [*hashes[:at], one[:byte] + bytes([one[byte] ^ 1]) + one[byte + 1 :], *hashes[at + 1 :]]
        yield [*hashes[:at], *hashes[at + 1 :]]
        yield [*hashes[:at], one, *hashes[at:]]
        yield [*hashes[:at], one[:-1], *hashes[at + 1 :]]
        yield [*hashes[:at], one + b"\0", *hashes[at + 1 :]]
        if at and hashes[at - 1] != one:
            yield [*hashes[: at - 1], one, hashes[at - 1], *hashes[at + 1 :]]
    yield [*hashes, bytes(32)]
    yield [bytes(32), *hashes]


def refused(verify: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(LogError):
        verify(*arguments)


def test_no_other_inclusion_proof_passes() -> None:
    hashes = leaves(13)
    tiled = TiledTree(filled(13)[0], 13)
    top = mth(hashes)
    for index in range(13):
        proof = inclusion_proof(tiled, index)
        for changed in other(proof):
            refused(verify_inclusion, hashes[index], index, 13, changed, top)
        for leaf in (hashes[index - 1], bytes(32), hashes[index][:-1]):
            refused(verify_inclusion, leaf, index, 13, proof, top)
        for (changed_root,) in [one for one in other([top]) if len(one) == 1]:
            refused(verify_inclusion, hashes[index], index, 13, proof, changed_root)
        for elsewhere in [one for one in range(-1, 15) if one != index]:
            refused(verify_inclusion, hashes[index], elsewhere, 13, proof, top)


def test_no_other_consistency_proof_passes() -> None:
    hashes = leaves(13)
    tiled = TiledTree(filled(13)[0], 13)
    roots = [mth(hashes[:size]) for size in range(14)]
    for first in range(14):
        proof = consistency_proof(tiled, first)
        for changed in other(proof):
            refused(verify_consistency, first, 13, changed, roots[first], roots[13])
        for one in (0, 13):
            if one != first:
                refused(verify_consistency, first, 13, proof, roots[one], roots[13])
        refused(verify_consistency, first, 13, proof, bytes(32), roots[13])
        if first:  # an empty tree is the beginning of any tree, whatever its root
            refused(verify_consistency, first, 13, proof, roots[first], bytes(32))
        refused(verify_consistency, first, 13, proof, roots[first][:-1], roots[13])
        refused(verify_consistency, first, 13, proof, roots[first], roots[13] + b"\0")


def test_a_tree_that_was_changed_is_not_a_beginning() -> None:
    hashes = leaves(50)
    forged = [*hashes[:20], leaf_hash(b"forged"), *hashes[21:]]
    folder, tree = Folder(), Tree()
    folder.grow(tree, forged)
    for first in range(21, 51):
        proof = consistency_proof(TiledTree(folder, 50), first)
        refused(verify_consistency, first, 50, proof, mth(hashes[:first]), tree.root())


def test_a_node_cannot_be_passed_off_as_a_leaf() -> None:
    tiled = published()
    proof = inclusion_proof(tiled, 0, 8)
    inner = tiled.node(1, 0)
    refused(verify_inclusion, inner, 0, 8, proof[1:], root(8))


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (0, 9), (0, -1), (9, None)])
def test_no_inclusion_proof_of_what_is_not_there(index: int, size: int | None) -> None:
    refused(inclusion_proof, published(), index, size)


@pytest.mark.parametrize(("first", "second"), [(-1, 8), (9, 8), (0, 9), (5, 4), (9, None)])
def test_no_consistency_proof_of_what_is_not_there(first: int, second: int | None) -> None:
    refused(consistency_proof, published(), first, second)


def test_sizes_out_of_range_are_refused() -> None:
    some = leaves(1)[0]
    refused(verify_inclusion, some, 0, 0, [], some)
    refused(verify_inclusion, some, 0, MAX_SIZE + 1, [], some)
    refused(verify_consistency, 2, 1, [], some, some)
    refused(verify_consistency, -1, 1, [], some, some)
    refused(verify_consistency, 0, MAX_SIZE + 1, [], EMPTY_ROOT, some)
    refused(verify_consistency, 1, 2, [], some, some)
    refused(verify_consistency, 0, 0, [], some, some)


def test_the_empty_tree_is_the_beginning_of_all() -> None:
    some = leaves(1)[0]
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    verify_consistency(0, 5, [], EMPTY_ROOT, some)
    refused(verify_consistency, 0, 5, [some], EMPTY_ROOT, some)


def test_longest_proof() -> None:
    leaf = leaves(1)[0]
    proof = [bytes(32)] * 63
    top = root_from_inclusion(leaf, 0, MAX_SIZE, proof)
    verify_inclusion(leaf, 0, MAX_SIZE, proof, top)
    refused(verify_inclusion, leaf, 0, MAX_SIZE, [*proof, bytes(32)], top)
