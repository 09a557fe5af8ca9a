"""Promises 1 and 2: whoever of our processes is killed, nothing passes or is answered without a record,
and every intent gets an outcome."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration


def reconcile(node: Node, upstream: Upstream, load: Load) -> None:
    """Hold the three accounts against each other."""
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
    open_calls = [call["resource"] for call in calls if not call["status"] and call["reason"] is None]
    assert not open_calls, f"intents without an outcome: {open_calls[:5]}"


@pytest.mark.parametrize("durable", [False, True], ids=["written", "durable"])
@pytest.mark.parametrize("kind", ["worker", "recorder", "control"])
def test_killing_a_process_under_load(
    make_node: Callable[..., Node], upstream: Upstream, kind: str, durable: bool
) -> None:
    config = CONFIG.format(url=upstream.url).replace("workers: 1", "workers: 2")
    if durable:
        config = config.replace("upstreams:", "record: durable, upstreams:")
    node = make_node(config).start()
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
    reconcile(node, upstream, load)


def test_killing_everything_and_starting_again(node: Node, key: str, upstream: Upstream) -> None:
    with Load(node.port, key) as load:
        load.wait(200)
        node.kill()
    node.start()
    assert node.get("/again", key).status_code == 200
    report = node.verify()
    assert report["ok"], report
    assert any("gap" in str(notice) for notice in report["notices"])
    assert node.stop() == 0
    reconcile(node, upstream, load)


def test_children_do_not_outlive_the_supervisor(node: Node) -> None:
    processes = node.status()["processes"]
    supervisor = next(entry["pid"] for entry in processes if entry["kind"] == "supervisor")
    os.kill(supervisor, signal.SIGKILL)
    others = [entry["pid"] for entry in processes if entry["kind"] != "supervisor" and entry["pid"]]

    def gone(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] in ("Z", "X")
        except FileNotFoundError:
            return True

    assert eventually(lambda: all(gone(pid) for pid in others), timeout=15)


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
        os.kill(control, signal.SIGCONT)
