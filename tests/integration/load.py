"""Bounded load on a node from threads, each call with a path of its own, so that afterwards three accounts
can be held against each other: what the clients got, what the upstream saw, what the record says."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Load:
    """`answers` maps each path to its status; 0 where the connection broke without an answer."""

    port: int
    key: str
    threads: int = 4
    prefix: str = "/load"
    answers: dict[str, int] = field(default_factory=dict)
    source: str = "127.0.0.1"
    pause: float = 0.0
    body: bytes = b""

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(self.answers.values())

    def since(self, mark: int) -> list[int]:
        """What the calls were answered that began after `mark` was taken."""
        return [status for path, status in self.answers.copy().items() if int(path.rpartition("/")[2]) > mark]

    def mark(self) -> int:
        """Takes a number as a call does: those that are under way have smaller ones."""
        return next(self._numbers)

    def wait(self, calls: int, timeout: float = 20) -> None:
        """Until `calls` more have been answered."""
        goal = len(self.answers) + calls
        end = time.monotonic() + timeout
        while len(self.answers) < goal and time.monotonic() < end:
            time.sleep(0.01)

    def _work(self) -> None:
        sock: socket.socket | None = None
        while not self._stop.is_set():
            path = f"{self.prefix}/{next(self._numbers)}"
            try:
                if sock is None:
                    sock = socket.create_connection(
                        ("127.0.0.1", self.port), timeout=10, source_address=(self.source, 0)
                    )
                status, keep = self._call(sock, path)
            except OSError:
                status, keep = 0, False
            self.answers[path] = status
            if not keep and sock is not None:
                sock.close()
                sock = None
                time.sleep(0.01)
            if self.pause:
                time.sleep(self.pause)
        if sock is not None:
            sock.close()

    def _call(self, sock: socket.socket, path: str) -> tuple[int, bool]:
        method = "POST" if self.body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: load\r\nX-API-Key: {self.key}\r\n"
        if self.body:
            head += f"Content-Length: {len(self.body)}\r\n"
        sock.sendall(head.encode() + b"\r\n" + self.body)
        got = b""
        while b"\r\n\r\n" not in got:
            piece = sock.recv(65536)
            if not piece:
                return 0, False
            got += piece
        head_bytes, _, body = got.partition(b"\r\n\r\n")
        lower = head_bytes.lower()
        status = int(head_bytes.split(b" ", 2)[1])
        length = 0
        for line in lower.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(body) < length:
            piece = sock.recv(65536)
            if not piece:
                return 0, False
            body += piece
        return status, b"connection: close" not in lower
