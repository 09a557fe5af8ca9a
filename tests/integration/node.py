"""Starts the real product, `interlock up`, on loopback, and speaks to it as its users do.

`cli` runs a command as a process of its own. What only prepares or looks (`status`, `pids`, `key`, `query`) asks as the
command does, at the control socket and the page, without starting a process for it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from interlock.audit import log_verifier
from interlock.audit.prove import newest_checkpoint
from interlock.cli.desk import data_dir_of
from interlock.control.client import Client, Unanswered, Unreachable
from interlock.control.status import read_status
from tests.processes import resume

INTERLOCK = [sys.executable, "-m", "interlock"]


# Below the ports that the kernel gives to those who call, and for each worker of pytest its own.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_PORTS = itertools.cycle(range(12000 + _WORKER + _WORKERS * random.randrange(5000), 32000, _WORKERS))
# How to speak plain HTTP: to load the authorities of TLS takes httpx longer than the call.
PLAIN: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": 20}
# What `query` asks for itself.
_QUESTIONS = {"--limit": int, "--decision": str, "--principal": str}


def fetch(url: str, **options: Any) -> httpx.Response:
    """GET over plain HTTP."""
    return httpx.get(url, **{**PLAIN, **options})


def free_port() -> int:
    """A port on which nobody listens, and which nobody else here will be given soon."""
    for port in _PORTS:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError


class Node:
    """One node in its own folder; `config` is the text of its file, where PORT stands for the port."""

    def __init__(self, folder: Path, config: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.file = folder / "interlock.yaml"
        self.env = {**os.environ, "NO_COLOR": "1", **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "node.log"
        self.configure(config)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return data_dir_of(self.file) or self.folder / "interlock-data"

    def configure(self, config: str) -> None:
        self.file.write_text(config.replace("PORT", str(self.port)))

    def cli(self, *words: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [*INTERLOCK, "-c", str(self.file), *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env,
            cwd=self.folder,
        )
        if check:
            assert result.returncode == 0, (
                f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}\n{self.tail()}"
            )
        return result

    def start(self, wait: float = 30) -> Node:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*INTERLOCK, "-c", str(self.file), "up"], stdout=log, stderr=log, env=self.env, cwd=self.folder
            )
        end = time.monotonic() + wait
        while not self._serves() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert self.status()["serving"], f"the node does not serve\n{self.tail()}"
        return self

    def _serves(self) -> bool:
        found = self.status()
        return bool(found["serving"] and (found.get("issuer") is None or found["issuer"]["serving"]))

    def stop(self, timeout: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self.process = None
        return code

    def kill(self) -> None:
        """End everything at once, whatever state it is in: nobody leaves in peace because another is gone."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGSTOP)  # it starts nobody anew
        try:
            processes = self.status().get("processes", [])
        except Exception:
            processes = []
        for entry in processes:
            if entry.get("pid") and entry["pid"] != self.process.pid:
                try:
                    os.kill(entry["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.kill()
        self.process.wait(10)
        self.process = None

    @contextmanager
    def held(self, pid: int) -> Iterator[None]:
        """A process hangs, for as long as the test likes: the supervisor, which would kill it, is held up with it.

        Not while it writes to the state: who waits for that would wait as long.
        """
        (supervisor,) = self.pids("supervisor")
        os.kill(supervisor, signal.SIGSTOP)
        for _ in range(1000):
            os.kill(pid, signal.SIGSTOP)
            if not self._state_is_locked():
                break
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)
        try:
            yield
        finally:
            resume(pid)
            resume(supervisor)

    def _state_is_locked(self) -> bool:
        with closing(sqlite3.connect(self.data / "state.db", isolation_level=None, timeout=0)) as state:
            try:
                state.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            state.execute("ROLLBACK")
            return False

    def status(self) -> dict[str, Any]:
        """As `interlock status --json` has it."""
        return read_status(self.data / "run")

    def pids(self, kind: str) -> list[int]:
        """Of those that live of a kind: supervisor, recorder, control, analyst, worker. Never 0, to which it is said
        that everybody here shall be killed.
        """
        return [entry["pid"] for entry in self.status()["processes"] if entry["kind"] == kind and entry["pid"]]

    def key(self, name: str, *roles: str, **options: str) -> dict[str, Any]:
        if self.process is not None and not options:
            asked = {"name": name, "roles": list(roles), "networks": []}
            return self._ask("key.create", asked, [], patience=15)
        words = ["key", "create", name, "--json"]
        for role in roles:
            words += ["--role", role]
        for option, value in options.items():
            words += [f"--{option}", value]
        return json.loads(self.cli(*words).stdout)

    def query(self, *words: str) -> list[dict[str, Any]]:
        """What `interlock audit query` answers; by that command where control does not."""
        asked = _question(words)
        if self.process is not None and asked is not None:
            rows: list[dict[str, Any]] = []
            try:
                done = self._ask("audit.query", asked, rows)
            except (Unreachable, Unanswered):
                pass
            else:
                assert done["problems"] == [], done["problems"]
                return rows
        lines = self.cli("audit", "query", "--json", *words).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def _ask(
        self, op: str, arguments: dict[str, Any], rows: list[dict[str, Any]], patience: float = 0
    ) -> dict[str, Any]:
        """Ask control, which comes up after the workers. Raises `Unreachable`, `Unanswered` and what it raises."""
        end = time.monotonic() + patience
        while True:
            try:
                return Client(self.data / "run").call(op, arguments, rows.append)
            except Unreachable:
                if time.monotonic() > end:
                    raise
            time.sleep(0.02)

    def signed(self) -> int:
        """How many records the newest checkpoint covers."""
        return log_verifier(self.data / "keys").open(newest_checkpoint(self.data / "record")).size

    def verify(self) -> dict[str, Any]:
        return json.loads(self.cli("audit", "verify", "--json", check=False).stdout)

    def get(self, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        return self.request("GET", path, key, **options)

    def request(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if key:
            headers["X-API-Key"] = key
        return httpx.request(method, self.url + path, **{**PLAIN, **options}, headers=headers)

    def row(self, resource: str, timeout: float = 10) -> dict[str, Any]:
        """The record of the one call to `resource`, once its outcome is on it."""

        def ended() -> dict[str, Any] | None:
            rows = [call for call in self.query("--limit", "10000") if call["resource"] == resource]
            assert len(rows) <= 1, f"{len(rows)} records of {resource}"
            return rows[0] if rows and rows[0]["outcome"] != "open" else None

        found = eventually(ended, timeout)
        assert found, f"no outcome of {resource}"
        return found

    def peak(self) -> int:
        """The workers' highest resident memory so far, KiB."""
        total = 0
        for pid in self.pids("worker"):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        return total

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data: bytes, *, until_close: bool = True, timeout: float = 5) -> bytes:
        """Send bytes as they are; what came back until the gateway closed, or fell silent."""
        with self.connect() as sock:
            sock.settimeout(timeout)
            sock.sendall(data)
            got = b""
            try:
                while piece := sock.recv(65536):
                    got += piece
            except (TimeoutError, ConnectionResetError):
                if until_close and not got:
                    raise
            return got

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def eventually(check: Any, timeout: float = 10, pause: float = 0.05) -> Any:
    """The first truthy result of `check`, or its last one when time is up."""
    end = time.monotonic() + timeout
    while True:
        result = check()
        if result or time.monotonic() > end:
            return result
        time.sleep(pause)


def _question(words: tuple[str, ...]) -> dict[str, Any] | None:
    """The words of `audit query` as what is asked of control; None for words that are left to the command."""
    asked: dict[str, Any] = {"kind": "calls"}
    left = iter(words)
    for word in left:
        if word == "--acts":
            asked["kind"] = "acts"
        elif word in _QUESTIONS:
            asked[word[2:]] = _QUESTIONS[word](next(left))
        else:
            return None
    return asked
