"""Where tokens were first seen: the same answer for every process, nothing given up before its time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from interlock.errors import SnapshotError
from interlock.snapshot.sightings import HELD, Sighting, SightingTable

SAME, MOVED, CHANGED = Sighting(False, False), Sighting(True, False), Sighting(False, True)
FULL = Sighting(False, False, known=False)
HOME, AWAY = b"\xc0\0\2", b"\xcb\0\x71"
ONE, TWO = b"one.....", b"two....."


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def table(tmp_path: Path) -> SightingTable:
    return SightingTable.create(tmp_path / "sightings", 1024)


def see(table: SightingTable, network: bytes = HOME, program: bytes = ONE, number: int = 1, **how: Any) -> Sighting:
    """Each token is somebody else's, but for what is said."""
    told = {"holder": name(number), "asked": True, "until": 1000, "now": 1, **how}
    return table.see(name(number), network=network, program=program, **told)


def test_the_first_sighting_counts(table: SightingTable) -> None:
    assert see(table) == SAME
    assert see(table) == SAME
    assert see(table, AWAY) == MOVED
    assert see(table, AWAY) == MOVED, "being seen there makes it no home"
    assert see(table, program=TWO) == CHANGED
    assert see(table, AWAY, TWO) == Sighting(True, True)
    assert see(table) == SAME
    assert see(table, AWAY, number=2) == SAME


def test_two_programs_are_compared_never_one_with_none(table: SightingTable) -> None:
    assert see(table, program=b"") == SAME
    assert see(table, program=ONE) == SAME, "from now on it counts"
    assert see(table, program=b"") == SAME
    assert see(table, program=TWO) == CHANGED


def test_a_token_that_ended_is_forgotten(table: SightingTable) -> None:
    assert see(table, until=100, now=1) == SAME
    assert see(table, AWAY, now=99) == MOVED
    assert see(table, AWAY, until=300, now=100) == SAME
    assert see(table, HOME, now=200) == MOVED


@pytest.mark.parametrize("until", [2**63, 2**64 - 1, 2**64, 253_402_300_799 * 10**9])
def test_a_token_that_never_ends_has_a_place_for_as_long_as_it_is_seen_at_home(
    table: SightingTable, until: int
) -> None:
    """Issuers write 9999-12-31 for never: it fits in no word, and would hold a place for good."""
    assert see(table, until=until) == SAME
    assert see(table, AWAY, until=until, now=HELD) == MOVED
    assert see(table, until=until, now=HELD) == SAME
    assert see(table, AWAY, until=until, now=2 * HELD - 1) == MOVED, "being tried elsewhere is no sign of life"
    assert see(table, AWAY, until=until, now=2 * HELD) == SAME
    assert see(table, until=until, now=2 * HELD) == MOVED


def test_nothing_is_given_up_early(tmp_path: Path) -> None:
    table = SightingTable.create(tmp_path / "small", 32)
    for number in range(32):
        assert see(table, number=number, until=100 + number) == SAME
    assert see(table, number=99) == FULL
    assert see(table, AWAY, number=0) == MOVED
    assert see(table, number=99, now=100) == SAME, "in the place of the first that ended"


def test_calls_of_routes_that_do_not_ask_take_no_room_of_those_that_do(tmp_path: Path) -> None:
    """The attack: with tokens that open next to nothing, all places are taken, and nobody's finds one where it must."""
    table = SightingTable.create(tmp_path / "small", 32)
    found = [see(table, number=number, asked=False) for number in range(200)]
    assert found.count(SAME) == 16
    assert [see(table, number=number) for number in range(1000, 1016)] == [SAME] * 16
    assert see(table, number=2000) == FULL


def test_it_is_one_place_whether_a_route_asks_for_it_or_not(table: SightingTable) -> None:
    """Else who has stolen a token would be at home with it where nobody has used it yet."""
    for number, first in enumerate((False, True)):
        assert see(table, number=number, asked=first) == SAME
        assert see(table, AWAY, number=number, asked=not first) == MOVED
        assert see(table, AWAY, number=number, asked=first) == MOVED
        assert see(table, number=number, asked=not first) == SAME


def test_who_has_many_tokens_fills_his_own_room_and_hardly_any_of_others(tmp_path: Path) -> None:
    """The attack: one client gets tokens for as long as it takes, each good for a week, and uses them all."""
    table = SightingTable.create(tmp_path / "sightings", 8192)
    found = [see(table, number=number, holder=b"attacker") for number in range(3 * 8192)]
    assert 0 < found.count(SAME) <= 8192 // 32
    assert see(table, number=50_000, holder=b"attacker") == FULL
    others = range(100_000, 101_000)
    refused = [number for number in others if see(table, number=number) == FULL]
    assert len(refused) < 100, "where they share a bucket: one of 32, or so"
    for number in refused:
        again = range(1000 * number, 1000 * number + 30)
        assert SAME in [see(table, number=other, holder=name(number)) for other in again], "another token helps"


def test_processes_share_it(tmp_path: Path, table: SightingTable) -> None:
    def first(numbers: range) -> None:
        other = SightingTable.open(tmp_path / "sightings")
        assert [see(other, number=number) for number in numbers] == [SAME] * len(numbers)

    fork = multiprocessing.get_context("fork")
    ranges = [range(1, 40), range(40, 80)]
    processes = [fork.Process(target=first, args=(numbers,)) for numbers in ranges]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert [see(table, AWAY, number=number) for number in range(1, 80)] == [MOVED] * 79


def test_a_holder_that_does_not_run_is_not_waited_for(tmp_path: Path) -> None:
    table = SightingTable.create(tmp_path / "small", 32)
    fork = multiprocessing.get_context("fork")
    held, over = fork.Event(), fork.Event()

    def hold() -> None:
        other = SightingTable.open(tmp_path / "small")
        assert other._lock(0)
        held.set()
        over.wait(30)

    process = fork.Process(target=hold)
    process.start()
    try:
        assert held.wait(30)
        assert see(table) == FULL
    finally:
        over.set()
        process.join(30)
    assert see(table) == SAME


@pytest.mark.parametrize("data", [b"", b"x" * 128, b"ILKSEEN2" + bytes(120)])
def test_what_is_no_table(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "table"
    path.write_bytes(data)
    with pytest.raises(SnapshotError):
        SightingTable.open(path)
    with pytest.raises(SnapshotError):
        SightingTable.open(tmp_path / "none")


def test_nothing_in_it_says_where_anybody_is(tmp_path: Path, table: SightingTable) -> None:
    table.see(b"t" * 32, b"h" * 16, b"network1", b"program1", asked=True, until=1000, now=1)
    data = (tmp_path / "sightings").read_bytes()
    assert not any(text in data for text in (b"t" * 8, b"h" * 8, b"network1", b"program1"))
    assert (tmp_path / "sightings").stat().st_mode & 0o777 == 0o600
