"""Receivers of exports, as processes of their own that can be killed: HTTP, and syslog over TLS.

    python -m tests.integration.receiver http PORT FILE [EXPECTED-AUTHORIZATION]
    python -m tests.integration.receiver tls PORT FILE CERTIFICATE KEY [CLIENT-CA]

What arrives is on disk in FILE, a line each, before it is confirmed. Answers are 400 while FILE.refuse is there.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.node import free_port


class Receiver:
    """One receiver's process. `lines` are the whole lines that arrived."""

    def __init__(self, kind: str, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.port = free_port()
        self.file = folder / f"{kind}.lines"
        self.refuse = folder / f"{kind}.lines.refuse"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Receiver:
        words = [sys.executable, "-m", "tests.integration.receiver", self.kind, str(self.port), str(self.file)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen([*words, *self._arguments], cwd=root)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the receiver does not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def lines(self) -> list[str]:
        if not self.file.exists():
            return []
        return self.file.read_text().split("\n")[:-1]


def keep(file: Path, data: bytes, lock: threading.Lock) -> None:
    with lock, file.open("ab") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def serve_http(port: int, file: Path, expected: str) -> None:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = 200, b"ok"
            if expected and self.headers.get("Authorization") != expected:
                status, said = 401, b"who are you"
            elif self.headers.get("Content-Type") != "application/x-ndjson":
                status, said = 415, b"not lines"
            elif Path(f"{file}.refuse").exists():
                status, said = 400, b"field 7 is not\nto my liking"
            else:
                keep(file, data, lock)
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def serve_tls(port: int, file: Path, certificate: str, key: str, client_ca: str = "") -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca or None)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    lock = threading.Lock()
    listener = socket.create_server(("127.0.0.1", port))

    def serve(plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as sock:
                buffer = b""
                while data := sock.recv(65536):
                    buffer += data
                    messages = []
                    while b" " in buffer:
                        length, _, rest = buffer.partition(b" ")
                        if len(rest) < int(length):
                            break
                        messages.append(rest[: int(length)])
                        buffer = rest[int(length) :]
                    keep(file, b"".join(message + b"\n" for message in messages), lock)
        except OSError:
            plain.close()

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    kind, port, file, *more = sys.argv[1:]
    if kind == "http":
        serve_http(int(port), Path(file), *(more or [""]))
    else:
        serve_tls(int(port), Path(file), *more)
