"""The growing tree: against published roots, a naive reference, and itself in other batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import LogError
from interlock.tlog import EMPTY_ROOT, MAX_SIZE, Tree, leaf_hash, node_hash
from tests.unit.tlog.reference import leaves, mth

# the tree of the Certificate Transparency reference implementation, and its roots from one leaf to eight
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_published_roots() -> None:
    tree = Tree()
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        assert tree.append([leaf_hash(bytes.fromhex(entry))]).root.hex() == root
    assert tree.root().hex() == ROOTS[-1]


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert Tree().root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_node_is_neither_a_leaf_nor_its_mirror() -> None:
    left, right = leaves(2)
    assert node_hash(left, right) != leaf_hash(left + right)
    assert node_hash(left, right) != node_hash(right, left)


def test_every_size_and_every_split_of_small_trees() -> None:
    hashes = leaves(70)
    for size in range(71):
        root = mth(hashes[:size])
        for first in range(size + 1):
            tree = Tree()
            tree.append(hashes[:first])
            growth = tree.append(hashes[first:size])
            assert (growth.before, growth.size, growth.root) == (first, size, root)
            assert (tree.size, tree.root()) == (size, root)


def test_a_tree_goes_on_from_its_frontier() -> None:
    hashes = leaves(70)
    for size in range(70):
        tree = Tree()
        tree.append(hashes[:size])
        assert len(tree.frontier) == size.bit_count()
        again = Tree(size, tree.frontier)
        assert again.append(hashes[size:]) == tree.append(hashes[size:])


@given(st.lists(st.integers(0, 400), max_size=12))
def test_batches_do_not_matter(batches: list[int]) -> None:
    """Whatever the batches, the tree and what it hands to the tiles are the same."""
    hashes = leaves(sum(batches))
    whole = Tree().append(hashes)
    tree, levels = Tree(), [[] for _ in whole.levels]
    at = 0
    for batch in batches:
        growth = tree.append(hashes[at : at + batch])
        at += batch
        for level, new in enumerate(growth.levels):
            assert len(levels[level]) == growth.before >> (8 * level)
            levels[level] += new
    assert tree.root() == whole.root
    assert levels == [list(one) for one in whole.levels]


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33)])
def test_what_is_no_hash_is_refused_and_changes_nothing(bad: bytes) -> None:
    tree = Tree()
    root = tree.append(leaves(5)).root
    with pytest.raises(LogError):
        tree.append([*leaves(3), bad])
    assert (tree.size, tree.root()) == (5, root)


def test_a_frontier_must_fit_its_size() -> None:
    for size, frontier in [
        (-1, []),
        (1, []),
        (0, leaves(1)),
        (3, leaves(1)),
        (1, [bytes(31)]),
        (MAX_SIZE + 1, leaves(1)),
    ]:
        with pytest.raises(LogError):
            Tree(size, frontier)


def test_a_tree_has_an_end() -> None:
    tree = Tree(MAX_SIZE, leaves(63))
    with pytest.raises(LogError):
        tree.append(leaves(1))
    assert tree.size == MAX_SIZE
