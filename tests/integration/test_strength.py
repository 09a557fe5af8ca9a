"""Routes that ask how a caller was authenticated, at a real node of two workers: the challenge of RFC 9470, time that
passes, a risk that is raised while calls go on, and a token that turns up elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.control.client import Client
from tests.integration.node import Node, eventually
from tests.integration.test_layers import ISSUER, Outside
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = f"""
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
connections: {{failures: 1/m}}
services:
  up: {{upstreams: [UPSTREAM]}}
routes:
  - {{match: /plain, service: up, authenticate: [jwt], allow: read, limit: none}}
  - {{match: /lately, service: up, authenticate: [jwt], strength: {{max_age: 3s}}, allow: read, limit: none}}
  - {{match: /strongly, service: up, authenticate: [jwt], strength: {{acr: [gold, silver]}}, allow: read, limit: none}}
  - {{match: /calmly, service: up, authenticate: [jwt, api_key], strength: {{risk: 60}}, allow: read, limit: none}}
  - {{match: /here, service: up, authenticate: [jwt], strength: {{network: same}}, allow: read, limit: none}}
roles: {{reader: [read]}}
identity:
  issuers:
    - {{issuer: "{ISSUER}", audience: api, algorithms: [RS256], jwks: jwks.json,
        roles: {{from: groups, map: {{Readers: reader}}}}}}
"""


class Bench:
    def __init__(self, folder: Path, upstream: Upstream) -> None:
        folder.mkdir()
        self.outside = Outside()
        (folder / "jwks.json").write_text(self.outside.jwks())
        self.node = Node(folder, CONFIG.replace("UPSTREAM", upstream.url))

    def call(self, path: str, token: str, source: str = "127.0.0.1", times: int = 8) -> httpx.Response:
        """Over so many connections that both workers are met; all answer alike."""
        answers = []
        for _ in range(times):
            with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=20) as client:
                answers.append(client.get(self.node.url + path, headers={"Authorization": f"Bearer {token}"}))
        assert len({answer.status_code for answer in answers}) == 1, [answer.status_code for answer in answers]
        return answers[0]

    def risk(self, kind: str, name: str, value: int, **more: Any) -> None:
        arguments = {"kind": kind, "id": name, "value": value, "why": "a test", **more}
        Client(self.node.data / "run").call("risk.set", arguments)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    upstream = Upstream()
    bench = Bench(tmp_path_factory.mktemp("strength") / "node", upstream)
    bench.node.start()
    yield bench
    bench.node.kill()
    upstream.close()


def test_a_sign_in_grows_too_old_for_a_token_that_is_remembered(bench: Bench) -> None:
    """And being told so is no failed attempt: the address has one in a minute."""
    signed_in = int(time.time())
    token = bench.outside.token(auth_time=signed_in)
    assert bench.call("/lately", token, times=1).status_code == 200
    refused = eventually(
        lambda: (answer := bench.call("/lately", token, times=1)).status_code == 401 and answer, timeout=10, pause=0.3
    )
    assert time.time() >= signed_in + 3
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'max_age="3"' in challenge
    assert bench.call("/lately", token).status_code == 401
    assert bench.call("/plain", token).status_code == 200
    assert bench.call("/lately", bench.outside.token(auth_time=int(time.time())), times=1).status_code == 200
    row = next(row for row in bench.node.query("--limit", "100") if row["resource"] == "/lately" and row["reason"])
    assert row["reason"] == "authentication-insufficient"
    assert row["principal"] == "user:login.example.com/alice", "who it was is known"


@pytest.mark.parametrize(("acr", "status"), [("gold", 200), ("silver", 200), ("bronze", 401), (None, 401)])
def test_how_strongly(bench: Bench, acr: str | None, status: int) -> None:
    answer = bench.call("/strongly", bench.outside.token(acr=acr))
    assert answer.status_code == status
    if status == 401:
        assert 'acr_values="gold silver"' in answer.headers["www-authenticate"]
        assert "gold" not in answer.text


def test_a_risk_that_is_found_out_counts_at_once(bench: Bench) -> None:
    token = bench.outside.token(sid="s1", sub="carol")
    other = bench.outside.token(sid="s2", sub="carol")
    assert bench.call("/calmly", token).status_code == 200
    bench.risk("session", "s1", 70, issuer=ISSUER)
    answer = bench.call("/calmly", token)
    assert answer.status_code == 401
    assert "insufficient_user_authentication" in answer.headers["www-authenticate"]
    assert bench.call("/calmly", other).status_code == 200, "of another sign-in"
    assert bench.call("/plain", token).status_code == 200, "where nobody asks"
    bench.risk("principal", "user:login.example.com/carol", 70)
    for one in (token, other):
        answer = bench.call("/calmly", one)
        assert answer.status_code == 403, "signing in again would not help"
        assert "www-authenticate" not in answer.headers
    bench.node.cli("reload")
    assert bench.call("/calmly", other).status_code == 403
    bench.risk("principal", "user:login.example.com/carol", 0)
    assert bench.call("/calmly", other).status_code == 200
    bench.node.cli("reload")
    assert bench.call("/calmly", other).status_code == 200
    acts = [act for act in bench.node.query("--acts") if act["event"] == "credential:risk"]
    assert [act["details"]["risk"] for act in acts[-3:]] == [70, 70, 0]


def test_a_token_that_turns_up_elsewhere(bench: Bench) -> None:
    """On the record wherever; refused, by whichever worker, where the route says so; at home it goes on."""
    token = bench.outside.token(jti="wandering", sub="dave")
    assert bench.call("/plain", token, times=1).status_code == 200  # by one worker
    assert bench.call("/here", token, source="127.0.0.9").status_code == 200, "the same /24"
    answer = bench.call("/here", token, source="127.0.7.1")
    assert answer.status_code == 401
    assert "insufficient_user_authentication" in answer.headers["www-authenticate"]
    assert bench.call("/plain", token, source="127.0.7.1").status_code == 200
    assert bench.call("/here", token).status_code == 200

    def moves() -> list[dict[str, Any]]:
        acts = [act for act in bench.node.query("--acts") if act["event"] == "credential:moved"]
        return [act for act in acts if act["details"]["principal"] == "user:login.example.com/dave"]

    (first, *more) = eventually(moves)
    assert first["details"]["what"] == "network"
    assert first["details"]["source"] == "source:127.0.7.1"
    assert first["details"]["route"] == "/here"
    assert len(more) <= 1, "each worker tells of one place once"
    refused = [row for row in bench.node.query("--limit", "1000") if row["reason"] == "credential-moved"]
    assert refused
    elsewhere = bench.outside.token(sub="dave")
    assert bench.call("/here", elsewhere, source="127.0.7.1").status_code == 200, "a new sign-in is at home there"
    assert json.dumps(bench.node.verify()["problems"]) == "[]"
