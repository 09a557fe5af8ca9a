"""What the issuer gives beside the plain grants, at a real node over TLS: exchange, workloads, devices, references."""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.node import Node, eventually
from tests.integration.person import Person
from tests.integration.upstream import Upstream
from tests.unit.jose.material import ec, public, sign

pytestmark = pytest.mark.integration

GRANT = "urn:ietf:params:oauth:grant-type:"
TOKEN = "urn:ietf:params:oauth:token-type:access_token"
OUTSIDE = "https://ci.example.org"
WORKLOAD = "repo:example/app:ref:refs/heads/main"
CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto}}
issuer:
  url: https://localhost:PORT
  scopes: {{things.read: See your things}}
  registration: token
  assertions: https://ci.example.org
  details: {{pay: {{fields: {{to: text}}}}}}
identity:
  issuers:
    - {{issuer: https://ci.example.org, audience: nobody, algorithms: [ES256], jwks: ci.json, callers: false}}
services:
  up: {{upstreams: [{url}]}}
routes:
  - match: /pay/{{to}}
    service: up
    authenticate: [jwt]
    allow:
      permission: call
      when: 'claims.authorization_details.exists(d, d.type == "pay" && d.to == request.params.to)'
    limit: none
  - {{match: /*, service: up, authenticate: [jwt, api_key], allow: call, limit: none}}
roles:
  caller: [call]
"""


class Desk:
    """One node, and what its clients need to speak to it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.url = f"https://localhost:{node.port}"
        self.ca = str(node.data / "pki" / "ca.pem")
        self.http = httpx.Client(verify=ssl.create_default_context(cafile=self.ca), trust_env=False, timeout=20)

    def client(self, name: str, *words: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.node.cli("client", "create", name, *words, "--json").stdout)
        return made

    def token(self, client: dict[str, Any], **form: str) -> httpx.Response:
        auth = (client["client_id"], client["client_secret"]) if "client_secret" in client else None
        if auth is None:
            form["client_id"] = client["client_id"]
        return self.http.post(f"{self.url}/oauth/token", data=form, auth=auth)

    def own(self, client: dict[str, Any], **form: str) -> str:
        answer = self.token(client, grant_type="client_credentials", **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def call(self, token: str, path: str = "/things") -> int:
        """On a connection of its own: whichever worker takes it."""
        context = ssl.create_default_context(cafile=self.ca)
        with httpx.Client(verify=context, trust_env=False, timeout=20) as client:
            return client.get(f"{self.url}{path}", headers={"authorization": f"Bearer {token}"}).status_code


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    upstream = Upstream()
    node = Node(tmp_path_factory.mktemp("grants") / "node", CONFIG.format(url=upstream.url))
    (node.folder / "ci.json").write_text(public(ec()))
    try:
        made = Desk(node.start())
        yield made
        made.http.close()
    finally:
        node.kill()
        upstream.close()


@pytest.fixture(scope="module")
def alice(desk: Desk) -> Iterator[Person]:
    made = json.loads(desk.node.cli("user", "create", "alice", "--role", "caller", "--json").stdout)
    person = Person(desk.url, "alice", ca=desk.ca)
    person.begin(made["link"])
    yield person
    person.close()


def test_every_worker_takes_a_reference_until_it_is_revoked(desk: Desk) -> None:
    shop = desk.client("shop", "--role", "caller", "--opaque")
    token = desk.own(shop)
    assert token.startswith("ila_")
    assert [desk.call(token) for _ in range(8)] == [200] * 8
    assert desk.call(token[:-1] + ("A" if token[-1] != "A" else "B")) == 401
    auth = (shop["client_id"], shop["client_secret"])
    told = desk.http.post(f"{desk.url}/oauth/introspect", data={"token": token}, auth=auth).json()
    assert told["active"] is True
    assert desk.http.post(f"{desk.url}/oauth/revoke", data={"token": token}, auth=auth).status_code == 200
    assert [desk.call(token) for _ in range(8)] == [401] * 8


def test_references_outlive_whoever_is_killed(desk: Desk) -> None:
    shop = desk.client("mall", "--role", "caller", "--opaque")
    token = desk.own(shop)
    for kind in ("worker", "control"):
        before = set(desk.node.pids(kind))
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda kind=kind, before=before: len(set(desk.node.pids(kind)) - before) == len(before), timeout=30)
        eventually(lambda: _is(desk, token, 200), timeout=30)
    assert [desk.call(token) for _ in range(8)] == [200] * 8
    eventually(lambda: _issues(desk, shop), timeout=30)
    assert [desk.call(desk.own(shop)) for _ in range(4)] == [200] * 4, "written on from where it was"
    desk.node.cli("client", "disable", shop["client_id"])
    assert [desk.call(token) for _ in range(4)] == [401] * 4


def _is(desk: Desk, token: str, status: int) -> bool:
    try:
        return desk.call(token) == status
    except httpx.HTTPError:
        return False


def _issues(desk: Desk, client: dict[str, Any]) -> bool:
    try:
        return desk.token(client, grant_type="client_credentials").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_workload_comes_with_its_platforms_word(desk: Desk) -> None:
    words = ("--grant", f"{GRANT}jwt-bearer", "--auth", "none", "--role", "caller")
    client = desk.client("deploy", *words, "--assertion-issuer", OUTSIDE, "--assertion-subject", WORKLOAD)

    def assertion(**claims: Any) -> str:
        now = int(time.time())
        stated = {"iss": OUTSIDE, "sub": WORKLOAD, "aud": desk.url, "iat": now, "exp": now + 300, **claims}
        return sign({"alg": "ES256", "kid": ec().kid, "typ": "JWT"}, json.dumps(stated).encode(), ec()).decode()

    def asked(text: str) -> httpx.Response:
        return desk.token(client, grant_type=f"{GRANT}jwt-bearer", assertion=text)

    answer = asked(assertion(jti="one"))
    assert answer.status_code == 200, answer.text
    assert desk.call(answer.json()["access_token"]) == 200
    fresh = assertion(jti="two")
    assert asked(fresh).status_code == 200
    assert asked(fresh).json()["error"] == "invalid_grant"
    assert asked(assertion(jti="three", sub="repo:evil/app")).json()["error"] == "invalid_grant"
    assert desk.call(assertion(jti="four", aud="nobody")) == 401, "its own tokens open nothing here"
    desk.node.cli("revoke", "client", client["client_id"])
    assert desk.call(answer.json()["access_token"]) == 401


def test_a_device_is_connected_by_alice_and_an_api_acts_for_her(desk: Desk, alice: Person) -> None:
    scope = ("--scope", "openid", "--scope", "things.read", "--scope", "offline_access")
    tv = desk.client("tv", "--grant", f"{GRANT}device_code", "--grant", "refresh_token", "--auth", "none", *scope)
    codes = desk.http.post(
        f"{desk.url}/oauth/device_authorization", data={"client_id": tv["client_id"], "scope": "things.read openid"}
    ).json()

    def poll() -> httpx.Response:
        return desk.token(tv, grant_type=f"{GRANT}device_code", device_code=codes["device_code"])

    assert poll().json()["error"] in ("authorization_pending", "slow_down")
    where = alice.visit(codes["verification_uri"])
    if "/oauth/signin" in where:
        alice.submit("/oauth/signin/password", name=alice.name, password=alice.password)
    assert "Connect a device" in alice.text
    alice.submit("/oauth/device", user_code=codes["user_code"].lower())
    assert "Allow tv?" in alice.text
    assert "127.0.0.1" in alice.text, "where the device is"
    alice.submit("/oauth/device/consent", decision="allow")
    assert "Connected" in alice.text
    answer = poll()
    assert answer.status_code == 200, answer.text
    hers = answer.json()["access_token"]
    assert desk.call(hers) == 200
    assert poll().json()["error"] == "invalid_grant"

    api = desk.client("api", "--grant", f"{GRANT}token-exchange", "--resource", desk.url, "--scope", "things.read")
    exchanged = desk.token(api, grant_type=f"{GRANT}token-exchange", subject_token=hers, subject_token_type=TOKEN)
    assert exchanged.status_code == 200, exchanged.text
    token = exchanged.json()["access_token"]
    assert desk.call(token) == 200
    told = desk.http.post(
        f"{desk.url}/oauth/introspect", data={"token": token}, auth=(api["client_id"], api["client_secret"])
    ).json()
    assert told["act"]["client_id"] == api["client_id"]
    desk.node.cli("revoke", "client", tv["client_id"])
    assert (desk.call(hers), desk.call(token)) == (401, 401), "with what it was exchanged for"
    assert desk.node.verify()["ok"] is True


def test_details_decide_at_a_route(desk: Desk) -> None:
    payer = desk.client("payer", "--role", "caller", "--details", "pay")
    token = desk.own(payer, authorization_details='[{"type":"pay","to":"bob"}]')
    assert (desk.call(token, "/pay/bob"), desk.call(token, "/pay/eve")) == (200, 403)
    assert desk.call(desk.own(payer), "/pay/bob") == 403


def test_a_client_registers_itself_and_is_given_a_role(desk: Desk) -> None:
    initial = json.loads(desk.node.cli("client", "initial-token", "--uses", "1", "--expires", "1h", "--json").stdout)
    headers = {"authorization": f"Bearer {initial['initial_access_token']}"}
    wanted = {"client_name": "Guest", "grant_types": ["client_credentials"], "roles": ["caller"]}
    answer = desk.http.post(f"{desk.url}/oauth/register", json=wanted, headers=headers)
    assert answer.status_code == 201, answer.text
    guest = answer.json()
    assert desk.http.post(f"{desk.url}/oauth/register", json=wanted, headers=headers).status_code == 401
    assert desk.call(desk.own(guest)) == 403, "known, and allowed nothing"
    desk.node.cli("client", "role", guest["client_id"], "--add", "caller")
    with_role = desk.own(guest)
    assert desk.call(with_role) == 200
    own = {"authorization": f"Bearer {guest['registration_access_token']}"}
    assert desk.http.get(guest["registration_client_uri"], headers=own).json()["client_name"] == "Guest"
    desk.node.cli("client", "role", guest["client_id"], "--remove", "caller")
    assert desk.call(with_role) == 401, "what was issued with it"
    assert desk.http.delete(guest["registration_client_uri"], headers=own).status_code == 204
    assert desk.http.get(guest["registration_client_uri"], headers=own).status_code == 401
    assert desk.token(guest, grant_type="client_credentials").status_code == 401
    assert Path(desk.node.data / "state.db").exists()
