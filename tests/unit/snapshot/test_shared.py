"""What processes share as memory: one of a kind is none of another, and what cannot be made leaves what was there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.errors import SnapshotError
from interlock.snapshot import CounterTable, MetricsPage, NodePage
from interlock.snapshot.replay import ReplayTable
from interlock.snapshot.sightings import SightingTable

KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "counters": (lambda path: CounterTable.create(path, 64), CounterTable.open),
    "replay": (lambda path: ReplayTable.create(path, wall=1, monotonic=1, slots=64), ReplayTable.open),
    "sightings": (lambda path: SightingTable.create(path, 64), SightingTable.open),
    "page": (lambda path: NodePage.create(path, 2), NodePage.open),
    "metrics": (lambda path: MetricsPage.create(path, 2), MetricsPage.open),
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_its_own_kind_opens_it_and_only_whole(tmp_path: Path, kind: str) -> None:
    create, _ = KINDS[kind]
    path = tmp_path / kind
    create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    for other, (_, attach) in KINDS.items():
        if other == kind:
            attach(path)
        else:
            with pytest.raises(SnapshotError, match=r"not a .* of this version|not a "):
                attach(path)
    whole = path.read_bytes()
    for cut in (0, 8, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(SnapshotError, match="not a"):
            KINDS[kind][1](path)


@pytest.mark.parametrize("kind", ["counters", "replay", "sightings"])
def test_a_table_without_a_bucket_is_none(tmp_path: Path, kind: str) -> None:
    """Nothing could be placed in it: who looks for a place would divide by zero."""
    create, attach = KINDS[kind]
    create(tmp_path / kind)
    header = {"counters": 64, "replay": 64, "sightings": 16}[kind] * 8
    begins = bytearray((tmp_path / kind).read_bytes()[:header])
    begins[8:16] = bytes(8)
    (tmp_path / kind).write_bytes(begins)
    with pytest.raises(SnapshotError, match="not a table"):
        attach(tmp_path / kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["posix_fallocate", "rename"])
def test_what_cannot_be_made_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    create, attach = KINDS[kind]
    create(tmp_path / kind)
    before = (tmp_path / kind).read_bytes()
    descriptors = len(os.listdir("/proc/self/fd"))

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, step, broken)
        with pytest.raises(SnapshotError, match="No space left"):
            create(tmp_path / kind)
    assert [path.name for path in tmp_path.iterdir()] == [kind]
    assert (tmp_path / kind).read_bytes() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    attach(tmp_path / kind)
