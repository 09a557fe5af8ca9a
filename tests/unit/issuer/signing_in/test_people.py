"""What the endpoints of OAuth ask of people: consent, signing out, codes of devices, whether a grant still stands."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.issuer.authorization_request import AuthorizationRequest
from interlock.issuer.errors import OAuthError
from interlock.issuer.sessions import Session
from interlock.store.accounts import DISABLED
from interlock.store.clients import Client, Grant
from tests.unit.issuer.signing_in.browser import Browser, Page
from tests.unit.issuer.signing_in.conftest import HOUR, MINUTE, NOW, Room
from tests.unit.issuer.signing_in.test_signin import at, sign_in

EVIL = "<script>alert(1)</script>\"'"


@pytest.fixture
def browser(room: Room) -> Browser:
    room.add("alice")
    browser = at(room)
    sign_in(browser)
    return browser


def session_of(browser: Browser) -> Session:
    session = browser.people.session(browser.request("GET", "/"))
    assert session is not None
    return session


def client(**more: Any) -> Client:
    fields = {"client_id": "c1", "client_name": "Ledger", "principal": "service:interlock/ledger", "created": 0, **more}
    return Client(**fields)


def asked(**more: Any) -> AuthorizationRequest:
    fields = {
        "client_id": "c1",
        "redirect_uri": "https://app.example.com/cb",
        "scopes": ("openid",),
        "audience": (),
        "challenge": "x",
        **more,
    }
    return AuthorizationRequest(**fields)


SCOPES = [("openid", ""), ("accounts.read", "See your accounts"), ("accounts:odd", "")]


def consent(browser: Browser, flow: str = "ilf_1", who: Client | None = None, **more: Any) -> Page:
    response = browser.people.ask_consent(
        browser.request("GET", "/oauth/authorize"), session_of(browser), flow, who or client(), SCOPES, asked(**more)
    )
    return Page(response)


# -- consent


def test_consent_says_who_asks_for_what(browser: Browser) -> None:
    page = consent(browser)
    assert page.title == "Allow Ledger?"
    for word in ("alice", "Know who you are", "See your accounts", "accounts.read", "accounts:odd", "app.example.com"):
        assert word in page.text
    assert "form-action 'self' https://app.example.com;" in page.headers["content-security-policy"]
    # Who only presses Enter has not allowed anything.
    values = [attributes["value"] for tag, attributes in page.tags if tag == "button"]
    assert values == ["deny", "allow"]


def test_the_answer(browser: Browser) -> None:
    page = consent(browser)
    form = page.form("/consent")
    for decision, allowed in [("allow", True), ("deny", False), ("", False), ("ALLOW", False)]:
        request = browser.request("POST", form.action, {**form.fields, "decision": decision})
        assert browser.people.consented(request, session_of(browser)) == ("ilf_1", allowed)


def test_nobody_else_allows_it(room: Room, browser: Browser) -> None:
    room.add("mallory")
    attacker = at(room, source="203.0.113.1")
    sign_in(attacker, "mallory")
    mine, theirs = consent(browser).form("/consent"), consent(attacker).form("/consent")
    other_flow = consent(browser, "ilf_2").form("/consent")
    allow = {"decision": "allow"}
    for request in (
        browser.request("POST", mine.action, {**theirs.fields, **allow}),
        browser.request("POST", mine.action, {**mine.fields, **allow, "csrf": ""}),
        browser.request("POST", mine.action, {**mine.fields, **allow, "flow": "ilf_2"}),
        browser.request("POST", mine.action, {**mine.fields, **allow, "csrf": other_flow.fields["csrf"]}),
        browser.request("POST", mine.action, {**mine.fields, **allow}, origin="https://app.example.com"),
        browser.request("POST", mine.action, {**mine.fields, **allow}, sec_fetch_site="cross-site"),
        browser.request("GET", f"{mine.action}?flow=ilf_1&decision=allow"),
    ):
        with pytest.raises(OAuthError):
            browser.people.consented(request, session_of(browser))


def test_consent_of_an_earlier_sign_in_is_none(room: Room, browser: Browser) -> None:
    form = consent(browser).form("/consent")
    browser.show(room.people.sign_in(browser.request("GET", "/"), at_asked()))
    sign_in(browser)
    request = browser.request("POST", form.action, {**form.fields, "decision": "allow"})
    with pytest.raises(OAuthError):
        room.people.consented(request, session_of(browser))


def at_asked() -> Any:
    from interlock.issuer.flows import Asked

    return Asked(flow="f")


@pytest.mark.parametrize("text", [EVIL, "{{ host }}", "{% raw %}"])
def test_what_a_client_is_called_is_text(browser: Browser, text: str) -> None:
    details = ({"type": text, "amount": text, text: [text, {text: 1}]},)
    page = consent(browser, who=client(client_name=text), details=details)
    assert page.scripts == []
    assert text in page.title
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_details_are_shown_whole(browser: Browser) -> None:
    details = ({"type": "payment", "amount": {"value": "123.50", "currency": "EUR"}, "to": ["DE02", "DE03"]},)
    page = consent(browser, details=details)
    for word in ("payment", "123.50", "EUR", "DE02, DE03"):
        assert word in page.text


@pytest.mark.parametrize(
    ("uri", "shown", "warned"),
    [
        ("https://app.example.com/cb", "app.example.com", False),
        ("http://127.0.0.1:5000/cb", "127.0.0.1", True),
        ("com.example.app:/cb", "the app at com.example.app:", True),
    ],
)
def test_an_application_that_anybody_could_be(browser: Browser, uri: str, shown: str, warned: bool) -> None:
    page = consent(browser, who=client(token_endpoint_auth_method="none"), redirect_uri=uri)
    assert shown in page.text
    assert ("Anybody could have registered" in page.text) is warned


# -- signing out


def test_signing_out_is_asked(room: Room, browser: Browser) -> None:
    where = "https://app.example.com/bye?state=1"
    page = Page(room.people.ask_sign_out(browser.request("GET", "/oauth/logout"), session_of(browser), where))
    assert "form-action 'self' https://app.example.com;" in page.headers["content-security-policy"]
    form = page.form("/logout/confirm")
    request = browser.request("POST", form.action, form.fields)
    assert room.people.sign_out_confirmed(request) == where
    field = room.people.sign_out(request)
    assert "Max-Age=0" in field[1]
    assert room.people.session(browser.request("GET", "/")) is None
    out = Page(room.people.signed_out(request, (field,)))
    assert out.title == "You are signed out"
    assert out.headers["set-cookie"] == field[1]


def test_nobody_makes_signing_out_lead_elsewhere(room: Room, browser: Browser) -> None:
    room.add("mallory")
    attacker = at(room, source="203.0.113.1")
    sign_in(attacker, "mallory")
    ask = room.people.ask_sign_out
    evil = Page(ask(attacker.request("GET", "/"), session_of(attacker), "https://evil.example")).form("/confirm")
    mine = Page(ask(browser.request("GET", "/"), session_of(browser), "")).form("/confirm")
    assert room.people.sign_out_confirmed(browser.request("POST", mine.action, mine.fields)) == ""
    mixed = browser.request("POST", mine.action, {**mine.fields, "t": evil.fields["t"]})
    assert room.people.sign_out_confirmed(mixed) == ""
    signing_in = at(room, source="203.0.113.1").page
    assert signing_in is not None
    mixed = browser.request("POST", mine.action, {**mine.fields, "t": signing_in.form("/password").fields["t"]})
    assert room.people.sign_out_confirmed(mixed) == ""
    for request in (
        browser.request("POST", mine.action, evil.fields),
        browser.request("POST", mine.action, mine.fields, origin="https://evil.example"),
    ):
        with pytest.raises(OAuthError):
            room.people.sign_out_confirmed(request)
    browser.cookies.clear()
    with pytest.raises(OAuthError):
        room.people.sign_out_confirmed(browser.request("POST", mine.action, {}, origin="https://evil.example"))
    assert room.people.sign_out_confirmed(browser.request("POST", mine.action, {})) == ""


# -- codes of devices


@pytest.mark.parametrize("typed", ["WDJB-MJHT", "wdjbmjht", " wdjb mjht ", "\uff37DJB-MJHT"])
def test_a_code_of_a_device(room: Room, browser: Browser, typed: str) -> None:
    page = Page(room.people.ask_device(browser.request("GET", "/"), session_of(browser), "/oauth/device", code=EVIL))
    assert page.scripts == []
    assert page.form("/oauth/device").fields["user_code"] == EVIL[:32]
    form = page.form("/oauth/device")
    request = browser.request("POST", form.action, {**form.fields, "user_code": typed})
    assert room.people.device_code(request, session_of(browser)) == "WDJBMJHT"
    with pytest.raises(OAuthError):
        room.people.device_code(browser.request("POST", form.action, {"user_code": typed}), session_of(browser))


def test_a_device_page_with_an_error(room: Room, browser: Browser) -> None:
    page = Page(room.people.ask_device(browser.request("GET", "/"), session_of(browser), "/d", error="Not known."))
    assert (page.status, page.alert) == (400, "Not known.")


# -- what went wrong


def test_a_page_for_what_went_wrong(room: Room, browser: Browser) -> None:
    problem = OAuthError("invalid_request", f"the thing {EVIL}", status=403, fields=(("allow", "POST"),), note="SECRET")
    request = browser.request("GET", "/")
    request.call = "abcdef"
    page = Page(room.people.problem(request, problem))
    assert page.status == 403
    assert page.headers["allow"] == "POST"
    assert f"The thing {EVIL}" in page.text
    assert "abcdef" in page.text
    assert page.scripts == []
    assert "SECRET" not in page.html


def test_paths_that_are_not_there(room: Room, browser: Browser) -> None:
    for path in ("/oauth/signin/other", "/oauth/account/other", "/oauth/elsewhere"):
        with pytest.raises(OAuthError) as refused:
            room.people.handle(browser.request("POST", path, {"csrf": _account_token(room, browser)}))
        assert refused.value.status == 404


def _account_token(room: Room, browser: Browser) -> str:
    return room.means.forms.token(session_of(browser).cookie, "account")


# -- tokens


def grant(of: Session, **more: Any) -> Grant:
    fields = {
        "id": "g1",
        "client_id": "c1",
        "principal": of.principal,
        "subject": of.account.id,
        "account": of.account.id,
        "session": of.sid,
        "created": NOW,
        "expires": NOW + HOUR,
        "current": b"",
        **more,
    }
    return Grant(**fields)


def test_a_grant_stands_with_its_session(room: Room, browser: Browser) -> None:
    session = session_of(browser)
    given = grant(session)
    assert room.people.stands(given, NOW)
    for minute in range(10, 40, 10):  # who renews tokens is not idle
        assert room.people.stands(given, NOW + minute * MINUTE)
    room.people.revoke_session(session.sid, "an operator", NOW)
    assert not room.people.stands(given, NOW)
    assert room.people.stands(grant(session, offline=True), NOW)


def test_a_grant_falls_with_its_account(room: Room, browser: Browser) -> None:
    session = session_of(browser)
    room.accounts.change(session.account.id, state=DISABLED)
    for more in ({}, {"offline": True}, {"session": ""}):
        assert not room.people.stands(grant(session, **more), NOW)
    assert not room.people.stands(grant(session, account="nobody"), NOW)
    assert room.people.profile(session.account.id, frozenset({"profile"})) is None


def test_what_is_told_of_somebody(room: Room, browser: Browser) -> None:
    session = session_of(browser)
    assert room.people.profile(session.account.id, frozenset({"openid"})) == {}
    assert room.people.profile(session.account.id, frozenset({"profile"})) == {"preferred_username": "alice"}
    assert room.people.profile("nobody", frozenset({"profile"})) is None
    assert room.people.claims(grant(session, scopes=("openid", "profile"))) == {"preferred_username": "alice"}


# -- for operators


def test_listing_and_revoking(room: Room, browser: Browser) -> None:
    session = session_of(browser)
    (row,) = room.people.sessions(NOW)
    assert (row.sid, row.account) == (session.sid, "acc-alice")
    assert room.people.sessions(NOW, account="other") == []
    assert room.people.revoke_account("acc-alice", "disabled", NOW) == [session.sid]
    assert room.ended == [(session.sid, "disabled")]
    assert room.people.sessions(NOW) == []


def test_housekeeping(room: Room, browser: Browser) -> None:
    sign_in(at(room), password="wrong")
    room.people.tend(NOW + HOUR)
    assert [why for _, why in room.ended] == ["idle"]
    room.people.tend(NOW + 2 * HOUR)
    with room.means.accounts._state.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM failures").scalar_one() == 0
