"""Requests that the client pushes or signs (RFC 9126, RFC 9101), and what would get past them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey

from interlock.clock import SECOND
from interlock.issuer.http import Response
from interlock.model import Event
from tests.unit.issuer.desk import SECRET, URL, Desk, header, told
from tests.unit.issuer.test_authorize import BACK, CHALLENGE, GRANTS, back

KEY = ECKey.generate_key("P-256", {"kid": "k1"})
OTHER = ECKey.generate_key("P-256", {"kid": "k1"})
REQUEST = {
    "response_type": "code",
    "client_id": "app",
    "redirect_uri": BACK,
    "scope": "openid",
    "state": "st",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
def app(desk: Desk) -> Desk:
    jwks: dict[str, Any] = json.loads(json.dumps(KeySet([KEY]).as_dict(private=False)))
    for client_id in ("app", "other"):
        desk.client(
            client_id,
            grant_types=GRANTS,
            redirect_uris=(BACK,),
            scopes=("openid",),
            first_party=True,
            jwks=jwks,
        )
    desk.people.sign_in_now(desk.clock.wall())
    return desk


def push(desk: Desk, client: str = "app", **form: str) -> Response:
    return desk.send("POST", "/oauth/par", form=form, basic=(client, SECRET))


def signed(desk: Desk, key: Any = KEY, header: dict[str, Any] | None = None, **change: Any) -> str:
    now = desk.clock.wall() // SECOND
    claims = {**REQUEST, "iss": "app", "aud": URL, "iat": now, "nbf": now, "exp": now + 60, **change}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": "k1", "typ": "oauth-authz-req+jwt", **(header or {})}, claims, key)


def test_a_pushed_request_is_good_for_its_client_until_it_is_answered(app: Desk) -> None:
    answer = push(app, **{name: value for name, value in REQUEST.items() if name != "client_id"})
    assert answer.status == 201
    name = told(answer)["request_uri"]
    assert told(answer)["expires_in"] == 90
    stolen = app.browse("/oauth/authorize", client_id="other", request_uri=name)
    assert stolen.status == 400
    assert header(stolen, "location") == ""
    # What stands in the query beside it counts for nothing.
    found = back(app.browse("/oauth/authorize", client_id="app", request_uri=name, scope="admin", state="forged"))
    assert found["state"] == "st"
    again = app.browse("/oauth/authorize", client_id="app", request_uri=name)
    assert again.status == 400


@pytest.mark.parametrize("seconds", [1, 300])
def test_a_pushed_request_that_was_loaded_twice_gives_one_code(app: Desk, seconds: int) -> None:
    """Whoever comes by its name, and has somebody else sign in for it, does not get a code of their own."""
    name = told(push(app, **REQUEST))["request_uri"]
    for _ in range(2):
        assert app.browse("/oauth/authorize", signed_in=False, client_id="app", request_uri=name).status == 303
    app.clock.pass_seconds(seconds)
    flows = [asked.flow for asked in app.people.asked]
    answers = [app.browse("/oauth/authorize/continue", flow=flow) for flow in flows]
    assert [answer.status for answer in answers] == [303, 400]
    assert "code" in back(answers[0])


def test_a_pushed_request_that_is_loaded_twice_at_once_has_one_flow(app: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking at it and saying who is at it, somebody else is. Two could be answered in the same moment."""
    name = told(push(app, **REQUEST))["request_uri"]
    pushed = app.issuer.codes.pushed
    replace = pushed.replace

    def meanwhile(*given: Any) -> bool:
        monkeypatch.setattr(pushed, "replace", replace)
        assert app.browse("/oauth/authorize", signed_in=False, client_id="app", request_uri=name).status == 303
        return replace(*given)

    monkeypatch.setattr(pushed, "replace", meanwhile)
    assert app.browse("/oauth/authorize", signed_in=False, client_id="app", request_uri=name).status == 303
    first, second = [asked.flow for asked in app.people.asked]
    assert first == second
    assert "code" in back(app.browse("/oauth/authorize/continue", flow=first))


def test_a_pushed_request_expires(app: Desk) -> None:
    name = told(push(app, **REQUEST))["request_uri"]
    app.clock.pass_seconds(90)
    assert app.browse("/oauth/authorize", client_id="app", request_uri=name).status == 400


def test_what_is_pushed_is_judged_at_once_and_told_to_the_client_alone(app: Desk) -> None:
    assert told(push(app, **{**REQUEST, "scope": "admin"}))["error"] == "invalid_scope"
    assert told(push(app, **{**REQUEST, "redirect_uri": "https://evil.example"}))["error"] == "invalid_request"
    assert told(push(app, **{**REQUEST, "request_uri": "urn:x"}))["error"] == "invalid_request"
    wrong = app.send("POST", "/oauth/par", form=REQUEST, basic=("app", "wrong"))
    assert told(wrong)["error"] == "invalid_client"


@pytest.mark.parametrize("by", ["query", "push"])
def test_a_signed_request_is_taken_as_it_was_signed(app: Desk, by: str) -> None:
    text = signed(app, state="signed")
    if by == "push":
        name = told(push(app, request=text, state="forged"))["request_uri"]
        found = back(app.browse("/oauth/authorize", client_id="app", request_uri=name))
    else:
        found = back(app.browse("/oauth/authorize", client_id="app", request=text, state="forged", scope="admin"))
    assert found["state"] == "signed"
    assert found["code"]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"key": OTHER}, "token-signature"),
        ({"aud": "https://other.example"}, "another audience"),
        ({"aud": ["https://other.example"]}, "another audience"),
        ({"aud": 7}, "another audience"),
        ({"iss": "other"}, "another client"),
        ({"client_id": "other"}, "another client"),
        ({"client_id": None}, "another client"),
        ({"exp": None}, "no exp"),
        ({"exp": 1}, "expired"),
        ({"exp": 4_000_000_000}, "lives too long"),
        ({"nbf": 4_000_000_000, "exp": 4_000_000_100}, "not yet valid"),
        ({"request": "x"}, "another request"),
        ({"request_uri": "x"}, "another request"),
        ({"header": {"typ": "at+jwt"}}, "typ"),
        ({"header": {"typ": "dpop+jwt"}}, "typ"),
        ({"header": {"kid": "../../etc/passwd"}}, "token-key-unknown"),
        ({"header": {"jwk": OTHER.as_dict(private=False)}, "key": OTHER}, "token-header"),
        ({"header": {"jku": "https://evil.example/jwks"}, "key": OTHER}, "token-header"),
        ({"header": {"x5u": "https://evil.example/x"}, "key": OTHER}, "token-header"),
        ({"state": True}, "no text"),
    ],
)
def test_a_signed_request_that_is_not_good_is_refused_with_its_reason(
    app: Desk, change: dict[str, Any], note: str
) -> None:
    text = signed(app, **change)
    answer = push(app, request=text)
    assert told(answer)["error"] == "invalid_request_object"
    assert note in app.record.of(Event.TOKEN_REFUSED)[-1]["why"]
    browser = app.browse("/oauth/authorize", client_id="app", request=text)
    assert header(browser, "location") == ""


def test_a_signed_request_that_names_no_audience_is_taken_but_under_a_profile(app: Desk) -> None:
    assert push(app, request=signed(app, aud=None)).status == 201
    assert push(app, request=signed(app, aud=f"{URL}/oauth/authorize")).status == 201


def test_a_signed_request_is_good_once_if_it_has_an_id(app: Desk) -> None:
    text = signed(app, jti="one")
    assert push(app, request=text).status == 201
    assert told(push(app, request=text))["error"] == "invalid_request_object"


def test_algorithms_are_not_confused(app: Desk) -> None:
    public = json.dumps(KEY.as_dict(private=False)).encode()
    hmac_key = OctKey.import_key(public)
    now = app.clock.wall() // SECOND
    claims = {**REQUEST, "iss": "app", "aud": URL, "exp": now + 60}
    confused = jwt.encode({"alg": "HS256", "kid": "k1"}, claims, hmac_key)
    assert told(push(app, request=confused))["error"] == "invalid_request_object"
    part = signed(app).split(".")
    import base64

    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + f".{part[1]}."
    assert told(push(app, request=none))["error"] == "invalid_request_object"


def test_clients_that_must_push_or_sign_do(app: Desk) -> None:
    app.client("pushes", grant_types=GRANTS, redirect_uris=(BACK,), require_pushed_authorization_requests=True)
    assert app.browse("/oauth/authorize", **{**REQUEST, "client_id": "pushes"}).status == 400
    app.client("signs", grant_types=GRANTS, redirect_uris=(BACK,), require_signed_request_object=True)
    assert app.browse("/oauth/authorize", **{**REQUEST, "client_id": "signs"}).status == 400
    assert told(push(app, "signs", **REQUEST))["error"] == "invalid_request"
