"""What the node is doing, from shared memory alone; and whose name the admin listener answers to."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest

from interlock.audit.timekeeping import Sync, Timekeeper
from interlock.clock import SECOND, ManualClock
from interlock.control.admin import is_own_host
from interlock.control.keyring import jwks
from interlock.control.metrics import read_metrics
from interlock.control.paths import Paths
from interlock.control.status import NODE_FILE, NodeFile, read_status, rfc3339
from interlock.errors import SnapshotError
from interlock.keys import Keyring
from interlock.model.reason import CODES
from interlock.snapshot import Counter, MetricsPage, NodePage
from interlock.snapshot.exports import EXPORTS_REPORT, ExportStatus
from interlock.snapshot.page import (
    ALARMS,
    ANALYST,
    ANALYST_SLOT,
    CLOCK_SYNC,
    CLOCK_UNSYNCHRONISED_NS,
    CONTROL,
    CONTROL_SLOT,
    FIRST_WORKER_SLOT,
    GENERATION,
    READY,
    RECORDER,
    RECORDER_SLOT,
    SEALED_NS,
    SUPERVISOR,
    SUPERVISOR_SLOT,
    UNSYNCHRONISED,
    WORKER,
)
from interlock.supervisor.bodies import show_time
from tests.unit.snapshot.prometheus import parse, value

OPERATIONS = (Path(__file__).resolve().parents[3] / "docs/operations.md").read_text()
WATCH = OPERATIONS.partition("## Watch")[2].partition("\n## ")[0]
ISSUERS = [{"issuer": "https://a", "age_seconds": 7.5}, {"issuer": "https://never", "age_seconds": None}]


@pytest.fixture
def running(paths: Paths, page: NodePage, clock: ManualClock) -> NodePage:
    """All roles played by this process."""
    node = NodeFile(os.getpid(), "1", "boot", "now", 1, ["http://127.0.0.1:1"], "http://127.0.0.1:2")
    (paths.run / NODE_FILE).write_bytes(msgspec.json.encode(node))
    clock.advance(100)
    for slot, kind in (
        (SUPERVISOR_SLOT, SUPERVISOR),
        (RECORDER_SLOT, RECORDER),
        (CONTROL_SLOT, CONTROL),
        (ANALYST_SLOT, ANALYST),
        (FIRST_WORKER_SLOT, WORKER),
    ):
        page.claim(slot, kind, clock.wall())
        page.set_state(slot, READY)
        page.beat(slot, clock.monotonic())
    page.words[SEALED_NS] = clock.wall()
    return page


def test_a_step_of_the_clock_is_shown_for_an_hour(paths: Paths, running: NodePage, clock: ManualClock) -> None:
    keeper = Timekeeper(clock, lambda _event, _details: None, lambda: Sync(True, 2_000_000, 3_000_000))
    keeper.tend()
    clock.step(-2.5)
    clock.advance(1)
    keeper.tend()
    show_time(running, keeper)
    status = read_status(paths.run, clock)
    assert status["time"] == {
        "synchronised": True,
        "unsynchronised_seconds": None,
        "estimated_error_ms": 2.0,
        "steps": 1,
        "last_step": rfc3339(clock.wall()),
        "last_step_seconds": -2.5,
    }
    assert "the clock was stepped by -2.5 s: see what keeps it" in status["problems"]
    clock.advance(3601)
    assert not any("stepped" in problem for problem in read_status(paths.run, clock)["problems"])


def test_a_clock_that_nothing_keeps_is_a_problem_after_an_hour(
    paths: Paths, running: NodePage, clock: ManualClock
) -> None:
    assert read_status(paths.run, clock)["time"]["synchronised"] is None
    running.words[CLOCK_SYNC] = UNSYNCHRONISED
    running.words[CLOCK_UNSYNCHRONISED_NS] = clock.monotonic()
    clock.advance(3500)
    assert not any("synchronised" in problem for problem in read_status(paths.run, clock)["problems"])
    clock.advance(3800)
    status = read_status(paths.run, clock)
    assert status["time"]["synchronised"] is False
    assert "nothing has synchronised the clock for 2 h" in status["problems"]


def test_all_is_well(paths: Paths, running: NodePage, clock: ManualClock) -> None:
    status = read_status(paths.run, clock)
    assert status["running"]
    assert status["serving"]
    assert status["problems"] == []
    assert [one["kind"] for one in status["processes"]] == ["supervisor", "recorder", "control", "analyst", "worker"]


def test_nothing_ran_here(paths: Paths, clock: ManualClock) -> None:
    assert read_status(paths.run, clock)["serving"] is False
    assert read_status(paths.run / "nothing", clock)["processes"] == []


@pytest.mark.parametrize(
    ("slot", "said", "serving"),
    [
        (RECORDER_SLOT, "recorder (slot 1) is down", True),
        (CONTROL_SLOT, "control (slot 2) is down", True),
        (ANALYST_SLOT, "analyst (slot 3) is down", True),
        (FIRST_WORKER_SLOT, "0 of 1 workers serve", False),
    ],
)
def test_what_is_down_is_said(
    paths: Paths, running: NodePage, clock: ManualClock, slot: int, said: str, serving: bool
) -> None:
    running.release(slot)
    status = read_status(paths.run, clock)
    assert said in status["problems"]
    assert status["serving"] is serving


def test_silence_a_late_recorder_an_old_snapshot_and_alarms_are_said(
    paths: Paths, running: NodePage, clock: ManualClock
) -> None:
    running.words[GENERATION] = 2
    running.words[ALARMS] = 3
    clock.advance(31)
    said = "\n".join(read_status(paths.run, clock)["problems"])
    assert "no sign of life" in said
    assert "calls are refused until the recorder is back" in said
    assert "not on the current snapshot" in said
    assert "3 alarms" in said


def test_exports_are_shown_and_what_ails_them_is_a_problem(
    paths: Paths, running: NodePage, metrics: str, clock: ManualClock
) -> None:
    EXPORTS_REPORT.write(
        paths.run,
        [
            ExportStatus("a", "ocsf", "https://a.example/", records=5, confirmed_ns=SECOND),
            ExportStatus("b", "cef", "tls://b.example:1", "retrying", 1, 7, 90.5, error="it answered 400"),
            ExportStatus("c", "jsonl", "file:/c", lag_seconds=61.0),
        ],
    )
    status = read_status(paths.run, clock)
    assert [(one["name"], one["records"], one["failures"]) for one in status["exports"]] == [
        ("a", 5, 0),
        ("b", 1, 7),
        ("c", 0, 0),
    ]
    assert status["exports"][0]["confirmed"] == "1970-01-01T00:00:01.000Z"
    assert "export b (90 s behind): it answered 400" in status["problems"]
    assert "export c is 61 s behind" in status["problems"]
    _, samples = parse(read_metrics(paths, [], clock))
    assert value(samples, "interlock_export_records_total", export="a") == 5
    assert value(samples, "interlock_export_lag_seconds", export="b") == 90.5
    assert value(samples, "interlock_export_failing", export="b") == 1
    (paths.run / "exports.json").write_text("{")
    assert read_status(paths.run, clock)["exports"] == []


def test_a_dead_supervisor_is_no_running_node(paths: Paths, running: NodePage, clock: ManualClock) -> None:
    running.claim(SUPERVISOR_SLOT, SUPERVISOR, 1, pid=2**22 - 1)
    status = read_status(paths.run, clock)
    assert not status["running"]
    assert not status["serving"]


def test_a_time() -> None:
    assert rfc3339(1_700_000_000 * SECOND + 5_000_000) == "2023-11-14T22:13:20.005Z"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:9443", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:9443", True),
        ("[::1]", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:9443", False),
        ("localhost:80@evil.example", False),
        ("[::2]:9443", False),
        ("", False),
    ],
)
def test_a_web_page_cannot_read_the_admin_listener_by_another_name(host: str, own: bool) -> None:
    assert is_own_host(host) is own


def test_only_the_public_half_is_shown(keyring: Keyring) -> None:
    (key,) = jwks(keyring)["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}


@pytest.fixture
def metrics(paths: Paths, running: NodePage, clock: ManualClock) -> str:
    """What `/metrics` says of a node whose processes counted a little."""
    paths.record.mkdir()
    page = MetricsPage.create(paths.metrics, running.slots)
    page.row(FIRST_WORKER_SLOT)[Counter.CALLS] = 5
    page.row(RECORDER_SLOT)[Counter.RECORD_SEALED] = 12
    page.row(CONTROL_SLOT)[Counter.SNAPSHOTS_BUILT] = 3
    running.words[ALARMS] = 2
    running.words[GENERATION] = 4
    clock.advance(6)
    return read_metrics(paths, ISSUERS, clock)


def test_metrics_of_all_processes_and_of_the_node(metrics: str) -> None:
    types, samples = parse(metrics)
    assert value(samples, "interlock_calls_total", process="worker-0") == 5
    assert value(samples, "interlock_record_sealed_frames_total", process="recorder") == 12
    assert value(samples, "interlock_snapshots_built_total", process="control") == 3
    assert value(samples, "interlock_process_up") == 5
    assert value(samples, "interlock_record_alarms_total") == 2
    assert value(samples, "interlock_snapshot_generation") == 4
    assert value(samples, "interlock_record_unsealed_seconds") == 6
    assert value(samples, "interlock_record_free_bytes") > 0
    assert value(samples, "interlock_issuer_keys_age_seconds", issuer="https://a") == 7.5
    assert value(samples, "interlock_issuer_keys_age_seconds", issuer="https://never") == float("inf")
    assert types["interlock_record_alarms_total"] == "counter"


def test_a_record_that_was_never_sealed_has_an_age(
    paths: Paths, running: NodePage, metrics: str, clock: ManualClock
) -> None:
    running.words[SEALED_NS] = 0
    clock.advance(40)
    _, samples = parse(read_metrics(paths, [], clock))
    assert value(samples, "interlock_record_unsealed_seconds") == 46


def test_without_a_node_there_are_no_metrics(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError):
        read_metrics(Paths(tmp_path / "nothing"), [])


def test_what_operations_md_watches_is_exposed_and_nothing_exposed_is_left_out(metrics: str) -> None:
    types, _ = parse(metrics)
    assert set(re.findall(r"interlock_[a-z_]+", OPERATIONS)) == set(types)
    codes = {code.value for code in CODES}
    told = set(re.findall(r"`([a-z]+-[a-z-]+)`", WATCH)) - {"worker-0"}
    assert len(told) >= 6
    assert told <= codes


def test_what_operations_md_reads_in_status_is_there(paths: Paths, running: NodePage, clock: ManualClock) -> None:
    names = re.findall(r"`\.([a-z_.]+)`", WATCH)
    assert len(names) >= 8
    status = {**read_status(paths.run, clock), "issuers": ISSUERS}
    for name in names:
        found: object = status
        for part in name.split("."):
            assert isinstance(found, dict)
            assert part in found, name
            found = found[part]
