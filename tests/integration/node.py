"""Starts the real product, `interlock up`, on loopback, and speaks to it as its users do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

INTERLOCK = [sys.executable, "-m", "interlock"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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
        return self.folder / "interlock-data"

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
        waiting = subprocess.Popen(
            [*INTERLOCK, "-c", str(self.file), "status", "--wait", str(int(wait))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.env,
            cwd=self.folder,
        )
        while waiting.poll() is None:
            if self.process.poll() is not None:
                waiting.kill()
                waiting.wait()
            time.sleep(0.02)
        assert waiting.returncode == 0, f"the node does not serve\n{self.tail()}"
        return self

    def stop(self, timeout: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self.process = None
        return code

    def kill(self) -> None:
        """End everything, whatever state it is in."""
        if self.process is None:
            return
        try:
            processes = self.status().get("processes", [])
        except Exception:
            processes = []
        self.process.kill()
        self.process.wait(10)
        for entry in processes:
            if entry.get("pid"):
                try:
                    os.kill(entry["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process = None

    def status(self) -> dict[str, Any]:
        result = self.cli("status", "--json", check=False)
        return json.loads(result.stdout)

    def pids(self, kind: str) -> list[int]:
        """Process ids of a kind: supervisor, recorder, control, worker."""
        return [entry["pid"] for entry in self.status()["processes"] if entry["kind"] == kind]

    def key(self, name: str, *roles: str, **options: str) -> dict[str, Any]:
        words = ["key", "create", name, "--json"]
        for role in roles:
            words += ["--role", role]
        for option, value in options.items():
            words += [f"--{option}", value]
        return json.loads(self.cli(*words).stdout)

    def query(self, *words: str) -> list[dict[str, Any]]:
        lines = self.cli("audit", "query", "--json", *words).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def verify(self) -> dict[str, Any]:
        return json.loads(self.cli("audit", "verify", "--json", check=False).stdout)

    def get(self, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        return self.request("GET", path, key, **options)

    def request(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if key:
            headers["X-API-Key"] = key
        return httpx.request(method, self.url + path, headers=headers, timeout=20, trust_env=False, **options)

    def row(self, resource: str, timeout: float = 10) -> dict[str, Any]:
        """The record of the one call to `resource`, once its outcome is on it."""

        def ended() -> dict[str, Any] | None:
            rows = [call for call in self.query("--limit", "10000") if call["resource"] == resource]
            assert len(rows) <= 1, f"{len(rows)} records of {resource}"
            return rows[0] if rows and rows[0]["outcome"] != "open" else None

        found = eventually(ended, timeout, pause=0.2)
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
