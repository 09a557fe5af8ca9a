"""Revocation (RFC 7009): a client gives back what is its own; what is not, it cannot touch."""

from __future__ import annotations

import pytest

from interlock.errors import RecordUnavailable, StateError
from interlock.issuer.http import Response
from interlock.model import Event
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, told
from tests.unit.issuer.test_introspection import NO, answered, token_of
from tests.unit.issuer.test_refresh_tokens import Family


def revoke(desk: Desk, token: str, client_id: str = "billing", **form: str) -> Response:
    return desk.send("POST", "/oauth/revoke", form={"token": token, **form}, basic=(client_id, SECRET))


def test_an_access_token_is_refused_when_the_answer_comes(desk: Desk) -> None:
    desk.client()
    token, other = token_of(desk), token_of(desk)
    assert revoke(desk, token).status == 200
    assert answered(desk, token) == NO
    assert answered(desk, other)["active"], "that one and no other"
    (act,) = desk.record.of(Event.GRANT_REVOKE)
    assert act["token"] == claims_of(token)["jti"]
    assert revoke(desk, token).status == 200, "again is no fault"


def test_a_refresh_token_goes_with_all_that_came_of_it(desk: Desk) -> None:
    family = Family(desk)
    token, access = family.next(family.token)
    assert revoke(desk, token, "app", token_type_hint="access_token").status == 200
    assert told(family.use(token))["error"] == "invalid_grant"
    assert not family.opens(access)
    assert not family.opens(family.access)
    assert len(desk.record.of(Event.GRANT_REVOKE)) == 1
    assert revoke(desk, token, "app").status == 200
    assert len(desk.record.of(Event.GRANT_REVOKE)) == 1


def test_a_former_refresh_token_ends_the_family_too(desk: Desk) -> None:
    """Who lost the answer to a refresh has no other one to give back, and is told that it is done."""
    family = Family(desk)
    latest, _ = family.next(family.token)
    assert revoke(desk, family.token, "app").status == 200
    assert family.use(latest).status == 400
    assert not family.opens(family.access)


def test_what_is_another_s_stays_and_that_is_told(desk: Desk) -> None:
    """RFC 7009 section 2.1: the request is refused, and the client is informed."""
    desk.client()
    desk.client("thief", resources=(URL,))
    family = Family(desk)
    token = token_of(desk)
    assert revoke(desk, "x", "thief").status == 200
    for theirs in (token, family.token, family.access):
        assert told(revoke(desk, theirs, "thief"))["error"] == "invalid_grant"
    assert answered(desk, token)["active"]
    assert family.next(family.token)
    assert desk.record.of(Event.GRANT_REVOKE) == []


def test_a_made_up_token_of_a_grant_revokes_nothing(desk: Desk) -> None:
    family = Family(desk)
    grant = claims_of(family.access)["fid"]
    assert revoke(desk, f"ilr_{grant}.{'A' * 43}", "app").status == 200
    assert family.next(family.token)


@pytest.mark.parametrize("text", ["x", "a.b.c", "\u00e9", "\0", "ilr_", "ilk_x", "x" * 100_000, " ", "eyJ"])
def test_nonsense_is_answered_as_if_it_were_done(desk: Desk, text: str) -> None:
    desk.client()
    answer = revoke(desk, text)
    assert (answer.status, answer.body) == (200, b"")


def test_a_public_client_gives_back_its_own(desk: Desk) -> None:
    desk.client(
        "phone",
        token_endpoint_auth_method="none",
        grant_types=("authorization_code", "refresh_token"),
        redirect_uris=("com.example.phone:/cb",),
    )
    family = Family(desk, "phone", known=False)
    assert desk.send("POST", "/oauth/revoke", form={"token": family.token}).status == 401
    assert desk.send("POST", "/oauth/revoke", form={"token": family.token, "client_id": "phone"}).status == 200
    assert not family.opens(family.access)


def test_what_cannot_be_done_is_not_said_to_be_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7009 section 2.2.1: with 503 the client must assume that the token still exists."""
    desk.client()
    family = Family(desk)
    token = token_of(desk)
    desk.record.broken = RecordUnavailable("the disk is full")
    assert revoke(desk, token).status == 503
    assert revoke(desk, family.token, "app").status == 503
    desk.record.broken = None

    def broken(*_: object) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(desk.issuer.revoker, "token", broken)
        patched.setattr(desk.issuer.revoker, "family", broken)
        assert revoke(desk, token).status == 503
        assert revoke(desk, family.token, "app").status == 503
    assert revoke(desk, token).status == 200
    assert family.opens(family.access)
    assert revoke(desk, family.token, "app").status == 200
    assert not family.opens(family.access)


def test_a_token_has_to_be_there(desk: Desk) -> None:
    desk.client()
    assert told(revoke(desk, ""))["error"] == "invalid_request"
    assert desk.send("GET", "/oauth/revoke", query={"token": "x"}, basic=("billing", SECRET)).status == 405
