"""Every route called as every kind of caller: a generated table, in which a missing expectation fails."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.files import contents
from tests.integration.certificates import Authority
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

ISSUER = "https://login.example.com"
OTHER = "https://other.example.com"

CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto}}
connections: {{failures: 1000000/m}}
services:
  up: {{upstreams: [{url}]}}
  inner: {{upstreams: [{url}], zone: restricted}}
  vouched: {{upstreams: [{url}], zone: partners-only}}
  near: {{upstreams: [{url}], zone: here}}
trust:
  partners: {{ca: partners.pem, principal: san-uri, roles: {{"spiffe://partners/billing": reader}},
    principals: {{"spiffe://partners/alice": "user:login.example.com/alice"}}}}
  others: {{ca: others.pem, principal: san-uri, roles: {{"spiffe://others/box": writer}}}}
zones:
  restricted: {{from: [203.0.113.0/24]}}
  here: {{from: [127.0.0.0/8]}}
  partners-only: {{from: [partners], require: mtls}}
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
  - {{match: GET /near, service: near, authenticate: [jwt], allow: things:read, limit: none}}
  - {{match: GET /cert, service: up, authenticate: [mtls], trust: partners, allow: things:read, limit: none}}
  - {{match: GET /both, service: up, authenticate: [jwt+mtls], trust: partners, allow: things:read, limit: none}}
  - {{match: GET /vouched, service: vouched, authenticate: [mtls], trust: partners, allow: things:read, limit: none}}
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


OK = (200, "")
MISSING = (401, "credential-missing")
PERMISSION = (403, "permission-missing")
SCOPE = (403, "scope-missing")
CONDITION = (403, "condition-false")
ZONE = (403, "zone-denied")
MISMATCH = (401, "credential-mismatch")
Answer = tuple[int, str]

# What is called for each route of the file; every route has to have one.
PATHS = {"GET /owned/{name}": "/owned/alice"}


def paths() -> dict[str, str]:
    """Each route of CONFIG by its `match`, and what is called of it."""
    matches = re.findall(r"match: (GET \S+?)(?:,|\n)", CONFIG.replace("{{", "{").replace("}}", "}"))
    assert len(matches) == CONFIG.count("match:"), "a route that is not called"
    return {match: PATHS.get(match, match.removeprefix("GET ")) for match in matches}


def expects(
    *,
    jwt: Answer | str = MISSING,
    key: Answer | str = MISSING,
    cert: Answer | str = MISSING,
    both: Answer | str = MISSING,
    **routes: Answer,
) -> dict[str, Answer]:
    """A caller's answers: of the routes that take a token alone, a token or a key, a certificate, or both.

    A reason code stands for its 401. `routes` names those that differ.
    """
    told = {"public": OK}
    told |= dict.fromkeys(("token", "scoped", "owned", "zoned", "near"), jwt)
    told |= dict.fromkeys(("either", "write"), key)
    told |= dict.fromkeys(("cert", "vouched"), cert)
    told |= {"both": both} | routes
    return {name: (401, answer) if isinstance(answer, str) else answer for name, answer in told.items()}


def reads(**routes: Answer) -> dict[str, Answer]:
    """A token with `things:read`, of alice, without a certificate."""
    return expects(jwt=OK, key=OK, **({"write": PERMISSION, "scoped": SCOPE, "zoned": ZONE} | routes))


def bad_token(reason: str, **routes: Answer) -> dict[str, Answer]:
    """A token that is invalid refuses every call that looks at it."""
    return expects(jwt=reason, key=reason, cert=reason, both=reason, **routes)


def key_only(**routes: Answer) -> dict[str, Answer]:
    return expects(**routes)


def bad_key(reason: str) -> dict[str, Answer]:
    return expects(jwt=reason, key=reason, cert=reason, both=reason)


READER_WITH_CERT = {"write": PERMISSION, "scoped": SCOPE, "zoned": ZONE}

EXPECTED: dict[str, dict[str, Answer]] = {
    "nobody": expects(),
    # tokens
    "reader": reads(),
    "reader ES256": reads(),
    "writer": reads(write=OK),
    "scoped": expects(jwt=PERMISSION, key=PERMISSION, scoped=OK, zoned=ZONE),
    "another reader": reads(owned=CONDITION),
    "outsider with our role name": expects(jwt=PERMISSION, key=PERMISSION, scoped=SCOPE, zoned=ZONE),
    "expired": bad_token("token-expired"),
    "not yet": bad_token("token-not-yet-valid"),
    "wrong audience": bad_token("token-audience"),
    "wrong issuer": bad_token("token-issuer"),
    "wrong signature": bad_token("token-signature"),
    "unsigned": bad_token("token-algorithm"),
    "confused": bad_token("token-algorithm"),
    "own key in the header": bad_token("token-header"),
    "critical": bad_token("token-header"),
    "no subject": bad_token("token-claims"),
    "two tokens": bad_token("credential-duplicate"),
    # keys
    "key reader": expects(key=OK, write=PERMISSION),
    "key writer": expects(key=OK),
    "key elsewhere": bad_key("credential-network"),
    "key here": expects(key=OK),
    "wrong key": bad_key("key-unknown"),
    "revoked key": bad_key("credential-revoked"),
    "expired key": bad_key("key-expired"),
    "token and wrong key": bad_key("key-unknown"),
    "key and bad token": bad_token("token-signature"),
    # certificates; where a route does not ask for one, it is not looked at
    "cert reader": expects(cert=OK),
    "cert without a role": expects(cert=PERMISSION),
    "cert of another bundle": expects(cert="certificate-untrusted", both="certificate-untrusted"),
    # a certificate and a token
    "alice twice": expects(jwt=OK, key=OK, cert=PERMISSION, both=OK, **READER_WITH_CERT),
    "alice and billing": expects(jwt=OK, key=OK, cert=OK, both=MISMATCH, **READER_WITH_CERT),
    "alice and another bundle": expects(
        jwt=OK, key=OK, cert="certificate-untrusted", both="certificate-untrusted", **READER_WITH_CERT
    ),
    "bad token and a cert": bad_token("token-signature"),
    # tokens bound to a certificate (RFC 8705)
    "bound, with it": expects(jwt=OK, key=OK, cert=OK, both=OK, **READER_WITH_CERT),
    "bound, with another": bad_token("token-binding"),
    "bound, with none": bad_token("token-binding"),
}


@dataclass
class Kind:
    """How a kind of caller calls."""

    headers: list[tuple[str, str]]
    certificate: tuple[Path, Path] | None = None


@pytest.fixture(scope="module")
def outside() -> Outside:
    return Outside()


@dataclass
class Table:
    """The node, what is behind it, and whose certificates it knows."""

    node: Node
    upstream: Upstream
    authorities: dict[str, Authority]
    folder: Path

    def client(self, certificate: tuple[Path, Path] | None = None, source: str = "127.0.0.1") -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.node.data / "pki" / "ca.pem"))
        if certificate:
            context.load_cert_chain(*certificate)
        transport = httpx.HTTPTransport(verify=context, local_address=source)
        return httpx.Client(base_url=f"https://localhost:{self.node.port}", transport=transport, timeout=20)

    def get(self, path: str, key: str = "", **headers: str) -> int:
        with self.client() as client:
            return client.get(path, headers={"X-API-Key": key, **headers} if key else headers).status_code


@pytest.fixture(scope="module")
def table(outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    folder = tmp_path_factory.mktemp("layers") / "node"
    folder.mkdir()
    (folder / "jwks.json").write_text(outside.jwks())
    authorities = {name: Authority(name) for name in ("partners", "others")}
    for name, authority in authorities.items():
        (folder / f"{name}.pem").write_bytes(authority.pem)
    upstream = Upstream()
    node = Node(folder, CONFIG.format(url=upstream.url, issuer=ISSUER))
    made = Table(node, upstream, authorities, folder)
    node.start()
    yield made
    node.kill()
    upstream.close()


def callers(outside: Outside, table: Table) -> dict[str, Kind]:
    node = table.node
    bearer = lambda token: [("Authorization", f"Bearer {token}")]  # noqa: E731
    key = lambda *roles, **options: [("X-API-Key", node.key("k", *roles, **options)["key"])]  # noqa: E731
    cert = lambda of, name: table.authorities[of].issue(table.folder, uri=f"spiffe://{of}/{name}")  # noqa: E731
    now = int(time.time())
    reader = key("reader")
    short = key("reader", expires="1s")
    revoked = node.key("doomed", "reader")
    node.cli("key", "revoke", revoked["id"])
    own = outside.stranger.as_dict(private=False)
    billing, alice, box = cert("partners", "billing"), cert("partners", "alice"), cert("others", "box")
    bound = outside.token(cnf={"x5t#S256": thumbprint(billing[0])})
    made = {
        "nobody": Kind([]),
        "reader": Kind(bearer(outside.token())),
        "reader ES256": Kind(bearer(outside.token(outside.ec))),
        "writer": Kind(bearer(outside.token(groups=["Writers"]))),
        "scoped": Kind(bearer(outside.token(groups=[], scope="openid ledger"))),
        "another reader": Kind(bearer(outside.token(sub="bob"))),
        "outsider with our role name": Kind(
            bearer(outside.token(groups=["reader", "writer", "Admins", "interlock:admin"]))
        ),
        "expired": Kind(bearer(outside.token(exp=now - 3600, iat=now - 7200))),
        "not yet": Kind(bearer(outside.token(nbf=now + 3600))),
        "wrong audience": Kind(bearer(outside.token(aud="somebody else"))),
        "wrong issuer": Kind(bearer(outside.token(iss=OTHER))),
        "wrong signature": Kind(bearer(outside.token(outside.stranger))),
        "unsigned": Kind(bearer(outside.unsigned())),
        "confused": Kind(bearer(outside.confused())),
        "own key in the header": Kind(bearer(outside.token(outside.stranger, {"jwk": own}))),
        "critical": Kind(bearer(outside.critical())),
        "no subject": Kind(bearer(outside.token(sub=None))),
        "two tokens": Kind(bearer(outside.token()) + bearer(outside.token(groups=["Writers"]))),
        "key reader": Kind(reader),
        "key writer": Kind(key("writer")),
        "key elsewhere": Kind(key("writer", network="203.0.113.0/24")),
        "key here": Kind(key("writer", network="127.0.0.0/8")),
        "wrong key": Kind([("X-API-Key", reader[0][1][:-10] + "AAAAAAAAAA")]),
        "revoked key": Kind([("X-API-Key", revoked["key"])]),
        "expired key": Kind(short),
        "token and wrong key": Kind([*bearer(outside.token(groups=["Writers"])), ("X-API-Key", "ilk_nonsense")]),
        "key and bad token": Kind(reader + bearer(outside.token(outside.stranger))),
        "cert reader": Kind([], billing),
        "cert without a role": Kind([], alice),
        "cert of another bundle": Kind([], box),
        "alice twice": Kind(bearer(outside.token()), alice),
        "alice and billing": Kind(bearer(outside.token()), billing),
        "alice and another bundle": Kind(bearer(outside.token()), box),
        "bad token and a cert": Kind(bearer(outside.token(outside.stranger)), billing),
        "bound, with it": Kind(bearer(bound), billing),
        "bound, with another": Kind(bearer(bound), alice),
        "bound, with none": Kind(bearer(bound)),
    }
    time.sleep(1.1)  # until the short-lived key has expired
    return made


def thumbprint(pem: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(pem.read_text())
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def test_every_route_as_every_caller(table: Table, outside: Outside) -> None:
    """Status, reason on the record, and what was forwarded; a caller or route without an expectation fails."""
    routes = {path.split("/")[1]: path for path in paths().values()}
    everybody = callers(outside, table)
    assert set(everybody) == set(EXPECTED), "a caller without an expectation, or the other way round"
    said: dict[str, tuple[str, str, int]] = {}  # trace -> caller, route, status
    texts: dict[str, str] = {}
    passed = len(table.upstream.seen)
    for number, (name, kind) in enumerate(everybody.items()):
        assert set(EXPECTED[name]) == set(routes), f"{name}: a route without an expectation, or the other way round"
        # From an address of its own, and not too fast, so that each refusal has a record of its own.
        with table.client(kind.certificate, f"127.0.1.{number + 1}") as client:
            for at, (route, path) in enumerate(routes.items()):
                trace = f"{number + 1:016x}{at + 1:016x}"
                headers = [*kind.headers, ("traceparent", f"00-{trace}-{'1' * 16}-01")]
                answer = client.get(path, headers=headers)
                said[trace] = (name, route, answer.status_code)
                texts[trace] = answer.text
                time.sleep(0.15 if answer.status_code == 403 else 0)
    rows = {}

    def recorded() -> bool:
        rows.update({call["trace_id"]: call for call in table.node.query("--limit", "100000")})
        return said.keys() <= rows.keys() and all(rows[trace]["outcome"] != "open" for trace in said)

    assert eventually(recorded, pause=0.5), f"not on the record: {[said[trace] for trace in said.keys() - rows.keys()]}"
    wrong = []
    for trace, (name, route, status) in said.items():
        row = rows[trace]
        got = (status, row["reason"] or "")
        if got != EXPECTED[name][route] or row["status"] != status:
            wrong.append(f"{name} on {route}: {got}, not {EXPECTED[name][route]}; {row.get('note')}")
        if row["reason"] and row["reason"] in texts[trace]:
            wrong.append(f"{name} on {route}: the caller learns the reason")
    assert not wrong, "\n".join(wrong)
    allowed = [said[trace][:2] for trace in said if said[trace][2] == 200]
    assert len(table.upstream.seen) - passed == len(allowed), "what was forwarded is not what was allowed"


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
    statuses = [node.get("/limited", one) for _ in range(40)]
    assert sum(answer.status_code == 200 for answer in statuses) == 20
    refused = statuses[-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "ratelimit" in refused.headers
    assert node.get("/limited", two).status_code == 200
    assert len(upstream.seen) == 21


def test_keys_rotate_with_overlap_and_expire(table: Table) -> None:
    first = table.node.key("rotating", "reader")
    rotated = json.loads(table.node.cli("key", "rotate", first["id"], "--overlap", "2s", "--json").stdout)
    assert table.get("/either", first["key"]) == 200
    assert table.get("/either", rotated["key"]) == 200
    assert eventually(lambda: table.get("/either", first["key"]) == 401, timeout=8, pause=0.2)
    assert table.get("/either", rotated["key"]) == 200
    short = table.node.key("short", "reader", expires="2s")
    assert table.get("/either", short["key"]) == 200
    assert eventually(lambda: table.get("/either", short["key"]) == 401, timeout=8)
    listed = table.node.cli("key", "list", "--json").stdout
    assert rotated["key"] not in listed
    assert rotated["id"] in listed


def test_secrets_are_nowhere_to_be_found(table: Table, outside: Outside) -> None:
    made = table.node.key("quiet", "reader")
    token = outside.token()
    assert table.get("/either", made["key"]) == 200
    assert table.get("/token", Authorization=f"Bearer {token}") == 200
    table.node.cli("key", "revoke", made["id"])
    assert table.node.stop() == 0
    secrets = [made["key"].encode(), token.encode(), token.rsplit(".", 1)[1].encode()]
    for path, content in contents(table.node.folder).items():
        assert not any(secret in content for secret in secrets), path
    table.node.start()


def test_keys_are_made_with_the_node_stopped(table: Table) -> None:
    assert table.node.stop() == 0
    made = table.node.key("offline", "reader")
    doomed = table.node.key("doomed", "reader")
    table.node.cli("key", "revoke", doomed["id"])
    assert table.node.verify()["ok"]
    table.node.start()
    assert table.get("/either", made["key"]) == 200
    assert table.get("/either", doomed["key"]) == 401


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
