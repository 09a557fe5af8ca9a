"""Introspection (RFC 7662): whether a token holds, told to whom it concerns. Everybody else learns "no"."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.identity.handles import client_handle, issuer_handle, principal_handle
from interlock.issuer.http import Response
from interlock.jose.signing import Signer, make_key
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, header, told
from tests.unit.issuer.test_refresh_tokens import ALICE, Family

NO = {"active": False}
API = "https://ledger.example"


def ask(desk: Desk, token: str, client_id: str = "billing", **form: str) -> Response:
    return desk.send("POST", "/oauth/introspect", form={"token": token, **form}, basic=(client_id, SECRET))


def answered(desk: Desk, token: str, client_id: str = "billing", **form: str) -> dict[str, Any]:
    answer = ask(desk, token, client_id, **form)
    assert answer.status == 200
    assert header(answer, "cache-control") == "no-store"
    return told(answer)


def token_of(desk: Desk, client_id: str = "billing", **form: str) -> str:
    return str(told(desk.token(client_id, grant_type="client_credentials", **form))["access_token"])


@pytest.fixture
def token(desk: Desk) -> str:
    desk.client(scopes=("ledger",))
    return token_of(desk)


def test_the_client_it_was_given_to_is_told_all_of_it(desk: Desk, token: str) -> None:
    found = answered(desk, token)
    claims = claims_of(token)
    assert found["active"] is True
    assert found["token_type"] == "Bearer"
    assert found["username"] == "billing"
    for name in ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "roles"):
        assert found[name] == claims[name]
    assert answered(desk, token, token_type_hint="refresh_token")["active"], "a hint is no more than that"


def test_an_api_looks_into_tokens_that_are_for_it(desk: Desk, token: str) -> None:
    desk.client("ledger", resources=(URL,))
    desk.client("other-api", resources=("https://other.example",))
    desk.client("no-api")
    assert answered(desk, token, "ledger")["active"]
    assert answered(desk, token, "other-api") == NO
    assert answered(desk, token, "no-api") == NO, "it only calls: what others carry is not its business"


def test_a_token_for_another_api_is_told_to_that_one(tmp_path: Any) -> None:
    desk = Desk(tmp_path, resources=[API, "https://other.example"])
    desk.client(resources=(API, "https://other.example"))
    desk.client("ledger", resources=(API,))
    for resource, expected in ((API, True), ("https://other.example", False)):
        token = token_of(desk, resource=resource)
        assert answered(desk, token, "ledger")["active"] is expected
    desk.state.close()


def test_whoever_does_not_say_who_it_is_learns_nothing(desk: Desk, token: str) -> None:
    desk.client("app", token_endpoint_auth_method="none", grant_types=("refresh_token",))
    for form in ({}, {"client_id": "app"}, {"client_id": "billing"}, {"client_id": "billing", "client_secret": "x"}):
        answer = desk.send("POST", "/oauth/introspect", form={"token": token, **form})
        assert answer.status == 401
        assert b"active" not in answer.body
    own = desk.send("POST", "/oauth/introspect", form={"token": token}, headers={"authorization": f"Bearer {token}"})
    assert own.status == 401, "a token does not open what looks into tokens"
    assert desk.send("GET", "/oauth/introspect", query={"token": token}, basic=("billing", SECRET)).status == 405


def test_a_token_has_to_be_there_once(desk: Desk, token: str) -> None:
    assert told(ask(desk, ""))["error"] == "invalid_request"
    answer = desk.send(
        "POST",
        "/oauth/introspect",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=f"token={token}&token={token}".encode(),
        basic=("billing", SECRET),
    )
    assert told(answer)["error"] == "invalid_request"


def test_an_expired_token_is_not_active(desk: Desk, token: str) -> None:
    desk.clock.pass_seconds(299)
    assert answered(desk, token)["active"]
    desk.clock.pass_seconds(1)
    assert answered(desk, token) == NO


def test_a_revoked_token_is_not_active_by_whatever_it_was_revoked(desk: Desk) -> None:
    desk.client()
    for handle in (issuer_handle(URL), client_handle(URL, "billing"), principal_handle("service:interlock/billing")):
        token = token_of(desk)
        assert answered(desk, token)["active"]
        desk.directory.revoked.add(handle)
        desk.directory.epoch += 1
        assert answered(desk, token) == NO
        desk.directory.revoked.clear()
        desk.directory.epoch += 1
    token = token_of(desk)
    desk.directory.marks[client_handle(URL, "billing")] = desk.clock.wall() // SECOND + 1
    desk.directory.epoch += 1
    assert answered(desk, token) == NO


def test_what_somebody_else_signed_is_not_active(desk: Desk, token: str) -> None:
    claims = claims_of(token)
    thief = Signer(make_key("ES256"), "ES256")
    ours = desk.keys.signer
    for forged in (
        thief.sign(claims, "at+jwt"),
        ours.sign(claims, "JWT"),
        ours.sign(claims, "logout+jwt"),
        ours.sign({**claims, "iss": "https://other.example"}, "at+jwt"),
        ours.sign({**claims, "aud": "https://other.example"}, "at+jwt"),
        ours.sign({**claims, "principal": "user:login.example.com/alice"}, "at+jwt"),
        ours.sign({**claims, "cnf": {"jwk": {}}}, "at+jwt"),
        token[:-4] + "AAAA",
    ):
        assert answered(desk, forged) == NO


@pytest.mark.parametrize("text", ["x", "a.b.c", "\u00e9", "\0", "ilr_", "ilk_x", "x" * 100_000, " ", "eyJ", "Bearer x"])
def test_nonsense_is_not_active(desk: Desk, text: str) -> None:
    desk.client()
    assert answered(desk, text) == NO


# -- refresh tokens


def test_a_refresh_token_is_told_to_its_client_alone(desk: Desk) -> None:
    family = Family(desk)
    desk.client("other", resources=(URL,))
    found = answered(desk, family.token, "app")
    assert found["active"]
    assert (found["client_id"], found["sub"], found["scope"]) == ("app", "usr-alice", "read write")
    assert "token_type" not in found, "it is no access token"
    assert answered(desk, family.token, "other") == NO


def test_a_refresh_token_that_was_used_is_over_and_asking_ends_nothing(desk: Desk) -> None:
    family = Family(desk)
    former = family.token
    token, access = family.next(former)
    assert answered(desk, former, "app") == NO
    assert answered(desk, token, "app")["active"]
    assert answered(desk, access, "app")["active"]
    assert claims_of(access)["principal"] == ALICE
    family.use(former)
    assert answered(desk, token, "app") == NO
    assert answered(desk, access, "app") == NO


def test_a_refresh_token_of_who_may_not_sign_in_is_over_and_asking_keeps_nobody_signed_in(desk: Desk) -> None:
    family = Family(desk, offline=False, session="sid-1")
    desk.people.sign_in_now(desk.clock.wall())
    asked = family.client.client_id
    assert answered(desk, family.token, asked)["active"]
    assert desk.people.signs_of_life == 0, "an API that asks again and again is no person"
    desk.people.may = False
    assert answered(desk, family.token, asked) == NO
    desk.people.may = True
    assert answered(desk, family.token, asked)["active"]
    desk.people.signed_in = None
    assert answered(desk, family.token, asked) == NO, "its session has ended"
    desk.people.sign_in_now(desk.clock.wall())
    desk.withdrawn = desk.clock.wall() // SECOND + 1
    assert answered(desk, family.token, asked) == NO, "revoked while it was given"


def test_a_refresh_token_expires(desk: Desk) -> None:
    family = Family(desk)
    desk.clock.pass_seconds(desk.settings.refresh_token // SECOND)
    assert answered(desk, family.token, "app") == NO


def test_a_bound_token_says_to_what(desk: Desk) -> None:
    desk.client(tls_client_certificate_bound_access_tokens=True)
    answer = desk.send(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials"},
        basic=("billing", SECRET),
        certificate=b"certificate",
    )
    token = told(answer)["access_token"]
    assert answered(desk, token)["cnf"] == claims_of(token)["cnf"]
