"""Hours of an operator's life in minutes: kills, stops, reloads, revocations and a full disk at random
moments under load; afterwards the three accounts of every call must agree. The seed is fixed and printed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually
from tests.integration.test_kills import reconcile
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("INTERLOCK_SOAK_MINUTES", "1"))
SEED = int(os.environ.get("INTERLOCK_SOAK_SEED", "20240607"))
KINDS = ("worker", "worker", "recorder", "control")


def resident(pid: int) -> int:
    """Private memory of a process in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean", "Private_Dirty")))


class Operator:
    """Does one thing after another to a node, at random, from a fixed seed."""

    def __init__(self, node: Node, config: str) -> None:
        self.node = node
        self.config = config
        self.random = random.Random(SEED)
        self.done: dict[str, int] = {}
        self.reloads = 0

    def act(self) -> None:
        deed = self.random.choice(
            [self.kill, self.kill, self.kill, self.reload, self.revoke, self.hiccup, self.restart]
        )
        deed()
        self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1

    def kill(self) -> None:
        kind = self.random.choice(KINDS)
        pid = self.random.choice(self.node.pids(kind) or [0])
        if pid:
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: (pids := self.node.pids(kind)) and pid not in pids, 15), self.node.tail()

    def reload(self) -> None:
        self.reloads += 1
        self.node.configure(self.config + f"# edit {self.reloads}\n")
        self.node.cli("reload")

    def revoke(self) -> None:
        made = self.node.key(f"passing-{self.random.random()}", "caller")
        self.node.cli("key", "revoke", made["id"])
        assert self.node.get("/revoked", made["key"]).status_code == 401

    def hiccup(self) -> None:
        pid = self.random.choice(self.node.pids("worker") or [0])
        if pid:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.random.random())
            os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        if self.random.random() < 0.5:
            self.node.kill()
        else:
            assert self.node.stop() == 0
        self.node.start()


def test_an_operators_life(make_node: Callable[..., Node], upstream: Upstream) -> None:
    print(f"seed {SEED}, {MINUTES * 0.7:.1f} minutes")
    config = CONFIG.format(url=upstream.url).replace("workers: 1", "workers: 2")
    config = config.replace(
        "roles:",
        "  - {match: /durable/*, service: upstream, authenticate: [api_key], allow: call, "
        "limit: none, record: durable}\nroles:",
        1,
    )
    node = make_node(config).start()
    key = str(node.key("soak", "caller")["key"])
    operator = Operator(node, config)
    end = time.monotonic() + MINUTES * 60 * 0.7
    with (
        Load(node.port, key, threads=2, prefix="/written", pause=0.002) as written,
        Load(node.port, key, threads=2, prefix="/durable", pause=0.002) as durable,
        Load(node.port, key, threads=1, prefix="/posts", pause=0.005, body=b"x" * 20_000) as posts,
    ):
        while time.monotonic() < end:
            time.sleep(operator.random.uniform(0.2, 1.5))
            operator.act()
    print(operator.done, written.statuses, durable.statuses, posts.statuses)
    assert node.get("/alive", key).status_code == 200
    assert node.stop() == 0
    for load in (written, durable, posts):
        assert load.statuses[200] > 100
        reconcile(node, upstream, load)


def test_memory_stays_flat(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("memory", "caller")["key"])
    end = time.monotonic() + MINUTES * 60 * 0.2
    with Load(node.port, key, threads=4, prefix="/memory") as load:
        load.wait(5000, timeout=60)
        before = {kind: resident(node.pids(kind)[0]) for kind in ("worker", "recorder")}
        while time.monotonic() < end:
            load.wait(1000)
            load.answers.clear()
            upstream.seen.clear()
        after = {kind: resident(node.pids(kind)[0]) for kind in ("worker", "recorder")}
    print(before, after)
    for kind in before:
        assert after[kind] - before[kind] < 24 * 1024, f"{kind} grew from {before[kind]} to {after[kind]} KiB"
    assert node.stop() == 0
    assert node.verify()["ok"]
