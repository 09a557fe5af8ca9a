"""Metrics rows and their Prometheus text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.errors import SnapshotError
from interlock.model import Reason
from interlock.snapshot import Counter, MetricsPage, NodePage, exposition
from interlock.snapshot.metrics import DURATION_BUCKETS, DURATIONS_US, REFUSED_WORD, duration_word
from interlock.snapshot.page import CONTROL


def test_rows_of_all_processes_are_summed(tmp_path: Path) -> None:
    page = MetricsPage.create(tmp_path / "metrics", 3)
    pid = os.fork()
    if pid == 0:
        row = MetricsPage.open(tmp_path / "metrics").row(1)
        for _ in range(1000):
            row[Counter.CALLS] += 1
        os._exit(0)
    row = page.row(2)
    row[Counter.CALLS] += 5
    row[REFUSED_WORD[Reason.RATE_LIMITED]] += 2
    os.waitpid(pid, 0)
    totals = page.sum_rows()
    assert totals[Counter.CALLS] == 1005
    assert totals[REFUSED_WORD[Reason.RATE_LIMITED]] == 2


def test_a_successor_keeps_counters_and_drops_gauges(tmp_path: Path) -> None:
    page = MetricsPage.create(tmp_path / "metrics", 1)
    row = page.take_row(0)
    row[Counter.CALLS] += 7
    row[Counter.OPEN_CONNECTIONS] += 3
    row = page.take_row(0)
    assert (row[Counter.CALLS], row[Counter.OPEN_CONNECTIONS]) == (7, 0)


def test_every_word_has_one_meaning() -> None:
    buckets = {DURATION_BUCKETS + number for number in range(len(DURATIONS_US) + 1)}
    words = [*(int(counter) for counter in Counter), *buckets, *REFUSED_WORD.values()]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(("us", "bound"), [(0, 0), (250, 0), (251, 1), (1000, 2), (30_000_000, 15), (30_000_001, 16)])
def test_durations_fall_into_their_bucket(us: int, bound: int) -> None:
    assert duration_word(us * 1000) == DURATION_BUCKETS + bound


def test_the_text(tmp_path: Path) -> None:
    page = MetricsPage.create(tmp_path / "metrics", 2)
    row = page.row(0)
    row[Counter.CALLS] = 3
    row[Counter.STATUS_2XX] = 2
    row[Counter.OPEN_CALLS] = 1
    row[Counter.DURATION_NS] = 1_500_000_000
    row[duration_word(300_000)] = 2
    row[duration_word(90 * 10**9)] = 1
    row[REFUSED_WORD[Reason.NO_ROUTE]] = 1
    node = NodePage.create(tmp_path / "page", 4)
    node.claim(2, CONTROL, 0)
    lines = exposition(page.sum_rows(), node.processes()).splitlines()
    for line in (
        "# TYPE interlock_calls_total counter",
        "interlock_calls_total 3",
        'interlock_answers_total{class="2xx"} 2',
        "# TYPE interlock_open_calls gauge",
        "interlock_open_calls 1",
        'interlock_refusals_total{reason="no-route"} 1',
        'interlock_refusals_total{reason="rate-limited"} 0',
        'interlock_call_duration_seconds_bucket{le="0.00025"} 0',
        'interlock_call_duration_seconds_bucket{le="0.0005"} 2',
        'interlock_call_duration_seconds_bucket{le="30"} 2',
        'interlock_call_duration_seconds_bucket{le="+Inf"} 3',
        "interlock_call_duration_seconds_sum 1.500000000",
        "interlock_call_duration_seconds_count 3",
        'interlock_process_up{kind="control",slot="2"} 1',
    ):
        assert line in lines
    samples = [line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")]
    assert len(samples) == len(set(samples)), "a series appears once"


def test_every_counter_is_shown(tmp_path: Path) -> None:
    page = MetricsPage.create(tmp_path / "metrics", 1)
    row = page.row(0)
    for counter in Counter:
        row[counter] = 1_000_000 + counter
    text = exposition(page.sum_rows())
    missing = [c.name for c in Counter if c is not Counter.DURATION_NS and f" {1_000_000 + c}\n" not in text]
    assert missing == []


def test_what_is_not_a_page_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"x", bytes(4096)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SnapshotError):
            MetricsPage.open(tmp_path / "other")
    with pytest.raises(SnapshotError):
        MetricsPage.open(tmp_path / "none")
    with pytest.raises(IndexError):
        MetricsPage.create(tmp_path / "metrics", 1).row(1)
