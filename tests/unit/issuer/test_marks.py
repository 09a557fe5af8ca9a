"""After a revocation, nothing is dated within its second; what was shown once is not asked for again."""

from __future__ import annotations

import pytest

from interlock.clock import SECOND
from interlock.issuer.app import handle
from interlock.issuer.errors import NotYet
from interlock.issuer.http import Request
from interlock.model import Event
from tests.unit.issuer.desk import Desk, claims_of, told
from tests.unit.issuer.test_authorize import app, ask, back, redeem

__all__ = ["app"]


def test_a_token_waits_for_the_second_after_a_revocation(desk: Desk) -> None:
    desk.client()
    desk.clock.now += SECOND // 2
    desk.earliest = desk.clock.wall() // SECOND + 1
    with pytest.raises(NotYet) as waiting:
        desk.token(grant_type="client_credentials")
    assert 0 < waiting.value.wait <= 1
    assert desk.record.of(Event.TOKEN_ISSUE) == []
    desk.clock.pass_seconds(waiting.value.wait)
    token = told(desk.token(grant_type="client_credentials"))["access_token"]
    assert claims_of(token)["iat"] >= desk.earliest


def test_waiting_spends_neither_the_code_nor_the_refresh_token(app: Desk) -> None:
    code = back(ask(app, scope="openid offline_access"))["code"]
    app.earliest = app.clock.wall() // SECOND + 1
    with pytest.raises(NotYet):
        redeem(app, code)
    app.clock.pass_seconds(1)
    first = told(redeem(app, code))["refresh_token"]
    app.earliest = app.clock.wall() // SECOND + 1
    with pytest.raises(NotYet):
        app.token("app", grant_type="refresh_token", refresh_token=first)
    app.clock.pass_seconds(1)
    assert app.token("app", grant_type="refresh_token", refresh_token=first).status == 200


def test_who_the_client_is_was_shown_once_for_both_looks(desk: Desk) -> None:
    desk.client()
    desk.earliest = desk.clock.wall() // SECOND + 1
    request = Request(
        "POST",
        "/oauth/token",
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "authorization": "Basic YmlsbGluZzppbHNfc2VjcmV0LW9mLXRoZS1jbGllbnQ=",
        },
        body=b"grant_type=client_credentials",
        now=desk.clock.wall(),
    )
    with pytest.raises(NotYet):
        handle(desk.issuer, request)
    desk.issuer.registry.secret_holds = lambda *_: pytest.fail("asked twice")  # type: ignore[method-assign]
    desk.clock.pass_seconds(1)
    request.now = desk.clock.wall()
    assert handle(desk.issuer, request).status == 200
