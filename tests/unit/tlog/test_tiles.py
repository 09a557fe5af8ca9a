"""Tiles: paths, what changes when the tree grows, the same bytes in any batches, and any hash out of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import LogError
from interlock.tlog import MAX_SIZE, Tile, TiledTree, Tree, changed_tiles, grown_tiles, parse_tile_path
from tests.unit.tlog.reference import Folder, filled, leaves, mth

PATHS = {
    Tile(0, 0, 256): "tile/0/000",
    Tile(0, 0, 1): "tile/0/000.p/1",
    Tile(1, 999, 255): "tile/1/999.p/255",
    Tile(0, 1000, 256): "tile/0/x001/000",
    Tile(3, 1234067, 256): "tile/3/x001/x234/067",
    Tile(63, 5000000, 8): "tile/63/x005/x000/000.p/8",
}


@pytest.mark.parametrize(("tile", "path"), PATHS.items())
def test_paths(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@given(st.integers(0, 63), st.integers(0, 2**55), st.integers(1, 256))
def test_a_path_names_one_tile(level: int, index: int, width: int) -> None:
    """Every tile's path reads back as that tile."""
    tile = Tile(level, index, width)
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        *("", "tile/0/0", "tile/0/00", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/001/000", "tile/0/000/"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "/tile/0/000", "tile/0/000\n"),
        *("tile/0/x000/001", "tile/0/x001/x000", "tile/0/x1234/000", "tile/0/../000", "tile/entries/000"),
        "tile/0/\u0660\u0660\u0660",
    ],
)
def test_no_other_path_is_one(path: str) -> None:
    with pytest.raises(LogError):
        parse_tile_path(path)


@pytest.mark.parametrize("tile", [Tile(64, 0, 1), Tile(-1, 0, 1), Tile(0, -1, 1), Tile(0, 0, 0), Tile(0, 0, 257)])
def test_what_is_no_tile_has_no_path(tile: Tile) -> None:
    with pytest.raises(LogError):
        _ = tile.path


def test_the_example_of_the_specification() -> None:
    tiles = changed_tiles(0, 70_000)
    full = [tile for tile in tiles if tile.width == 256]
    assert [sum(tile.level == level for tile in full) for level in (0, 1, 2)] == [273, 1, 0]
    assert [tile for tile in tiles if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert changed_tiles(0, 256) == [Tile(0, 0, 256), Tile(1, 0, 1)]


def test_what_changes_is_the_difference_of_two_trees() -> None:
    sizes = [*range(4), 254, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537, 66000]
    for before in sizes:
        for after in [size for size in sizes if size >= before]:
            assert set(changed_tiles(before, after)) == set(changed_tiles(0, after)) - set(changed_tiles(0, before))


@pytest.mark.parametrize(("before", "after"), [(-1, 1), (2, 1), (0, MAX_SIZE + 1)])
def test_a_tree_does_not_shrink(before: int, after: int) -> None:
    with pytest.raises(LogError):
        changed_tiles(before, after)


@settings(deadline=None)
@given(st.lists(st.integers(0, 700), max_size=8))
def test_any_split_gives_the_same_tiles(batches: list[int]) -> None:
    """Whatever the batches, only new or changed tiles are written, and the tree consists of the same bytes."""
    size = sum(batches)
    folder, tree = Folder(), Tree()
    hashes = leaves(size)
    for batch in batches:
        before = tree.size
        assert folder.grow(tree, hashes[before : before + batch]) == changed_tiles(before, before + batch)
    whole, _ = filled(size)
    assert folder.latest(size) == whole.files


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537])
def test_boundaries(size: int) -> None:
    hashes = leaves(size)
    folder, tree = Folder(), Tree()
    for batch in (size // 3, size - size // 3 - 1, 1):
        folder.grow(tree, hashes[tree.size : tree.size + batch])
    whole, _ = filled(size)
    assert folder.latest(size) == whole.files
    tiled = TiledTree(folder, size)
    assert tiled.root() == mth(hashes) == tree.root()
    assert tiled.frontier() == tree.frontier
    assert [tiled.leaf(index) for index in (0, size // 2, size - 1)] == [hashes[0], hashes[size // 2], hashes[-1]]


def test_growing_reads_at_most_one_tile_a_level() -> None:
    folder, tree = filled(65536 + 300)
    folder.reads.clear()
    folder.grow(tree, leaves(1000))
    assert folder.reads == ["tile/0/257.p/44", "tile/1/001.p/1"]


def test_every_node_and_every_earlier_root() -> None:
    size = 600
    hashes = leaves(size)
    folder, _ = filled(size)
    tiled = TiledTree(folder, size)
    for height in range(10):
        for index in range(size >> height):
            assert tiled.node(height, index) == mth(hashes[index << height : (index + 1) << height])
    for earlier in range(size + 1):
        assert tiled.root(earlier) == mth(hashes[:earlier])
    tree = tiled.tree(500)
    assert tree.append(hashes[500:]).root == tiled.root()


def test_a_tile_is_read_once() -> None:
    folder, _ = filled(1000)
    folder.reads.clear()
    tiled = TiledTree(folder, 1000)
    for _ in range(3):
        tiled.root()
    assert len(folder.reads) == len(set(folder.reads))


@pytest.mark.parametrize(("height", "index"), [(0, 300), (0, -1), (-1, 0), (8, 1), (9, 0), (2, 75)])
def test_what_is_not_in_the_tree_is_not_read(height: int, index: int) -> None:
    folder, _ = filled(300)
    with pytest.raises(LogError):
        TiledTree(folder, 300).node(height, index)


@pytest.mark.parametrize("size", [-1, 301])
def test_no_root_of_another_size(size: int) -> None:
    folder, _ = filled(300)
    with pytest.raises(LogError):
        TiledTree(folder, 300).root(size)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 0)])
def test_a_tile_of_another_length_is_refused(cut: slice) -> None:
    folder, tree = filled(300)
    folder.files["tile/0/001.p/44"] = folder.files["tile/0/001.p/44"][cut]
    with pytest.raises(LogError):
        TiledTree(folder, 300).root()
    with pytest.raises(LogError):
        grown_tiles(tree.append(leaves(1)), folder)


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_a_tree_of_tiles_has_a_size(size: int) -> None:
    with pytest.raises(LogError):
        TiledTree(Folder(), size)
