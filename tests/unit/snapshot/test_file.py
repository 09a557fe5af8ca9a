"""The snapshot file: what is written is what is read, and what is damaged does not open."""

from __future__ import annotations

import hashlib
import os
import random
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.errors import SnapshotError
from interlock.snapshot import (
    CorsSpec,
    IssuerSpec,
    LimitSpec,
    NodeSpec,
    PatternSpec,
    RouteSpec,
    ServiceSpec,
    Snapshot,
    write_snapshot,
)
from interlock.snapshot.format import SnapshotFile, map_sections

NODE = NodeSpec(
    "digest",
    7,
    2,
    services={"up": ServiceSpec("up", ["http://127.0.0.1:9000"])},
    issuers=[IssuerSpec("https://iss", "iss", ["api"], ["RS256"], jwks='{"keys":[]}')],
)
ROUTES = [
    RouteSpec(
        f"GET /r{number}/{{id}}",
        [PatternSpec(["GET"], "", [f"r{number}", "{id}"]), PatternSpec(None, "*.example.com", ["all"], True)],
        "up",
        [["jwt", "mtls"], ["api_key"]],
        limits=[LimitSpec(50, 1_000_000_000, 100, "principal")],
        cors=CorsSpec(["https://app.example.com"]) if number % 2 else None,
        subject={"account": "id"},
    )
    for number in range(600)
]


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def entries(count: int) -> list[tuple[bytes, bytes]]:
    return sorted((digest(number), b"value %d" % number) for number in range(count))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


def test_all_that_is_written_is_read(path: Path) -> None:
    write_snapshot(path, NODE, ROUTES, {"keys": entries(1000), "revocations": []}, 4711)
    snapshot = Snapshot.open(path)
    assert snapshot.node == NODE
    assert snapshot.changes_offset == 4711
    assert snapshot.route_count == 600
    assert [snapshot.route(number) for number in range(600)] == ROUTES
    assert list(snapshot.patterns()) == [(n, pattern) for n, route in enumerate(ROUTES) for pattern in route.patterns]
    keys = snapshot.table("keys")
    assert len(keys) == 1000
    assert list(keys) == entries(1000)
    assert all(keys.get(key) == value for key, value in entries(1000))
    assert keys.get(digest(-1)) is None
    assert digest(3) in keys
    assert len(snapshot.table("revocations")) == 0
    assert snapshot.table("revocations").get(digest(1)) is None
    snapshot.close()


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    write_snapshot(path, NODE, [], {}, 0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["snapshot"]


def test_a_route_keeps_its_digest_as_long_as_it_is_the_same(path: Path) -> None:
    write_snapshot(path, NODE, ROUTES[:3], {}, 0)
    before = Snapshot.open(path)
    changed = msgspec.structs.replace(ROUTES[1], permission="other")
    write_snapshot(path, NODE, [ROUTES[2], changed, ROUTES[0]], {}, 0)
    after = Snapshot.open(path)
    assert before.route_digest(0) == after.route_digest(2)
    assert before.route_digest(2) == after.route_digest(0)
    assert before.route_digest(1) != after.route_digest(1)
    assert before.route(1) == ROUTES[1], "the old file stays mapped"


def test_between_two_patterns_a_thread_may_give_way(path: Path) -> None:
    """The interpreter looks for who waits where a generator goes on by itself, not inside `yield from`."""
    write_snapshot(path, NODE, ROUTES[:3], {}, 0)
    snapshot = Snapshot.open(path)
    patterns: Any = snapshot.patterns()
    next(patterns)
    assert patterns.gi_suspended
    assert patterns.gi_yieldfrom is None
    patterns.close()
    snapshot.close()


def test_there_is_no_route_beyond_the_last(path: Path) -> None:
    write_snapshot(path, NODE, ROUTES[:2], {}, 0)
    snapshot = Snapshot.open(path)
    for number in (2, -1):
        with pytest.raises(IndexError):
            snapshot.route(number)
    with pytest.raises(SnapshotError, match="no table 'clients'"):
        snapshot.table("clients")


def test_every_flipped_byte_is_found(path: Path) -> None:
    write_snapshot(path, NODE, ROUTES[:2], {"keys": entries(20)}, 8)
    good = path.read_bytes()
    _, sections = map_sections(path)
    assert set(sections) == {"routes", "route-index", "patterns", "table:keys", "node"}
    with path.open("r+b", buffering=0) as file:
        for at in range(len(good)):
            os.pwrite(file.fileno(), bytes([good[at] ^ 1]), at)
            with pytest.raises(SnapshotError):
                Snapshot.open(path)
            os.pwrite(file.fileno(), good[at : at + 1], at)
    Snapshot.open(path)


def test_every_cut_and_any_addition_is_found(path: Path) -> None:
    write_snapshot(path, NODE, ROUTES[:1], {"keys": entries(3)}, 8)
    good = path.read_bytes()
    for length in reversed(range(len(good))):
        os.truncate(path, length)
        with pytest.raises(SnapshotError):
            Snapshot.open(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(SnapshotError, match="cut short or added to"):
        Snapshot.open(path)


def test_a_missing_file_and_a_future_version_are_told_apart(path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        Snapshot.open(path)
    write_snapshot(path, NODE, [], {}, 0)
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match="version 2 is not known"):
        Snapshot.open(path)


@pytest.mark.parametrize("missing", ["node", "routes", "route-index", "patterns"])
def test_a_snapshot_without_a_section_is_refused(path: Path, missing: str) -> None:
    write_snapshot(path, NODE, ROUTES[:1], {}, 0)
    memory, sections = map_sections(path)
    file = SnapshotFile(path)
    for section in sections.values():
        if section.name != missing:
            file.write(memory[section.offset : section.offset + section.length])
            file.end_section(section.name, section.details)
    file.finish()
    with pytest.raises(SnapshotError, match=f"{missing}' is missing"):
        Snapshot.open(path)


def test_sections_and_fields_of_the_future_are_passed_over(path: Path) -> None:
    write_snapshot(path, NODE, [], {}, 9)
    memory, sections = map_sections(path)
    file = SnapshotFile(path)
    for section in sections.values():
        data = memory[section.offset : section.offset + section.length]
        file.write(data[:-1] + b',"later":[1]}' if section.name == "node" else data)
        file.end_section(section.name, section.details)
    file.write(b"later still")
    file.end_section("later")
    file.finish()
    assert Snapshot.open(path).node == NODE


@pytest.mark.parametrize(
    ("section", "details"),
    [("table:keys", {}), ("table:keys", {"count": 9, "values": 0, "bits": 0}), ("route-index", {"count": 5})],
)
def test_numbers_that_do_not_add_up_are_refused(path: Path, section: str, details: dict[str, int]) -> None:
    write_snapshot(path, NODE, ROUTES[:1], {"keys": entries(3)}, 0)
    memory, sections = map_sections(path)
    file = SnapshotFile(path)
    for one in sections.values():
        file.write(memory[one.offset : one.offset + one.length])
        file.end_section(one.name, details if one.name == section else one.details)
    file.finish()
    with pytest.raises(SnapshotError):
        Snapshot.open(path)


@pytest.mark.parametrize(
    "wrong",
    [
        [(digest(1), b""), (digest(1), b"")],
        [(b"\2" * 32, b""), (b"\1" * 32, b"")],
        [(b"short", b"")],
    ],
    ids=["twice", "unsorted", "short"],
)
def test_a_wrong_table_leaves_the_old_snapshot(path: Path, wrong: list[tuple[bytes, bytes]]) -> None:
    write_snapshot(path, NODE, ROUTES[:1], {"keys": entries(3)}, 0)
    with pytest.raises(SnapshotError, match="sorted and unique"):
        write_snapshot(path, NODE, [], {"keys": wrong}, 0)
    assert Snapshot.open(path).route_count == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["snapshot"]


def test_a_source_that_fails_leaves_the_old_snapshot(path: Path) -> None:
    def broken() -> Iterator[tuple[bytes, bytes]]:
        yield digest(1), b""
        raise RuntimeError("the database went away")

    write_snapshot(path, NODE, ROUTES[:1], {}, 0)
    with pytest.raises(RuntimeError):
        write_snapshot(path, NODE, [], {"keys": broken()}, 0)
    assert Snapshot.open(path).route_count == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["snapshot"]


def test_keys_that_crowd_in_one_place_are_still_found(path: Path) -> None:
    crowd = [(b"\xaa" * 16 + number.to_bytes(16, "big"), b"%d" % number) for number in range(5000)]
    write_snapshot(path, NODE, [], {"keys": [*crowd, (b"\xff" * 32, b"last")]}, 0)
    table = Snapshot.open(path).table("keys")
    assert all(table.get(key) == value for key, value in crowd)
    assert table.get(b"\xff" * 32) == b"last"
    assert table.get(b"\xaa" * 32) is None
    assert table.get(bytes(32)) is None


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 255, 257])
def test_tables_of_any_size(path: Path, count: int) -> None:
    write_snapshot(path, NODE, [], {"keys": entries(count)}, 0)
    table = Snapshot.open(path).table("keys")
    assert [table.get(key) for key, _ in entries(count)] == [value for _, value in entries(count)]


SPREAD = (1 << 256) // 1_000_003


def many(count: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(count):
        yield (number * SPREAD).to_bytes(32, "big"), b"%090d" % number


def test_a_million_entries(path: Path) -> None:
    count = 1_000_000
    write_snapshot(path, NODE, [], {"keys": many(count)}, 0)
    snapshot = Snapshot.open(path)
    table = snapshot.table("keys")
    assert len(table) == count
    for number in [0, count - 1, *random.Random(1).sample(range(count), 2000)]:
        assert table.get((number * SPREAD).to_bytes(32, "big")) == b"%090d" % number
        assert table.get((number * SPREAD + 1).to_bytes(32, "big")) is None
    snapshot.close()


def test_a_big_file_goes_to_the_disk_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [0]
    sync = os.fdatasync

    def watched(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", watched)
    write_snapshot(path, NODE, [], {"keys": ((key, bytes(1000)) for key, _ in entries(20_000))}, 0)
    sizes.append(path.stat().st_size)
    assert max(after - before for before, after in pairwise(sizes)) <= 10 << 20
    assert len(sizes) > 3


def test_a_table_streams_through_bounded_memory(path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        write_snapshot(path, NODE, [], {"keys": many(count)}, 0)
        snapshot = Snapshot.open(path)
        assert snapshot.table("keys").get(bytes(32)) is not None
        snapshot.close()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, lots = peak(20_000), peak(200_000)
    assert lots < few + (1 << 20)
    assert lots < 16 << 20
