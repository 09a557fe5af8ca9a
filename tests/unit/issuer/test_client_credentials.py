"""A client's own tokens: RFC 6749 section 4.4, RFC 9068."""

from __future__ import annotations

import msgspec

from interlock.errors import RecordUnavailable
from interlock.model import Event, Identity, Principal
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, header, told


def test_a_client_is_given_a_token_that_the_workers_take(desk: Desk) -> None:
    desk.client(scopes=("ledger", "openid"))
    answer = desk.token(grant_type="client_credentials")
    assert answer.status == 200
    assert header(answer, "cache-control") == "no-store"
    body = told(answer)
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 300
    assert body["scope"] == "ledger", "openid has no meaning without a person"
    identity = desk.verifier([URL]).verify(body["access_token"].encode(), desk.clock.wall())
    assert isinstance(identity, Identity)
    assert identity.principal == Principal("service", "interlock", "billing")
    assert identity.roles == {"caller"}
    assert identity.scopes == {"ledger"}
    claims = claims_of(body["access_token"])
    assert claims["iss"] == claims["aud"] == URL
    assert claims["sub"] == claims["client_id"] == "billing"
    assert desk.record.of(Event.TOKEN_ISSUE)[0]["token"] == claims["jti"]


def test_what_cannot_be_recorded_is_not_given_out(desk: Desk) -> None:
    desk.client()
    desk.record.broken = RecordUnavailable("the disk is full")
    answer = desk.token(grant_type="client_credentials")
    assert answer.status == 503
    assert b"access_token" not in answer.body
    assert desk.token(secret="wrong", grant_type="client_credentials").status == 503


def test_wrong_secrets_and_unknown_clients_look_alike(desk: Desk) -> None:
    desk.client()
    wrong = desk.token(secret="ils_wrong", grant_type="client_credentials")
    unknown = desk.token("nobody", grant_type="client_credentials")
    assert wrong.status == unknown.status == 401
    assert wrong.body == unknown.body
    assert wrong.fields == unknown.fields
    assert header(wrong, "www-authenticate").startswith("Basic ")
    assert SECRET not in str(desk.record.acts)


def test_a_secret_ends_with_its_overlap_and_a_disabled_client_at_once(desk: Desk) -> None:
    client = desk.client()
    secret = client.secrets[0]
    ending = msgspec.structs.replace(secret, until=desk.clock.wall() + 10**9)
    desk.clients.change(client.client_id, secrets=(ending,))
    assert desk.token(grant_type="client_credentials").status == 200
    desk.clock.pass_seconds(1)
    assert desk.token(grant_type="client_credentials").status == 401
    desk.clients.change(client.client_id, secrets=(secret,))
    assert desk.token(grant_type="client_credentials").status == 200
    desk.clients.change(client.client_id, disabled=desk.clock.wall())
    assert desk.token(grant_type="client_credentials").status == 401


def test_more_than_the_client_may_have_is_refused(desk: Desk) -> None:
    desk.client(scopes=("ledger",))
    assert told(desk.token(grant_type="client_credentials", scope="ledger admin"))["error"] == "invalid_scope"
    assert told(desk.token(grant_type="client_credentials", resource="https://other"))["error"] == "invalid_target"
    assert told(desk.token(grant_type="refresh_token"))["error"] == "unauthorized_client"
    assert told(desk.token(grant_type="password", username="a", password="b"))["error"] == "unsupported_grant_type"
    assert told(desk.token())["error"] == "invalid_request"


def test_two_ways_to_authenticate_and_parameters_given_twice_are_refused(desk: Desk) -> None:
    desk.client()
    both = desk.send(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials", "client_id": "billing", "client_secret": SECRET},
        basic=("billing", SECRET),
    )
    assert told(both)["error"] == "invalid_request"
    twice = desk.send(
        "POST",
        "/oauth/token",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=b"grant_type=client_credentials&scope=a&scope=b",
        basic=("billing", SECRET),
    )
    assert told(twice)["error"] == "invalid_request"
    posted = desk.send(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials", "client_id": "billing", "client_secret": SECRET},
    )
    assert posted.status == 200


def test_the_host_of_a_request_is_nowhere_in_the_metadata(desk: Desk) -> None:
    answer = desk.send("GET", "/.well-known/oauth-authorization-server", headers={"host": "evil.example"})
    assert b"evil" not in answer.body
    assert told(answer)["issuer"] == URL
