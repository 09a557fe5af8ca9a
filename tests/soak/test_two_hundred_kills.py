"""kill -9 two hundred times at random moments, every process in turn, under load in both modes; afterwards what the
callers got, what the upstream saw and what the record says must agree, and the record must go on from every checkpoint
that was kept on the way. The seed is fixed and printed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually
from tests.integration.test_kills import reconcile
from tests.integration.upstream import Upstream
from tests.processes import GONE, runs

pytestmark = pytest.mark.soak

SEED = int(os.environ.get("INTERLOCK_SOAK_SEED", "20240607"))
KILLS = 200
KINDS = ("worker", "recorder", "control", "worker", "recorder", "worker", "control", "recorder", "supervisor", "all")


def processes(node: Node) -> dict[int, str]:
    """The supervisor's children and what they are, from the kernel: asking the node would be most of the work."""
    assert node.process is not None
    parent, found = node.process.pid, {}
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except GONE:
        return {}
    for pid in children:
        try:
            found[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("ilk-").partition("-")[0]
        except GONE:
            continue
    return found


def kill(node: Node, kind: str, choose: random.Random) -> None:
    """One of a kind, or everything at once; then wait until another is in its place."""
    before = processes(node)
    assert node.process is not None
    if kind in ("supervisor", "all"):
        node.process.kill()
        for pid in before if kind == "all" else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        node.process.wait(10)
        assert eventually(lambda: not any(runs(pid) for pid in before), 15)
        node.start()
        return
    pids = [pid for pid, name in before.items() if name == kind]
    if pids:
        pid, count = choose.choice(pids), len(pids)
        os.kill(pid, signal.SIGKILL)

        def replaced() -> bool:
            now = [pid for pid, name in processes(node).items() if name == kind]
            return pid not in now and len(now) >= count

        assert eventually(replaced, 20), node.tail()


def test_two_hundred_kills(make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path) -> None:
    choose = random.Random(SEED)
    print(f"seed {SEED}")
    config = CONFIG.format(url=upstream.url).replace("workers: 1", "workers: 2")
    config = config.replace(
        "roles:",
        "  - {match: /durable/*, service: upstream, authenticate: [api_key], allow: call, "
        "limit: none, record: durable}\nroles:",
        1,
    )
    node = make_node(config).start()
    key = str(node.key("soak", "caller")["key"])
    killed: Counter[str] = Counter()
    kept: list[Path] = []
    with (
        Load(node.port, key, threads=2, prefix="/written", pause=0.004) as written,
        Load(node.port, key, threads=2, prefix="/durable", pause=0.004) as durable,
    ):
        for number in range(KILLS):
            kind = KINDS[number % len(KINDS)]
            time.sleep(choose.random() * 0.5)
            kill(node, kind, choose)
            killed[kind] += 1
            if number % 20 == 10:
                kept.append(tmp_path / f"{number}.checkpoint")
                node.cli("audit", "checkpoint", "--out", str(kept[-1]))
        assert node.get("/alive", key).status_code == 200
    assert node.stop() == 0
    print(dict(killed), written.statuses, durable.statuses)
    assert sum(killed.values()) == KILLS
    for load in (written, durable):
        assert load.statuses[200] > 1000
        load.threads *= 1 + killed["worker"] + 2 * (killed["supervisor"] + killed["all"])
        reconcile(node, upstream, load, worker_killed=True)
    words = [word for path in kept for word in ("--checkpoint", str(path))]
    done = node.cli("audit", "verify", *words, check=False)
    assert done.returncode == 0, done.stdout
