"""Memory that Interlock holds privately: per process at rest, and per idle connection, plain and TLS."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from material import Material
from measure import BenchError, private_kib, run_wrk, tree_private_kib
from peers import bearer
from product import PORT, Node, Setup
from report import table

IDLE = 1000


@contextmanager
def idle_connections(count: int, token: str, tls: bool) -> Iterator[None]:
    """Keep-alive connections that have made one call each and now wait."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the bench's own certificate, on loopback
    request = f"GET /r0/a-1 HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", PORT), 5)
            if tls:
                connection = context.wrap_socket(connection)
            stack.enter_context(connection)
            connection.sendall(request)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise BenchError("an idle connection's first call failed")
        time.sleep(0.3)
        yield


def per_connection(material: Material, tls: bool) -> float:
    """KiB of one worker per idle connection, from the second to the third lot, when nothing is new to the process."""
    node = Node(Setup("memory", tls=tls), material)
    with node.up(bearer(material.token)) as gateway:
        run_wrk(gateway.url, 64, 1.0, gateway.calls)
        (worker,) = node.worker_pids()
        with idle_connections(IDLE, material.token, tls):
            before = private_kib(worker)
            with idle_connections(IDLE, material.token, tls):
                return (private_kib(worker) - before) / IDLE


def run(material: Material, say: Callable[[str], None]) -> str:
    rows = []
    say("memory: processes")
    node = Node(Setup("memory"), material)
    with node.up(bearer(material.token)) as gateway:
        (worker,) = node.worker_pids()
        rows.append(["a worker, started and idle", f"{private_kib(worker) / 1024:.1f} MiB"])
        run_wrk(gateway.url, 64, 2.0, gateway.calls)
        rows.append(["a worker after load at 64 connections", f"{private_kib(worker) / 1024:.1f} MiB"])
        rows.append(["all processes of a node with one worker", f"{tree_private_kib(gateway.pid) / 1024:.1f} MiB"])
    for name, tls in (("an idle connection, plain", False), ("an idle connection, TLS", True)):
        say(f"memory: {name}")
        rows.append([name, f"{per_connection(material, tls):.1f} KiB"])
    return table(["private memory of", ""], rows)
