"""Without the recorder calls pass for `max_unsealed`, without control for `max_stale`; then they are refused,
until there is one again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

import httpx
import pytest

from interlock.errors import SnapshotError
from interlock.snapshot import NodePage
from interlock.snapshot.page import PID, RECORDER_SLOT, SEALED_NS, slot_base
from tests.integration.conftest import CONFIG
from tests.integration.node import INTERLOCK, Node, eventually, fetch
from tests.integration.upstream import Upstream
from tests.processes import resume

pytestmark = pytest.mark.integration


def refused(node: Node, key: str) -> bool:
    return node.get("/x", key).status_code == 503


def reasons(node: Node) -> set[str]:
    """Why anything was refused; of the metrics, since what cannot be recorded is not in the record."""
    text = fetch(node.status()["admin"] + "/metrics").text
    found = re.findall(r'^interlock_refusals_total\{.*reason="([^"]+)".*\} (\d+)', text, re.MULTILINE)
    return {reason for reason, count in found if int(count)}


@pytest.mark.parametrize(
    ("kind", "setting", "reason"),
    [
        ("recorder", "max_unsealed", "record-unavailable"),
        ("control", "max_stale", "snapshot-stale"),
    ],
)
def test_calls_pass_for_a_while_then_are_refused_and_then_pass_again(
    make_node: Callable[..., Node], upstream: Upstream, kind: str, setting: str, reason: str
) -> None:
    node = make_node(CONFIG.format(url=upstream.url) + f"defaults: {{{setting}: 2s}}\n").start()
    key = str(node.key("patient", "caller")["key"])
    (pid,) = node.pids(kind)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert node.get("/x", key).status_code == 200, "it is not missed at once"
        assert eventually(lambda: refused(node, key), timeout=20), node.tail()
        assert time.monotonic() - began > 1
        before = len(upstream.seen)
        assert node.get("/never", key).status_code == 503
        assert len(upstream.seen) == before
    finally:
        resume(pid)
    assert eventually(lambda: node.get("/x", key).status_code == 200, timeout=30), node.tail()
    assert eventually(lambda: node.status()["problems"] == [], timeout=20), node.status()["problems"]
    assert eventually(lambda: reason in reasons(node)), reasons(node)
    assert node.stop() == 0
    assert node.verify()["ok"]


def test_a_recorder_that_never_sealed_anything_is_missed_too(
    make_node: Callable[..., Node], upstream: Upstream
) -> None:
    node = make_node(CONFIG.format(url=upstream.url) + "defaults: {max_unsealed: 1s}\n")
    with node.log.open("ab") as log:
        node.process = subprocess.Popen(
            [*INTERLOCK, "-c", str(node.file), "up"], stdout=log, stderr=log, env=node.env, cwd=node.folder
        )

    def recorder() -> int:
        try:
            page = NodePage.open(node.data / "run" / "page")
        except SnapshotError:
            return 0
        return int(page.words[slot_base(RECORDER_SLOT) + PID])

    pid = eventually(recorder, timeout=30, pause=0.001)
    os.kill(pid, signal.SIGSTOP)
    if NodePage.open(node.data / "run" / "page").words[SEALED_NS]:
        os.kill(pid, signal.SIGCONT)
        pytest.skip("the recorder was quicker than we")

    def answer() -> int:
        try:
            return node.get("/open/x").status_code
        except httpx.TransportError:  # it does not listen yet
            return 0

    assert eventually(lambda: answer() == 503, timeout=30), node.tail()
    assert any("sealed" in problem for problem in node.status()["problems"])
    resume(pid)
    assert eventually(lambda: answer() == 200, timeout=30), node.tail()
