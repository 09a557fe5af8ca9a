"""Clients written by others, against the real issuer over TLS: requests_oauth2client, Authlib, requests-oauthlib."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import requests
from authlib.integrations.httpx_client import OAuth2Client as AuthlibClient
from authlib.jose import JsonWebKey
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey
from jwskate import Jwk
from oauthlib.oauth2 import BackendApplicationClient, WebApplicationClient
from requests_oauth2client import (
    AuthorizationRequest,
    DPoPToken,
    InvalidClient,
    OAuth2Client,
    OAuth2ClientCredentialsAuth,
    PrivateKeyJwt,
    RequestUriParameterAuthorizationRequest,
    oauth2_discovery_document_url,
)
from requests_oauthlib import OAuth2Session

from tests.integration.node import Node
from tests.integration.person import Person, parameters
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

T = TypeVar("T")
BACK = "https://app.example.com/back"
CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto}}
issuer:
  url: https://localhost:PORT
  scopes: {{things.read: See your things}}
services:
  up: {{upstreams: [{url}]}}
routes:
  - {{match: /*, service: up, authenticate: [jwt, api_key], allow: call, limit: none}}
roles:
  caller: [call]
"""


class Desk:
    """One node that issues tokens, and what its clients need to speak to it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.url = f"https://localhost:{node.port}"
        self.ca = str(node.data / "pki" / "ca.pem")

    def client(self, name: str, *words: str) -> dict[str, Any]:
        """Make a client as an operator does."""
        made: dict[str, Any] = json.loads(self.node.cli("client", "create", name, *words, "--json").stdout)
        return made

    def session(self) -> requests.Session:
        session = requests.Session()
        session.verify = self.ca
        session.trust_env = False
        return session

    def discovered(self, client: Any, **options: Any) -> OAuth2Client:
        """A client that finds everything by the metadata."""
        return OAuth2Client.from_discovery_endpoint(
            oauth2_discovery_document_url(self.url),
            issuer=self.url,
            auth=client,
            session=self.session(),
            code_challenge_method="S256",
            id_token_signed_response_alg="ES256",
            **options,
        )

    def call(self, **headers: str) -> int:
        with httpx.Client(verify=self._context(), trust_env=False) as client:
            return client.get(f"{self.url}/things", headers=headers).status_code

    def _context(self) -> Any:
        import ssl

        return ssl.create_default_context(cafile=self.ca)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    upstream = Upstream()
    node = Node(tmp_path_factory.mktemp("issuer") / "node", CONFIG.format(url=upstream.url))
    try:
        yield Desk(node.start())
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


@pytest.fixture(scope="module")
def web(desk: Desk) -> dict[str, Any]:
    return desk.client(
        "web",
        *("--grant", "authorization_code", "--grant", "refresh_token", "--redirect-uri", BACK),
        *("--scope", "openid", "--scope", "profile", "--scope", "things.read"),
    )


def key_file(folder: Path, key: Jwk) -> str:
    path = folder / f"{secrets.token_hex(4)}.json"
    path.write_text(json.dumps({"keys": [json.loads(key.public_jwk().to_json())]}))
    return str(path)


# -- requests_oauth2client


def test_a_program_gets_a_token_and_calls_with_it(desk: Desk) -> None:
    made = desk.client("program", "--grant", "client_credentials", "--role", "caller")
    client = desk.discovered((made["client_id"], made["client_secret"]))
    session = desk.session()
    session.auth = OAuth2ClientCredentialsAuth(client)
    assert session.get(f"{desk.url}/things").status_code == 200
    token = client.client_credentials()
    told = client.introspect_token(token)
    assert told["active"] is True
    assert told["client_id"] == made["client_id"]
    assert client.revoke_access_token(token) is True
    assert client.introspect_token(token)["active"] is False
    assert desk.call(authorization=f"Bearer {token.access_token}") == 401
    with pytest.raises(InvalidClient):
        desk.discovered((made["client_id"], "wrong")).client_credentials()


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_a_program_shows_who_it_is_by_a_signed_assertion(desk: Desk, tmp_path: Path, algorithm: str) -> None:
    key = Jwk.generate(alg=algorithm).with_kid_thumbprint()
    made = desk.client("signer", "--role", "caller", "--auth", "private_key_jwt", "--jwks", key_file(tmp_path, key))
    client = desk.discovered(PrivateKeyJwt(made["client_id"], key, alg=algorithm))
    token = client.client_credentials()
    assert desk.call(authorization=f"Bearer {token.access_token}") == 200
    other = Jwk({**Jwk.generate(alg=algorithm), "kid": key.kid})
    with pytest.raises(InvalidClient):
        desk.discovered(PrivateKeyJwt(made["client_id"], other, alg=algorithm)).client_credentials()


def test_a_token_that_is_bound_to_a_key_needs_its_proofs(desk: Desk) -> None:
    made = desk.client("bound", "--role", "caller", "--bound", "dpop")
    client = desk.discovered((made["client_id"], made["client_secret"]), dpop_bound_access_tokens=True)
    token = client.client_credentials()
    assert isinstance(token, DPoPToken)
    session = desk.session()
    assert session.get(f"{desk.url}/things", auth=token).status_code == 200
    assert session.get(f"{desk.url}/things", auth=token).status_code == 200
    assert desk.call(authorization=f"Bearer {token.access_token}") == 401
    assert desk.call(authorization=f"DPoP {token.access_token}") == 401


def test_somebody_signs_in_by_a_pushed_request(desk: Desk, alice: Person, web: dict[str, Any]) -> None:
    client = desk.discovered((web["client_id"], web["client_secret"]), redirect_uri=BACK)
    request = client.authorization_request(scope="openid profile offline_access", state="st", nonce="no")
    pushed = client.pushed_authorization_request(request)
    assert isinstance(pushed, RequestUriParameterAuthorizationRequest)
    where = alice.sign_in(pushed.uri)
    answer = request.validate_callback(where)
    token = client.authorization_code(answer, validate=True)
    assert token.id_token is not None
    assert client.userinfo(token)["preferred_username"] == "alice"
    renewed = client.refresh_token(token)
    assert desk.call(authorization=f"Bearer {renewed.access_token}") == 200


def test_a_signed_request_is_taken_and_an_altered_one_is_not(desk: Desk, alice: Person, tmp_path: Path) -> None:
    key = Jwk.generate(alg="ES256").with_kid_thumbprint()
    made = desk.client(
        "jar",
        *("--grant", "authorization_code", "--redirect-uri", BACK, "--scope", "openid"),
        *("--auth", "private_key_jwt", "--jwks", key_file(tmp_path, key)),
    )
    client = desk.discovered(PrivateKeyJwt(made["client_id"], key), redirect_uri=BACK)
    request: AuthorizationRequest = client.authorization_request(scope="openid", nonce="no", state="st")
    signed = request.sign(key, alg="ES256", lifetime=60)
    said = parameters(alice.sign_in(signed.uri))
    assert said["state"] == "st"
    verifier = request.code_verifier
    token = client.authorization_code(said["code"], code_verifier=verifier, redirect_uri=BACK)
    assert token.id_token is not None
    thief = Jwk({**Jwk.generate(alg="ES256"), "kid": key.kid})
    altered = request.sign(thief, alg="ES256", lifetime=60)
    assert alice.visit(altered.uri).startswith(desk.url)
    assert "did not work" in alice.text


# -- Authlib


def test_authlibs_client_signs_somebody_in(desk: Desk, alice: Person, web: dict[str, Any]) -> None:
    with AuthlibClient(
        web["client_id"],
        web["client_secret"],
        redirect_uri=BACK,
        scope="openid things.read offline_access",
        code_challenge_method="S256",
        verify=desk._context(),
        trust_env=False,
    ) as client:
        verifier = secrets.token_urlsafe(48)
        url, state = client.create_authorization_url(f"{desk.url}/oauth/authorize", code_verifier=verifier, nonce="no")
        where = alice.sign_in(url)
        assert parameters(where)["state"] == state
        token = client.fetch_token(f"{desk.url}/oauth/token", authorization_response=where, code_verifier=verifier)
        keys = httpx.get(f"{desk.url}/oauth/jwks", verify=desk._context(), trust_env=False).json()
        from authlib.jose import jwt

        claims = jwt.decode(token["id_token"], JsonWebKey.import_key_set(keys))
        claims.validate()
        assert claims["aud"] == web["client_id"]
        assert client.get(f"{desk.url}/things").status_code == 200
        renewed = client.refresh_token(f"{desk.url}/oauth/token", token["refresh_token"])
        assert renewed["access_token"] != token["access_token"]
        assert client.revoke_token(f"{desk.url}/oauth/revoke", renewed["refresh_token"]).status_code == 200
        assert client.get(f"{desk.url}/things").status_code == 401


def test_authlibs_assertions_are_taken(desk: Desk, tmp_path: Path) -> None:
    key = Jwk.generate(alg="ES256").with_kid_thumbprint()
    made = desk.client("authlib", "--role", "caller", "--auth", "private_key_jwt", "--jwks", key_file(tmp_path, key))
    private = ECKey.import_key(key.to_pem())
    endpoint = f"{desk.url}/oauth/token"
    with AuthlibClient(
        made["client_id"],
        private,
        token_endpoint_auth_method="private_key_jwt",
        verify=desk._context(),
        trust_env=False,
    ) as client:
        client.register_client_auth_method(PrivateKeyJWT(endpoint, alg="ES256"))
        token = client.fetch_token(endpoint, grant_type="client_credentials")
        assert desk.call(authorization=f"Bearer {token['access_token']}") == 200


# -- requests-oauthlib


def test_requests_oauthlib_gets_a_programs_token(desk: Desk) -> None:
    made = desk.client("backend", "--grant", "client_credentials", "--role", "caller")
    session = OAuth2Session(client=BackendApplicationClient(made["client_id"]))
    session.verify = desk.ca
    session.trust_env = False
    session.fetch_token(f"{desk.url}/oauth/token", client_id=made["client_id"], client_secret=made["client_secret"])
    assert session.get(f"{desk.url}/things").status_code == 200


def test_requests_oauthlib_signs_somebody_in(desk: Desk, alice: Person, web: dict[str, Any]) -> None:
    session = OAuth2Session(
        client=WebApplicationClient(web["client_id"]),
        redirect_uri=BACK,
        scope=["openid", "things.read"],
        pkce="S256",
    )
    session.verify = desk.ca
    session.trust_env = False
    url, _ = session.authorization_url(f"{desk.url}/oauth/authorize")
    where = alice.sign_in(url)
    token = session.fetch_token(
        f"{desk.url}/oauth/token", authorization_response=where, client_secret=web["client_secret"]
    )
    assert token["id_token"]
    assert session.get(f"{desk.url}/oauth/userinfo").json()["sub"].startswith("usr-")
