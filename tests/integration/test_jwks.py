"""An outside issuer's keys over HTTP: rotation, made-up keys, and an issuer that is down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from joserfc.jwk import RSAKey

from tests.integration.node import Node, eventually, fetch
from tests.integration.test_layers import Outside
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 1
listeners: [{{address: 127.0.0.1:PORT, tls: off}}]
connections: {{failures: 1000000/m}}
services: {{up: {{upstreams: [{url}]}}}}
routes:
  - {{match: GET /*, service: up, authenticate: [jwt], allow: things:read, limit: none}}
roles: {{reader: [things:read]}}
identity:
  issuers:
    - {{issuer: "https://login.example.com", audience: api, algorithms: [RS256], jwks: "{jwks}",
        roles: {{from: groups, map: {{Readers: reader}}}}}}
"""


class Issuer:
    """Serves its public keys on loopback and counts who asks."""

    def __init__(self, *keys: RSAKey) -> None:
        self.keys = list(keys)
        self.fetches: list[float] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches.append(time.monotonic())
                body = json.dumps({"keys": [key.as_dict(private=False) for key in issuer.keys]}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def usable(node: Node) -> list[bool]:
    """Of each issuer, whether its keys count, as the admin listener says."""
    status = fetch(node.status()["admin"] + "/status").json()
    return [issuer["usable"] for issuer in status["issuers"]]


def test_keys_rotate_and_made_up_ones_cost_nothing(make_node: Callable[..., Node], upstream: Upstream) -> None:
    outside = Outside()
    new = RSAKey.generate_key(2048, {"kid": "r2", "use": "sig"})
    issuer = Issuer(outside.rsa)
    node = make_node(CONFIG.format(url=upstream.url, jwks=issuer.url)).start()

    def call(token: str, path: str = "/x") -> int:
        answer = fetch(node.url + path, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code

    # Nobody asks before the keys are there: what a worker asked for it does not ask for again for a while.
    assert eventually(lambda: usable(node) == [True])
    time.sleep(1)
    old = outside.token()
    assert eventually(lambda: call(old) == 200)
    assert len(issuer.fetches) == 1

    # Rotated; meanwhile strangers make up a hundred keys.
    issuer.keys = [outside.rsa, new]
    rotated = outside.token(new, {"kid": "r2"})
    flood = [outside.token(outside.stranger, {"kid": f"made-up-{number}"}) for number in range(100)]
    statuses: list[int] = []
    callers = [
        threading.Thread(target=lambda part=flood[at::10]: statuses.extend(call(token, "/flood") for token in part))
        for at in range(10)
    ]
    for caller in callers:
        caller.start()
    assert call(old) == 200, "who has a known key does not wait with them"
    for caller in callers:
        caller.join()
    assert statuses == [401] * 100
    assert len(issuer.fetches) <= 2

    # The next refresh brings the new key, on the first call that may ask for it.
    assert eventually(lambda: call(rotated, "/rotated") == 200, timeout=90, pause=1)
    assert len(issuer.fetches) <= 3
    assert all(after - before > 25 for before, after in zip(issuer.fetches, issuer.fetches[1:], strict=False))
    assert call(old) == 200

    # The issuer is gone: what is known goes on, what is not is refused, and it is still known.
    issuer.close()
    assert call(outside.token(sub="bob"), "/known") == 200
    assert call(outside.token(new, {"kid": "r2"}, sub="carol"), "/known") == 200
    assert call(outside.token(outside.stranger, {"kid": "still-made-up"}), "/unknown") == 401
    rows = [row for row in node.query("--decision", "deny", "--limit", "10000") if row["resource"] == "/unknown"]
    assert [row["reason"] for row in rows] == ["token-key-unknown"]
    assert {seen.target for seen in upstream.seen} == {"/x", "/rotated", "/known"}
    assert usable(node) == [True]


def test_an_issuer_that_was_never_there(make_node: Callable[..., Node], upstream: Upstream) -> None:
    """The node serves; tokens cannot be checked, and nothing passes; once it is there, they can."""
    outside = Outside()
    issuer = Issuer()  # answers, but has no key
    node = make_node(CONFIG.format(url=upstream.url, jwks=issuer.url)).start()
    headers = {"Authorization": f"Bearer {outside.token()}"}
    answer = fetch(node.url + "/early", headers=headers)
    assert answer.status_code == 503
    assert upstream.seen == []
    assert node.row("/early")["reason"] == "issuer-unavailable"
    issuer.keys = [outside.rsa]

    def passes() -> bool:
        return fetch(node.url + "/late", headers=headers).status_code == 200

    assert eventually(passes, timeout=60, pause=0.5)
    issuer.close()
