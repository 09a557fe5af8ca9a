"""Real witness processes, and false ones that misbehave."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.integration.node import INTERLOCK, eventually, free_port


class WitnessProcess:
    """`interlock witness`, which may be killed and started again on its folder and port."""

    def __init__(self, folder: Path, name: str, logs: Sequence[str] = (), *more: str) -> None:
        self.folder = folder
        self.name = name
        self.logs = list(logs)
        self.port = free_port()
        self.log = folder.with_suffix(".log")
        self._more = more
        self.process: subprocess.Popen[bytes] | None = None
        done = subprocess.run(
            [*INTERLOCK, "witness", "--state", str(folder), "--name", name, "--print-key"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.vkey = done.stdout.strip()

    @property
    def url(self) -> str:
        scheme = "https" if "--certificate" in self._more else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self) -> WitnessProcess:
        words = ["witness", "--state", str(self.folder), "--listen", f"127.0.0.1:{self.port}", *self._more]
        for log in self.logs:
            words += ["--log", log]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*INTERLOCK, *words], stdout=log, stderr=log)
        assert eventually(self.answers, 20), self.log.read_text()
        return self

    def answers(self) -> bool:
        try:
            return httpx.get(self.url, timeout=5, trust_env=False, verify=False).status_code == 404
        except httpx.HTTPError:
            return False

    def post(self, body: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/add-checkpoint", content=body, timeout=10, trust_env=False, verify=False)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.process = None
        return code


class FalseWitness:
    """Answers a POST with whatever `answer` makes of its body: status, body, content type."""

    def __init__(self, answer: Callable[[bytes], tuple[int, bytes, str]]) -> None:
        self.asked: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.append(body)
                status, data, kind = answer(body)
                try:
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # who asked has gone

            do_PUT = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
