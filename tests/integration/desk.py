"""One node that issues tokens, over TLS, and what its clients and people need to speak to it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.integration.node import Node, eventually
from tests.integration.person import Person, parameters
from tests.integration.upstream import Upstream

BACK = "https://app.example.com/back"
AFTER = "https://app.example.com/after"
REFUSED = "token:refused"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto}}
connections: {{failures: 1000000/m}}
issuer:
  url: https://localhost:PORT
  scopes: {{things.read: See your things}}
{more}
services:
  up: {{upstreams: [{url}]}}
routes:
  - {{match: /*, service: up, authenticate: [jwt, api_key], allow: call, limit: none}}
roles:
  caller: [call]
"""


class Desk:
    """A running node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.url = f"https://localhost:{node.port}"
        self.ca = str(node.data / "pki" / "ca.pem")
        self.http = httpx.Client(verify=self.context(), trust_env=False, timeout=20)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def answers(self) -> bool:
        """The issuer comes up after the workers."""
        return self.http.get(f"{self.url}/.well-known/openid-configuration").status_code == 200

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self.url}/.well-known/openid-configuration").json()
        return found

    def client(self, name: str, *words: str) -> dict[str, Any]:
        """Make a client as an operator does."""
        made: dict[str, Any] = json.loads(self.node.cli("client", "create", name, *words, "--json").stdout)
        return made

    def person(self, name: str) -> Person:
        """Make an account; whose it is has chosen a password, and is signed in."""
        made = json.loads(self.node.cli("user", "create", name, "--role", "caller", "--json").stdout)
        somebody = Person(self.url, name, ca=self.ca)
        somebody.begin(made["link"])
        return somebody

    def post(
        self, path: str, form: Any, client: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """To an endpoint; `form` is a dict or a list of pairs; `client` sends its secret by Basic."""
        pairs = list(form.items()) if isinstance(form, dict) else form
        content = str(httpx.QueryParams(pairs))
        auth = (client["client_id"], client["client_secret"]) if client is not None else None
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.http.post(f"{self.url}{path}", content=content, auth=auth, headers={**kind, **(headers or {})})

    def call(self, token: str, scheme: str = "Bearer", **headers: str) -> int:
        """What a route answers to a token."""
        given = {"authorization": f"{scheme} {token}", **headers}
        return self.http.get(f"{self.url}/things", headers=given).status_code

    def refusals(self, **wanted: str) -> list[str]:
        """Why requests were refused, by the record: of those whose details are `wanted`."""
        acts = [act["details"] for act in self.node.query("--acts", "--limit", "100000") if act["event"] == REFUSED]
        return [act["why"] for act in acts if wanted.items() <= act.items()]


class Asking:
    """An authorization request with PKCE, of a client that means well unless told otherwise."""

    def __init__(self, client: dict[str, Any], /, scope: str = "openid", **more: str) -> None:
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.parameters = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": BACK,
            "scope": scope,
            "state": "st",
            "nonce": "no",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **more,
        }

    def url(self, desk: Desk, path: str = "/oauth/authorize") -> str:
        return f"{desk.url}{path}?{httpx.QueryParams(self.parameters)}"

    def code(self, desk: Desk, person: Person) -> str:
        where = person.sign_in(self.url(desk))
        assert "code" in parameters(where), (where, person.text)
        return parameters(where)["code"]

    def exchange(self, code: str, /, **changed: str) -> dict[str, str]:
        """The form that gets tokens for the code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.parameters["redirect_uri"],
            "code_verifier": self.verifier,
        }
        return {name: value for name, value in {**form, **changed}.items() if value}


@contextmanager
def running(folder: Path, config: str = CONFIG, more: str = "") -> Iterator[Desk]:
    upstream = Upstream()
    node = Node(folder / "node", config.format(url=upstream.url, more=more))
    try:
        desk = Desk(node.start())
        assert eventually(desk.answers, timeout=30), node.tail()
        yield desk
        desk.http.close()
    finally:
        node.kill()
        upstream.close()


def settled(started: float) -> None:
    """Ten seconds after a node's start it takes proofs without a nonce; until then it asks for one."""
    time.sleep(max(0.0, started + 11 - time.monotonic()))
