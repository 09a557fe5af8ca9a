"""Shared counters: exact whoever else counts, whoever is killed, and never silently full."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import random
import signal
import time
from fcntl import LOCK_EX, LOCK_NB, lockf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import SnapshotError
from interlock.limits.gcra import Rate, decide
from interlock.snapshot import CounterTable
from interlock.snapshot.counters import TABLE_BUSY, TABLE_FULL, Cell

FORK = multiprocessing.get_context("fork")
NOW = 1_700_000_000_000_000_000
S = 1_000_000_000
LIMIT = b"limit-of-a-route"
RATE = Rate(S, 10 * S, 10)


@pytest.fixture
def table(tmp_path: Path) -> CounterTable:
    return CounterTable.create(tmp_path / "counters", 4096)


def spent(table: CounterTable, cell: Cell, burst: int, now: int = NOW) -> int:
    """How many calls a cell lets through at once."""
    return sum(table.spend(cell, S, burst * S, now)[0] for _ in range(burst + 5))


def test_the_burst_and_then_one_each_second(table: CounterTable) -> None:
    cell = table.cell(LIMIT, b"alice")
    assert [table.spend(cell, S, 3 * S, NOW) for _ in range(4)] == [
        (True, NOW + S),
        (True, NOW + 2 * S),
        (True, NOW + 3 * S),
        (False, NOW + 3 * S),
    ]
    assert table.spend(cell, S, 3 * S, NOW + S - 1)[0] is False
    assert table.spend(cell, S, 3 * S, NOW + S)[0] is True
    assert table.spend(cell, S, 3 * S, NOW + S)[0] is False
    assert spent(table, cell, 3, NOW + 100 * S) == 3


def test_subjects_and_limits_do_not_share(table: CounterTable) -> None:
    assert spent(table, table.cell(LIMIT, b"alice"), 5) == 5
    assert spent(table, table.cell(LIMIT, b"bob"), 5) == 5
    assert spent(table, table.cell(b"another-limit-16", b"alice"), 5) == 5
    assert spent(table, table.cell(LIMIT, b"alice"), 5) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5 * S),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3 * S), st.integers(0, S)), max_size=60),
    st.integers(0, 1),
)
def test_the_table_decides_as_the_pure_algorithm_does(
    tmp_path_factory: pytest.TempPathFactory, emission: int, burst: int, calls: list[tuple[int, int, int]], both: int
) -> None:
    """For any calls by clocks up to a second late, each cell's decisions and TATs are those of `gcra.decide`."""
    table = CounterTable.create(tmp_path_factory.mktemp("t") / "counters", 64)
    rate = Rate(emission, emission * burst, burst)
    stored = [0, 0, 0]
    clock = NOW
    for subject, step, late in calls:
        clock += step
        now = clock - late
        cell = table.cell(LIMIT, b"%d" % subject)
        expected = decide(stored[subject], rate, now)
        if both:
            allowed, tats = table.spend_all([cell], [rate], now)
            assert (allowed, tats[0]) == expected
        else:
            assert table.spend(cell, *rate[:2], now) == expected
        if expected[0]:
            stored[subject] = expected[1]
    table.close()


def test_a_call_that_one_limit_refuses_is_counted_by_none(table: CounterTable) -> None:
    wide, narrow = table.cell(LIMIT, b"wide"), table.cell(LIMIT, b"narrow")
    rates = [Rate(S, 10 * S, 10), Rate(S, 2 * S, 2)]
    results = [table.spend_all([wide, narrow], rates, NOW)[0] for _ in range(6)]
    assert results == [True, True, False, False, False, False]
    assert spent(table, wide, 10) == 8
    results = [table.spend_all([narrow, wide], rates[::-1], NOW)[0] for _ in range(3)]
    assert results == [False] * 3


def fill(table: CounterTable, cell: Cell, now: int = NOW) -> None:
    """Take all places of a cell's bucket for others."""
    for number in range(32):
        other = Cell(cell.bucket, 1_000_000 + number)
        assert table.spend(other, S, 10 * S, now)[0]


def test_a_full_bucket_is_an_answer_and_a_live_cell_is_never_given_up(table: CounterTable) -> None:
    cell = table.cell(LIMIT, b"alice")
    fill(table, cell)
    assert table.spend(cell, S, 10 * S, NOW) == (False, TABLE_FULL)
    assert [table.spend(Cell(cell.bucket, 1_000_000 + n), S, 10 * S, NOW)[1] for n in range(32)] == [NOW + 2 * S] * 32
    assert table.spend(cell, S, 10 * S, NOW + 3 * S - 1) == (False, TABLE_FULL), "a late clock may still ask for them"
    assert table.spend(cell, S, 10 * S, NOW + 3 * S) == (True, NOW + 4 * S), "what has passed is free"


def test_a_full_bucket_undoes_the_other_limits(table: CounterTable) -> None:
    full, free = table.cell(LIMIT, b"alice"), table.cell(LIMIT, b"bob")
    assert full.bucket != free.bucket
    fill(table, full)
    for cells in ([free, full], [full, free]):
        allowed, tats = table.spend_all(cells, [RATE, RATE], NOW)
        assert not allowed
        assert TABLE_FULL in tats
    assert spent(table, free, 10) == 10


def test_two_new_cells_of_one_bucket(table: CounterTable) -> None:
    one, two = Cell(3, 111), Cell(3, 222)
    assert table.spend_all([one, two], [RATE, RATE], NOW) == (True, [NOW + S, NOW + S])
    assert one.at != two.at
    for number in range(29):
        assert table.spend(Cell(3, 1000 + number), S, 10 * S, NOW)[0]
    three, four = Cell(3, 333), Cell(3, 444)  # one place is left
    allowed, tats = table.spend_all([three, four], [RATE, RATE], NOW)
    assert (allowed, tats[1]) == (False, TABLE_FULL)
    assert table.spend(four, S, 10 * S, NOW)[0], "the place that was taken back is free"


def test_a_place_that_changed_hands_is_found_again(tmp_path: Path, table: CounterTable) -> None:
    mine, other = Cell(0, 111), Cell(0, 222)
    table.spend(mine, S, 10 * S, NOW)
    second = CounterTable.open(tmp_path / "counters")
    second.spend(other, S, 10 * S, NOW + 2 * S)  # mine has passed, so its place is taken
    assert table.spend(mine, S, 10 * S, NOW + 2 * S) == (True, NOW + 3 * S)
    assert second.spend(other, S, 10 * S, NOW + 2 * S) == (True, NOW + 4 * S)
    assert second.spend(Cell(0, 111), S, 10 * S, NOW + 2 * S) == (True, NOW + 4 * S)


def test_a_flood_of_addresses_leaves_principals_alone(tmp_path: Path) -> None:
    table = CounterTable.create(tmp_path / "small", 256)
    answers = [
        table.spend(table.cell(LIMIT, b"%d" % number, anonymous=True), S, 10 * S, NOW)[1] for number in range(5000)
    ]
    assert answers.count(TABLE_FULL) > 4000
    assert all(table.spend(table.cell(LIMIT, b"user %d" % n), S, 10 * S, NOW)[0] for n in range(20))


def test_who_is_with_whom_differs_from_table_to_table(tmp_path: Path) -> None:
    tables = [CounterTable.create(tmp_path / name, 4096) for name in ("a", "b")]
    places = [[table.cell(LIMIT, b"%d" % n).bucket for n in range(20)] for table in tables]
    assert places[0] != places[1]
    again = CounterTable.open(tmp_path / "a")
    assert [again.cell(LIMIT, b"%d" % n).bucket for n in range(20)] == places[0]


def test_remembered_cells_are_bounded(table: CounterTable) -> None:
    for number in range(40_000):
        table.cell(LIMIT, b"%d" % number)
    assert len(table._cells) <= 16_384


def test_a_clock_set_back_costs_one_burst_not_an_hour(table: CounterTable) -> None:
    cell, pair = table.cell(LIMIT, b"alice"), table.cell(LIMIT, b"bob")
    assert spent(table, cell, 10) == 10
    assert all(table.spend_all([pair], [RATE], NOW)[0] for _ in range(10))
    earlier = NOW - 3600 * S
    assert table.spend(cell, *RATE[:2], earlier) == (False, earlier + 10 * S)
    assert table.spend(cell, *RATE[:2], earlier + S)[0]
    assert table.spend_all([pair], [RATE], earlier) == (False, [earlier + 10 * S])
    assert table.spend_all([pair], [RATE], earlier + S)[0]


def test_a_caller_that_read_its_clock_a_little_earlier_takes_nothing_back(table: CounterTable) -> None:
    cell = table.cell(LIMIT, b"alice")
    assert spent(table, cell, 10) == 10
    assert table.spend(cell, *RATE[:2], NOW - 3 * S) == (False, NOW + 10 * S)
    assert table.spend(cell, *RATE[:2], NOW)[1] == NOW + 10 * S


def _spender(path: Path, tally: mmap.mmap, row: int, subjects: int, pairs: bool) -> None:
    table = CounterTable.open(path)
    counts = memoryview(tally).cast("Q")
    pick = random.Random(row)
    cells = [table.cell(LIMIT, b"%d" % number) for number in range(subjects)]
    rate = Rate(S, 100_000 * S, 100_000)
    while True:
        if pairs:
            chosen = pick.sample(range(subjects), 2)
            if table.spend_all([cells[one] for one in chosen], [rate, rate], NOW)[0]:
                for one in chosen:
                    counts[row * 8 + one] += 1
        else:
            one = pick.randrange(subjects)
            if table.spend(cells[one], S, 100_000 * S, NOW)[0]:
                counts[row * 8 + one] += 1


@pytest.mark.parametrize("pairs", [False, True])
def test_no_count_is_lost_under_contention_with_holders_killed(tmp_path: Path, pairs: bool) -> None:
    """Time stands still, so a cell's TAT says how many calls it counted; that is compared with the callers' own
    count. A process may be killed after the table counted and before it did, so per kill one may be missing."""
    table = CounterTable.create(tmp_path / "counters", 64)
    tally = mmap.mmap(-1, 64 * 8 * 8)
    processes = []
    rounds, kept = 8, 3

    def spender(row: int) -> None:
        process = FORK.Process(target=_spender, args=(tmp_path / "counters", tally, row, 4, pairs), daemon=True)
        process.start()
        processes.append(process)

    for row in range(kept):
        spender(row)
    for turn in range(rounds):
        spender(kept + turn)
        time.sleep(0.12)
        os.kill(processes[-1].pid, signal.SIGKILL)
        processes[-1].join(10)
    for process in processes[:kept]:
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
    counts = memoryview(tally).cast("Q")
    for subject in range(4):
        counted = sum(counts[row * 8 + subject] for row in range(kept + rounds))
        allowed, tat = table.spend(table.cell(LIMIT, b"%d" % subject), S, 1_000_000 * S, NOW)
        assert allowed, "a dead holder's lock is no lock"
        in_table = (tat - NOW) // S - 1
        assert counted > 500
        assert counted <= in_table <= counted + kept + rounds


def test_the_whole_node_gets_one_burst(tmp_path: Path) -> None:
    CounterTable.create(tmp_path / "counters", 64).close()
    burst, start = 20_000, FORK.Event()

    def spend(result: mmap.mmap, row: int) -> None:
        table = CounterTable.open(tmp_path / "counters")
        cell = table.cell(LIMIT, b"alice")
        start.wait()
        allowed = 0
        while table.spend(cell, S, burst * S, NOW)[0]:
            allowed += 1
        memoryview(result).cast("Q")[row] = allowed

    result = mmap.mmap(-1, 4096)
    processes = [FORK.Process(target=spend, args=(result, row)) for row in range(4)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    shares = memoryview(result).cast("Q")[:4].tolist()
    assert sum(shares) == burst, shares


def test_a_holder_that_stands_is_an_answer_and_its_death_frees_the_bucket(tmp_path: Path, table: CounterTable) -> None:
    cell, other = table.cell(LIMIT, b"alice"), table.cell(LIMIT, b"bob")
    assert cell.bucket != other.bucket
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(tmp_path / "counters", os.O_RDWR)
        lockf(fd, LOCK_EX, 1, cell.bucket)
        os.write(say, b".")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    assert table.spend(cell, *RATE[:2], NOW) == (False, TABLE_BUSY)
    assert table.spend_all([other, cell], [RATE, RATE], NOW) == (False, [TABLE_BUSY] * 2)
    assert table.spend(other, *RATE[:2], NOW) == (True, NOW + S), "nothing was spent, and nothing is held"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert table.spend(cell, *RATE[:2], NOW) == (True, NOW + S)


def held(path: Path) -> list[int]:
    """The buckets that this process holds, as another process finds them."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(path, os.O_RDWR)
        for bucket in range(128):
            try:
                lockf(fd, LOCK_EX | LOCK_NB, 1, bucket)
            except OSError:
                os.write(theirs, bytes([bucket]))
        os._exit(0)
    os.close(theirs)
    os.waitpid(pid, 0)
    with os.fdopen(ours, "rb") as file:
        return list(file.read())


def test_nothing_is_held_after_any_answer(tmp_path: Path, table: CounterTable) -> None:
    one, two, full = Cell(3, 111), Cell(5, 222), Cell(7, 333)
    tight = Rate(S, S, 1)
    lockf(table._fd, LOCK_EX, 1, 100)
    assert held(tmp_path / "counters") == [100], "the test can see"
    fill(table, full)
    assert [table.spend(one, S, S, NOW)[0] for _ in range(2)] == [True, False]
    assert table.spend(full, S, S, NOW)[1] == TABLE_FULL
    assert table.spend_all([two, Cell(3, 444)], [tight, tight], NOW)[0]
    assert not table.spend_all([two, one], [tight, tight], NOW)[0]
    assert TABLE_FULL in table.spend_all([Cell(9, 555), full], [tight, tight], NOW)[1]
    with pytest.raises(TypeError):
        table.spend_all([one, two], [tight, None], NOW)  # type: ignore[list-item]
    assert held(tmp_path / "counters") == [100]


def test_what_is_not_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        CounterTable.open(tmp_path / "none")
    for content in (b"", bytes(512), bytes(4096)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SnapshotError, match="not a table"):
            CounterTable.open(tmp_path / "other")
    CounterTable.create(tmp_path / "cut", 64).close()
    os.truncate(tmp_path / "cut", 600)
    with pytest.raises(SnapshotError, match="not a table"):
        CounterTable.open(tmp_path / "cut")


def test_a_full_disk_is_found_when_the_table_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SnapshotError, match="No space left"):
        CounterTable.create(tmp_path / "counters")
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_for_its_owner_only(tmp_path: Path, table: CounterTable) -> None:
    assert (tmp_path / "counters").stat().st_mode & 0o777 == 0o600
