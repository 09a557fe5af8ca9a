"""What `/metrics` says is what happened: each metric is made to move on a real node, and none goes back."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from interlock.tlog import COSIGNATURE_V1, verifier_key
from tests.integration.node import PLAIN, Node, eventually, fetch, free_port
from tests.integration.test_layers import Outside
from tests.integration.upstream import Upstream
from tests.unit.snapshot.prometheus import Series, parse, value

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
  - {{address: 127.0.0.1:{tls}, tls: auto}}
connections: {{per_address: 20}}
services:
  up: {{upstreams: [{url}]}}
  durable: {{upstreams: [{url}], record: durable}}
routes:
  - {{match: /durable, service: durable, allow: public, limit: none}}
  - {{match: /token, service: up, authenticate: [jwt], allow: call, limit: none}}
  - {{match: /key, service: up, authenticate: [api_key], allow: call, limit: none}}
  - {{match: /*, service: up, allow: public, limit: none}}
roles:
  caller: [call]
identity:
  issuers:
    - {{issuer: "https://login.example.com", audience: api, algorithms: [RS256], jwks: "{jwks}",
        roles: {{from: groups, map: {{Readers: caller}}}}}}
    - {{issuer: "https://gone.example.com", audience: api, algorithms: [RS256], jwks: "http://127.0.0.1:{nobody}/"}}
"""


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def jwks(outside: Outside) -> Iterator[str]:
    """The URL of an issuer's keys."""
    keys = outside.jwks().encode()

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
    server.shutdown()
    server.server_close()


# What moves once a witness has cosigned; test_publishing has witnesses.
PUBLISHED = {
    "interlock_published_size",
    "interlock_published_cosignatures",
    "interlock_published_age_seconds",
    "interlock_place_failing",
    "interlock_place_failures_total",
}


class Scrapes:
    """Reads `/metrics` of one node; `moved` are the metrics that were seen with a value other than 0."""

    def __init__(self, admin: str) -> None:
        self._url = admin + "/metrics"
        self.types: dict[str, str] = {}
        self.moved: set[str] = set()

    def read(self) -> dict[Series, float]:
        answer = fetch(self._url)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.types, samples = parse(answer.text)
        for (name, _), number in samples.items():
            if number:
                self.moved.add(re.sub("_(bucket|sum|count)$", "", name) if name not in self.types else name)
        return samples

    def get(self, name: str, **labels: str) -> float:
        return value(self.read(), f"interlock_{name}", **labels)

    def await_(self, name: str, least: float = 1, **labels: str) -> None:
        assert eventually(lambda: self.get(name, **labels) >= least, timeout=30, pause=0.2), (name, labels)


def admin_of(node: Node) -> str:
    """The admin listener, once it answers."""
    admin = str(node.status()["admin"])

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return fetch(admin + "/metrics", timeout=5).status_code == 200
        return False

    assert eventually(answers, timeout=30)
    return admin


def test_each_metric_moves_and_none_goes_back(
    make_node: Callable[..., Node], upstream: Upstream, outside: Outside, jwks: str
) -> None:
    tls = free_port()
    config = CONFIG.format(url=upstream.url, tls=tls, jwks=jwks, nobody=free_port())
    config += "exports:\n  - {name: file, format: jsonl, to: 'file:out.jsonl'}\n"
    config += f"  - {{name: nobody, format: jsonl, to: 'http://127.0.0.1:{free_port()}/'}}\n"
    nobody = verifier_key("witness.example.com/nobody", COSIGNATURE_V1, bytes(range(32)))
    config += (
        f"record:\n  witnesses: {{require: 1, of: [{{key: '{nobody}', url: 'http://127.0.0.1:{free_port()}'}}]}}\n"
    )
    config += "  publish: ['file:/nowhere/at/all']\n"
    config += "issuer: {url: 'http://127.0.0.1:PORT'}\n"
    node = make_node(config).start()
    scrapes = Scrapes(admin_of(node))

    # Exports: one to a file, one to nobody.
    scrapes.await_("export_records_total", export="file")
    scrapes.await_("export_failures_total", export="nobody")
    scrapes.await_("export_failing", export="nobody")
    scrapes.await_("export_lag_seconds", export="nobody")

    # Calls, by how they end.
    key = str(node.key("caller", "caller")["key"])
    assert node.get("/key", key).status_code == 200
    assert node.request("POST", "/body", content=b"x" * 1000).status_code == 200
    assert node.get("/durable").status_code == 200
    assert node.get("/status/404").status_code == 404
    scrapes.await_("calls_total", 4)
    scrapes.await_("answers_total", **{"class": "4xx"})
    scrapes.await_("request_body_bytes_total", 1000)
    scrapes.await_("record_syncs_total")
    assert scrapes.get("answer_body_bytes_total") > 1000
    assert scrapes.get("call_duration_seconds_count") >= 4
    assert scrapes.get("call_duration_seconds_sum") > 0

    # A token is verified once, then remembered, by each worker.
    scrapes.await_("snapshots_built_total")
    headers = {"Authorization": f"Bearer {outside.token()}"}
    assert eventually(lambda: node.get("/token", headers=headers).status_code == 200, timeout=20)
    for _ in range(10):
        assert node.get("/token", headers=headers).status_code == 200
    scrapes.await_("tokens_verified_total")
    assert scrapes.get("tokens_verified_total") <= 2 + scrapes.get("refusals_total", reason="token-key-unknown")
    assert scrapes.get("snapshots_taken_total", process="worker-0") >= 2
    scrapes.await_("issuer_key_fetch_failures_total")
    assert scrapes.get("issuer_key_fetches_total") > scrapes.get("issuer_key_fetch_failures_total")
    assert scrapes.get("issuer_keys_age_seconds", issuer="https://gone.example.com") == float("inf")
    assert 0 < scrapes.get("issuer_keys_age_seconds", issuer="https://login.example.com") < 300

    # Tokens of its own, given and refused.
    program = json.loads(node.cli("client", "create", "program", "--role", "caller", "--json").stdout)
    for secret, status in ((program["client_secret"], 200), ("wrong", 401)):
        asked = httpx.post(
            node.url + "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(program["client_id"], secret),
            **PLAIN,
        )
        assert asked.status_code == status
    scrapes.await_("tokens_issued_total")
    scrapes.await_("issuer_refusals_total")

    # A flood of refusals, on one connection and so on one worker.
    with httpx.Client(base_url=node.url, **PLAIN) as client:
        for _ in range(40):
            assert client.get("/key").status_code == 401
    scrapes.await_("refusals_total", 40, reason="credential-missing")
    scrapes.await_("refusals_counted_total", 10)

    # An upstream that closes a connection that was used before, twice: one retry, and a 502.
    with httpx.Client(base_url=node.url, **PLAIN) as client:
        assert client.get("/first").status_code == 200
        assert client.get("/die").status_code == 502
    scrapes.await_("upstream_retries_total")
    scrapes.await_("refusals_total", reason="upstream-unreachable")
    scrapes.await_("upstream_connections_total", 2)

    # What is open now, and what is closed again.
    calls = scrapes.get("calls_total")
    with contextlib.ExitStack() as open_:
        sleeping = open_.enter_context(node.connect())
        sleeping.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        for _ in range(4):
            open_.enter_context(socket.create_connection(("127.0.0.1", tls)))
        for gauge in ("open_calls", "open_connections", "open_handshakes", "open_upstream_connections"):
            scrapes.await_(gauge)
    assert eventually(lambda: scrapes.get("open_handshakes") == 0, timeout=20)

    # Handshakes, good and bad, and connections over the budget: which are no calls.
    context = ssl.create_default_context(cafile=node.data / "pki" / "ca.pem")
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", tls)) as sock, context.wrap_socket(sock):
        pass
    with socket.create_connection(("127.0.0.1", tls)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(100)
    with contextlib.ExitStack() as open_:
        for _ in range(60):
            open_.enter_context(node.connect())
        scrapes.await_("connections_refused_total", 20, reason="too-many-connections")
        scrapes.await_("open_connections", 20)
    scrapes.await_("tls_handshakes_total")
    scrapes.await_("connections_refused_total", reason="tls-handshake")
    assert scrapes.get("connections_total") > 40
    assert eventually(lambda: scrapes.get("open_connections") == 0, timeout=20)
    assert scrapes.get("calls_total") == calls + 1, "the slow one and no other"

    # A worker that was held up.
    worker = node.pids("worker")[0]
    os.kill(worker, signal.SIGSTOP)
    time.sleep(1.3)
    os.kill(worker, signal.SIGCONT)
    scrapes.await_("late_sweeps_total")

    # The record: written by the workers, sealed by the recorder, refused by the disk.
    scrapes.await_("record_frames_total", 10)
    assert scrapes.get("record_bytes_total") > scrapes.get("record_frames_total") > 0
    assert scrapes.get("record_flushes_total") > 0
    scrapes.await_("record_sealed_frames_total", 10, process="recorder")
    assert scrapes.get("record_seals_total", process="recorder") > 0
    assert scrapes.get("record_unsealed_seconds") < 30
    disk = os.statvfs(node.data / "record")
    assert scrapes.get("record_free_bytes") == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.2)
    for pid in node.pids("worker"):
        subprocess.run(["prlimit", "--pid", str(pid), "--fsize=20000:"], check=True)
    # Paths of many lengths: of equal ones each segment would end alike, perhaps with an outcome, which refuses nobody.
    lengths = itertools.cycle(range(200))
    assert eventually(lambda: node.get("/full/" + "x" * next(lengths)).status_code == 503, timeout=60, pause=0)
    for pid in node.pids("worker"):
        subprocess.run(["prlimit", "--pid", str(pid), "--fsize=unlimited:"], check=True)
    scrapes.await_("record_failures_total")
    scrapes.await_("refusals_total", reason="record-unavailable")
    assert eventually(lambda: node.get("/free").status_code == 200, timeout=20)

    # An alarm: what the recorder had not read yet is altered.
    recorder = node.pids("recorder")[0]
    with node.held(recorder):
        before = sizes(node.data)
        assert node.get("/altered").status_code == 200
        grown = eventually(lambda: [path for path, size in sizes(node.data).items() if size > before.get(path, 0)])
        alter(grown[0])
    scrapes.await_("record_alarms_total")

    # A worker that is killed goes on counting where it left off.
    time.sleep(2)  # for the sweeps that bring the last numbers
    kept = scrapes.read()
    for pid in node.pids("worker"):
        os.kill(pid, signal.SIGKILL)
    scrapes.await_("process_restarts_total", 2)
    node.cli("status", "--wait", "30")
    assert node.get("/again").status_code == 200
    time.sleep(2)
    now = scrapes.read()
    back = {
        series: (number, now.get(series))
        for series, number in kept.items()
        if scrapes.types.get(series[0], "histogram") != "gauge" and now.get(series, -1) < number
    }
    assert back == {}
    assert value(now, "interlock_calls_total") > value(kept, "interlock_calls_total")
    assert value(now, "interlock_record_frames_total") > value(kept, "interlock_record_frames_total")

    assert set(scrapes.types) - scrapes.moved - PUBLISHED == set(), "metrics that never moved"


def sizes(data: Path) -> dict[Path, int]:
    """The workers' segments."""
    return {path: path.stat().st_size for path in (data / "record" / "segments").iterdir() if "worker" in path.name}


def alter(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def test_the_status_page_says_the_same(make_node: Callable[..., Node], upstream: Upstream, jwks: str) -> None:
    node = make_node(CONFIG.format(url=upstream.url, tls=free_port(), jwks=jwks, nobody=free_port())).start()
    admin = admin_of(node)

    def issuers() -> dict[str, dict[str, object]]:
        status = json.loads(fetch(admin + "/status").text)
        return {one["issuer"]: one for one in status["issuers"]}

    assert eventually(lambda: issuers()["https://login.example.com"]["age_seconds"] is not None, timeout=20)
    assert issuers()["https://gone.example.com"]["age_seconds"] is None
    status = fetch(admin + "/status").json()
    assert status["record"]["free_bytes"] > 0
