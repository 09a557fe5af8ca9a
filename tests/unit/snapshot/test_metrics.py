"""Metrics rows and their Prometheus text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.errors import SnapshotError
from interlock.gateway.meter import Meter
from interlock.model import Reason
from interlock.snapshot import Counter, Family, MetricsPage, NodePage, Tallies, exposition, process_families
from interlock.snapshot.exposition import Row
from interlock.snapshot.metrics import DURATION_BUCKETS, DURATIONS_US, GAUGES, REFUSED_WORD, duration_word
from interlock.snapshot.page import (
    ANALYST,
    ANALYST_SLOT,
    CONTROL,
    CONTROL_SLOT,
    FIRST_WORKER_SLOT,
    RECORDER,
    RECORDER_SLOT,
    SUPERVISOR,
    SUPERVISOR_SLOT,
    WORKER,
)
from tests.unit.snapshot.prometheus import parse, value

KINDS = (
    (SUPERVISOR_SLOT, SUPERVISOR),
    (RECORDER_SLOT, RECORDER),
    (CONTROL_SLOT, CONTROL),
    (ANALYST_SLOT, ANALYST),
    (FIRST_WORKER_SLOT, WORKER),
    (FIRST_WORKER_SLOT + 1, WORKER),
)


@pytest.fixture
def node(tmp_path: Path) -> NodePage:
    """All roles played by this process."""
    page = NodePage.create(tmp_path / "page", len(KINDS))
    for slot, kind in KINDS:
        page.claim(slot, kind, 0)
    return page


@pytest.fixture
def page(tmp_path: Path) -> MetricsPage:
    return MetricsPage.create(tmp_path / "metrics", len(KINDS))


def rows(node: NodePage, page: MetricsPage) -> list[Row]:
    return [(process, page.read_row(process.slot)) for process in node.processes()]


def test_a_row_is_seen_by_whoever_maps_the_page(tmp_path: Path) -> None:
    page = MetricsPage.create(tmp_path / "metrics", 3)
    pid = os.fork()
    if pid == 0:
        row = MetricsPage.open(tmp_path / "metrics").row(1)
        for _ in range(1000):
            row[Counter.CALLS] += 1
        os._exit(0)
    page.row(2)[Counter.CALLS] += 5
    os.waitpid(pid, 0)
    assert [page.read_row(slot)[Counter.CALLS] for slot in range(3)] == [0, 1000, 5]


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


def test_totals_of_a_process_go_on_where_its_predecessor_left_off(page: MetricsPage) -> None:
    first = Tallies(page.take_row(0))
    first.bring({Counter.RECORD_FRAMES: 5, Counter.OPEN_CALLS: 3})
    first.bring({Counter.RECORD_FRAMES: 9, Counter.OPEN_CALLS: 1})
    assert page.read_row(0)[Counter.RECORD_FRAMES] == 9
    assert page.read_row(0)[Counter.OPEN_CALLS] == 1
    second = Tallies(page.take_row(0))
    assert page.read_row(0)[Counter.OPEN_CALLS] == 0
    second.bring({Counter.RECORD_FRAMES: 2, Counter.OPEN_CALLS: 4})
    assert page.read_row(0)[Counter.RECORD_FRAMES] == 11
    assert page.read_row(0)[Counter.OPEN_CALLS] == 4


def test_a_refused_connection_is_no_call(node: NodePage, page: MetricsPage) -> None:
    meter = Meter(page.take_row(FIRST_WORKER_SLOT))
    meter.connection_refused(Reason.TOO_MANY_CONNECTIONS, True)
    meter.connection_refused(Reason.TLS_TIMEOUT, False)
    meter.settle()
    _, samples = parse(exposition(rows(node, page)))
    assert value(samples, "interlock_calls_total") == 0
    assert value(samples, "interlock_answers_total") == 0
    assert value(samples, "interlock_refusals_total") == 0
    assert value(samples, "interlock_refusals_counted_total") == 1
    assert value(samples, "interlock_connections_refused_total", reason="too-many-connections") == 1
    assert value(samples, "interlock_connections_refused_total", reason="tls-timeout") == 1


def test_how_calls_end(node: NodePage, page: MetricsPage) -> None:
    meter = Meter(page.take_row(FIRST_WORKER_SLOT + 1))
    meter.refused(Reason.NO_ROUTE, False)
    meter.ended(200, None, 300_000, 10, 20)
    meter.ended(200, None, 300_000, 0, 0)
    meter.ended(504, Reason.UPSTREAM_TIMEOUT, 90 * 10**9, 1, 2)
    for _ in range(2):  # what was brought is not brought again
        meter.settle()
    _, samples = parse(exposition(rows(node, page)))

    def of_worker(name: str, **labels: str) -> float:
        return value(samples, f"interlock_{name}", process="worker-1", **labels)

    assert of_worker("calls_total") == 4
    assert [of_worker("answers_total", **{"class": kind}) for kind in ("2xx", "4xx", "5xx")] == [2, 1, 1]
    assert of_worker("refusals_total", reason="no-route") == 1
    assert of_worker("refusals_total", reason="upstream-timeout") == 1
    assert of_worker("refusals_total") == 2
    assert of_worker("request_body_bytes_total") == 11
    assert of_worker("answer_body_bytes_total") == 22
    buckets = [of_worker("call_duration_seconds_bucket", le=bound) for bound in ("0.00025", "0.0005", "30", "+Inf")]
    assert buckets == [0, 2, 2, 3]
    assert of_worker("call_duration_seconds_sum") == pytest.approx(90.0006)
    assert of_worker("call_duration_seconds_count") == 3
    assert value(samples, "interlock_calls_total", process="worker-0") == 0


def test_every_counter_is_shown_for_the_processes_that_write_it(node: NodePage, page: MetricsPage) -> None:
    for slot, _ in KINDS:
        row = page.row(slot)
        for counter in Counter:
            row[counter] = 1_000_000 + counter
    _, samples = parse(exposition(rows(node, page), process_families(node.processes())))
    numbers = set(samples.values())
    assert [c.name for c in Counter if c is not Counter.DURATION_NS and 1_000_000 + c not in numbers] == []
    processes = {dict(labels)["process"] for _, labels in samples}
    assert processes == {"supervisor", "recorder", "control", "analyst", "worker-0", "worker-1"}
    assert value(samples, "interlock_process_up") == len(KINDS)
    assert value(samples, "interlock_record_sealed_frames_total", process="recorder")
    assert value(samples, "interlock_snapshots_built_total", process="control")
    assert ("interlock_calls_total", frozenset({("process", "control")})) not in samples


def test_what_a_dead_process_had_open_is_not_open(node: NodePage, page: MetricsPage) -> None:
    row = page.row(FIRST_WORKER_SLOT)
    for gauge in GAUGES:
        row[gauge] = 1
    row[Counter.CALLS] = 7
    node.release(FIRST_WORKER_SLOT)
    _, samples = parse(exposition(rows(node, page), process_families(node.processes())))
    assert value(samples, "interlock_open_calls") == 0
    assert value(samples, "interlock_calls_total") == 7
    assert value(samples, "interlock_process_up", process="worker-0") == 0


def test_labels_are_escaped_and_infinity_is_spelled() -> None:
    issuer = 'https://i"d\\x\n'
    types, samples = parse(
        exposition([], [Family("age_seconds", "gauge", "Age.", [({"issuer": issuer}, float("inf"))])])
    )
    assert types["interlock_age_seconds"] == "gauge"
    assert samples[("interlock_age_seconds", frozenset({("issuer", 'https://i\\"d\\\\x\\n')}))] == float("inf")


@pytest.mark.parametrize(
    "text",
    [
        "a_total 1\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a_total A.\n# TYPE a_total gauge\n",
        "# HELP a_ms A.\n# TYPE a_ms gauge\n",
        "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
        '# HELP a A.\n# TYPE a gauge\na{b="c",b="d"} 1\n',
        '# HELP a A.\n# TYPE a gauge\na{b="c"d"} 1\n',
        "# HELP a A.\n# TYPE a gauge\na one\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
    ],
)
def test_the_reader_of_the_text_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)


def test_what_is_not_a_page_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"x", bytes(4096)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SnapshotError):
            MetricsPage.open(tmp_path / "other")
    with pytest.raises(SnapshotError):
        MetricsPage.open(tmp_path / "none")
    with pytest.raises(IndexError):
        MetricsPage.create(tmp_path / "metrics", 1).row(1)
