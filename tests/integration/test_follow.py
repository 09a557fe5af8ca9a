"""`audit query --follow` on a running node, and the filters that it shares with queries."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from interlock.snapshot import NodePage
from interlock.snapshot.page import SEALED_NS
from tests.integration.node import INTERLOCK, Node, eventually

pytestmark = pytest.mark.integration


class Following:
    """A command that follows; `lines` has what it printed, with the time at which it came."""

    def __init__(self, node: Node, *words: str) -> None:
        self.process = subprocess.Popen(
            [*INTERLOCK, "-c", str(node.file), "audit", "query", "--follow", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=node.env,
        )
        self.lines: queue.Queue[tuple[int, str]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put((time.time_ns(), line.rstrip("\n")))

    def next(self, timeout: float = 10) -> tuple[int, str]:
        return self.lines.get(timeout=timeout)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextmanager
def following(node: Node, *words: str) -> Iterator[Following]:
    before = len(reads(node))
    one = Following(node, *words)
    try:
        assert eventually(lambda: len(reads(node)) > before, 20), "it is on the record before it begins"
        time.sleep(0.3)
        yield one
    finally:
        one.process.kill()
        one.process.wait(10)


def reads(node: Node) -> list[dict[str, Any]]:
    acts = node.query("--acts")
    return [act for act in acts if act["event"] == "record:read" and act["details"].get("kind") == "follow"]


def test_calls_come_when_they_are_sealed_and_ctrl_c_ends_it(node: Node, key: str) -> None:
    node.get("/before", key)
    page = NodePage.open(node.data / "run" / "page")
    delays = []
    with following(node, "--json") as shown:
        for number in range(5):
            asked = time.time_ns()
            node.get(f"/new/{number}", key)
            sealed = eventually(lambda: page.words[SEALED_NS] > asked and time.time_ns(), pause=0.001)
            came, line = shown.next()
            row = json.loads(line)
            assert (row["resource"], row["decision"], row["status"]) == (f"/new/{number}", "allow", 200)
            assert row == {**node.row(f"/new/{number}")}
            delays.append((came - sealed) / 1e9)
        assert sorted(delays)[len(delays) // 2] < 0.5, delays
        assert shown.end() == 0
        assert shown.lines.empty()
    (act,) = reads(node)
    assert act["details"] == {"kind": "follow", "of": "calls"}


def test_filters_hold_for_what_comes_and_for_what_is_asked(node: Node, key: str) -> None:
    with following(node, "--decision", "deny", "--status", "4xx", "--source", "127.0.0.0/8") as shown:
        node.get("/fine", key)
        node.get("/refused")
        _, line = shown.next()
        assert "deny" in line
        assert "/refused" in line
        assert shown.end() == 0
    (act,) = reads(node)
    assert act["details"]["filters"] == {"decision": "deny", "status": ["4xx"], "source": ["127.0.0.0/8"]}
    node.get("/open/x")

    def found(*words: str) -> set[str]:
        return {row["resource"] for row in node.query(*words)}

    assert eventually(lambda: found() == {"/fine", "/refused", "/open/x"})
    assert found("--status", "401") == {"/refused"}
    assert found("--status", "200", "--route", "GET /open/*") == {"/open/x"}
    assert found("--service", "upstream", "--principal", "service:*") == {"/fine"}
    assert found("--reason", "credential-missing") == {"/refused"}
    assert found("--method", "post") == set()
    assert found("--source", "10.0.0.0/8") == set()
    assert node.cli("audit", "query", "--source", "ten", check=False).returncode == 2
    assert node.cli("audit", "query", "--status", "six", check=False).returncode == 2
    assert node.cli("audit", "query", "--follow", "--limit", "3", check=False).returncode == 2


def test_acts_can_be_followed_and_a_stop_of_the_node_ends_it(node: Node) -> None:
    with following(node, "--acts", "--json") as shown:
        node.key("another", "caller")
        events = []
        while "key:create" not in events:
            events.append(json.loads(shown.next()[1])["event"])
        assert node.stop() == 0
        assert shown.process.wait(10) in (0, 1)
    result = node.cli("audit", "query", "--follow", check=False)
    assert result.returncode == 1
    assert "does not run" in result.stderr


def test_many_may_follow_and_questions_are_answered_meanwhile(node: Node, key: str) -> None:
    followers = [Following(node, "--json") for _ in range(4)]
    try:
        assert eventually(lambda: len(reads(node)) == 4, 20)
        time.sleep(0.3)
        node.get("/seen", key)
        for one in followers:
            assert json.loads(one.next()[1])["resource"] == "/seen"
        followers[0].process.kill()  # without a word
        node.get("/more", key)
        assert json.loads(followers[1].next()[1])["resource"] == "/more"
    finally:
        for one in followers:
            one.process.kill()
            one.process.wait(10)
