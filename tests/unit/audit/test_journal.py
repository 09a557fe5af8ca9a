"""The journal's bytes, and how its end is told from damage."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec
import pytest

from interlock.audit.files import Files
from interlock.audit.journal import (
    Begin,
    Carried,
    Closed,
    Entry,
    Lost,
    Opened,
    Pruned,
    Resumed,
    Scan,
    Sealed,
    Settled,
    State,
    Stopped,
    frame,
)
from interlock.errors import RecordError

S = b"s" * 16
BEGIN = Begin(1, 1, 0, 0, bytes(32), 0, b"", 5, "boot", [], [])
ENTRIES: list[Entry] = [
    BEGIN,
    Opened(S, "a.seg", b"h" * 32, "w", 300, 6),
    Sealed(S, 0, 2, b"l" * 64, 500, b"d" * 32),
    Settled(S, [0, 1]),
    Closed(S, 2, "clean", 500, 0, b"", 7),
    Pruned(S, "a.seg", 0, 30, b"t" * 16, 3, 8),
    Lost("b.seg", 8),
    Stopped(9),
    Resumed(10, "boot"),
]


def written() -> tuple[bytes, list[int]]:
    data, running, ends = b"ILKJNL1\n", bytes(32), []
    for entry in ENTRIES:
        piece, running = frame(running, entry)
        data += piece
        ends.append(len(data))
    return data, ends


def scan(path: Path, data: bytes) -> tuple[list[Entry], Scan]:
    path.write_bytes(data)
    found = Scan(Files(), path)
    return list(found), found


def test_an_entry_is_what_the_format_says() -> None:
    data, running = frame(b"r" * 32, Sealed(S, 3, 1, b"l" * 32, 500, b"d" * 32))
    payload = data[36:]
    assert int.from_bytes(data[:4], "big") == len(payload)
    assert data[4:36] == running == hashlib.sha256(b"r" * 32 + payload).digest()
    assert msgspec.msgpack.decode(payload) == ["seal", S, 3, 1, b"l" * 32, 500, b"d" * 32]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_each_kind_is_an_array_with_its_name(entry: Entry) -> None:
    kinds = {
        "Begin": "begin",
        "Opened": "open",
        "Sealed": "seal",
        "Settled": "settle",
        "Closed": "close",
        "Lost": "lost",
        "Pruned": "prune",
        "Stopped": "stop",
        "Resumed": "resume",
    }
    assert msgspec.msgpack.decode(frame(bytes(32), entry)[0][36:])[0] == kinds[type(entry).__name__]


@pytest.mark.parametrize("kind", [*Entry.__args__, Carried], ids=lambda kind: kind.__name__)
def test_the_format_page_lists_every_field(kind: type[msgspec.Struct]) -> None:
    """As many fields as the entry has, in the row of its kind."""
    page = (Path(__file__).parents[3] / "docs" / "record-format.md").read_text()
    if kind is Carried:
        text = page[page.index("is an array: ") :].partition(". It is what")[0]
    else:
        tag = kind.__struct_config__.tag
        row = next(line for line in page.splitlines() if line.startswith(f"| `{tag}` |"))
        text = row.split(" | ", 1)[1]
    plain = re.sub(r"\([^)]*\)", "", text)
    assert len(plain.split(",")) == len(kind.__struct_fields__)


def test_a_later_version_may_add_fields(tmp_path: Path) -> None:
    payload = msgspec.msgpack.encode(["stop", 9, "later"])
    start, running = frame(bytes(32), BEGIN)
    after = hashlib.sha256(running + payload).digest()
    entries, found = scan(tmp_path / "j", b"ILKJNL1\n" + start + len(payload).to_bytes(4, "big") + after + payload)
    assert entries[1] == Stopped(9)
    assert found.ending == "whole"


def test_a_whole_file_is_read_whole(tmp_path: Path) -> None:
    data, _ = written()
    entries, found = scan(tmp_path / "j", data)
    assert entries == ENTRIES
    assert (found.ending, found.offset, found.size) == ("whole", len(data), len(data))


def test_cut_anywhere_it_is_torn_or_ends_with_an_entry(tmp_path: Path) -> None:
    data, ends = written()
    for size in range(9, len(data)):
        entries, found = scan(tmp_path / "j", data[:size])
        count = sum(1 for end in ends if end <= size)
        assert entries == ENTRIES[:count]
        assert found.ending == ("whole" if size in ends else "torn")


def test_zeros_at_the_end_are_what_a_crash_leaves(tmp_path: Path) -> None:
    data, _ = written()
    entries, found = scan(tmp_path / "j", data + bytes(5000))
    assert entries == ENTRIES
    assert (found.ending, found.offset) == ("torn", len(data))


def test_a_flipped_bit_anywhere_stops_the_reading_there(tmp_path: Path) -> None:
    data, ends = written()
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 0x10
        entries, found = scan(tmp_path / "j", bytes(bad))
        assert entries == ENTRIES[: sum(1 for end in ends if end <= at)]
        assert found.ending != "whole"


def test_entries_swapped_or_left_out_break_the_chain(tmp_path: Path) -> None:
    data, ends = written()
    first, second = data[ends[0] : ends[1]], data[ends[1] : ends[2]]
    for bad in (data[: ends[0]] + second + first + data[ends[2] :], data[: ends[0]] + second + data[ends[2] :]):
        entries, found = scan(tmp_path / "j", bad)
        assert entries == ENTRIES[:1]
        assert found.ending == "broken"


def test_only_the_first_entry_begins(tmp_path: Path) -> None:
    data, _ = written()
    again, _ = frame(bytes(32), BEGIN)
    assert scan(tmp_path / "j", data + again)[1].ending == "broken"
    stop, _ = frame(bytes(32), Stopped(1))
    assert scan(tmp_path / "j", b"ILKJNL1\n" + stop)[0] == []


def test_seals_and_closes_follow_one_another() -> None:
    state = State()
    for entry in ENTRIES[:2]:
        state.apply(entry)
    for bad in (
        Sealed(S, 1, 1, bytes(32), 1, b""),
        Sealed(S, 0, 2, bytes(32), 1, b""),
        Sealed(b"x" * 16, 0, 1, bytes(32), 1, b""),
        Closed(S, 1, "clean", 1, 0, b"", 1),
    ):
        with pytest.raises(RecordError):
            state.apply(bad)
    with pytest.raises(RecordError):
        state.apply(Settled(b"x" * 16, [1]))
    state.apply(ENTRIES[2])
    assert state.known[S].carried() == Carried(S, "a.seg", b"h" * 32, "w", 2, 500, b"d" * 32)
    state.apply(Settled(S, [1]))
    state.apply(ENTRIES[3])
    assert state.known[S].carried() == Carried(S, "a.seg", b"h" * 32, "w", 2, 500, b"d" * 32, [0, 1])
    state.apply(ENTRIES[4])
    assert (state.known, set(state.closed)) == ({}, {"a.seg"})
