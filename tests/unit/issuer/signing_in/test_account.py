"""A person's own page: nothing is changed by a browser that was left open, by another site, or for another person."""

from __future__ import annotations

import re

import pytest

from interlock.issuer.account import RECENT
from interlock.issuer.errors import OAuthError
from interlock.issuer.recovery import COUNT
from interlock.model import Event
from interlock.store.clients import Client
from tests.unit.issuer.authenticator import Authenticator
from tests.unit.issuer.signing_in.browser import Browser
from tests.unit.issuer.signing_in.conftest import NOW, PASSWORD, Room, code
from tests.unit.issuer.signing_in.test_enrolment import OTHER, choose, seed_of
from tests.unit.issuer.signing_in.test_signin import at, options, sign_in


def home(room: Room, name: str = "alice", seed: bytes = b"", **where: str) -> Browser:
    """Somebody's browser, signed in and at the own page."""
    browser = at(room, **where)
    sign_in(browser, name)
    if seed:
        browser.submit("/signin/code", code=code(seed))
    browser.get("/oauth/account")
    assert browser.page is not None
    assert browser.page.title == "Your account"
    return browser


def test_who_is_not_signed_in_signs_in_first(room: Room) -> None:
    room.add("alice")
    browser = Browser(room.people)
    page = browser.get("/oauth/account")
    assert page is not None
    assert page.has_form("/signin/password")
    page = sign_in(browser)
    assert page is not None
    assert page.title == "Your account"
    assert "alice" in page.text


def test_the_page_without_a_session_posts_nothing(room: Room) -> None:
    browser = Browser(room.people)
    for what in ("signout", "end", "password", "totp", "passkey", "remove", "codes"):
        page = browser.send(browser.request("POST", f"/oauth/account/{what}", {"csrf": "x"}))
        assert page is not None
        assert page.has_form("/signin/password")


def test_every_form_is_bound_to_the_session(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    room.add("mallory")
    browser, attacker = home(room, seed=seed), home(room, "mallory", source="203.0.113.1")
    assert browser.page is not None
    assert attacker.page is not None
    forged = attacker.page.forms[0].fields
    for form in browser.page.forms:
        for request in (
            browser.request("POST", form.action, {**form.fields, **forged}),
            browser.request("POST", form.action, {**form.fields, "csrf": ""}),
            browser.request("POST", form.action, form.fields, origin="https://evil.example"),
            browser.request("POST", form.action, form.fields, sec_fetch_site="cross-site"),
        ):
            with pytest.raises(OAuthError):
                room.people.handle(request)
    assert len(room.accounts.factors("acc-alice")) == 1


def test_adding_an_app(room: Room) -> None:
    room.add("alice")
    browser = home(room)
    before = browser.session
    page = browser.submit("/account/totp")
    assert page is not None
    assert page.title == "Set up an authenticator app"
    page = browser.submit("/signin/totp", code=code(seed_of(page)))
    assert page is not None
    assert page.title == "Your recovery codes"
    page = browser.submit("/signin/done")
    assert page is not None
    assert page.title == "Your account"
    assert "Authenticator app" in page.text
    assert browser.session != before  # another cookie with every change of what it may
    assert f"{COUNT} left" in page.text


def test_adding_a_passkey_keeps_the_recovery_codes(room: Room, device: Authenticator) -> None:
    seed = room.add_app(room.add("alice"))
    room.accounts.set_recovery("acc-alice", [b"r" * 32], NOW)
    browser = home(room, seed=seed)
    page = browser.submit("/account/passkey")
    page = browser.submit("/signin/passkey/new", credential=device.create(options(page, "/signin/passkey/new")))
    assert page is not None
    assert page.title == "Your account"
    assert "1 left" in page.text


def test_a_browser_that_was_left_open_asks_again(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    browser = home(room, seed=seed)
    browser.now = NOW + RECENT
    for what in ("account/password", "account/totp", "account/passkey", "account/codes", "account/remove"):
        browser.get("/oauth/account")
        page = browser.submit(f"/{what}")
        assert page is not None
        assert "sign in again" in page.text
        assert page.form("/signin/password").fields["name"] == "alice"
    assert len(room.accounts.factors("acc-alice")) == 1
    # And goes on to what was meant.
    browser.get("/oauth/account")
    browser.submit("/account/password")
    sign_in(browser)
    page = browser.submit("/signin/code", code=code(seed, browser.now))
    assert page is not None
    assert page.title == "Choose another password"


def test_another_password(room: Room) -> None:
    room.add("alice")
    elsewhere = home(room, source="203.0.113.1")
    browser = home(room)
    browser.submit("/account/password")
    page = choose(browser)
    assert page is not None
    assert page.title == "Your account"
    assert room.people.session(elsewhere.request("GET", "/")) is None
    assert room.hasher.verify(room.means.open_password(room.accounts.get("acc-alice")), OTHER)
    assert PASSWORD not in str(room.record.acts)


@pytest.mark.parametrize("what", ["totp", "password"])
def test_what_a_session_stood_for_ends_with_it(room: Room, what: str) -> None:
    """A thief has begun to set up a way in of his own when the session is ended."""
    alice = room.add("alice")
    browser = home(room)
    page = browser.submit(f"/account/{what}")
    assert page is not None
    (row,) = room.people.sessions(NOW)
    room.people.revoke_session(row.sid, "an operator", NOW)
    page = choose(browser, OTHER) if what == "password" else browser.submit("/signin/totp", code=code(seed_of(page)))
    assert page is not None
    assert page.has_form("/signin/password")
    assert room.accounts.factors(alice.id) == []
    assert room.accounts.get(alice.id).changed == alice.changed
    assert room.people.sessions(NOW) == []


def test_removing_a_factor(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    browser = home(room, seed=seed)
    before = browser.session
    page = browser.submit("/account/remove")
    assert page is not None
    assert "Authenticator app added" not in page.text
    assert room.accounts.factors("acc-alice") == []
    assert browser.session != before
    (told,) = room.record.of(Event.FACTOR_REMOVE)
    assert told["principal"] == "user:interlock/alice"


def test_somebody_elses_factor_stays(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    room.add_app(room.add("bob"), 2)
    (theirs,) = room.accounts.factors("acc-bob")
    browser = home(room, seed=seed)
    browser.submit("/account/remove", factor=theirs.id)
    assert len(room.accounts.factors("acc-bob")) == 1
    assert len(room.accounts.factors("acc-alice")) == 1


def test_the_last_factor_stays_where_one_is_required(strict: Room) -> None:
    seed = strict.add_app(strict.add("alice"))
    browser = home(strict, seed=seed)
    assert browser.page is not None
    assert not browser.page.has_form("/account/remove")
    (factor,) = strict.accounts.factors("acc-alice")
    fields = {**browser.page.form("/account/codes").fields, "factor": factor.id}
    page = browser.send(browser.request("POST", "/oauth/account/remove", fields))
    assert page is not None
    assert "last one" in page.alert
    assert len(strict.accounts.factors("acc-alice")) == 1


def test_new_recovery_codes_replace_the_old_ones(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    room.accounts.set_recovery("acc-alice", [b"r" * 32], NOW)
    browser = home(room, seed=seed)
    page = browser.submit("/account/codes")
    assert page is not None
    assert len(re.findall(r"<li>[0-9a-z-]{23}</li>", page.html)) == COUNT
    assert not room.accounts.take_recovery("acc-alice", b"r" * 32)
    page = browser.submit("/oauth/account")
    assert page is not None
    assert page.title == "Your account"


def test_signing_out_elsewhere(room: Room) -> None:
    room.add("alice")
    room.add("bob")
    elsewhere, bob = home(room, source="203.0.113.1"), home(room, "bob", source="203.0.113.2")
    browser = home(room)
    assert browser.page is not None
    assert "203.0.113.1" in browser.page.text
    assert "203.0.113.2" not in browser.page.text
    other = room.people.session(bob.request("GET", "/"))
    assert other is not None
    browser.submit("/account/end", session=other.sid)  # somebody else's
    assert room.people.session(bob.request("GET", "/")) is not None
    browser.submit("/account/end")
    assert room.people.session(elsewhere.request("GET", "/")) is None
    assert room.people.session(browser.request("GET", "/")) is not None


def test_signing_out(room: Room) -> None:
    room.add("alice")
    browser = home(room)
    cookies = dict(browser.cookies)
    page = browser.submit("/account/signout")
    assert page is not None
    assert page.title == "You are signed out"
    assert not browser.session
    browser.cookies = cookies  # somebody kept it
    assert room.people.session(browser.request("GET", "/")) is None


def test_a_weaker_session_is_not_enough_when_the_file_asks_for_more(room: Room, strict: Room) -> None:
    room.add("alice")
    browser = home(room)
    browser.people = strict.people
    page = browser.get("/oauth/account")
    assert page is not None
    assert page.has_form("/signin/password")
    assert browser.now == NOW


@pytest.mark.parametrize("proved", [("outside",), ("outside", "otp")])
def test_who_came_through_an_outside_provider_can_add_a_factor(room: Room, proved: tuple[str, ...]) -> None:
    """By signing in there again: of what it has vouched for nothing is left that could be shown here."""
    account = room.add("alice", password="")
    browser = Browser(room.people)
    _, (_, cookie) = room.means.sessions.begin(browser.request("GET", "/"), account, proved)
    name, _, value = cookie.partition(";")[0].partition("=")
    browser.cookies[name] = value
    browser.get("/oauth/account")
    page = browser.submit("/account/totp")
    assert page is not None
    assert page.has_form("/signin/name") or page.forms, "there is a way on"
    assert "sign in again" in page.text


def test_what_was_allowed_is_shown_and_taken_back(room: Room) -> None:
    account = room.add("alice")
    clients = room.means.clients
    clients.add(Client(client_id="app", client_name="Ledger <viewer>", principal="service:interlock/app", created=1))
    clients.allow(account.id, "app", frozenset({"read"}), frozenset(), NOW)
    clients.allow("acc-bob", "other", frozenset({"read"}), frozenset(), NOW)
    browser = home(room)
    assert browser.page is not None
    assert "Ledger <viewer>" in browser.page.text
    assert "other" not in browser.page.text
    browser.submit("/account/withdraw")
    assert room.taken_back == [(account.id, "taken back", "app")]
    (told,) = room.record.of(Event.GRANT_REVOKE)
    assert told == {"principal": "user:interlock/alice", "client": "app", "why": "taken back"}


def test_nobody_takes_back_for_somebody_else(room: Room) -> None:
    """A form of another site has no token of this session."""
    account = room.add("alice")
    room.means.clients.allow(account.id, "app", frozenset({"read"}), frozenset(), NOW)
    browser = home(room)
    with pytest.raises(OAuthError):
        room.people.handle(browser.request("POST", "/oauth/account/withdraw", {"client": "app"}))
    assert room.taken_back == []
