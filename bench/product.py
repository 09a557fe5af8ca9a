"""Interlock as the gateway under test: its file, its start, its processes, and when its record is sealed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from material import Material
from measure import GATEWAY_CORE, BenchError, Calls, cpu_seconds, stored
from peers import AUDIENCE, ISSUER, ROLE, UPSTREAM_PORT, Gateway, bearer, fresh_folder, running
from proofs import Senders

from interlock.jose.dpop import AHEAD
from interlock.snapshot import NodePage

PORT = 19010
INTERLOCK = [str(Path(sys.executable).with_name("interlock"))]


@dataclass(frozen=True)
class Setup:
    """How one row's gateway is set up. Everything else is as it comes."""

    name: str = "interlock"
    durable: bool = False
    tls: bool = False
    routes: int = 10
    workers: int = 1
    authenticate: str = "jwt"
    pinned: bool = True
    port: int = PORT  # and, ten after, that of the admin listener


class Node:
    """A data directory and its file; the commands work whether it runs or not."""

    def __init__(self, setup: Setup, material: Material) -> None:
        self.setup = setup
        self.folder = fresh_folder(setup.name)
        self.file = self.folder / "interlock.yaml"
        self.data = self.folder / "data"
        # JSON is YAML; written by the standard library, read as any file.
        self.file.write_text(json.dumps(configuration(setup, material, self.data), indent=1))

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [*INTERLOCK, "-c", str(self.file), *words], capture_output=True, text=True, check=False, cwd=self.folder
        )
        if done.returncode:
            raise BenchError(f"interlock {' '.join(words)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def up(self, calls: Calls) -> Iterator[Gateway]:
        core = GATEWAY_CORE if self.setup.pinned else None
        with running([*INTERLOCK, "-c", str(self.file), "up"], core, self.folder / "log", self.setup.port) as pid:
            self.command("status", "--wait", "60")
            self._started(pid)
            scheme = "https" if self.setup.tls else "http"
            yield Gateway(pid, f"{scheme}://127.0.0.1:{self.setup.port}/r0/a-1", calls, self.sealed)

    def _started(self, pid: int, limit_s: float = 60.0) -> None:
        """Workers serve before control is ready; what the others do at their start is not a call's cost."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            page = NodePage.open(self.data / "run" / "page")
            states = {process.kind: process.state for process in page.processes()}
            page.close()
            if states.get("control") == "ready" and set(states.values()) == {"ready"}:
                break
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.setup.port + 10}/healthz"):
            pass  # it is loaded when it is first asked for
        while time.monotonic() < deadline:
            before = cpu_seconds(pid)
            time.sleep(0.5)
            if cpu_seconds(pid) - before <= 0.03:
                return
        raise BenchError(f"not every process is ready after {limit_s:g} s: {states}")

    def sealed(self) -> object:
        """The size of every file of the record: at rest when what was written is sealed."""
        return stored(self.data / "record")

    def processes(self) -> dict[int, str]:
        """What each process of the running node is, by its id."""
        page = NodePage.open(self.data / "run" / "page")
        try:
            return {process.pid: process.kind for process in page.processes() if process.alive}
        finally:
            page.close()

    def worker_pids(self) -> list[int]:
        return [pid for pid, kind in self.processes().items() if kind == "worker"]


def configuration(setup: Setup, material: Material, data: Path) -> dict[str, object]:
    pair = {"certificate": str(material.certificate), "key": str(material.key)}
    return {
        "version": 1,
        "workers": setup.workers,
        "data_dir": str(data),
        "admin": f"127.0.0.1:{setup.port + 10}",
        "listeners": [{"address": f"127.0.0.1:{setup.port}", "tls": pair if setup.tls else "off"}],
        "connections": {"per_worker": 20000, "per_address": 20000, "handshakes": 4096},
        "services": {
            "up": {
                "upstreams": [f"http://127.0.0.1:{UPSTREAM_PORT}"],
                "record": "durable" if setup.durable else "written",
                "pool": 512,  # as the peers have
            }
        },
        "routes": [
            {
                "match": f"GET /r{number}/{{id}}",
                "service": "up",
                "authenticate": [setup.authenticate],
                "allow": "a:read",
                "limit": "1000000/s per principal",
            }
            for number in range(setup.routes)
        ],
        "roles": {"reader": ["a:read"]},
        "identity": {
            "issuers": [
                {
                    "issuer": ISSUER,
                    "audience": AUDIENCE,
                    "algorithms": ["RS256"],
                    "jwks": str(material.certificate.with_name("jwks.json")),
                    "roles": {"from": "roles", "map": {ROLE: "reader"}},
                }
            ]
        },
    }


@contextmanager
def interlock_dpop(setup: Setup, material: Material) -> Iterator[Gateway]:
    """The same, called with tokens that are bound to keys, and a proof for each call."""
    node = Node(setup, material)
    senders = Senders(material, f"http://127.0.0.1:{PORT}/r0/a-1", node.folder)
    with node.up(Calls(fresh=senders.fresh)) as gateway:
        time.sleep(AHEAD + 1)  # until then a proof without a nonce may be older than the node
        yield gateway


@contextmanager
def interlock(setup: Setup, material: Material) -> Iterator[Gateway]:
    with Node(setup, material).up(bearer(material.token)) as gateway:
        yield gateway
