"""Tokens bound to a key at the token endpoint (RFC 9449 section 5), with the real table of used proofs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from interlock.clock import SECOND
from interlock.control.issuer_proofs import GuardedProofs
from interlock.identity.dpop import ProofGuard
from interlock.issuer.http import Response
from interlock.jose.dpop_nonce import Nonces
from interlock.snapshot.replay import ReplayTable
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, header, told
from tests.unit.issuer.test_authorize import BACK, GRANTS, VERIFIER, ask, back

KEY = ECKey.generate_key("P-256")
THIEF = ECKey.generate_key("P-256")


@pytest.fixture
def bound(desk: Desk, tmp_path: Path) -> Desk:
    table = ReplayTable.create(tmp_path / "replays", wall=desk.clock.wall() - 60 * SECOND, monotonic=0)
    guard = ProofGuard(table, Nonces(secrets.token_bytes(32)), lambda: desk.clock.wall() - desk.clock.wall() // 2)
    desk.issuer._proofs = GuardedProofs(guard)
    desk.client()
    desk.client(
        "app",
        grant_types=GRANTS,
        redirect_uris=(BACK,),
        scopes=("openid", "accounts"),
        first_party=True,
        token_endpoint_auth_method="none",
    )
    desk.people.sign_in_now(desk.clock.wall())
    return desk


def proof(desk: Desk, key: ECKey = KEY, **change: Any) -> str:
    claims = {
        "jti": secrets.token_urlsafe(8),
        "htm": "POST",
        "htu": f"{URL}/oauth/token",
        "iat": desk.clock.wall() // SECOND,
        **change,
    }
    return jwt.encode({"alg": "ES256", "typ": "dpop+jwt", "jwk": key.as_dict(private=False)}, claims, key)


def send(desk: Desk, text: str, client: str = "billing", **form: str) -> Response:
    if client == "app":
        return desk.send("POST", "/oauth/token", form={"client_id": "app", **form}, headers={"DPoP": text})
    return desk.send("POST", "/oauth/token", form=form, basic=(client, SECRET), headers={"DPoP": text})


def test_a_proof_binds_the_token_and_is_good_once(bound: Desk) -> None:
    text = proof(bound)
    body = told(send(bound, text, grant_type="client_credentials"))
    assert body["token_type"] == "DPoP"
    assert claims_of(body["access_token"])["cnf"] == {"jkt": KEY.thumbprint()}
    again = send(bound, text, grant_type="client_credentials")
    assert told(again)["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize(
    "change",
    [
        {"htm": "GET"},
        {"htu": "https://evil.example/oauth/token"},
        {"htu": f"{URL}/oauth/par"},
        {"iat": 1},
        {"iat": 4_000_000_000},
        {"jti": None},
        {"nonce": "made-up"},
    ],
)
def test_a_proof_for_something_else_is_refused(bound: Desk, change: dict[str, Any]) -> None:
    found = told(send(bound, proof(bound, **change), grant_type="client_credentials"))
    assert found["error"] in ("invalid_dpop_proof", "use_dpop_nonce")
    assert "access_token" not in found


def test_a_client_that_is_registered_as_bound_must_bring_one(bound: Desk) -> None:
    bound.client("strict", dpop_bound_access_tokens=True)
    answer = bound.token("strict", grant_type="client_credentials")
    assert told(answer)["error"] == "invalid_dpop_proof"


def test_a_code_that_is_bound_to_a_key_is_nothing_with_another(bound: Desk) -> None:
    code = back(ask(bound, dpop_jkt=KEY.thumbprint()))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    assert told(send(bound, proof(bound, THIEF), "app", **form))["error"] == "invalid_dpop_proof"
    without = bound.send("POST", "/oauth/token", form={"client_id": "app", **form})
    assert told(without)["error"] == "invalid_dpop_proof"
    assert send(bound, proof(bound), "app", **form).status == 200


def test_a_public_clients_refresh_token_is_bound_to_the_key_of_its_first_proof(bound: Desk) -> None:
    bound.issuer.registry.put(bound.clients.change("app", scopes=("openid", "offline_access")))
    code = back(ask(bound, scope="openid offline_access"))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    refresh = told(send(bound, proof(bound), "app", **form))["refresh_token"]
    again = {"grant_type": "refresh_token", "refresh_token": refresh}
    assert told(send(bound, proof(bound, THIEF), "app", **again))["error"] == "invalid_dpop_proof"
    bare = bound.send("POST", "/oauth/token", form={"client_id": "app", **again})
    assert told(bare)["error"] == "invalid_dpop_proof"
    answer = send(bound, proof(bound), "app", **again)
    assert answer.status == 200, answer.body
    assert claims_of(told(answer)["access_token"])["cnf"] == {"jkt": KEY.thumbprint()}


def test_where_the_table_may_have_forgotten_a_nonce_is_asked_for_and_then_it_goes(bound: Desk, tmp_path: Path) -> None:
    born = ReplayTable.create(tmp_path / "new", wall=bound.clock.wall(), monotonic=10**9)
    guard = ProofGuard(born, Nonces(secrets.token_bytes(32)), lambda: 10**9)
    bound.issuer._proofs = GuardedProofs(guard)
    first = send(bound, proof(bound), grant_type="client_credentials")
    assert told(first)["error"] == "use_dpop_nonce"
    nonce = header(first, "dpop-nonce")
    assert send(bound, proof(bound, nonce=nonce), grant_type="client_credentials").status == 200
