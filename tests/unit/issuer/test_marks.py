"""After a revocation, nothing is dated within its second; what was shown once is not asked for again."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.errors import RecordUnavailable
from interlock.issuer.app import handle
from interlock.issuer.client_auth import ASSERTION_TYPE
from interlock.issuer.device import GRANT as DEVICE
from interlock.issuer.errors import NotYet
from interlock.issuer.http import Request
from interlock.jose.signing import Signer, make_key
from interlock.model import Event
from interlock.store.clients import Grant
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, told
from tests.unit.issuer.test_authorize import BACK, GRANTS, VERIFIER, app, ask, back, redeem

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


def test_waiting_spends_neither_the_request_nor_the_refresh_token(app: Desk) -> None:
    consent = ask(app, scope="openid offline_access", prompt="consent").body.decode().split()[1]
    app.earliest = app.clock.wall() // SECOND + 1
    with pytest.raises(NotYet):
        app.answer("/oauth/authorize/consent", flow=consent, decision="allow")
    assert app.record.of(Event.GRANT_GIVE) == []
    app.clock.pass_seconds(1)
    code = back(app.answer("/oauth/authorize/consent", flow=consent, decision="allow"))["code"]
    first = told(redeem(app, code))["refresh_token"]
    app.earliest = app.clock.wall() // SECOND + 1
    with pytest.raises(NotYet):
        app.token("app", grant_type="refresh_token", refresh_token=first)
    app.clock.pass_seconds(1)
    assert app.token("app", grant_type="refresh_token", refresh_token=first).status == 200


def test_a_code_from_before_a_revocation_is_good_for_nothing_after_it(app: Desk) -> None:
    """Also one for a refresh token that is to outlive the session; whoever signs in again has the next one."""
    before = back(ask(app, scope="openid offline_access"))["code"]
    app.withdrawn = app.clock.wall() // SECOND + 1
    for _ in range(2):
        answer = redeem(app, before)
        assert (answer.status, told(answer)["error"]) == (400, "invalid_grant")
        app.clock.pass_seconds(1)
    assert app.record.of(Event.TOKEN_ISSUE) == []
    assert redeem(app, back(ask(app, scope="openid offline_access"))["code"]).status == 200


def test_a_code_of_a_client_that_was_revoked_is_good_for_nothing(app: Desk) -> None:
    before = back(ask(app))["code"]
    app.earliest = app.clock.wall() // SECOND + 1
    app.clock.pass_seconds(1)
    assert told(redeem(app, before))["error"] == "invalid_grant"


def test_a_code_is_dated_as_tokens_are(app: Desk) -> None:
    """Within the second of a revocation it would be taken for one from before."""
    app.withdrawn = app.clock.wall() // SECOND + 1
    with pytest.raises(NotYet):
        ask(app)
    app.clock.pass_seconds(1)
    assert redeem(app, back(ask(app))["code"]).status == 200


def test_waiting_spends_no_signed_request_and_keeps_nothing(app: Desk) -> None:
    app.withdrawn = app.clock.wall() // SECOND + 1
    with pytest.raises(NotYet):
        ask(app)
    assert app.issuer.codes.flows._values == {}


def test_what_was_to_outlive_a_session_does_not_begin_after_it(app: Desk) -> None:
    """An operator who ends a stolen session ends the code that the thief has from it."""
    code = back(ask(app, scope="openid offline_access"))["code"]
    app.people.signed_in = None
    assert told(redeem(app, code))["error"] == "invalid_grant"


def test_a_grant_written_in_the_moment_of_a_revocation_is_never_renewed(app: Desk) -> None:
    """The revocation looked for grants before it was there, and was announced after its tokens were dated."""
    token = told(redeem(app, back(ask(app, scope="openid offline_access"))["code"]))["refresh_token"]
    app.withdrawn = app.clock.wall() // SECOND + 1
    app.clock.pass_seconds(5)
    answer = app.token("app", grant_type="refresh_token", refresh_token=token)
    assert (answer.status, told(answer)["error"]) == (400, "invalid_grant")


def redeeming(app: Desk) -> dict[str, str]:
    code = back(ask(app, scope="openid offline_access"))["code"]
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}


def allowed_device(app: Desk) -> dict[str, str]:
    app.clients.change("app", grant_types=(*GRANTS, DEVICE))
    codes = told(app.send("POST", "/oauth/device_authorization", form={}, basic=("app", SECRET)))
    page = app.answer("/oauth/device", user_code=codes["user_code"])
    app.answer("/oauth/device/consent", flow=page.body.decode().split()[1], decision="allow")
    return {"grant_type": DEVICE, "device_code": codes["device_code"]}


@pytest.mark.parametrize("way", [redeeming, allowed_device])
def test_a_grant_that_a_revocation_of_its_client_left_without_tokens_is_ended(
    app: Desk, way: Callable[[Desk], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocation looks for grants for the last time just before the code is spent and the grant is written."""
    form = way(app)
    add = app.clients.add_grant

    def after_the_revocation(grant: Grant) -> None:
        app.earliest = app.clock.wall() // SECOND + 1
        add(grant)

    monkeypatch.setattr(app.clients, "add_grant", after_the_revocation)
    with pytest.raises(NotYet):
        app.token("app", **form)
    assert app.clients.living_grants(app.clock.wall()) == []
    app.clock.pass_seconds(1)
    assert told(app.token("app", **form))["error"] == "invalid_grant"
    assert app.record.of(Event.TOKEN_ISSUE) == []


@pytest.mark.parametrize("way", [redeeming, allowed_device])
def test_a_grant_whose_tokens_cannot_be_recorded_is_ended(app: Desk, way: Callable[[Desk], dict[str, str]]) -> None:
    form = way(app)
    app.record.broken = RecordUnavailable("the disk is full")
    assert app.token("app", **form).status == 503
    assert app.clients.living_grants(app.clock.wall()) == []


def waiting(desk: Desk, form: dict[str, str], **headers: str) -> Request:
    """A request for a token that has to wait for the next second, which has come."""
    desk.earliest = desk.clock.wall() // SECOND + 1
    headers["content-type"] = "application/x-www-form-urlencoded"
    request = Request(
        "POST", "/oauth/token", headers=headers, body=urlencode(form).encode(), now=desk.clock.wall(), call="0" * 32
    )
    with pytest.raises(NotYet):
        handle(desk.issuer, request)
    desk.clock.pass_seconds(1)
    request.now = desk.clock.wall()
    return request


BASIC = "Basic YmlsbGluZzppbHNfc2VjcmV0LW9mLXRoZS1jbGllbnQ="


def test_a_secret_that_was_revoked_while_it_waited_gets_nothing(desk: Desk) -> None:
    """A thief's request comes in the second of the revocation, and before it."""
    client = desk.client()
    asked = {"grant_type": "client_credentials"}
    assert handle(desk.issuer, waiting(desk, asked, authorization=BASIC)).status == 200
    request = waiting(desk, asked, authorization=BASIC)
    ended = msgspec.structs.replace(client.secrets[0], until=desk.clock.wall() - SECOND // 2)
    desk.clients.change(client.client_id, secrets=(ended,))
    assert handle(desk.issuer, request).status == 401


def test_an_assertion_is_good_for_the_request_that_brought_it_though_it_waited(desk: Desk) -> None:
    signer = Signer(make_key("ES256"), "ES256")
    desk.client(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [signer.jwk]})
    now = desk.clock.wall() // SECOND
    claims = {"iss": "billing", "sub": "billing", "aud": URL, "jti": "1", "exp": now + 60}
    asked = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": signer.sign(claims, "JWT"),
    }
    request = waiting(desk, asked)
    assert handle(desk.issuer, request).status == 200
    assert desk.send("POST", "/oauth/token", form=asked).status == 401
