"""Invitations, passwords, new factors: good once, for the right person, and never for less than was asked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from interlock.errors import RecordUnavailable, StateError
from interlock.issuer.flows import Asked
from interlock.issuer.levels import ACR, RESISTANT, TWO
from interlock.issuer.recovery import COUNT, hashed
from interlock.issuer.signin import CHANGED
from interlock.store.accounts import PASSKEY, TOTP
from tests.unit.issuer.authenticator import UP, Authenticator
from tests.unit.issuer.signing_in.browser import Browser, Page
from tests.unit.issuer.signing_in.conftest import HOUR, NOW, PASSWORD, Room, code
from tests.unit.issuer.signing_in.test_signin import DONE, acr, at, options, sign_in

INVITED = "the-code-of-an-invitation"
OTHER = "slow rivers carry old boats"


def invite(room: Room, name: str = "alice", **more: Any) -> None:
    room.add(name, "", invitation=room.key.hash("invitation", INVITED.encode()), invited_until=NOW + HOUR, **more)


def come(room: Room, **where: Any) -> Browser:
    browser = Browser(room.people, **where)
    browser.get(f"/oauth/signin/begin?code={INVITED}")
    return browser


def choose(browser: Browser, password: str = OTHER, again: str | None = None, page: Page | None = None) -> Page | None:
    return browser.submit("/signin/new", page, password=password, again=password if again is None else again)


def seed_of(page: Page | None) -> bytes:
    """What somebody types into the app."""
    import base64

    assert page is not None
    found = re.search(r"<code>([A-Z2-7 ]+)</code>", page.html)
    assert found is not None
    return base64.b32decode(found[1].replace(" ", ""))


# -- invitations


def test_an_invitation_leads_to_a_password_and_a_session(room: Room) -> None:
    invite(room)
    browser = come(room)
    assert browser.page is not None
    assert browser.page.title == "Choose a password"
    assert "alice" in browser.page.text
    page = choose(browser)
    assert page is not None
    assert page.title == "Your account"
    assert room.record.events == ["user:password", "session:begin"]
    assert OTHER not in str(room.record.acts)
    account = room.accounts.get("acc-alice")
    assert OTHER.encode() not in account.password
    assert not account.invitation
    browser = at(room)
    sign_in(browser, password=OTHER)
    assert browser.location == DONE


def test_looking_at_an_invitation_does_not_use_it_up(room: Room) -> None:
    invite(room)
    for _ in range(3):  # programs that look at links
        come(room, source="203.0.113.1")
    page = choose(come(room))
    assert page is not None
    assert page.title == "Your account"


def test_an_invitation_is_used_once(room: Room) -> None:
    invite(room)
    first, second = come(room), come(room, source="203.0.113.1")
    choose(first)
    assert first.session
    page = choose(second, "another eager long password")
    assert page is not None
    assert not second.session
    assert CHANGED in page.text
    third = come(room)
    assert third.page is not None
    assert "used already" in third.page.text
    assert third.page.forms == []


def test_the_code_is_not_kept_in_the_address(room: Room) -> None:
    invite(room)
    browser = Browser(room.people)
    answer = room.people.handle(browser.request("GET", f"/oauth/signin/begin?code={INVITED}"))
    assert INVITED not in dict(answer.fields)["location"]  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "x", INVITED + "x", "\u00e9", INVITED.upper()])
def test_other_codes_are_none(room: Room, text: str) -> None:
    invite(room)
    room.add("bob", invitation=b"")
    browser = Browser(room.people)
    page = browser.get(f"/oauth/signin/begin?code={text}" if text.isascii() else "/oauth/signin/begin")
    assert page is not None
    assert (page.status, page.forms) == (400, [])


def test_an_old_invitation_is_none(room: Room) -> None:
    invite(room)
    browser = come(room)
    browser.now = NOW + HOUR
    late = Browser(room.people)
    late.now = NOW + HOUR
    page = late.get(f"/oauth/signin/begin?code={INVITED}")
    assert page is not None
    assert page.forms == []
    page = choose(browser)
    assert page is not None
    assert not browser.session


def test_an_invitation_of_somebody_with_a_second_factor_asks_for_it_first(room: Room) -> None:
    """An operator's reset, seen by others, is not enough to take the account."""
    invite(room)
    seed = room.add_app(room.accounts.get("acc-alice"))
    browser = come(room)
    assert browser.page is not None
    assert browser.page.has_form("/signin/code")
    fields = browser.page.form("/signin/code").fields
    page = browser.send(browser.request("POST", "/oauth/signin/new", {**fields, "password": OTHER, "again": OTHER}))
    assert page is not None
    assert page.has_form("/signin/code")
    browser.submit("/signin/code", code=code(seed))
    choose(browser)
    assert acr(room, browser) == ACR[TWO]


# -- passwords


@pytest.mark.parametrize(
    ("password", "again", "said"),
    [
        ("short", "short", "too short"),
        ("fourteen chars", "fourteen chars", "at least 15"),  # nothing else is asked for
        ("alice alice alice alice", None, "your name"),
        ("password password", None, "first"),
        (OTHER, OTHER + "x", "not the same"),
        ("x\0" * 20, None, "control characters"),
        ("", "", "at most"),
    ],
)
def test_what_cannot_be_a_password(room: Room, password: str, again: str | None, said: str) -> None:
    invite(room)
    browser = come(room)
    page = choose(browser, password, again)
    assert page is not None
    assert said in page.alert
    assert not browser.session
    choose(browser)  # the same page is still good
    assert browser.session


def test_beside_a_second_factor_twelve_are_enough(strict: Room) -> None:
    invite(strict)
    browser = come(strict)
    page = choose(browser, "fourteen chars")
    assert page is not None
    assert not page.alert


def test_a_password_that_is_not_to_be_used_any_longer(room: Room) -> None:
    room.add("alice", must_change=True)
    browser = at(room)
    page = sign_in(browser)
    assert page is not None
    assert page.title == "Choose another password"
    assert not browser.session
    page = choose(browser, PASSWORD)
    assert page is not None
    assert "already" in page.alert
    choose(browser)
    assert browser.location == DONE
    again = at(room)
    page = sign_in(again)
    assert page is not None
    assert not again.session
    sign_in(again, password=OTHER)
    assert again.location == DONE


def test_a_new_password_ends_other_sessions(room: Room) -> None:
    room.add("alice")
    elsewhere = at(room, source="203.0.113.1")
    sign_in(elsewhere)
    room.accounts.change("acc-alice", must_change=True)
    browser = at(room)
    sign_in(browser)
    choose(browser)
    assert room.people.session(elsewhere.request("GET", "/")) is None
    assert room.people.session(browser.request("GET", "/")) is not None
    assert [why for _, why in room.ended] == ["another password"]
    assert room.taken_back == [("acc-alice", "another password")], "what was to outlive the session, too"


def test_a_password_is_not_chosen_without_its_step(room: Room) -> None:
    room.add("alice")
    browser = at(room)
    assert browser.page is not None
    fields = browser.page.form("/signin/password").fields
    page = browser.send(browser.request("POST", "/oauth/signin/new", {**fields, "password": OTHER, "again": OTHER}))
    assert page is not None
    assert page.has_form("/signin/password")
    seed = room.add_app(room.accounts.get("acc-alice"))
    page = sign_in(browser)
    assert page is not None
    fields = page.form("/signin/code").fields
    page = browser.send(browser.request("POST", "/oauth/signin/new", {**fields, "password": OTHER, "again": OTHER}))
    assert page is not None
    assert page.has_form("/signin/code")
    assert room.hasher.verify(room.means.open_password(room.accounts.get("acc-alice")), PASSWORD)
    assert seed


def test_a_hash_of_weaker_parameters_is_made_anew(room: Room) -> None:
    from interlock.issuer.passwords import Hasher

    room.add("alice")
    room.means.hasher = Hasher(memory_kib=128, passes=1)
    sign_in(at(room), password="wrong")
    assert "m=64," in room.means.open_password(room.accounts.get("acc-alice"))
    browser = at(room)
    sign_in(browser)
    assert browser.location == DONE
    assert "m=128," in room.means.open_password(room.accounts.get("acc-alice"))


# -- factors


def test_where_one_is_required_it_is_set_up(strict: Room) -> None:
    strict.add("alice")
    browser = at(strict)
    page = sign_in(browser)
    assert page is not None
    assert page.title == "Set up a second step"
    assert not browser.session
    seed = seed_of(page)
    assert len(seed) == 20
    page = browser.submit("/signin/totp", code="000000")
    assert page is not None
    assert page.alert
    assert seed_of(page) == seed  # the same picture, which is in the app already
    page = browser.submit("/signin/totp", code=code(seed))
    assert page is not None
    assert page.title == "Your recovery codes"
    shown = re.findall(r"<li>([0-9a-z-]{23})</li>", page.html)
    assert len(set(shown)) == COUNT
    assert not browser.session
    browser.submit("/signin/done")
    assert browser.location == DONE
    assert acr(strict, browser) == ACR[TWO]
    (factor,) = strict.accounts.factors("acc-alice")
    assert factor.kind == TOTP
    assert seed not in factor.sealed
    assert strict.accounts.take_recovery("acc-alice", hashed(strict.key, "acc-alice", shown[0]) or b"")
    assert "factor:add" in strict.record.events
    assert not any(one in str(strict.record.acts) for one in shown)


def test_the_code_that_confirmed_is_used_up(strict: Room) -> None:
    strict.add("alice")
    browser = at(strict)
    seed = seed_of(sign_in(browser))
    browser.submit("/signin/totp", code=code(seed))
    other = at(strict)
    sign_in(other)
    page = other.submit("/signin/code", code=code(seed))
    assert page is not None
    assert not other.session


def test_going_past_setting_it_up_leads_back(strict: Room) -> None:
    strict.add("alice")
    browser = at(strict)
    page = sign_in(browser)
    assert page is not None
    page = browser.send(browser.request("POST", "/oauth/signin/done", page.form("/signin/totp").fields))
    assert page is not None
    assert page.title == "Set up a second step"
    assert not browser.session


def test_two_at_the_same_page_set_up_one_each_at_most(strict: Room) -> None:
    """Two windows: the second is asked for what the first has set up."""
    strict.add("alice")
    one, two = at(strict), at(strict)
    page_one, page_two = sign_in(one), sign_in(two)
    seed_one, seed_two = seed_of(page_one), seed_of(page_two)
    one.submit("/signin/totp", code=code(seed_one))
    page = two.submit("/signin/totp", code=code(seed_two))
    assert page is not None
    assert page.has_form("/signin/code")
    assert len(strict.accounts.factors("acc-alice")) == 1


def test_a_seed_is_nobody_elses(strict: Room) -> None:
    strict.add("alice")
    seeds = {seed_of(sign_in(at(strict))) for _ in range(3)}
    assert len(seeds) == 3


def test_a_passkey_is_set_up(strict: Room, device: Authenticator) -> None:
    strict.add("alice")
    browser = at(strict)
    page = sign_in(browser)
    made = device.create(options(page, "/signin/passkey/new"))
    page = browser.submit("/signin/passkey/new", credential=made)
    assert page is not None
    assert page.title == "Your recovery codes"
    browser.submit("/signin/done")
    assert acr(strict, browser) == ACR[RESISTANT]
    (factor,) = strict.accounts.factors("acc-alice")
    assert factor.kind == PASSKEY
    assert device.credential not in factor.sealed
    other = at(strict)
    other.submit("/signin/passkey", credential=device.get(options(other.page)))
    assert other.location == DONE


@pytest.mark.parametrize("how", [{"flags": UP}, {"origin": "https://evil.example"}, {"form": "tpm"}], ids=str)
def test_a_passkey_that_is_not_what_was_asked_for(strict: Room, device: Authenticator, how: dict[str, Any]) -> None:
    strict.add("alice")
    browser = at(strict)
    page = sign_in(browser)
    page = browser.submit("/signin/passkey/new", credential=device.create(options(page, "/signin/passkey/new"), **how))
    assert page is not None
    assert page.status == 400
    assert strict.accounts.factors("acc-alice") == []


def test_a_credential_is_one_persons(strict: Room, device: Authenticator) -> None:
    strict.add_passkey(strict.add("bob"), device)
    strict.add("alice")
    browser = at(strict)
    page = sign_in(browser)
    page = browser.submit("/signin/passkey/new", credential=device.create(options(page, "/signin/passkey/new")))
    assert page is not None
    assert page.status == 400
    assert not browser.session
    assert strict.accounts.factors("acc-alice") == []


def test_where_a_passkey_is_asked_for_an_app_is_not_enough(room: Room, device: Authenticator) -> None:
    seed = room.add_app(room.add("alice"))
    browser = at(room, Asked(flow="f", acr_values=(ACR[RESISTANT],)))
    sign_in(browser)
    page = browser.submit("/signin/code", code=code(seed))
    assert page is not None
    assert page.title == "Set up a passkey"
    assert not page.has_form("/signin/totp")
    page = browser.submit("/signin/passkey/new", credential=device.create(options(page, "/signin/passkey/new")))
    browser.submit("/signin/done")
    assert acr(room, browser) == ACR[RESISTANT]


def test_what_cannot_be_recorded_is_not_done(strict: Room) -> None:
    strict.add("alice")
    browser = at(strict)
    seed = seed_of(sign_in(browser))
    strict.record.broken = True
    page = browser.submit("/signin/totp", code=code(seed))
    assert page is not None
    assert page.status == 503
    assert strict.accounts.factors("acc-alice") == []
    with pytest.raises(RecordUnavailable):
        strict.means.sessions.begin(browser.request("GET", "/"), strict.accounts.get("acc-alice"), ("pwd",))


def test_the_picture_is_in_the_page(strict: Room) -> None:
    strict.add("alice")
    page = sign_in(at(strict))
    assert page is not None
    assert any(tag == "svg" and attributes.get("class") == "qr" for tag, attributes in page.tags)
    assert not any(tag == "img" for tag, _ in page.tags)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "otpauth" not in page.html


# -- another password, and whoever has the former one


def broken_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, problem: BaseException) -> None:
    original = getattr(owner, name)

    def first(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(owner, name, original)
        raise problem

    monkeypatch.setattr(owner, name, first)


@pytest.mark.parametrize("step", ["revoke_account", "revoke_session"])
def test_a_change_that_breaks_off_leaves_nobody_signed_in_with_the_former_password(
    room: Room, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The attack: a thief is signed in, the password is changed, and just then the state cannot be written. The new
    password works from then on, so nobody would come back to end what was left."""
    room.add("alice")
    thief = at(room, source="203.0.113.9")
    sign_in(thief)
    room.accounts.change("acc-alice", must_change=True)
    browser = at(room)
    sign_in(browser)
    broken_once(monkeypatch, type(room.means.sessions), step, StateError("database is locked"))
    page = choose(browser)
    assert page is not None
    assert page.status == 503
    assert room.people.session(thief.request("GET", "/")) is None
    assert not any(room.means.sessions.in_use(sid, NOW) for sid in sids(room))
    again = at(room)
    sign_in(again, password=OTHER)
    assert room.people.session(again.request("GET", "/")) is not None
    # What hangs on the thief's session hears of it, and what was allowed for longer is taken back.
    room.people.tend(NOW)
    assert [why for _, why in room.ended] == ["another password"]
    assert room.taken_back == [("acc-alice", "another password")]
    assert room.people.session(again.request("GET", "/")) is not None


def sids(room: Room) -> list[str]:
    """Of whoever was signed in before the password was changed."""
    changed = room.accounts.get("acc-alice").changed
    return [row.sid for row in room.means.signins.sessions(NOW) if row.changed != changed]


def test_a_sign_in_under_way_does_not_end_with_a_former_password(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack: the former password was proved, and before the session is written another one is chosen."""
    account = room.add("alice")
    thief = at(room, source="203.0.113.9")
    begin = room.means.signins.begin

    def meanwhile(row: Any, **more: Any) -> list[str]:
        monkeypatch.setattr(room.means.signins, "begin", begin)
        sealed = room.means.seal_password(account.id, room.hasher.hash(OTHER))
        assert room.accounts.choose_password(room.accounts.get(account.id), sealed, account.key, NOW)
        room.means.sessions.revoke_account(account.id, "another password", NOW)
        return begin(row, **more)

    monkeypatch.setattr(room.means.signins, "begin", meanwhile)
    page = sign_in(thief)
    assert page is not None
    assert CHANGED in page.text
    assert room.people.session(thief.request("GET", "/")) is None
    assert room.means.sessions.living(NOW) == []
