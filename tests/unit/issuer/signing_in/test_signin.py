"""Signing in, step by step, and the ways in that must not be."""

from __future__ import annotations

import re
from concurrent.futures import Future
from typing import Any

import pytest

from interlock.errors import StateError
from interlock.issuer import passwords
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import CHALLENGE, HALF, WHOLE, Asked
from interlock.issuer.http import Request
from interlock.issuer.levels import ACR, ONE, RESISTANT, TWO
from interlock.issuer.lockout import LIMIT, WINDOW
from interlock.issuer.passwords import Hasher, Pool
from interlock.issuer.signin import RESTS, RESTS_HERE, TOO_LONG, WRONG, WRONG_CODE
from interlock.model import Event
from interlock.store.accounts import DISABLED
from tests.unit.issuer.authenticator import UP, Authenticator
from tests.unit.issuer.signing_in.browser import Browser, Page
from tests.unit.issuer.signing_in.conftest import MINUTE, NOW, PASSWORD, SECOND, Room, code

ASKED = Asked(flow="ilf_flow-1", client="Ledger", targets=("https://app.example.com",))
DONE = "/oauth/authorize/continue?flow=ilf_flow-1"


def at(room: Room, asked: Asked = ASKED, **where: Any) -> Browser:
    """A browser that was sent to sign in."""
    browser = Browser(room.people, **where)
    browser.show(room.people.sign_in(browser.request("GET", "/oauth/authorize"), asked))
    assert browser.page is not None
    return browser


def sign_in(browser: Browser, name: str = "alice", password: str = PASSWORD) -> Page | None:
    return browser.submit("/signin/password", name=name, password=password)


def options(page: Page | None, action: str = "/signin/passkey") -> str:
    assert page is not None
    return page.form(action).attributes["data-options"]


def acr(room: Room, browser: Browser) -> str:
    session = room.people.session(browser.request("GET", "/oauth/authorize"))
    return "" if session is None else session.acr


# -- name and password


def test_name_and_password(room: Room) -> None:
    room.add("alice")
    browser = at(room)
    assert browser.page is not None
    assert browser.page.title == "Sign in"
    assert "Ledger" in browser.page.text
    assert sign_in(browser) is None
    assert browser.location == DONE
    session = room.people.session(browser.request("GET", "/oauth/authorize"))
    assert session is not None
    assert (session.account.name, session.acr, session.amr) == ("alice", ACR[ONE], ("pwd",))
    assert session.auth_time == NOW // SECOND
    (told,) = room.record.of(Event.SESSION_BEGIN)
    assert told["principal"] == "user:interlock/alice"
    assert PASSWORD not in str(room.record.acts)


@pytest.mark.parametrize("typed", ["ALICE", " alice ", "\uff41lice"])
def test_other_spellings_of_the_name(room: Room, typed: str) -> None:
    room.add("alice")
    browser = at(room)
    sign_in(browser, typed)
    assert browser.location == DONE


def test_a_password_is_taken_however_it_is_composed(room: Room) -> None:
    room.add("alice", "d\u00e9j\u00e0 vu de minuit")
    browser = at(room)
    sign_in(browser, password="de\u0301ja\u0300 vu\u00a0de minuit")
    assert browser.location == DONE


def test_the_way_on_is_a_path_of_ours_whatever_the_flow_is_called(room: Room) -> None:
    room.add("alice")
    for flow in ("https://evil.example/", "//evil.example", "a&b=c#d", "x\r\nset-cookie: a=b", "../../evil"):
        browser = at(room, Asked(flow=flow))
        sign_in(browser)
        assert re.fullmatch(r"/oauth/authorize/continue\?flow=[A-Za-z0-9%._~-]+", browser.location)
    for go in ("https://evil.example", "", "signout"):
        with pytest.raises(ValueError, match="nowhere"):
            at(room, Asked(flow="f", go=go))


def test_a_path_in_front_of_the_issuer(state: Any, key: Any, record: Any) -> None:
    room = Room(state, key, record, url="https://id.example.com/tenant")
    room.add("alice")
    browser = Browser(room.people)
    begun = room.people.sign_in(browser.request("GET", "/oauth/authorize"), ASKED)
    where = dict(begun.fields)["location"]
    assert where.startswith("/tenant/oauth/signin?t=")
    browser.take(begun)
    page = browser.get(where.removeprefix("/tenant"))
    assert page is not None
    assert all(form.action.startswith("/tenant/oauth/") for form in page.forms)
    assert page.scripts == ["/tenant/oauth/passkey.js"]
    room.pool.close()


# -- who fails is told the same


def attempts(room: Room) -> dict[str, Page | None]:
    room.add("alice")
    room.add("gone", state=DISABLED)
    room.add("nopassword", password="")
    locked = room.add("locked")
    for number in range(LIMIT):
        room.means.lockout.attempt(account=locked.id, name="", source=f"198.51.100.{number}", now=NOW)
    found = {}
    for name, password in [
        ("alice", "wrong password here"),
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
        ("gone", "wrong password here"),
        ("nopassword", PASSWORD),
        ("nopassword", ""),
        ("locked", PASSWORD),
        ("\u0430lice", PASSWORD),
        ("x" * 100, PASSWORD),
        ("alice", PASSWORD + "\0"),
    ]:
        browser = at(room, source=f"203.0.113.{len(found)}")
        found[f"{name}/{password}"] = sign_in(browser, name, password)
    return found


def test_whoever_fails_is_told_the_same(room: Room) -> None:
    pages = attempts(room)
    assert all(page is not None for page in pages.values())
    seen = set()
    for name, page in pages.items():
        assert page is not None
        typed = name.partition("/")[0]
        without = page.text.replace(typed, "NAME")
        seen.add((page.status, page.alert, without, tuple(sorted(page.headers))))
    assert len(seen) == 1
    ((status, alert, *_),) = seen
    assert (status, alert) == (400, WRONG)


def test_whoever_fails_takes_the_same_work(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[str] = []
    verify, attempt = Hasher.verify, room.means.lockout.attempt
    hashed: list[str] = []

    def spied(self: Hasher, encoded: str, password: str) -> bool:
        work.append("hash")
        hashed.append(encoded or self._nobody)
        return verify(self, encoded, password)

    def counted(**where: Any) -> Any:
        work.append("count")
        return attempt(**where)

    pages = {}
    room.add("alice")
    room.add("gone", state=DISABLED)
    monkeypatch.setattr(passwords.Hasher, "verify", spied)
    monkeypatch.setattr(room.means.lockout, "attempt", counted)
    for name, password in [
        ("alice", "wrong password here"),
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
        ("alice", "x" * 3000),
        ("\u0430", ""),
    ]:
        work.clear()
        before = len(room.record.acts)
        pages[name] = sign_in(at(room), name, password)
        assert work == ["count", "hash"]
        assert [event for event, _ in room.record.acts[before:]] == ["signin:failed"]
    # Hashes of the same parameters, so that they take as long.
    assert len({re.sub(r"\$[^$]*\$[^$]*$", "", encoded) for encoded in hashed}) == 1


def test_the_record_knows_and_names_nobody_unknown(room: Room) -> None:
    room.add("alice")
    sign_in(at(room), "my-password-typed-as-name", "x")
    sign_in(at(room), "alice", "wrong")
    first, second = room.record.of(Event.SIGNIN_FAILED)
    assert first == {"why": "password", "known": False, "subject": "source:192.0.2.7"}
    assert second["principal"] == "user:interlock/alice"
    assert "my-password" not in str(room.record.acts)


# -- lockout


def test_after_ten_failures_the_right_password_is_no_help(room: Room) -> None:
    room.add("alice")
    for number in range(LIMIT):
        page = sign_in(at(room, source=f"203.0.113.{number}"), password="wrong")
        assert page is not None
    assert [told["what"] for told in room.record.of(Event.SIGNIN_LOCKED)] == [["account"]]
    stranger = at(room, source="203.0.113.99")
    page = sign_in(stranger)
    assert page is not None
    assert page.alert == WRONG
    assert not stranger.session
    later = at(room, source="203.0.113.99")
    later.now = NOW + WINDOW
    later.show(room.people.sign_in(later.request("GET", "/oauth/authorize"), ASKED))
    sign_in(later)
    assert later.location == DONE


def test_variants_of_the_name_do_not_give_more_tries(room: Room) -> None:
    room.add("karl")
    for number, typed in enumerate(["karl", "KARL", " Karl", "\u212aarl", "\uff2b\uff21\uff32\uff2c"] * 2):
        sign_in(at(room, source=f"203.0.113.{number}"), typed, "wrong")
    page = sign_in(at(room, source="203.0.113.99"), "karl")
    assert page is not None


def test_from_one_network_not_more_than_ten(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.add("alice")
    for number in range(LIMIT):
        sign_in(at(room, source=f"2001:db8::{number}"), f"somebody{number}", "wrong")
    hashed: list[str] = []
    monkeypatch.setattr(room.hasher, "verify", lambda encoded, _password: bool(hashed.append(encoded)))
    browser = at(room, source="2001:db8::ffff")
    page = sign_in(browser)
    assert page is not None
    assert (page.status, page.alert) == (429, RESTS_HERE)
    assert not hashed
    # A cookie that somebody makes up does not get further.
    browser.cookies["__Host-interlock-device"] = "A" * 43
    page = sign_in(browser)
    assert page is not None
    assert page.alert == WRONG
    assert not browser.session


def test_who_signed_in_here_before_is_not_locked_out_by_strangers(room: Room) -> None:
    room.add("alice")
    mine = at(room)
    sign_in(mine)
    for number in range(LIMIT + 5):
        sign_in(at(room, source=f"203.0.113.{number}"), password="wrong")
    assert room.means.lockout.locked_until("acc-alice", NOW)
    mine.show(room.people.sign_in(mine.request("GET", "/oauth/authorize"), ASKED))
    mine.location = ""
    sign_in(mine)
    assert mine.location == DONE


def test_when_many_sign_in_at_once_some_are_told_to_come_again(room: Room) -> None:
    room.means.pool = Pool(at_once=1, queue=0, queue_of_one=0)
    room.add("alice")
    browser = at(room)
    page = sign_in(browser)
    assert page is not None
    assert (page.status, page.headers["retry-after"]) == (503, "5")
    room.means.pool = room.pool
    sign_in(browser)
    assert browser.location == DONE


def test_a_password_is_never_tried_in_the_callers_thread(room: Room) -> None:
    room.add("alice")
    browser = at(room)
    assert browser.page is not None
    form = browser.page.form("/signin/password")
    request = browser.request("POST", form.action, {**form.fields, "name": "alice", "password": PASSWORD})
    answer = room.people.handle(request)
    assert isinstance(answer, Future)
    assert answer.result(20).status == 303


# -- the second factor


def test_password_and_code(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    browser = at(room)
    page = sign_in(browser)
    assert page is not None
    assert not browser.session
    browser.submit("/signin/code", code=code(seed))
    assert browser.location == DONE
    assert acr(room, browser) == ACR[TWO]
    assert room.record.of(Event.SESSION_BEGIN)[0]["amr"] == ["pwd", "otp", "mfa"]


def test_the_second_factor_alone_is_nothing(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    browser = at(room)
    assert browser.page is not None
    fields = browser.page.form("/signin/password").fields
    for action in ("code", "recovery", "totp", "new", "done", "passkey/new"):
        page = browser.send(browser.request("POST", f"/oauth/signin/{action}", {**fields, "code": code(seed)}))
        assert page is not None
        assert page.has_form("/signin/password")
        assert not browser.session


def test_a_code_is_good_once(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    first, second = at(room), at(room, source="203.0.113.1")
    sign_in(first)
    sign_in(second)
    first.submit("/signin/code", code=code(seed))
    assert first.location == DONE
    page = second.submit("/signin/code", code=code(seed))
    assert page is not None
    assert page.alert == WRONG_CODE
    assert not second.session
    # Nor the one before it, which somebody may have looked at.
    page = second.submit("/signin/code", code=code(seed, NOW - 30 * SECOND))
    assert page is not None
    second.submit("/signin/code", code=code(seed, NOW + 30 * SECOND))
    assert second.location == DONE


def test_codes_are_counted_and_the_password_does_not_clear_them(room: Room) -> None:
    account = room.add("alice")
    seed = room.add_app(account)
    tried = 0
    for number in range(30):
        browser = at(room, source=f"203.0.113.{number}")
        page = sign_in(browser)
        if page is None or not page.has_form("/signin/code"):
            break
        page = browser.submit("/signin/code", code="000000")
        tried += 1
    assert tried == LIMIT
    assert room.means.lockout.locked_until(account.id, NOW)
    browser = at(room, source="203.0.113.99")
    page = sign_in(browser)
    assert page is not None
    assert page.alert == WRONG
    assert seed


def test_while_it_rests_no_code_is_tried(room: Room) -> None:
    account = room.add("alice")
    seed = room.add_app(account)
    browser = at(room)
    sign_in(browser)
    for number in range(LIMIT):
        room.means.lockout.attempt(account=account.id, name="", source=f"203.0.113.{number}", now=NOW)
    page = browser.submit("/signin/code", code=code(seed))
    assert page is not None
    assert (page.status, page.alert) == (429, RESTS)
    assert room.accounts.factors(account.id)[0].step == 0  # the code is not used up


def test_a_recovery_code_is_good_once(room: Room) -> None:
    account = room.add("alice")
    room.add_app(account)
    kept = [("a" * 20), ("b" * 20)]
    from interlock.issuer.recovery import hashed

    room.accounts.set_recovery(account.id, [hashed(room.key, account.id, one) or b"" for one in kept], NOW)
    for typed, done in [("AAAAA-AAAAA-AAAAA-AAAAA", True), (kept[0], False), ("c" * 20, False), (kept[1], True)]:
        browser = at(room)
        page = sign_in(browser)
        assert page is not None
        page = browser.submit("/signin/recovery", code=typed)
        assert (page is None) is done
        assert bool(browser.session) is done
    assert [told["left"] for told in room.record.of(Event.FACTOR_RECOVERY)] == [1, 0]
    page = sign_in(at(room))
    assert page is not None
    assert not page.has_form("/signin/recovery")  # there is none left to ask for


# -- passkeys


def test_a_passkey_alone(room: Room, device: Authenticator) -> None:
    room.add_passkey(room.add("alice"), device)
    browser = at(room)
    browser.submit("/signin/passkey", credential=device.get(options(browser.page)))
    assert browser.location == DONE
    session = room.people.session(browser.request("GET", "/oauth/authorize"))
    assert session is not None
    assert (session.acr, session.amr) == (ACR[RESISTANT], ("pop", "user", "mfa"))


def test_a_passkey_after_the_password(room: Room, device: Authenticator) -> None:
    room.add_passkey(room.add("alice"), device)
    browser = at(room)
    page = sign_in(browser)
    assert page is not None
    assert not page.has_form("/signin/code")
    browser.submit("/signin/passkey", credential=device.get(options(page)))
    assert browser.location == DONE
    assert room.record.of(Event.SESSION_BEGIN)[0]["amr"] == ["pwd", "pop", "user", "mfa"]


def test_somebody_elses_passkey_is_no_second_factor(room: Room, device: Authenticator) -> None:
    room.add_app(room.add("alice"))
    room.add_passkey(room.add("mallory"), device)
    alice_device = Authenticator(device.origin, device.rp_id)
    room.add_passkey(room.accounts.get("acc-alice"), alice_device)
    browser = at(room)
    page = sign_in(browser)
    page = browser.submit("/signin/passkey", credential=device.get(options(page), user=b"acc-alice"))
    assert page is not None
    assert not browser.session
    page = browser.submit("/signin/passkey", credential=device.get(options(page)))
    assert page is not None
    assert not browser.session


@pytest.mark.parametrize(
    "how",
    [
        {"user": b"acc-mallory"},
        {"user": b""},
        {"flags": UP},
        {"origin": "https://id.example.com.evil.example"},
        {"challenge": "AAAA"},
        {"crossOrigin": True},
    ],
    ids=str,
)
def test_a_passkey_that_says_something_else(room: Room, device: Authenticator, how: dict[str, Any]) -> None:
    room.add_passkey(room.add("alice"), device)
    room.add("mallory")
    browser = at(room)
    page = browser.submit("/signin/passkey", credential=device.get(options(browser.page), **how))
    assert page is not None
    assert page.status == 400
    assert not browser.session
    assert room.record.events[-1] == "signin:failed"


def test_a_challenge_is_answered_once_and_soon(room: Room, device: Authenticator) -> None:
    room.add_passkey(room.add("alice"), device)
    browser = at(room)
    page, before = browser.page, dict(browser.cookies)
    answer = device.get(options(page))
    browser.submit("/signin/passkey", credential=answer)
    assert browser.location == DONE
    browser.cookies, browser.location = before, ""  # as they were, and the very same form again
    again = browser.submit("/signin/passkey", page, credential=answer)
    assert again is not None
    assert not browser.session
    late = at(room)
    answer = device.get(options(late.page))
    late.now = NOW + CHALLENGE
    page = late.submit("/signin/passkey", credential=answer)
    assert page is not None
    assert not late.session


def test_a_challenge_is_of_its_page(room: Room, device: Authenticator) -> None:
    room.add_passkey(room.add("alice"), device)
    victim, attacker = at(room), at(room, source="203.0.113.1")
    answer = device.get(options(victim.page))
    page = attacker.submit("/signin/passkey", credential=answer)
    assert page is not None
    assert not attacker.session


def test_a_counter_that_goes_back_is_told(room: Room, device: Authenticator) -> None:
    factor = room.add_passkey(room.add("alice"), device)
    device.count = 9
    browser = at(room)
    browser.submit("/signin/passkey", credential=device.get(options(browser.page)))
    assert room.record.of(Event.FACTOR_SUSPECT) == []
    device.count = 3
    browser = at(room)
    browser.submit("/signin/passkey", credential=device.get(options(browser.page)))
    (told,) = room.record.of(Event.FACTOR_SUSPECT)
    assert (told["factor"], told["counter"], told["last"]) == (factor, 4, 10)
    assert room.accounts.factors("acc-alice")[0].step == 10  # the highest so far


def test_passkeys_of_those_who_may_not(room: Room, device: Authenticator) -> None:
    account = room.add("alice")
    room.add_passkey(account, device)
    room.accounts.change(account.id, state=DISABLED)
    browser = at(room)
    page = browser.submit("/signin/passkey", credential=device.get(options(browser.page)))
    assert page is not None
    assert not browser.session
    unknown = Authenticator(device.origin, device.rp_id)
    page = browser.submit("/signin/passkey", credential=unknown.get(options(browser.page), user=b"acc-alice"))
    assert page is not None
    assert not browser.session


def test_locking_the_password_does_not_lock_the_passkey(room: Room, device: Authenticator) -> None:
    room.add_passkey(room.add("alice"), device)
    for number in range(LIMIT + 1):
        sign_in(at(room, source=f"203.0.113.{number}"), password="wrong")
    browser = at(room)
    browser.submit("/signin/passkey", credential=device.get(options(browser.page)))
    assert browser.location == DONE


def test_where_browsers_take_no_passkeys_none_is_offered(state: Any, key: Any, record: Any) -> None:
    room = Room(state, key, record, url="http://127.0.0.1:8080")
    browser = Browser(room.people, origin="http://127.0.0.1:8080")
    browser.show(room.people.sign_in(browser.request("GET", "/oauth/authorize"), ASKED))
    assert browser.page is not None
    assert not browser.page.has_form("/signin/passkey")
    assert browser.page.scripts == []
    assert set(browser.cookies) == {"interlock-signin"}
    assert ACR[RESISTANT] not in room.people.acr_values
    room.pool.close()


# -- what others could do to a sign-in


def test_a_form_without_its_browser(room: Room) -> None:
    """Cross-site request forgery of the sign-in itself: somebody is to be signed in as the attacker."""
    room.add("mallory")
    attacker, victim = at(room), at(room, source="203.0.113.1")
    assert attacker.page is not None
    form = attacker.page.form("/signin/password")
    sent = {**form.fields, "name": "mallory", "password": PASSWORD}
    with pytest.raises(OAuthError) as refused:
        victim.send(victim.request("POST", form.action, sent))
    assert refused.value.status == 403
    assert victim.page is not None
    own = victim.page.form("/signin/password")
    for mixed in ({**sent, "csrf": own.fields["csrf"]}, {**sent, "t": own.fields["t"]}):
        with pytest.raises(OAuthError):
            victim.send(victim.request("POST", form.action, mixed))
    with pytest.raises(OAuthError):
        victim.send(victim.request("POST", form.action, {**own.fields}, origin="https://evil.example"))
    with pytest.raises(OAuthError):
        victim.send(victim.request("POST", form.action, {**own.fields}, sec_fetch_site="cross-site"))
    assert not victim.session


@pytest.mark.parametrize(
    "action",
    ["password", "code", "recovery", "passkey", "passkey/new", "new", "totp", "done"],
)
def test_every_form_is_bound_to_its_browser(room: Room, action: str) -> None:
    browser = at(room)
    assert browser.page is not None
    fields = browser.page.form("/signin/password").fields
    path = f"/oauth/signin/{action}"
    for request in (
        browser.request("POST", path, {**fields, "csrf": ""}),
        browser.request("POST", path, {**fields, "t": fields["t"][:-3]}),
        browser.request("POST", path, fields, origin="null"),
        browser.request("POST", path, fields, cookie=""),
        browser.request("POST", path, fields, cookie="__Host-interlock-signin=" + "x" * 43),
    ):
        with pytest.raises(OAuthError):
            room.people.handle(request)


def test_nobody_goes_on_where_another_left_off(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    victim = at(room)
    page = sign_in(victim)
    assert page is not None
    thief = at(room, source="203.0.113.1")
    with pytest.raises(OAuthError):
        thief.send(thief.request("POST", "/oauth/signin/code", {**page.form("/code").fields, "code": code(seed)}))
    with pytest.raises(OAuthError):
        thief.get(f"/oauth/signin?t={page.form('/code').fields['t']}")


def test_pages_of_a_completed_sign_in_are_nothing(room: Room) -> None:
    room.add("alice")
    browser = at(room)
    page = browser.page
    sign_in(browser)
    with pytest.raises(OAuthError):
        browser.submit("/signin/password", page, name="alice", password=PASSWORD)


def test_a_session_that_was_planted_is_not_taken_over(room: Room) -> None:
    room.add("alice")
    room.add("mallory")
    attacker = at(room, source="203.0.113.1")
    sign_in(attacker, "mallory")
    victim = at(room)
    victim.cookies["__Host-interlock-session"] = attacker.session
    sign_in(victim)
    assert victim.session != attacker.session
    assert room.people.session(attacker.request("GET", "/oauth/authorize")) is None
    found = room.people.session(victim.request("GET", "/oauth/authorize"))
    assert found is not None
    assert found.account.name == "alice"


def test_it_takes_not_too_long(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    browser = at(room)
    browser.now = NOW + WHOLE
    page = sign_in(browser)
    assert page is not None
    assert TOO_LONG in page.text
    assert page.has_form("/signin/password")
    page = sign_in(browser)
    assert page is not None
    browser.now += HALF
    page = browser.submit("/signin/code", code=code(seed, browser.now))
    assert page is not None
    assert page.has_form("/signin/password")
    assert not browser.session


def test_what_changes_meanwhile_begins_it_again(room: Room) -> None:
    account = room.add("alice")
    seed = room.add_app(account)
    browser = at(room)
    sign_in(browser)
    room.accounts.change(account.id, state=DISABLED)
    page = browser.submit("/signin/code", code=code(seed))
    assert page is not None
    assert page.has_form("/signin/password")
    room.accounts.change(account.id, state="active")
    sign_in(browser)
    room.accounts.change(account.id, changed=NOW + 1)  # another password was chosen elsewhere
    page = browser.submit("/signin/code", code=code(seed))
    assert page is not None
    assert page.has_form("/signin/password")
    assert not browser.session


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "'\u2028"]
)
def test_what_others_say_is_shown_as_text(room: Room, text: str) -> None:
    browser = at(room, Asked(flow="f", client=text, hint=text, targets=("https://app.example",)))
    for page in (browser.page, sign_in(browser, text, "x"), room_problem(room, browser, text)):
        assert page is not None
        assert [tag for tag, _ in page.tags if tag == "script"] in ([], ["script"])
        assert all(source == "/oauth/passkey.js" for source in page.scripts)
        assert not any(
            tag == "img" or any(name.startswith("on") for name in attributes) for tag, attributes in page.tags
        )
        assert "49" not in page.text


def room_problem(room: Room, browser: Browser, text: str) -> Page:
    return Page(room.people.problem(browser.request("GET", "/"), OAuthError("invalid_request", text)))


# -- what is asked for


def test_more_is_asked_for_than_a_password(room: Room) -> None:
    seed = room.add_app(room.add("alice"))
    browser = at(room, Asked(flow="f", acr_values=(ACR[TWO],)))
    sign_in(browser)
    browser.submit("/signin/code", code=code(seed))
    assert acr(room, browser) == ACR[TWO]


def test_a_passkey_is_asked_for_where_a_code_is_not_enough(room: Room, device: Authenticator) -> None:
    account = room.add("alice")
    seed = room.add_app(account)
    room.add_passkey(account, device)
    browser = at(room, Asked(flow="f", acr_values=(ACR[RESISTANT],)))
    page = sign_in(browser)
    page = browser.submit("/signin/code", code=code(seed))
    assert page is not None
    assert not page.has_form("/signin/code")
    assert not page.has_form("/signin/recovery")
    browser.submit("/signin/passkey", credential=device.get(options(page)))
    assert acr(room, browser) == ACR[RESISTANT]


def test_whether_what_there_is_is_enough(room: Room) -> None:
    room.add("alice")
    browser = at(room)
    sign_in(browser)
    session = room.people.session(browser.request("GET", "/oauth/authorize"))
    assert session is not None
    meets = room.people.meets
    later = NOW + 10 * MINUTE
    assert meets(session, Asked(), later)
    assert meets(session, Asked(acr_values=(ACR[ONE],)), later)
    assert meets(session, Asked(acr_values=(ACR[TWO], ACR[ONE])), later)
    assert meets(session, Asked(acr_values=("urn:unknown",)), later)
    assert not meets(session, Asked(acr_values=(ACR[TWO],)), later)
    assert not meets(session, Asked(login=True, since=later), later)
    assert meets(session, Asked(login=True, since=NOW), later)
    assert meets(session, Asked(max_age=600), later)
    assert not meets(session, Asked(max_age=599), later)
    assert not meets(session, Asked(max_age=0, since=later), later)
    assert meets(session, Asked(max_age=0, since=NOW), later)  # it was for this that it signed in
    assert room.people.answered(session, [ACR[TWO], ACR[ONE]]) == ACR[ONE]


def test_signing_in_again_is_never_skipped(room: Room) -> None:
    """`prompt=login`: whoever sits at a browser that is signed in has to know the password."""
    room.add("alice")
    browser = at(room)
    sign_in(browser)
    before = browser.session
    browser.now += MINUTE
    asked = Asked(flow="g", login=True, since=browser.now, hint="alice")
    browser.show(room.people.sign_in(browser.request("GET", "/oauth/authorize"), asked))
    assert browser.page is not None
    assert browser.page.form("/signin/password").fields["name"] == "alice"
    page = sign_in(browser, password="wrong")
    assert page is not None
    assert browser.session == before
    sign_in(browser)
    session = room.people.session(browser.request("GET", "/oauth/authorize"))
    assert session is not None
    assert room.people.meets(session, asked, browser.now)
    assert browser.session != before


# -- when something of ours fails


@pytest.mark.parametrize("broken", ["record", "state"])
def test_what_fails_lets_nobody_in(room: Room, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    room.add("alice")
    browser = at(room)
    if broken == "record":
        room.record.broken = True
    else:

        def fails(*_: object, **__: object) -> None:
            raise StateError("the disk is full")

        monkeypatch.setattr(room.means.lockout, "attempt", fails)
    for password in (PASSWORD, "wrong"):
        browser.show(room.people.sign_in(browser.request("GET", "/oauth/authorize"), ASKED))
        page = sign_in(browser, password=password)
        assert page is not None
        assert page.status == 503
        assert "disk" not in page.html
        assert not browser.session


def test_what_cannot_be_read_is_no_cookie(room: Room) -> None:
    request = Request("GET", "/oauth/authorize", headers={"cookie": "__Host-interlock-session"}, now=NOW)
    assert room.people.session(request) is None
