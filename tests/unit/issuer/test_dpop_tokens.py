"""Tokens bound to a key at the token endpoint (RFC 9449 section 5), with the real table of used proofs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from interlock.clock import SECOND
from interlock.config.issuers import IssuerDpop
from interlock.control.issuer_proofs import GuardedProofs, Shares
from interlock.identity.dpop import ProofGuard
from interlock.issuer.device import GRANT as DEVICE
from interlock.issuer.http import Response
from interlock.jose.dpop_nonce import Nonces
from interlock.model import Event
from interlock.snapshot.replay import ReplayTable
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, header, told
from tests.unit.issuer.test_authorize import BACK, GRANTS, VERIFIER, ask, back

PLACES = 1 << 16  # of which no client of these tests takes a share that counts
KEY = ECKey.generate_key("P-256")
THIEF = ECKey.generate_key("P-256")


@pytest.fixture
def bound(desk: Desk, tmp_path: Path) -> Desk:
    table = ReplayTable.create(tmp_path / "replays", wall=desk.clock.wall() - 60 * SECOND, monotonic=0)
    guard = ProofGuard(table, Nonces(secrets.token_bytes(32)), lambda: desk.clock.wall() - desk.clock.wall() // 2)
    desk.issuer._proofs = GuardedProofs(guard, Shares(PLACES), lambda: 0)
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
    bound.clients.change("app", scopes=("openid", "offline_access"))
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
    bound.issuer._proofs = GuardedProofs(guard, Shares(PLACES), lambda: 0)
    first = send(bound, proof(bound), grant_type="client_credentials")
    assert told(first)["error"] == "use_dpop_nonce"
    nonce = header(first, "dpop-nonce")
    assert send(bound, proof(bound, nonce=nonce), grant_type="client_credentials").status == 200


# -- room for used proofs is for those who are given something


class Tries:
    """Ways to fail with a good proof, for anybody who knows what is public; each comes to the whole table's end."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def wrong_secret(self) -> Response:
        return self.send("/oauth/token", basic=("billing", "guessed"), grant_type="client_credentials")

    def unknown_client(self) -> Response:
        return self.send("/oauth/token", client_id="nobody", grant_type="authorization_code", code="ilc_made-up")

    def made_up_code(self) -> Response:
        return self.send("/oauth/token", client_id="app", grant_type="authorization_code", code="ilc_made-up")

    def made_up_refresh_token(self) -> Response:
        made_up = f"ilr_{'a' * 22}.{'b' * 43}"
        return self.send("/oauth/token", client_id="app", grant_type="refresh_token", refresh_token=made_up)

    def code_without_its_verifier(self) -> Response:
        self.code: str = getattr(self, "code", "") or back(ask(self.desk))["code"]
        form = {"redirect_uri": BACK, "code_verifier": "x" * 43}
        return self.send("/oauth/token", client_id="app", grant_type="authorization_code", code=self.code, **form)

    def grant_that_there_is_not(self) -> Response:
        return self.send("/oauth/token", client_id="app", grant_type="password")

    def request_pushed_in_the_name_of_a_public_client(self) -> Response:
        asked = {"response_type": "code", "redirect_uri": BACK, "scope": "openid", "code_challenge_method": "S256"}
        return self.send("/oauth/par", client_id="app", code_challenge="c" * 43, **asked)

    def device_in_the_name_of_a_public_client(self) -> Response:
        return self.send("/oauth/device_authorization", client_id="tv")

    def poll_before_anybody_answered(self) -> Response:
        if not hasattr(self, "device"):
            self.device = told(self.desk.send("POST", "/oauth/device_authorization", form={"client_id": "tv"}))
        return self.send("/oauth/token", client_id="tv", grant_type=DEVICE, device_code=self.device["device_code"])

    def send(self, path: str, *, basic: tuple[str, str] | None = None, **form: str) -> Response:
        headers = {"DPoP": proof(self.desk, htu=f"{URL}{path}")}
        return self.desk.send("POST", path, form=form, basic=basic, headers=headers)


@pytest.mark.parametrize("way", [name for name in vars(Tries) if name[0] != "_" and name != "send"])
def test_nobodys_failing_try_takes_room_from_honest_clients(bound: Desk, tmp_path: Path, way: str) -> None:
    """The region has 32 places for one key here, as it has some 60,000 for all keys of a flood."""
    small = ReplayTable.create(tmp_path / "small", wall=bound.clock.wall() - 60 * SECOND, monotonic=0, slots=128)
    guard = ProofGuard(small, Nonces(secrets.token_bytes(32)), lambda: bound.clock.wall() - bound.clock.wall() // 2)
    bound.issuer._proofs = GuardedProofs(guard, Shares(PLACES), lambda: 0)
    bound.client("tv", grant_types=(DEVICE,), token_endpoint_auth_method="none", scopes=("accounts",))
    tries = Tries(bound)
    answers = [getattr(tries, way)() for _ in range(40)]
    assert not any("access_token" in told(answer) for answer in answers)
    assert not any(answer.status >= 500 for answer in answers), "the table was filled"
    assert send(bound, proof(bound), grant_type="client_credentials").status == 200


def test_the_room_that_the_flood_is_tried_on_can_be_filled(bound: Desk, tmp_path: Path) -> None:
    small = ReplayTable.create(tmp_path / "small", wall=bound.clock.wall() - 60 * SECOND, monotonic=0, slots=128)
    guard = ProofGuard(small, Nonces(secrets.token_bytes(32)), lambda: bound.clock.wall() - bound.clock.wall() // 2)
    bound.issuer._proofs = GuardedProofs(guard, Shares(PLACES), lambda: 0)
    answers = [send(bound, proof(bound), grant_type="client_credentials").status for _ in range(33)]
    assert answers == [200] * 32 + [503]


def test_a_client_of_many_keys_leaves_room_for_the_others(bound: Desk, tmp_path: Path) -> None:
    """Each of its proofs is of a key of its own, which fills no key's part."""
    table = ReplayTable.create(tmp_path / "small", wall=bound.clock.wall() - 60 * SECOND, monotonic=0, slots=1024)
    guard = ProofGuard(table, Nonces(secrets.token_bytes(32)), lambda: bound.clock.wall() - bound.clock.wall() // 2)
    bound.issuer._proofs = GuardedProofs(guard, Shares(table.tokens), lambda: 0)
    bound.client("shipping")
    answers = [
        send(bound, proof(bound, key=ECKey.generate_key("P-256")), grant_type="client_credentials").status
        for _ in range(table.tokens)
    ]
    assert answers.count(200) <= table.tokens // 4
    assert answers[-1] == 503
    other = bound.send(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials"},
        basic=("shipping", SECRET),
        headers={"DPoP": proof(bound)},
    )
    assert other.status == 200
    assert bound.token(grant_type="client_credentials").status == 200, "without a proof it goes on itself"


def test_a_refused_proof_costs_no_code_and_no_refresh_token(bound: Desk) -> None:
    bound.clients.change("app", scopes=("openid", "offline_access"))
    used = proof(bound)
    assert send(bound, used, grant_type="client_credentials").status == 200
    code = back(ask(bound, scope="openid offline_access"))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    assert told(send(bound, used, "app", **form))["error"] == "invalid_dpop_proof"
    refresh = told(send(bound, proof(bound), "app", **form))["refresh_token"]
    again = {"grant_type": "refresh_token", "refresh_token": refresh}
    assert told(send(bound, used, "app", **again))["error"] == "invalid_dpop_proof"
    assert send(bound, proof(bound), "app", **again).status == 200


def test_a_request_that_was_copied_whole_gives_nothing_and_ends_nothing(bound: Desk) -> None:
    """Sent again as it was, by a thief or by a proxy that tries again: the proof is the one that was used."""
    bound.clients.change("app", scopes=("openid", "offline_access"))
    code = back(ask(bound, scope="openid offline_access"))["code"]
    first = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    proofs = [proof(bound), proof(bound)]
    given = told(send(bound, proofs[0], "app", **first))
    assert told(send(bound, proofs[0], "app", **first))["error"] == "invalid_dpop_proof"
    second = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    renewed = told(send(bound, proofs[1], "app", **second))
    assert told(send(bound, proofs[1], "app", **second))["error"] == "invalid_dpop_proof"
    third = {"grant_type": "refresh_token", "refresh_token": renewed["refresh_token"]}
    assert send(bound, proof(bound), "app", **third).status == 200
    # With a proof of its own a copy is what it always was: nobody keeps anything.
    assert told(send(bound, proof(bound), "app", **third))["error"] == "invalid_grant"
    assert [act["why"] for act in bound.record.of(Event.GRANT_REVOKE)] == ["refresh token used again"]


def test_a_proof_that_does_not_hold_costs_no_assertion(bound: Desk) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k"})
    bound.client("signer", token_endpoint_auth_method="private_key_jwt", jwks={"keys": [key.as_dict(private=False)]})
    now = bound.clock.wall() // SECOND
    claims = {"iss": "signer", "sub": "signer", "aud": URL, "jti": "one", "iat": now, "exp": now + 60}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode({"alg": "ES256", "kid": "k"}, claims, key),
    }

    def ask_with(text: str) -> dict[str, Any]:
        return told(bound.send("POST", "/oauth/token", form=form, headers={"DPoP": text}))

    assert ask_with(proof(bound, nonce="old"))["error"] == "use_dpop_nonce"
    assert ask_with(proof(bound))["token_type"] == "DPoP"
    assert ask_with(proof(bound))["error"] == "invalid_client"


def test_every_proof_may_have_to_bring_a_nonce(bound: Desk) -> None:
    bound.issuer.settings = bound.settings.model_copy(update={"dpop": IssuerDpop(nonce="required")})
    refused = send(bound, proof(bound), grant_type="client_credentials")
    assert told(refused)["error"] == "use_dpop_nonce"
    nonce = header(refused, "dpop-nonce")
    assert send(bound, proof(bound, nonce=nonce), grant_type="client_credentials").status == 200
    assert told(send(bound, proof(bound), grant_type="client_credentials"))["error"] == "use_dpop_nonce"
    assert bound.token(grant_type="client_credentials").status == 200, "a client without proofs goes on"
    for path in ("/oauth/par", "/oauth/device_authorization"):
        made = proof(bound, htu=f"{URL}{path}")
        answer = bound.send("POST", path, basic=("billing", SECRET), headers={"DPoP": made})
        assert told(answer)["error"] == "use_dpop_nonce"


PLACE = "https://mtls.example.com:8444"


def test_a_proof_is_for_the_url_that_was_called_or_its_other_name(bound: Desk) -> None:
    """Of RFC 8705 section 5: the same endpoint where certificates are shown."""
    bound.issuer.settings = bound.settings.model_copy(update={"mtls_url": PLACE})
    for htu in (f"{URL}/oauth/token", f"{PLACE}/oauth/token", f"{PLACE.upper().replace('HTTPS', 'https')}/oauth/token"):
        assert send(bound, proof(bound, htu=htu), grant_type="client_credentials").status == 200
    for htu in (f"{PLACE}/oauth/par", f"{PLACE}0/oauth/token", "https://mtls.example.com/oauth/token", f"{PLACE}", 7):
        refused = send(bound, proof(bound, htu=htu), grant_type="client_credentials")
        assert told(refused)["error"] == "invalid_dpop_proof"
    bound.issuer.settings = bound.settings
    refused = send(bound, proof(bound, htu=f"{PLACE}/oauth/token"), grant_type="client_credentials")
    assert told(refused)["error"] == "invalid_dpop_proof", "only where there is one"


def test_an_assertion_is_for_the_issuer_and_not_for_the_other_name(bound: Desk) -> None:
    bound.issuer.settings = bound.settings.model_copy(update={"mtls_url": PLACE})
    key = ECKey.generate_key("P-256", {"kid": "k"})
    bound.client("signer", token_endpoint_auth_method="private_key_jwt", jwks={"keys": [key.as_dict(private=False)]})
    now = bound.clock.wall() // SECOND
    for number, (audience, status) in enumerate(((URL, 200), (PLACE, 401), (f"{PLACE}/oauth/token", 401))):
        claims = {"iss": "signer", "sub": "signer", "aud": audience, "jti": str(number), "iat": now, "exp": now + 60}
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "ES256", "kid": "k"}, claims, key),
        }
        assert bound.send("POST", "/oauth/token", form=form).status == status
