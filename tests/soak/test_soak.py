"""Hours of an operator's life in minutes: kills, stops, reloads, revocations, a full disk, upstreams that
restart, callers that vanish and floods, at random moments under load; afterwards the three accounts of every
call must agree, with h11 behind and with nginx. The seed is fixed and printed."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.nginx import Nginx, executable
from tests.integration.node import Node, eventually
from tests.integration.test_kills import reconcile
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("INTERLOCK_SOAK_MINUTES", "1"))
SEED = int(os.environ.get("INTERLOCK_SOAK_SEED", "20240607"))
KINDS = ("worker", "worker", "recorder", "control")


@dataclass
class Target:
    """One request of nginx's log, as `reconcile` reads it."""

    target: str


class Behind:
    """What is behind the gateway: what it saw, and a restart of it."""

    def __init__(self, server: Upstream | Nginx) -> None:
        self._server = server
        self.url = server.url

    @property
    def seen(self) -> list[Target]:
        if isinstance(self._server, Upstream):
            return [Target(seen.target) for seen in self._server.seen]
        return [Target(line.split(" ", 1)[1]) for line in self._server.seen()]

    def restart(self) -> None:
        if isinstance(self._server, Upstream):
            self._server.close_connections()
        else:
            self._server.restart()


def resident(pid: int) -> int:
    """Private memory of a process in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean", "Private_Dirty")))


class Operator:
    """Does one thing after another to a node, at random, from a fixed seed."""

    def __init__(self, node: Node, config: str, behind: Behind, key: str) -> None:
        self.node = node
        self.config = config
        self.behind = behind
        self.key = key
        self.random = random.Random(SEED)
        self.done: dict[str, int] = {}
        self.reloads = 0
        self.deaths = 0  # of workers

    def act(self) -> None:
        deeds = [self.kill, self.kill, self.kill, self.reload, self.revoke, self.hiccup, self.restart]
        deeds += [self.full_disk, self.upstream_restart, self.vanish, self.flood]
        deed = self.random.choice(deeds)
        deed()
        self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1

    def kill(self) -> None:
        kind = self.random.choice(KINDS)
        pid = self.random.choice(self.node.pids(kind) or [0])
        if pid:
            self.deaths += kind == "worker"
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

    def full_disk(self) -> None:
        """A worker can write no further, for a moment."""
        pid = self.random.choice(self.node.pids("worker") or [0])
        if pid:
            limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.random.randrange(1_000, 30_000), limits[1]))
            time.sleep(self.random.uniform(0.2, 1.5))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def upstream_restart(self) -> None:
        self.behind.restart()

    def vanish(self) -> None:
        """Callers go in the middle of a head, a body or an answer, some with a reset."""
        pieces = [
            b"GET /vani",
            f"POST /vanished HTTP/1.1\r\nHost: a\r\nX-API-Key: {self.key}\r\nContent-Length: 9\r\n\r\nhalf".encode(),
            f"GET /vanished HTTP/1.1\r\nHost: a\r\nX-API-Key: {self.key}\r\n\r\n".encode(),
        ]
        for _ in range(20):
            try:
                sock = self.node.connect()
                sock.sendall(self.random.choice(pieces))
            except OSError:
                continue
            if self.random.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def flood(self) -> None:
        with Load(self.node.port, "ilk_nonsense", threads=4, prefix="/flood", source="127.0.9.1"):
            time.sleep(self.random.uniform(0.3, 1.0))

    def restart(self) -> None:
        if self.random.random() < 0.5:
            self.deaths += 2
            self.node.kill()
        else:
            assert self.node.stop() == 0
        self.node.start()


@pytest.mark.parametrize(("kind", "share"), [("h11", 0.35), ("nginx", 0.25)])
def test_an_operators_life(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path, kind: str, share: float
) -> None:
    print(f"seed {SEED}, {kind}, {MINUTES * share:.1f} minutes")
    nginx: Nginx | None = None
    if kind == "nginx":
        if executable() is None:
            pytest.skip("nginx is not installed: apt-get install nginx-light")
        nginx = Nginx(tmp_path / "nginx")
    try:
        live(make_node, Behind(nginx or upstream), share)
    finally:
        if nginx is not None:
            nginx.close()


def live(make_node: Callable[..., Node], behind: Behind, share: float) -> None:
    config = CONFIG.format(url=behind.url).replace("workers: 1", "workers: 2")
    config = config.replace(
        "roles:",
        "  - {match: /durable/*, service: upstream, authenticate: [api_key], allow: call, "
        "limit: none, record: durable}\nroles:",
        1,
    )
    node = make_node(config).start()
    key = str(node.key("soak", "caller")["key"])
    operator = Operator(node, config, behind, key)
    end = time.monotonic() + MINUTES * 60 * share
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
        load.threads *= 1 + operator.deaths  # what may be lost with a worker may be lost with each
        reconcile(node, behind, load, worker_killed=True)


def test_honest_callers_pass_through_an_anonymous_flood(make_node: Callable[..., Node], upstream: Upstream) -> None:
    """Many connections from many addresses, with wrong keys and with none, for up to a minute."""
    node = make_node(CONFIG.format(url=upstream.url).replace("workers: 1", "workers: 2")).start()
    key = str(node.key("honest", "caller")["key"])
    end = time.monotonic() + min(60, MINUTES * 60 * 0.2)
    idle = [node.connect() for _ in range(200)]
    floods = [
        Load(node.port, "ilk_nonsense" if number % 2 else "", threads=2, prefix="/flood", source=f"127.0.9.{number}")
        for number in range(1, 9)
    ]
    for flood in floods:
        flood.__enter__()
    try:
        with Load(node.port, key, threads=2, prefix="/honest", pause=0.005) as honest:
            while time.monotonic() < end:
                before = len(honest.answers)
                time.sleep(3)
                assert len(honest.answers) > before, "nobody honest is served"
    finally:
        for flood in floods:
            flood.__exit__()
        for sock in idle:
            sock.close()
    print(honest.statuses, [dict(flood.statuses) for flood in floods])
    assert set(honest.statuses) == {200}, honest.statuses
    assert set().union(*(flood.statuses for flood in floods)) <= {401, 429}
    refused = sum(len(flood.answers) for flood in floods)
    time.sleep(2.5)  # what was counted of the last second is written in the next
    assert node.stop() == 0
    rows = [row for row in node.query("--decision", "deny", "--limit", "10000000") if row["source"] != "127.0.0.1"]
    assert sum(row.get("count", 1) for row in rows) == refused, "a refusal is neither recorded nor counted"
    assert len(rows) < refused, "every refusal of a flood has a record of its own"
    reconcile(node, Behind(upstream), honest, worker_killed=False)


def test_memory_stays_flat(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("memory", "caller")["key"])
    kinds = ("supervisor", "worker", "recorder", "control")
    end = time.monotonic() + MINUTES * 60 * 0.15
    with Load(node.port, key, threads=4, prefix="/memory") as load:
        load.wait(5000, timeout=60)
        before = {kind: resident(node.pids(kind)[0]) for kind in kinds}
        while time.monotonic() < end:
            load.wait(1000)
            load.answers.clear()
            upstream.seen.clear()
        after = {kind: resident(node.pids(kind)[0]) for kind in kinds}
    print(before, after)
    for kind in before:
        assert after[kind] - before[kind] < 24 * 1024, f"{kind} grew from {before[kind]} to {after[kind]} KiB"
    assert node.stop() == 0
    assert node.verify()["ok"]
