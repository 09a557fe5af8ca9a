"""Every route called as every kind of caller: a generated table, in which a missing expectation fails."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

ISSUER = "https://login.example.com"
OTHER = "https://other.example.com"

CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
services:
  up: {{upstreams: [{url}]}}
  inner: {{upstreams: [{url}], zone: restricted}}
zones:
  restricted: {{from: [203.0.113.0/24]}}
routes:
  - {{match: GET /public, service: up, allow: public, limit: none}}
  - {{match: GET /token, service: up, authenticate: [jwt], allow: things:read, limit: none}}
  - {{match: GET /either, service: up, authenticate: [jwt, api_key], allow: things:read, limit: none}}
  - {{match: GET /write, service: up, authenticate: [jwt, api_key], allow: things:write, limit: none}}
  - {{match: GET /scoped, service: up, authenticate: [jwt], allow: {{scope: ledger}}, limit: none}}
  - match: GET /owned/{{name}}
    service: up
    authenticate: [jwt]
    allow: {{permission: things:read, when: "request.params.name == claims.sub"}}
    limit: none
  - {{match: GET /zoned, service: inner, authenticate: [jwt], allow: things:read, limit: none}}
roles:
  reader: [things:read]
  writer: [things:read, things:write]
identity:
  issuers:
    - {{issuer: "{issuer}", audience: api, algorithms: [RS256, ES256], jwks: jwks.json,
        roles: {{from: groups, map: {{Readers: reader, Writers: writer}}}}}}
"""


class Outside:
    """An identity provider outside: its keys, and tokens good and bad."""

    def __init__(self) -> None:
        self.rsa = RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"})
        self.ec = ECKey.generate_key("P-256", {"kid": "e1", "use": "sig"})
        self.stranger = RSAKey.generate_key(2048, {"kid": "r1"})

    def jwks(self) -> str:
        return json.dumps({"keys": [self.rsa.as_dict(private=False), self.ec.as_dict(private=False)]})

    def claims(self, **changes: object) -> dict[str, object]:
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER, "aud": "api", "sub": "alice", "iat": now, "exp": now + 600, "groups": ["Readers"],
        }  # fmt: skip
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: object = None, header: dict[str, object] | None = None, **changes: object) -> str:
        key = key or self.rsa
        algorithm = "ES256" if key is self.ec else "RS256"
        merged = {"alg": algorithm, "kid": "e1" if key is self.ec else "r1", **(header or {})}
        return jwt.encode(merged, self.claims(**changes), key)  # type: ignore[arg-type]

    def confused(self) -> str:
        """HS256 keyed with the public RSA key, the classic confusion."""
        signed = f"{part({'alg': 'HS256', 'kid': 'r1'})}.{part(self.claims())}"
        mac = hmac.digest(self.rsa.as_pem(private=False), signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def unsigned(self) -> str:
        return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(self.claims())}."

    def critical(self) -> str:
        """Well signed, but demands an extension that nobody here knows."""
        head = {"alg": "RS256", "kid": "r1", "crit": ["urn:unknown"], "urn:unknown": True}
        signed = f"{part(head)}.{part(self.claims())}"
        signature = self.rsa.private_key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def part(value: object) -> str:
    """One part of a compact JWS."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


ROUTES = ["/public", "/token", "/either", "/write", "/scoped", "/owned/alice", "/zoned"]

OK, NO, FORBIDDEN = 200, 401, 403

# caller -> the status of each route, in the order of ROUTES
EXPECTED: dict[str, list[int]] = {
    "nobody": [OK, NO, NO, NO, NO, NO, NO],
    "reader": [OK, OK, OK, FORBIDDEN, FORBIDDEN, OK, FORBIDDEN],
    "reader ES256": [OK, OK, OK, FORBIDDEN, FORBIDDEN, OK, FORBIDDEN],
    "writer": [OK, OK, OK, OK, FORBIDDEN, OK, FORBIDDEN],
    "scoped": [OK, FORBIDDEN, FORBIDDEN, FORBIDDEN, OK, FORBIDDEN, FORBIDDEN],
    "another reader": [OK, OK, OK, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN],
    "outsider with our role name": [OK, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN],
    "key reader": [OK, NO, OK, FORBIDDEN, NO, NO, NO],
    "key writer": [OK, NO, OK, OK, NO, NO, NO],
    "key elsewhere": [OK, NO, NO, NO, NO, NO, NO],
    "wrong key": [OK, NO, NO, NO, NO, NO, NO],
    "token and wrong key": [OK, NO, NO, NO, NO, NO, NO],
    "key and bad token": [OK, NO, NO, NO, NO, NO, NO],
    "expired": [OK, NO, NO, NO, NO, NO, NO],
    "not yet": [OK, NO, NO, NO, NO, NO, NO],
    "wrong audience": [OK, NO, NO, NO, NO, NO, NO],
    "wrong issuer": [OK, NO, NO, NO, NO, NO, NO],
    "wrong signature": [OK, NO, NO, NO, NO, NO, NO],
    "unsigned": [OK, NO, NO, NO, NO, NO, NO],
    "confused": [OK, NO, NO, NO, NO, NO, NO],
    "own key in the header": [OK, NO, NO, NO, NO, NO, NO],
    "critical": [OK, NO, NO, NO, NO, NO, NO],
    "no subject": [OK, NO, NO, NO, NO, NO, NO],
    "bound without a certificate": [OK, NO, NO, NO, NO, NO, NO],
    "two tokens": [OK, NO, NO, NO, NO, NO, NO],
}

REASONS = {
    "expired": "token-expired",
    "not yet": "token-not-yet-valid",
    "wrong audience": "token-audience",
    "wrong issuer": "token-issuer",
    "wrong signature": "token-signature",
    "unsigned": "token-algorithm",
    "confused": "token-algorithm",
    "own key in the header": "token-header",
    "critical": "token-header",
    "bound without a certificate": "token-binding",
    "two tokens": "credential-duplicate",
    "wrong key": "key-unknown",
    "key elsewhere": "credential-network",
}


@pytest.fixture(scope="module")
def outside() -> Outside:
    return Outside()


@pytest.fixture
def table(make_node: Callable[..., Node], upstream: Upstream, outside: Outside, tmp_path: Path) -> Node:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "jwks.json").write_text(outside.jwks())
    return make_node(CONFIG.format(url=upstream.url, issuer=ISSUER)).start()


def callers(outside: Outside, node: Node) -> dict[str, list[tuple[str, str]]]:
    bearer = lambda token: [("Authorization", f"Bearer {token}")]  # noqa: E731
    key = lambda *roles, **options: [("X-API-Key", node.key("k", *roles, **options)["key"])]  # noqa: E731
    now = int(time.time())
    reader = key("reader")
    thumb = {"x5t#S256": "A" * 43}
    own = outside.stranger.as_dict(private=False)
    return {
        "nobody": [],
        "reader": bearer(outside.token()),
        "reader ES256": bearer(outside.token(outside.ec)),
        "writer": bearer(outside.token(groups=["Writers"])),
        "scoped": bearer(outside.token(groups=[], scope="openid ledger")),
        "another reader": bearer(outside.token(sub="bob")),
        "outsider with our role name": bearer(outside.token(groups=["reader", "writer", "Admins", "interlock:admin"])),
        "key reader": reader,
        "key writer": key("writer"),
        "key elsewhere": key("writer", network="203.0.113.0/24"),
        "wrong key": [("X-API-Key", reader[0][1][:-10] + "AAAAAAAAAA")],
        "token and wrong key": [*bearer(outside.token(groups=["Writers"])), ("X-API-Key", "ilk_nonsense")],
        "key and bad token": reader + bearer(outside.token(outside.stranger)),
        "expired": bearer(outside.token(exp=now - 3600, iat=now - 7200)),
        "not yet": bearer(outside.token(nbf=now + 3600)),
        "wrong audience": bearer(outside.token(aud="somebody else")),
        "wrong issuer": bearer(outside.token(iss=OTHER)),
        "wrong signature": bearer(outside.token(outside.stranger)),
        "unsigned": bearer(outside.unsigned()),
        "confused": bearer(outside.confused()),
        "own key in the header": bearer(outside.token(outside.stranger, {"jwk": own})),
        "critical": bearer(outside.critical()),
        "no subject": bearer(outside.token(sub=None)),
        "bound without a certificate": bearer(outside.token(cnf=thumb)),
        "two tokens": bearer(outside.token()) + bearer(outside.token(groups=["Writers"])),
    }


def test_every_route_as_every_caller(table: Node, outside: Outside, upstream: Upstream) -> None:
    everybody = callers(outside, table)
    assert set(everybody) == set(EXPECTED), "a caller without an expectation"
    wrong = []
    passed = 0
    with httpx.Client(base_url=table.url, trust_env=False, timeout=20) as client:
        for name, headers in everybody.items():
            assert len(EXPECTED[name]) == len(ROUTES)
            for route, expected in zip(ROUTES, EXPECTED[name], strict=True):
                # A budget of failures would turn 401 into 429; each caller gets a path of its own on the record.
                answer = client.get(route, headers=headers)
                status = 401 if answer.status_code == 429 else answer.status_code
                passed += status == 200
                if status != expected:
                    wrong.append(f"{name} on {route}: {answer.status_code}, not {expected}: {answer.text}")
    assert not wrong, "\n".join(wrong)
    assert len(upstream.seen) == passed


def test_reasons_are_on_the_record(table: Node, outside: Outside) -> None:
    everybody = callers(outside, table)
    for name, reason in REASONS.items():
        before = len(table.query("--decision", "deny"))
        route = "/either" if "key" in name and "header" not in name else "/token"
        answer = httpx.get(table.url + route, headers=everybody[name], trust_env=False)
        assert answer.status_code in (401, 429)
        assert reason not in answer.text, "the caller learns the reason"
        calls = eventually(lambda before=before: (c := table.query("--decision", "deny")) and len(c) > before and c)
        found = {calls[0]["reason"], calls[-1]["reason"]} | {str(calls[-1].get("note"))} | {str(calls[0].get("note"))}
        assert reason in found or answer.status_code == 429, f"{name}: {found}"


def test_limits_are_exact_over_workers(make_node: Callable[..., Node], upstream: Upstream) -> None:
    config = f"""
version: 1
workers: 2
listeners: [{{address: 127.0.0.1:PORT, tls: off}}]
services: {{up: {{upstreams: [{upstream.url}]}}}}
routes:
  - {{match: GET /limited, service: up, authenticate: [api_key], allow: call, limit: 1/m burst 20 per principal}}
roles: {{caller: [call]}}
"""
    node = make_node(config).start()
    one, two = node.key("one", "caller")["key"], node.key("two", "caller")["key"]
    statuses = [httpx.get(node.url + "/limited", headers={"X-API-Key": one}, trust_env=False) for _ in range(40)]
    assert sum(answer.status_code == 200 for answer in statuses) == 20
    refused = statuses[-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "ratelimit" in refused.headers
    assert httpx.get(node.url + "/limited", headers={"X-API-Key": two}, trust_env=False).status_code == 200
    assert len(upstream.seen) == 21


def test_keys_rotate_with_overlap_and_expire(table: Node) -> None:
    first = table.key("rotating", "reader")
    rotated = json.loads(table.cli("key", "rotate", first["id"], "--overlap", "2s", "--json").stdout)
    assert table.get("/either", first["key"]).status_code == 200
    assert table.get("/either", rotated["key"]).status_code == 200
    assert eventually(lambda: table.get("/either", first["key"]).status_code == 401, timeout=8)
    assert table.get("/either", rotated["key"]).status_code == 200
    short = table.key("short", "reader", expires="2s")
    assert table.get("/either", short["key"]).status_code == 200
    assert eventually(lambda: table.get("/either", short["key"]).status_code == 401, timeout=8)
    listed = table.cli("key", "list", "--json").stdout
    assert rotated["key"] not in listed
    assert rotated["id"] in listed


def test_secrets_are_nowhere_to_be_found(table: Node, outside: Outside) -> None:
    made = table.key("quiet", "reader")
    token = outside.token()
    assert table.get("/either", made["key"]).status_code == 200
    assert table.request("GET", "/token", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    table.cli("key", "revoke", made["id"])
    assert table.stop() == 0
    secrets = [made["key"].encode(), token.encode(), token.rsplit(".", 1)[1].encode()]
    for path in [path for path in table.folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


def test_keys_are_made_with_the_node_stopped(table: Node) -> None:
    assert table.stop() == 0
    made = table.key("offline", "reader")
    doomed = table.key("doomed", "reader")
    table.cli("key", "revoke", doomed["id"])
    assert table.verify()["ok"]
    table.start()
    assert table.get("/either", made["key"]).status_code == 200
    assert table.get("/either", doomed["key"]).status_code == 401


def test_cors_preflight_and_answers(make_node: Callable[..., Node], upstream: Upstream) -> None:
    config = f"""
version: 1
workers: 1
listeners: [{{address: 127.0.0.1:PORT, tls: off}}]
services: {{up: {{upstreams: [{upstream.url}]}}}}
routes:
  - match: POST /items
    service: up
    authenticate: [api_key]
    allow: call
    limit: none
    cors: {{origins: [https://app.example.com]}}
roles: {{caller: [call]}}
"""
    node = make_node(config).start()
    key = node.key("browser", "caller")["key"]
    ask = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    answer = node.request("OPTIONS", "/items", headers=ask)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    evil = node.request("OPTIONS", "/items", headers={**ask, "Origin": "https://evil.example.com"})
    assert "access-control-allow-origin" not in evil.headers
    assert upstream.seen == []
    real = node.request("POST", "/items", key, headers={"Origin": "https://app.example.com"})
    assert real.headers["access-control-allow-origin"] == "https://app.example.com"
    denied = node.request("POST", "/items", headers={"Origin": "https://app.example.com"})
    assert denied.status_code == 401
    assert denied.headers["access-control-allow-origin"] == "https://app.example.com"
