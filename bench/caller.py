"""One caller, call after call on one connection, on the load's core: prints its longest wait when it is told to end.

A process of its own, so that nothing else of the bench holds it up. What it waited for its core is taken off (the
kernel counts it): that is no wait for the gateway.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from measure import LOAD_CORE

QUEUED = Path("/proc/self/schedstat")


def main() -> None:
    port, authorization = int(sys.argv[1]), sys.argv[2]
    os.sched_setaffinity(0, {LOAD_CORE})
    told: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, end)
    head = f"GET /r0/a-1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {authorization}\r\n\r\n".encode()
    calls = failed = 0
    longest = longest_with_core = 0.0
    connection = socket.create_connection(("127.0.0.1", port), 10)
    queued = _queued_s()
    while not told:
        started = time.perf_counter()
        connection.sendall(head)
        answer = connection.recv(65536)  # a head and body that fit one segment
        waited = time.perf_counter() - started
        before, queued = queued, _queued_s()
        longest = max(longest, waited - (queued - before))
        longest_with_core = max(longest_with_core, waited)
        calls += 1
        failed += not answer.startswith(b"HTTP/1.1 200")
        if not answer or b"onnection: close" in answer:
            connection.close()
            connection = socket.create_connection(("127.0.0.1", port), 10)
    print(json.dumps([longest * 1000, longest_with_core * 1000, calls, failed]))


def _queued_s() -> float:
    return int(QUEUED.read_text().split()[1]) / 1e9


if __name__ == "__main__":
    main()
