"""Tokens bound to a key (DPoP, RFC 9449) at a real node: what their owner may, and what a thief may not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.files import contents
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
connections: {{failures: 1000000/m}}
trusted_proxies: [127.0.9.9/32]
services:
  up: {{upstreams: [{url}]}}
  told: {{upstreams: [{url}], forward_credentials: true}}
routes:
  - {{match: /told/*, service: told, authenticate: [jwt], allow: things:read, limit: none}}
  - {{match: /keyed/*, service: up, authenticate: [api_key], allow: things:read, limit: none}}
  - {{match: GET /open/*, service: up, allow: public, limit: none}}
  - match: GET /browsed
    service: up
    authenticate: [jwt]
    allow: things:read
    limit: none
    cors: {{origins: [https://app.example.com]}}
  - {{match: [GET /*, POST /*], service: up, authenticate: [jwt], allow: things:read, limit: none}}
roles:
  reader: [things:read]
identity:
  issuers:
    - {{issuer: "https://login.example.com", audience: api, algorithms: [ES256], jwks: jwks.json,
        roles: {{from: groups, map: {{Readers: reader}}}}}}
    - {{issuer: "https://strict.example.com", audience: api, algorithms: [ES256], jwks: jwks.json,
        roles: {{from: groups, map: {{Readers: reader}}}}, dpop: {{nonce: required}}}}
"""

ISSUER = ECKey.generate_key("P-256", {"kid": "i1", "use": "sig"})
REGISTRY = jws.JWSRegistry(algorithms=["ES256", "EdDSA", "RS256", "HS256", "none"], strict_check_header=False)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public(key: Any) -> dict[str, Any]:
    return {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}


def issue(cnf: dict[str, Any] | None, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "https://login.example.com", "aud": "api", "sub": "alice", "iat": now, "exp": now + 600,
        "groups": ["Readers"], "jti": str(uuid.uuid4()), **({"cnf": cnf} if cnf else {}), **changes,
    }  # fmt: skip
    return jwt.encode({"alg": "ES256", "kid": "i1"}, claims, ISSUER)


class Sender:
    """A client with a key of its own, as RFC 9449 wants it: a proof for each call, and whatever nonce it was given."""

    def __init__(self, node: Node, key: Any = None, algorithm: str = "ES256", **claims: Any) -> None:
        self.node = node
        self.key = key or ECKey.generate_key("P-256")
        self.algorithm = algorithm
        self.token = issue({"jkt": self.key.thumbprint()}, **claims)
        self.nonce = ""

    def proof(self, path: str, method: str = "GET", *, head: dict[str, Any] | None = None, **claims: Any) -> str:
        header = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": public(self.key), **(head or {})}
        return jws.serialize_compact(header, self.claims(path, method, **claims), self.key, registry=REGISTRY)

    def claims(self, path: str, method: str = "GET", **changes: Any) -> bytes:
        claims = {
            "jti": str(uuid.uuid4()), "htm": method, "htu": self.node.url + path, "iat": int(time.time()),
            "ath": b64(hashlib.sha256(self.token.encode()).digest()),
            **({"nonce": self.nonce} if self.nonce else {}), **changes,
        }  # fmt: skip
        return json.dumps({name: value for name, value in claims.items() if value is not None}).encode()

    def headers(self, proof: str) -> list[tuple[str, str]]:
        return [("Authorization", f"DPoP {self.token}"), ("DPoP", proof)]

    def call(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """One call; asked for a nonce, once more with it."""
        answer = self.node.request(method, path, headers=self.headers(self.proof(path, method)), **options)
        if "dpop-nonce" in answer.headers:
            self.nonce = answer.headers["dpop-nonce"]
            if answer.status_code == 401 and "use_dpop_nonce" in answer.headers["www-authenticate"]:
                answer = self.node.request(method, path, headers=self.headers(self.proof(path, method)), **options)
        return answer


@dataclass
class Place:
    node: Node
    upstream: Upstream

    def reason(self, resource: str) -> str:
        """Why the one call of that path was refused, as the record has it."""
        return str(self.node.row(resource)["reason"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("dpop") / "node"
    upstream = Upstream()
    node = started(Node(folder, config(folder, upstream)))
    yield Place(node, upstream)
    node.kill()
    upstream.close()


def config(folder: Path, upstream: Upstream) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [public(ISSUER) | {"kid": "i1"}]}))
    return CONFIG.format(url=upstream.url)


def started(node: Node) -> Node:
    """Run it until it takes proofs without a nonce: those that may be older than the node are too old by then."""
    node.start()
    sender = Sender(node)
    path = "/warm"

    def plain() -> bool:
        return node.request("GET", path, headers=sender.headers(sender.proof(path))).status_code == 200

    assert eventually(plain, timeout=20, pause=0.5)
    return node


numbers = itertools.count(1)


def from_elsewhere(node: Node, path: str, headers: Any, method: str = "GET") -> httpx.Response:
    """A call from an address of its own, so that its refusal has a record of its own."""
    number = next(numbers)
    transport = httpx.HTTPTransport(local_address=f"127.0.{3 + number // 200}.{1 + number % 200}")
    with httpx.Client(base_url=node.url, transport=transport, timeout=20) as client:
        return client.request(method, path, headers=headers)


# -- the owner


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ECKey.generate_key("P-256"), "ES256"),
        (OKPKey.generate_key("Ed25519"), "EdDSA"),
        (RSAKey.generate_key(2048), "RS256"),
    ],
)
def test_a_bound_token_with_a_proof_for_each_call(place: Place, key: Any, algorithm: str) -> None:
    sender = Sender(place.node, key, algorithm)
    place.upstream.seen.clear()
    assert [sender.call("/things").status_code for _ in range(5)] == [200] * 5
    assert sender.call("/things?a=b", "POST", content=b"body").status_code == 200
    assert sender.call("/th%69ngs/%C3%A4").status_code == 200
    assert len(place.upstream.seen) == 7
    for seen in place.upstream.seen:
        names = {name.lower() for name, _ in seen.headers}
        assert "interlock-identity" in names
        assert not names & {"authorization", "dpop"}, "both are the caller's, and stay here"
    assert place.upstream.seen[5].body == b"body"


def test_what_the_service_asked_for_is_passed_on(place: Place) -> None:
    sender = Sender(place.node)
    place.upstream.seen.clear()
    assert sender.call("/told/x").status_code == 200
    headers = {name.lower(): value for name, value in place.upstream.seen[0].headers}
    assert headers["authorization"] == f"DPoP {sender.token}"
    assert headers["dpop"].count(".") == 2


def test_others_are_not_disturbed(place: Place) -> None:
    unbound = issue(None)
    node = place.node
    assert node.get("/plain", headers={"Authorization": f"Bearer {unbound}"}).status_code == 200
    key = node.key("k", "reader")["key"]
    assert node.get("/keyed/x", key).status_code == 200
    assert node.get("/open/x").status_code == 200
    assert node.get("/open/x", headers={"DPoP": "nonsense"}).status_code == 200, "where nobody asks, nobody looks"
    missing = node.get("/plain")
    assert missing.status_code == 401
    assert missing.headers["www-authenticate"].startswith('Bearer realm="interlock", DPoP ')


def test_a_browser_may_ask_with_proofs_and_read_nonces(place: Place) -> None:
    origin = {"Origin": "https://app.example.com"}
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,dpop"}
    allowed = place.node.request("OPTIONS", "/browsed", headers=origin | asked).headers["access-control-allow-headers"]
    assert "dpop" in allowed
    refused = place.node.get("/browsed", headers=origin | {"Authorization": "DPoP x", "DPoP": "y"})
    assert "dpop-nonce" in refused.headers["access-control-expose-headers"]


# -- the thief


def attacks(sender: Sender, path: str) -> dict[str, tuple[str, Any]]:
    """What is sent, and the reason that has to be on the record. Each on a path of its own."""
    thief = Sender(sender.node)
    thief.token = sender.token
    good = sender.proof(path)
    authorization = ("Authorization", f"DPoP {sender.token}")
    private = {**public(sender.key), "d": sender.key.as_dict(private=True)["d"]}
    secret = json.dumps(public(sender.key)).encode()
    confused = f"{b64(json.dumps({'typ': 'dpop+jwt', 'alg': 'HS256', 'jwk': public(sender.key)}).encode())}."
    confused += b64(sender.claims(path))
    confused += "." + b64(hmac.digest(secret, confused.encode(), "sha256"))
    unsigned = f"{b64(json.dumps({'typ': 'dpop+jwt', 'alg': 'none', 'jwk': public(sender.key)}).encode())}."
    unsigned += b64(sender.claims(path)) + "."
    now = int(time.time())
    second = lambda **head: sender.headers(sender.proof(path, head=head))  # noqa: E731
    return {
        "bearer": ("dpop-missing", [("Authorization", f"Bearer {sender.token}")]),
        "bearer-with-proof": ("dpop-missing", [("Authorization", f"Bearer {sender.token}"), ("DPoP", good)]),
        "no-proof": ("dpop-missing", [authorization]),
        "own-key": ("token-binding", thief.headers(thief.proof(path))),
        "claims-the-key": ("dpop-invalid", thief.headers(thief.proof(path, head={"jwk": public(sender.key)}))),
        "two-proofs": ("dpop-invalid", [authorization, ("DPoP", good), ("DPoP", sender.proof(path))]),
        "two-in-one": ("dpop-invalid", [authorization, ("DPoP", f"{good}, {sender.proof(path)}")]),
        "other-method": ("dpop-invalid", sender.headers(sender.proof(path, "POST"))),
        "other-path": ("dpop-invalid", sender.headers(sender.proof(path + "/x"))),
        "other-host": ("dpop-invalid", sender.headers(sender.proof(path, htu=f"http://evil.example{path}"))),
        "other-scheme": (
            "dpop-invalid",
            sender.headers(sender.proof(path, htu=sender.node.url.replace("http", "https") + path)),
        ),
        "forwarded-by-nobody": (
            "dpop-invalid",
            [
                *sender.headers(sender.proof(path, htu=f"https://evil.example{path}")),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "evil.example"),
                ("Forwarded", "proto=https;host=evil.example"),
            ],
        ),
        "other-token": ("dpop-invalid", sender.headers(sender.proof(path, ath=b64(hashlib.sha256(b"x").digest())))),
        "no-ath": ("dpop-invalid", sender.headers(sender.proof(path, ath=None))),
        "too-old": ("dpop-invalid", sender.headers(sender.proof(path, iat=now - 70))),
        "too-early": ("dpop-invalid", sender.headers(sender.proof(path, iat=now + 60))),
        "private-key": ("dpop-invalid", second(jwk=private)),
        "jku": ("dpop-invalid", second(jku="https://evil.example/jwks")),
        "x5c": ("dpop-invalid", second(x5c=["MIIB"])),
        "x5u": ("dpop-invalid", second(x5u="https://evil.example/x5u")),
        "none": ("dpop-invalid", sender.headers(unsigned)),
        "hs256": ("dpop-invalid", sender.headers(confused)),
        "huge": ("dpop-invalid", sender.headers(sender.proof(path, pad="x" * 9000))),
        "nonsense": ("dpop-invalid", sender.headers("nonsense")),
        "token-as-proof": ("dpop-invalid", sender.headers(sender.token)),
        "proof-as-token": ("token-issuer", [("Authorization", f"DPoP {good}"), ("DPoP", good)]),
        "foreign-nonce": ("dpop-nonce-needed", sender.headers(sender.proof(path, nonce="A" * 30))),
        "unbound-by-dpop": ("token-binding", [("Authorization", f"DPoP {issue(None)}"), ("DPoP", good)]),
        "unbound-and-bad-proof": ("dpop-invalid", [("Authorization", f"Bearer {issue(None)}"), ("DPoP", good)]),
        "two-tokens": ("credential-duplicate", [authorization, ("Authorization", f"Bearer {issue(None)}")]),
    }


def test_what_a_thief_tries(place: Place) -> None:
    """Each is refused for its reason, which the caller does not learn, and nothing of it reaches the service."""
    sender = Sender(place.node)
    names = list(attacks(sender, "/x"))
    expected, answers = {}, {}
    place.upstream.seen.clear()
    for name in names:
        path = f"/attack/{name}"
        expected[path], headers = attacks(sender, path)[name]
        answers[path] = from_elsewhere(place.node, path, headers)
    assert [path for path, answer in answers.items() if answer.status_code != 401] == []
    assert place.upstream.seen == []
    found: dict[str, str] = {}

    def recorded() -> bool:
        found.update(
            (row["resource"], row["reason"])
            for row in place.node.query("--limit", "10000")
            if row["resource"] in expected
        )
        return found.keys() == expected.keys()

    eventually(recorded, pause=0.5)
    assert found == expected
    for path, answer in answers.items():
        assert expected[path] not in answer.text
        challenge = answer.headers.get("www-authenticate", "")
        error = {"dpop-invalid": "invalid_dpop_proof", "dpop-nonce-needed": "use_dpop_nonce"}.get(expected[path])
        if error:
            assert f'DPoP realm="interlock", error="{error}", algs="ES256 ' in challenge
    assert "dpop-nonce" in answers["/attack/foreign-nonce"].headers
    assert sender.call("/still-good").status_code == 200


def test_an_overheard_call_is_of_no_use_at_any_worker(place: Place) -> None:
    """The very same call, on many connections, which the kernel gives to either worker."""
    sender = Sender(place.node)
    path = "/overheard"
    headers = sender.headers(sender.proof(path))
    assert from_elsewhere(place.node, path, headers).status_code == 200
    again = [from_elsewhere(place.node, path, headers) for _ in range(24)]
    assert {answer.status_code for answer in again} == {401}
    assert all("invalid_dpop_proof" in answer.headers["www-authenticate"] for answer in again)

    def refusals() -> list[dict[str, Any]]:
        rows = [row for row in place.node.query("--limit", "10000") if row["resource"] == path and row["reason"]]
        return rows if len(rows) == len(again) else []

    rows = eventually(refusals, pause=0.5)
    assert {row["reason"] for row in rows} == {"dpop-replayed"}
    assert len({row["id"].split("-")[0] for row in rows}) == 2, "both workers were asked"


def test_of_many_who_come_at_once_with_one_proof_one_passes(place: Place) -> None:
    sender = Sender(place.node)
    path = "/race"
    for _ in range(5):
        headers = sender.headers(sender.proof(path))
        statuses: list[int] = []
        gate = threading.Barrier(8)

        def show(headers: Any = headers, gate: threading.Barrier = gate, statuses: list[int] = statuses) -> None:
            with httpx.Client(base_url=place.node.url, timeout=20, trust_env=False) as client:
                client.get("/open/x")
                gate.wait()
                statuses.append(client.get(path, headers=headers).status_code)

        threads = [threading.Thread(target=show) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(statuses) == [200] + [401] * 7


def test_pipelined_calls_do_not_share_a_proof(place: Place) -> None:
    sender = Sender(place.node)
    host = f"127.0.0.1:{place.node.port}"
    head = "".join(f"{name}: {value}\r\n" for name, value in sender.headers(sender.proof("/piped")))
    one = f"GET /piped HTTP/1.1\r\nHost: {host}\r\n{head}"
    without = f"GET /piped HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    got = place.node.raw(f"{one}\r\n{one}\r\n{without}".encode())
    assert [line[:3] for line in got.decode().split("HTTP/1.1 ")[1:]] == ["200", "401", "401"]


def test_a_trusted_proxy_says_by_what_scheme_it_was_called(place: Place) -> None:
    sender = Sender(place.node)
    path = "/behind"
    outside = f"https://127.0.0.1:{place.node.port}{path}"
    transport = httpx.HTTPTransport(local_address="127.0.9.9")
    with httpx.Client(base_url=place.node.url, transport=transport, timeout=20) as proxy:

        def call(htu: str, *fields: tuple[str, str]) -> int:
            return proxy.get(path, headers=[*sender.headers(sender.proof(path, htu=htu)), *fields]).status_code

        assert call(outside, ("X-Forwarded-Proto", "https")) == 200
        assert call(outside) == 401
        evil = ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")
        assert call(f"https://evil.example{path}", *evil) == 401


def test_an_issuer_that_requires_nonces(place: Place) -> None:
    sender = Sender(place.node, iss="https://strict.example.com")
    path = "/strict"
    first = place.node.request("GET", path, headers=sender.headers(sender.proof(path)))
    assert first.status_code == 401
    assert 'error="use_dpop_nonce"' in first.headers["www-authenticate"]
    assert first.headers["cache-control"] == "no-store"
    sender.nonce = first.headers["dpop-nonce"]
    with_it = [sender.headers(sender.proof(path)) for _ in range(8)]
    statuses = [place.node.request("GET", path, headers=headers).status_code for headers in with_it]
    assert statuses == [200] * 8, "one nonce is good for many proofs, at either worker"
    again = sender.headers(sender.proof(path))
    assert [from_elsewhere(place.node, path, again).status_code for _ in range(4)] == [200, 401, 401, 401]


def test_it_is_nowhere_to_be_found(place: Place) -> None:
    sender = Sender(place.node)
    proof = sender.proof("/quiet")
    assert place.node.request("GET", "/quiet", headers=sender.headers(proof)).status_code == 200
    assert place.node.request("GET", "/quiet", headers=sender.headers(proof)).status_code == 401
    secrets = [sender.token.rsplit(".", 1)[1].encode(), proof.rsplit(".", 1)[1].encode()]
    for path, content in contents(place.node.folder).items():
        assert not any(secret in content for secret in secrets), path
    assert (place.node.data / "run" / "replays").stat().st_mode & 0o777 == 0o600


# -- what is lost, and what is not (last: these end processes)


def test_a_worker_that_was_killed_took_no_memory_with_it(place: Place) -> None:
    sender = Sender(place.node)
    path = "/killed"
    headers = [sender.headers(sender.proof(path)) for _ in range(6)]
    assert [from_elsewhere(place.node, path, one).status_code for one in headers] == [200] * 6
    before = set(place.node.pids("worker"))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: len(set(place.node.pids("worker")) - before) == 2, timeout=20)
    assert eventually(lambda: from_elsewhere(place.node, "/open/x", {}).status_code == 200, timeout=20)
    assert [from_elsewhere(place.node, path, one).status_code for one in headers] == [401] * 6
    assert sender.call(path).status_code == 200


def test_after_a_start_nothing_older_is_taken(place: Place) -> None:
    """The table was lost with the node that filled it: what it held cannot be told from what is new."""
    node = place.node
    sender = Sender(node)
    path = "/started-again"
    ahead = int(time.time()) + 9  # by a clock that is ahead, which is allowed
    used = [sender.headers(sender.proof(path)), sender.headers(sender.proof(path, iat=ahead))]
    unused = sender.headers(sender.proof(path))
    assert [node.request("GET", path, headers=one).status_code for one in used] == [200, 200]
    strict = Sender(node, iss="https://strict.example.com")
    assert strict.call(path).status_code == 200
    old_nonce = strict.nonce
    assert node.stop() == 0
    node.start()
    for one in (*used, unused, sender.headers(sender.proof(path))):
        answer = node.request("GET", path, headers=one)
        assert answer.status_code == 401
        assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    assert node.request("GET", path, headers=strict.headers(strict.proof(path, nonce=old_nonce))).status_code == 401
    assert sender.call(path).status_code == 200, "a client that does as it is asked notices little of it"
    assert sender.nonce
    again = sender.headers(sender.proof(path))
    assert [from_elsewhere(node, path, again).status_code for _ in range(3)] == [200, 401, 401]
    sender.nonce = ""

    def plain() -> bool:
        return node.request("GET", path, headers=sender.headers(sender.proof(path))).status_code == 200

    assert eventually(plain, timeout=20, pause=0.5), "and soon no nonce is needed"
    assert [node.request("GET", path, headers=one).status_code for one in used] == [401, 401]
    assert node.verify()["ok"]
