"""Promises 1 and 2: whoever of our processes is killed, nothing passes or is answered without a record,
and every intent gets an outcome."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream
from tests.processes import resume, runs

pytestmark = pytest.mark.integration


DURABLE = pytest.mark.parametrize("durable", [False, True], ids=["written", "durable"])


def config_of(upstream: Upstream, durable: bool, workers: int = 2) -> str:
    config = CONFIG.format(url=upstream.url).replace("workers: 1", f"workers: {workers}")
    return config.replace("upstreams:", "record: durable, upstreams:") if durable else config


def reconcile(node: Node, upstream: Upstream, load: Load, *, worker_killed: bool) -> None:
    """Hold the three accounts against each other; only calls of a killed worker may have an unknown outcome."""
    report = eventually(lambda: (report := node.verify())["ok"] and report, timeout=10)
    assert report, node.verify()
    calls = node.query("--limit", "1000000")
    recorded = {call["resource"]: call for call in calls if call["resource"].startswith(load.prefix)}
    passed = {seen.target for seen in upstream.seen if seen.target.startswith(load.prefix)}
    unrecorded = [path for path in passed if path not in recorded or recorded[path]["decision"] != "allow"]
    assert not unrecorded, f"reached the upstream without an intent: {unrecorded[:5]}"
    for path, status in load.answers.items():
        if status and status != 503:
            assert path in recorded, f"answered {status} without a record: {path}"
        if status == 200:
            assert path in passed
    assert len(recorded) >= load.statuses[200]
    outcomes = Counter(call["outcome"] for call in calls)
    assert not outcomes["open"], f"intents without an outcome: {outcomes}"
    unknown = [path for path, call in recorded.items() if call["outcome"] == "unknown"]
    assert worker_killed or not unknown, f"nobody died who served these: {unknown[:5]}"
    answered = [path for path in unknown if load.answers.get(path) == 200]
    assert len(answered) <= 50 * load.threads, "outcomes wait for company for a moment only"


@DURABLE
@pytest.mark.parametrize("kind", ["worker", "recorder", "control"])
def test_killing_a_process_under_load(
    make_node: Callable[..., Node], upstream: Upstream, kind: str, durable: bool
) -> None:
    node = make_node(config_of(upstream, durable)).start()
    key = str(node.key("loader", "caller")["key"])
    with Load(node.port, key) as load:
        for _ in range(3):
            load.wait(100)
            pid = node.pids(kind)[0]
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda pid=pid: (pids := node.pids(kind)) and pid not in pids), node.tail()
        load.wait(200)
    if kind != "worker":
        assert set(load.statuses) == {200}, load.statuses
    assert load.statuses[200] > 300
    assert node.stop() == 0
    reconcile(node, upstream, load, worker_killed=kind == "worker")


@DURABLE
def test_killing_the_supervisor_alone_under_load(
    make_node: Callable[..., Node], upstream: Upstream, durable: bool
) -> None:
    """The others leave by themselves, and a new node takes the record up where they left it."""
    node = make_node(config_of(upstream, durable)).start()
    key = str(node.key("orphan", "caller")["key"])
    with Load(node.port, key) as load:
        load.wait(200)
        processes = node.status()["processes"]
        assert node.process is not None
        node.process.kill()
        node.process.wait(10)
        others = [entry["pid"] for entry in processes if entry["kind"] != "supervisor" and entry["pid"]]
        assert len(others) >= 4
        assert eventually(lambda: not any(runs(pid) for pid in others), timeout=15)
    assert load.statuses[200] > 100
    node.start()
    assert node.get("/again", key).status_code == 200
    assert node.stop() == 0
    reconcile(node, upstream, load, worker_killed=True)


@DURABLE
def test_killing_everything_and_starting_again(
    make_node: Callable[..., Node], upstream: Upstream, durable: bool
) -> None:
    node = make_node(config_of(upstream, durable)).start()
    key = str(node.key("tester", "caller")["key"])
    with Load(node.port, key) as load:
        load.wait(200)
        node.kill()
    node.start()
    assert node.get("/again", key).status_code == 200
    report = node.verify()
    assert report["ok"], report
    assert any("gap" in str(notice) for notice in report["notices"])
    assert load.statuses[200] > 100
    assert node.stop() == 0
    reconcile(node, upstream, load, worker_killed=True)


def test_children_do_not_outlive_the_supervisor(node: Node) -> None:
    processes = node.status()["processes"]
    supervisor = next(entry["pid"] for entry in processes if entry["kind"] == "supervisor")
    os.kill(supervisor, signal.SIGKILL)
    others = [entry["pid"] for entry in processes if entry["kind"] != "supervisor" and entry["pid"]]

    assert eventually(lambda: not any(runs(pid) for pid in others), timeout=15)


def test_a_worker_that_hangs_is_replaced(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("patient", "caller")["key"])
    pid = node.pids("worker")[0]
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    assert eventually(lambda: pid not in node.pids("worker"), timeout=40)
    assert time.monotonic() - started < 40
    assert eventually(lambda: node.get("/alive", key).status_code == 200, timeout=10)


def test_revoked_means_refused_when_the_command_returns(node: Node, key: str) -> None:
    for round_ in range(5):
        made = node.key(f"short-lived-{round_}", "caller")
        with Load(node.port, made["key"], threads=2, prefix=f"/r{round_}") as load:
            load.wait(20)
            node.cli("key", "revoke", made["id"])
            # 429 once the load, refused since, has used up the address's budget of failures
            assert node.get("/after", made["key"]).status_code in (401, 429)
            marked = len(load.answers)
            load.wait(20)
        late = list(load.answers.values())[marked + 2 :]
        assert 200 not in late
        assert node.query("--limit", "1", "--decision", "deny")[0]["reason"] in (
            "credential-revoked",
            "too-many-failures",
        )
    assert node.get("/other", key).status_code == 200


def test_revoking_works_with_control_dead(node: Node) -> None:
    made = node.key("doomed", "caller")
    assert node.get("/before", made["key"]).status_code == 200
    control = node.pids("control")[0]
    os.kill(control, signal.SIGSTOP)
    try:
        node.cli("key", "revoke", made["id"])
        assert node.get("/after", made["key"]).status_code == 401
    finally:
        resume(control)
