"""The authorization endpoint and the code grant, and who tries to get by them (OAuth 2.1, RFC 9700, RFC 9207)."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from interlock.issuer.app import handle
from interlock.issuer.codes import Once
from interlock.issuer.http import Request, Response
from interlock.model import Event, Identity
from tests.unit.issuer.desk import URL, Desk, claims_of, header, told

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "https://app.example.com/back"
GRANTS = ("authorization_code", "refresh_token")


@pytest.fixture
def app(desk: Desk) -> Desk:
    desk.client("app", grant_types=GRANTS, redirect_uris=(BACK,), scopes=("openid", "accounts"), first_party=True)
    desk.client("other", grant_types=GRANTS, redirect_uris=("https://other.example/back",), scopes=("openid",))
    desk.people.sign_in_now(desk.clock.wall())
    return desk


def ask(desk: Desk, *, signed_in: bool = True, **more: str) -> Response:
    query = {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": BACK,
        "scope": "openid accounts",
        "state": "st",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **more,
    }
    return desk.browse("/oauth/authorize", signed_in=signed_in, **{k: v for k, v in query.items() if v != "-"})


def asked_twice(desk: Desk, name: str, more: str = "") -> Response:
    """A request in which one parameter stands twice."""
    query = {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": BACK,
        "state": "st",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    text = f"{urlencode(query)}&{name}=one&{name}=two{more}"
    return handle(desk.issuer, Request("GET", "/oauth/authorize", query=text, now=desk.clock.wall()))


def back(response: Response) -> dict[str, str]:
    """What the client's redirect URI is told."""
    assert response.status == 303, response.body
    parts = urlsplit(header(response, "location"))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == BACK
    return {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}


def redeem(desk: Desk, code: str, client: str = "app", **more: str) -> Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER, **more}
    return desk.token(client, **{k: v for k, v in form.items() if v != "-"})


def test_somebody_signed_in_is_sent_back_with_a_code_that_is_good_for_tokens(app: Desk) -> None:
    found = back(ask(app))
    assert found["state"] == "st"
    assert found["iss"] == URL
    body = told(redeem(app, found["code"]))
    identity = app.verifier([URL]).verify(body["access_token"].encode(), app.clock.wall())
    assert isinstance(identity, Identity)
    assert identity.text == "user:interlock/alice"
    assert identity.roles == {"teller"}
    told_of = claims_of(body["id_token"])
    assert told_of["aud"] == "app"
    assert told_of["nonce"] == "n"
    assert told_of["sub"] == "usr-alice"
    assert told_of["sid"] == "sid-1"
    half = hashlib.sha256(body["access_token"].encode()).digest()[:16]
    assert told_of["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    assert "refresh_token" not in body, "offline_access was not asked for"


def test_a_code_is_good_once_and_its_second_use_ends_what_came_of_it(app: Desk) -> None:
    code = back(ask(app, scope="openid accounts offline_access"))["code"]
    first = told(redeem(app, code))
    assert told(redeem(app, code))["error"] == "invalid_grant"
    assert not isinstance(app.verifier([URL]).verify(first["access_token"].encode(), app.clock.wall()), Identity)
    again = app.token("app", grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert told(again)["error"] == "invalid_grant"
    assert app.record.of(Event.GRANT_REVOKE)[0]["why"] == "authorization code used again"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"code_verifier": "w" * 43}, "code_verifier does not fit"),
        ({"code_verifier": "-"}, "code_verifier is missing or malformed"),
        ({"code_verifier": "v"}, "code_verifier is missing or malformed"),
        ({"redirect_uri": "https://app.example.com/back2"}, "another redirect_uri"),
        ({"client": "other"}, "it was given to another client"),
        ({"code": "ilc_nothing"}, "unknown or expired"),
    ],
)
def test_a_code_is_good_only_for_whom_it_was_given_and_a_failing_try_does_not_spend_it(
    app: Desk, change: dict[str, str], note: str
) -> None:
    code = back(ask(app))["code"]
    options = {"code": code, **change}
    answer = redeem(app, options.pop("code"), options.pop("client", "app"), **options)
    assert told(answer)["error"] == "invalid_grant"
    assert app.record.of(Event.TOKEN_REFUSED)[-1]["why"] == note
    assert redeem(app, code).status == 200


def test_a_code_expires(app: Desk) -> None:
    code = back(ask(app))["code"]
    app.clock.pass_seconds(60)
    assert told(redeem(app, code))["error"] == "invalid_grant"


def test_a_code_does_not_outlive_the_session_nor_the_account(app: Desk) -> None:
    code = back(ask(app))["code"]
    app.people.may = False
    assert told(redeem(app, code))["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge": "-"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "-"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"resource": "https://elsewhere"}, "invalid_target"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"claims": "{}"}, "invalid_request"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
    ],
)
def test_what_is_wrong_is_told_to_the_client_with_iss_and_state(app: Desk, change: dict[str, str], error: str) -> None:
    found = back(ask(app, **change))
    if change.get("authorization_details") == "[]" and "code" in found:
        return  # an empty list asks for nothing
    assert found["error"] == error
    assert found["iss"] == URL
    assert found["state"] == "st"
    assert "code" not in found


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/back/",
        "https://app.example.com/back?x=1",
        "https://app.example.com/back#f",
        "https://app.example.com/back%2e",
        "https://app.example.com/./back",
        "https://app.example.com/x/../back",
        "https://APP.example.com/back",
        "https://app.example.com:443/back",
        "https://app.example.com.evil.example/back",
        "https://app.example.com@evil.example/back",
        "https://evil.example/https://app.example.com/back",
        "https://app.example.com\\@evil.example/back",
        "https://app.example.com/back\x00",
        " https://app.example.com/back",
        "//app.example.com/back",
        "http://app.example.com/back",
        "javascript:alert(1)//https://app.example.com/back",
        "data:text/html,x",
        "https://app.example.com/back\r\nLocation: https://evil.example",
        "https://xn--pp-dka.example.com/back",
        "",
    ],
)
def test_nothing_is_ever_sent_to_an_address_that_is_not_registered_as_it_stands(app: Desk, uri: str) -> None:
    answer = ask(app, redirect_uri=uri, state="secret")
    if uri == "":  # one is registered, and none was named: that one is meant (RFC 6749 section 3.1.2.3)
        assert back(answer)["code"]
        return
    assert answer.status == 400
    assert header(answer, "location") == ""
    assert b"evil" not in answer.body


def test_a_native_app_may_have_any_port_of_loopback_and_nothing_else(app: Desk) -> None:
    app.client(
        "native",
        token_endpoint_auth_method="none",
        grant_types=("authorization_code",),
        redirect_uris=("http://127.0.0.1/cb", "https://a.example/cb"),
        scopes=("openid",),
    )
    for uri, good in (
        ("http://127.0.0.1:53211/cb", True),
        ("http://127.0.0.1:53211/cb2", False),
        ("http://127.0.0.1:53211/cb?x=1", False),
        ("http://127.0.0.2:53211/cb", False),
        ("http://localhost:53211/cb", False),
        ("http://127.0.0.1:80@evil.example/cb", False),
        ("https://a.example:4433/cb", False),
        ("http://127.0.0.1:0/cb", False),
    ):
        answer = ask(app, client_id="native", redirect_uri=uri, scope="openid")
        assert (answer.status == 200) is good, uri  # a page that asks: anybody can say it is this client


def test_unknown_clients_are_told_to_the_person_alone(app: Desk) -> None:
    answer = ask(app, client_id="nobody")
    assert answer.status == 400
    assert header(answer, "location") == ""


def test_a_public_client_of_its_own_scheme_always_asks_again(app: Desk) -> None:
    app.client(
        "mobile",
        token_endpoint_auth_method="none",
        grant_types=("authorization_code",),
        redirect_uris=("com.example.app:/cb",),
        scopes=("openid",),
    )
    page = ask(app, client_id="mobile", redirect_uri="com.example.app:/cb", scope="openid")
    assert page.body.startswith(b"consent")
    flow = page.body.split()[1].decode()
    assert app.answer("/oauth/authorize/consent", flow=flow, decision="allow").status == 303
    again = ask(app, client_id="mobile", redirect_uri="com.example.app:/cb", scope="openid")
    assert again.body.startswith(b"consent")


def test_whoever_is_not_signed_in_signs_in_and_goes_on(app: Desk) -> None:
    answer = ask(app, signed_in=False, acr_values="urn:interlock:acr:pwd", login_hint="alice")
    assert header(answer, "location") == "/oauth/signin"
    asked = app.people.asked[-1]
    assert asked.hint == "alice"
    assert asked.targets == ("https://app.example.com",)
    assert back(app.browse("/oauth/authorize/continue", flow=asked.flow))["code"]
    spent = app.browse("/oauth/authorize/continue", flow=asked.flow)
    assert spent.status == 400
    assert header(spent, "location") == ""


def test_prompt_none_never_shows_a_page(app: Desk) -> None:
    assert back(ask(app, signed_in=False, prompt="none"))["error"] == "login_required"
    assert back(ask(app, prompt="none", acr_values="urn:interlock:acr:phr"))["error"] == "login_required"
    app.client("third", grant_types=GRANTS, redirect_uris=(BACK,), scopes=("openid",))
    assert back(ask(app, client_id="third", scope="openid", prompt="none"))["error"] == "consent_required"
    assert back(ask(app, prompt="none"))["code"]


def test_prompt_login_and_max_age_ask_again_once(app: Desk) -> None:
    app.clock.pass_seconds(100)
    answer = ask(app, prompt="login")
    assert header(answer, "location") == "/oauth/signin"
    assert (
        header(app.browse("/oauth/authorize/continue", flow=app.people.asked[-1].flow), "location") == "/oauth/signin"
    )
    app.people.sign_in_now(app.clock.wall())
    assert back(app.browse("/oauth/authorize/continue", flow=app.people.asked[-1].flow))["code"]
    app.clock.pass_seconds(100)
    assert back(ask(app, max_age="100"))["code"]
    assert header(ask(app, max_age="99"), "location") == "/oauth/signin"


def test_consent_is_asked_once_remembered_and_asked_again_for_more(app: Desk) -> None:
    app.client("third", grant_types=GRANTS, redirect_uris=(BACK,), scopes=("openid", "accounts"))
    page = ask(app, client_id="third", scope="openid")
    flow = page.body.split()[1].decode()
    assert app.answer("/oauth/authorize/consent", csrf="forged", flow=flow, decision="allow").status == 403
    code = back(app.answer("/oauth/authorize/consent", flow=flow, decision="allow"))["code"]
    assert redeem(app, code, "third").status == 200
    assert app.record.of(Event.GRANT_GIVE)[0]["scope"] == "openid"
    assert app.answer("/oauth/authorize/consent", flow=flow, decision="allow").status == 400, "answered already"
    assert back(ask(app, client_id="third", scope="openid"))["code"]
    assert ask(app, client_id="third", scope="openid accounts").body.startswith(b"consent")
    assert ask(app, client_id="third", scope="openid", prompt="consent").body.startswith(b"consent")


def test_what_is_refused_is_told_to_the_client_and_gives_no_code_later(app: Desk) -> None:
    app.client("third", grant_types=GRANTS, redirect_uris=(BACK,), scopes=("openid",))
    flow = ask(app, client_id="third", scope="openid").body.split()[1].decode()
    assert back(app.answer("/oauth/authorize/consent", flow=flow, decision="deny"))["error"] == "access_denied"
    assert app.answer("/oauth/authorize/consent", flow=flow, decision="allow").status == 400


def test_consent_cannot_be_given_by_somebody_who_is_not_signed_in_strongly_enough(app: Desk) -> None:
    app.client("third", grant_types=GRANTS, redirect_uris=(BACK,), scopes=("openid",))
    app.people.sign_in_now(app.clock.wall(), ("pwd", "otp"))
    flow = ask(app, client_id="third", scope="openid", acr_values="urn:interlock:acr:mfa").body.split()[1].decode()
    app.people.sign_in_now(app.clock.wall(), ("pwd",))
    answer = app.answer("/oauth/authorize/consent", flow=flow, decision="allow")
    assert header(answer, "location") == "/oauth/signin"


def test_a_refresh_token_follows_the_code_where_it_was_asked_for_and_is_rotated(app: Desk) -> None:
    body = told(redeem(app, back(ask(app, scope="openid accounts offline_access"))["code"]))
    first = body["refresh_token"]
    second = told(app.token("app", grant_type="refresh_token", refresh_token=first))
    assert second["refresh_token"] != first
    assert claims_of(second["access_token"])["fid"] == claims_of(body["access_token"])["fid"]
    reused = app.token("app", grant_type="refresh_token", refresh_token=first)
    assert told(reused)["error"] == "invalid_grant"
    assert told(app.token("app", grant_type="refresh_token", refresh_token=second["refresh_token"]))["error"] == (
        "invalid_grant"
    )
    identity = app.verifier([URL]).verify(second["access_token"].encode(), app.clock.wall())
    assert not isinstance(identity, Identity), "the thief's access token goes with the family"


def test_userinfo_is_for_tokens_of_people_that_say_openid(app: Desk) -> None:
    token = told(redeem(app, back(ask(app))["code"]))["access_token"]
    found = app.send("GET", "/oauth/userinfo", headers={"authorization": f"Bearer {token}"})
    assert told(found) == {"sub": "usr-alice", "preferred_username": "alice"}
    app.client("machine", scopes=("openid",))
    machine = told(app.token("machine", grant_type="client_credentials"))["access_token"]
    assert app.send("GET", "/oauth/userinfo", headers={"authorization": f"Bearer {machine}"}).status == 403
    assert app.send("GET", "/oauth/userinfo", headers={"authorization": "Bearer x"}).status == 401
    # The gateway judges GET and POST, what a token is bound to included; HEAD comes with the pages for people.
    assert app.send("HEAD", "/oauth/userinfo", headers={"authorization": f"Bearer {token}"}).status == 405
    app.people.may = False
    assert app.send("GET", "/oauth/userinfo", headers={"authorization": f"Bearer {token}"}).status == 401


def test_signing_out_needs_an_id_token_of_this_session_or_the_persons_word(app: Desk) -> None:
    body = told(redeem(app, back(ask(app))["code"]))
    wrong = app.browse("/oauth/logout", id_token_hint=body["access_token"])
    assert wrong.status == 400, "an access token is no ID token"
    assert app.browse("/oauth/logout").body == b"sign out?"
    assert app.people.signed_in is not None
    elsewhere = app.browse(
        "/oauth/logout", id_token_hint=body["id_token"], post_logout_redirect_uri="https://evil.example/"
    )
    assert elsewhere.status == 400
    assert app.people.signed_in is not None
    done = app.browse("/oauth/logout", id_token_hint=body["id_token"])
    assert done.body == b"signed out"
    assert app.people.signed_in is None


def test_who_never_signs_in_keeps_nobody_from_it(app: Desk) -> None:
    """20,000 requests of a stranger's leave room for the next one, and the ones of others where they are."""
    app.issuer.codes.flows = Once(kept=20)
    ask(app, signed_in=False)
    own = app.people.asked[-1].flow
    query = {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": BACK,
        "scope": "openid",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    for _ in range(60):
        assert app.send("GET", "/oauth/authorize", query=query, source="198.51.100.66").status == 303
    assert back(app.browse("/oauth/authorize/continue", flow=own))["state"] == "st"


def test_a_silent_request_leaves_nothing_behind(app: Desk) -> None:
    for _ in range(3):
        assert back(ask(app, signed_in=False, prompt="none"))["error"] == "login_required"
    assert app.issuer.codes.flows._values == app.issuer.codes.flows._taken == {}


@pytest.mark.parametrize(
    "change", [{"id_token_hint": "x" * 5000}, {"acr_values": "x" * 2000}, {"acr_values": "a " * 20}]
)
def test_nobody_has_much_kept(app: Desk, change: dict[str, str]) -> None:
    assert back(ask(app, signed_in=False, **change))["error"] == "invalid_request"
    assert not app.issuer.codes.flows._values


@pytest.mark.parametrize(("name", "told_to_the_client"), [("scope", True), ("fruit", True), ("client_id", False)])
def test_a_parameter_that_is_given_twice_is_told_where_it_is_clear_to_whom(
    app: Desk, name: str, told_to_the_client: bool
) -> None:
    found = asked_twice(app, name)
    if told_to_the_client:
        assert back(found)["error"] == "invalid_request"
        assert back(found)["state"] == "st"
    else:
        assert header(found, "location") == ""


@pytest.mark.parametrize("name", ["redirect_uri", "request", "request_uri"])
def test_where_it_is_not_clear_where_to_go_nothing_is_sent_anywhere(app: Desk, name: str) -> None:
    extra = "" if name == "redirect_uri" else f"&{name}=x"
    found = asked_twice(app, "redirect_uri" if name == "redirect_uri" else "scope", extra)
    assert found.status == 400
    assert header(found, "location") == ""
