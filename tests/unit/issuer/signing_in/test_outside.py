"""Signing in at an outside provider, and everything that an attacker or another provider could bring instead."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import httpx
import pytest

from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import HALF, Asked
from interlock.issuer.levels import ACR, ONE, TWO
from interlock.issuer.outside import CALLBACK, LARGEST, Provider
from interlock.jose.signing import Signer, make_key
from interlock.keys import FactorKey
from interlock.model import Event
from interlock.store import State
from interlock.store.accounts import DISABLED
from tests.unit.issuer.signing_in.browser import Browser, Page
from tests.unit.issuer.signing_in.conftest import NOW, SECOND, Record, Room, code
from tests.unit.issuer.signing_in.test_account import home
from tests.unit.issuer.signing_in.test_signin import DONE, acr, at, sign_in

ISSUER = "https://login.example.org"
CLIENT = "interlock at example"
SECRET = "s:cret/+ %"
SECONDS = NOW // SECOND


class FakeProvider:
    """A provider over HTTP without a socket; each of its answers can be exchanged for another."""

    def __init__(self) -> None:
        self.signer = Signer(make_key("ES256"), "ES256")
        self.keys = [self.signer.jwk]
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.claims: dict[str, Any] = {}
        self.sub = "248289761001"
        self.asked: list[httpx.Request] = []
        self.codes: dict[str, dict[str, str]] = {}  # to what the browser came with
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None

    def authorize(self, url: str, *, code: str = "code-1", **more: str) -> str:
        """A browser comes, signs in, and is sent back: gives the address it is sent to."""
        query = dict(parse_qsl(urlsplit(url).query))
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], **more}
        glue = "&" if urlsplit(query["redirect_uri"]).query else "?"
        return (
            query["redirect_uri"] + glue + "&".join(f"{name}={quote(value, safe='')}" for name, value in answer.items())
        )

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        other = self.answer(request)
        if other is not None:
            return other
        match request.url.path:
            case "/.well-known/openid-configuration":
                return streamed(self.metadata)
            case "/keys":
                return streamed({"keys": self.keys})
            case "/token":
                return self.token(request)
        return httpx.Response(404)

    def token(self, request: httpx.Request) -> httpx.Response:
        form = dict(parse_qsl(request.content.decode()))
        started = self.codes.pop(form["code"], None)
        if started is None:
            return httpx.Response(400, stream=httpx.ByteStream(b'{"error": "invalid_grant"}'))
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == started["code_challenge"]
        assert form["redirect_uri"] == started["redirect_uri"]
        claims = {
            "iss": ISSUER,
            "aud": CLIENT,
            "sub": self.sub,
            "exp": SECONDS + 300,
            "iat": SECONDS,
            "nonce": started["nonce"],
            **self.claims,
        }
        return streamed({"id_token": self.signer.sign(self.change(claims), "JWT"), "access_token": "at"})


def streamed(value: Any) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(json.dumps(value).encode()))


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


def build(state: State, key: FactorKey, record: Record, fake: FakeProvider, monkeypatch: Any, **settings: Any) -> Room:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)
    outside = {
        "issuer": ISSUER,
        "client_id": CLIENT,
        "title": "Example Works",
        "client_secret": "${env:OUTSIDE_SECRET}",
    }
    room = Room(state, key, record, outside={"works": {**outside, **settings}})

    def client() -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(fake.handle), follow_redirects=False, trust_env=False)

    room.means.outside = {
        name: Provider(name, one.settings, room.settings.url + CALLBACK, client)
        for name, one in room.means.outside.items()
    }
    return room


@pytest.fixture
def works(
    state: State, key: FactorKey, record: Record, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Room]:
    room = build(state, key, record, provider, monkeypatch)
    yield room
    room.pool.close()
    room.means.waiting.close()


def linked(room: Room, name: str = "alice", sub: str = "248289761001", **more: Any) -> None:
    account = room.add(name, **more)
    room.accounts.link(account.id, "works", room.key.hash("outside", f"{ISSUER}\0{sub}".encode()), NOW)


def leave(browser: Browser, page: Page | None = None) -> str:
    """Follow the link of the sign-in page; gives where the browser is sent."""
    page = page or browser.page
    assert page is not None
    (href,) = [a["href"] for tag, a in page.tags if tag == "a" and "/signin/outside?" in a.get("href", "")]
    browser.get(href)
    assert browser.location.startswith(f"{ISSUER}/authorize?")
    return browser.location


def whole(browser: Browser, provider: FakeProvider, **more: str) -> Page | None:
    back = provider.authorize(leave(browser), **more)
    assert back.startswith("https://id.example.com/oauth/signin/outside/callback?provider=works&")
    return browser.get(back.removeprefix("https://id.example.com"))


def test_signing_in_there(works: Room, provider: FakeProvider) -> None:
    linked(works)
    browser = at(works)
    where = parse_qs(urlsplit(leave(browser)).query)
    assert where["response_type"] == ["code"]
    assert where["code_challenge_method"] == ["S256"]
    assert where["scope"] == ["openid"]
    browser = at(works)
    assert whole(browser, provider) is None
    assert browser.location == DONE
    assert acr(works, browser) == ACR[ONE]
    (request,) = [one for one in provider.asked if one.url.path == "/token"]
    basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
    assert basic == f"{quote(CLIENT, safe='')}:{quote(SECRET, safe='')}"
    assert SECRET not in str(works.record.acts)


def test_nothing_secret_is_in_the_state(works: Room, provider: FakeProvider) -> None:
    browser = at(works)
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    nonce = parse_qs(urlsplit(browser.location).query)["nonce"][0]
    assert nonce.encode() not in base64.urlsafe_b64decode(state + "===")


def test_only_the_link_leads_to_an_account(works: Room, provider: FakeProvider) -> None:
    """Not a name, not an e-mail address, and not the same `sub` of somebody else."""
    works.add("alice")
    works.add("a@example.com")
    linked(works, "bob", sub="another")
    provider.claims = {"email": "a@example.com", "email_verified": True, "preferred_username": "alice", "name": "alice"}
    browser = at(works)
    page = whole(browser, provider)
    assert page is not None
    assert "No account here is linked" in page.alert
    assert not browser.session


def test_who_is_disabled_here_is_told_the_same(works: Room, provider: FakeProvider) -> None:
    linked(works, state=DISABLED)
    browser = at(works)
    page = whole(browser, provider)
    assert page is not None
    assert "No account here is linked" in page.alert
    assert not browser.session


def test_a_second_factor_of_ours_is_still_asked_for(works: Room, provider: FakeProvider) -> None:
    linked(works)
    seed = works.add_app(works.accounts.get("acc-alice"))
    provider.claims = {"amr": ["pwd", "mfa"]}  # which the file does not trust
    browser = at(works)
    page = whole(browser, provider)
    assert page is not None
    assert not browser.session
    browser.submit("/signin/code", code=code(seed))
    assert acr(works, browser) == ACR[TWO]


@pytest.mark.parametrize(("amr", "level"), [(["pwd", "mfa"], TWO), (["pwd"], ONE), ("mfa", ONE), (None, ONE)])
def test_where_its_factors_are_trusted(
    state: State, key: FactorKey, record: Record, provider: FakeProvider, monkeypatch: Any, amr: Any, level: int
) -> None:
    works = build(state, key, record, provider, monkeypatch, trust_mfa=True)
    linked(works)
    provider.claims = {"amr": amr}
    browser = at(works)
    whole(browser, provider)
    assert acr(works, browser) == ACR[level]


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def having(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {**claims, **changes}


WRONG = {
    "another issuer": having(iss="https://login.example.org.evil.example"),
    "no issuer": without("iss"),
    "another audience": having(aud="another client"),
    "several audiences": having(aud=[CLIENT, "another"]),
    "another azp": having(azp="another"),
    "no audience": without("aud"),
    "expired": having(exp=SECONDS - 31),
    "no exp": without("exp"),
    "of the future": having(iat=SECONDS + 60),
    "no iat": without("iat"),
    "another nonce": having(nonce="another"),
    "no nonce": without("nonce"),
    "a nonce that is no text": having(nonce=["x"]),
    "no sub": without("sub"),
    "an empty sub": having(sub=""),
    "a sub that is no text": having(sub=1),
    "a long sub": having(sub="x" * 256),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_id_token_that_is_not_for_this(works: Room, provider: FakeProvider, wrong: str) -> None:
    linked(works)
    provider.change = WRONG[wrong]
    browser = at(works)
    page = whole(browser, provider)
    assert page is not None
    assert "did not work" in page.alert
    assert not browser.session
    assert works.record.of(Event.SIGNIN_FAILED)[0]["why"].startswith("outside works: ")


def test_an_id_token_that_it_did_not_sign(works: Room, provider: FakeProvider) -> None:
    linked(works)
    provider.signer = Signer(make_key("ES256"), "ES256")  # somebody else's key
    assert not _signs_in(works, provider)
    provider.keys = [provider.signer.jwk]
    unsigned = "e30.e30."
    provider.answer = lambda request: streamed({"id_token": unsigned}) if request.url.path == "/token" else None
    assert not _signs_in(works, provider)


def _signs_in(room: Room, provider: FakeProvider, code: str = "code-1") -> bool:
    browser = at(room)
    whole(browser, provider, code=code)
    return bool(browser.session)


def test_a_new_key_is_fetched_and_an_unknown_one_is_not_fetched_again_and_again(
    works: Room, provider: FakeProvider
) -> None:
    linked(works)
    assert _signs_in(works, provider)
    fetched = len([one for one in provider.asked if one.url.path == "/keys"])
    provider.signer = Signer(make_key("ES256"), "ES256")
    for _ in range(3):
        _signs_in(works, provider)
    assert len([one for one in provider.asked if one.url.path == "/keys"]) == fetched
    provider.keys = [provider.signer.jwk]
    browser = at(works)
    browser.now = NOW + 60 * SECOND
    provider.claims = {"exp": SECONDS + 600}
    whole(browser, provider)
    assert browser.session


def test_an_answer_is_used_by_the_browser_that_asked(works: Room, provider: FakeProvider) -> None:
    """Cross-site request forgery of the callback: somebody is to be signed in as the attacker."""
    linked(works)
    attacker, victim = at(works), at(works, source="203.0.113.1")
    back = provider.authorize(leave(attacker)).removeprefix("https://id.example.com")
    with pytest.raises(OAuthError):
        victim.get(back)
    victim.cookies.clear()
    with pytest.raises(OAuthError):
        victim.get(back)
    assert not victim.session
    assert provider.codes  # the code was not even looked at


def test_a_state_of_ours_that_is_none(works: Room, provider: FakeProvider) -> None:
    browser = at(works)
    assert browser.page is not None
    flow = browser.page.form("/signin/password").fields["t"]
    for state in (flow, "", "x"):
        with pytest.raises(OAuthError):
            browser.get(f"{CALLBACK}?provider=works&code=c&state={state}")
    good = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    for other in ("other", "", "WORKS"):
        with pytest.raises(OAuthError):
            browser.get(f"{CALLBACK}?provider={other}&code=c&state={good}")
    # And the state is no sign-in that has come anywhere.
    page = browser.get(f"/oauth/signin?t={good}")
    assert page is not None
    assert page.has_form("/signin/password")


def test_an_answer_is_good_once_and_for_a_while(works: Room, provider: FakeProvider) -> None:
    linked(works)
    browser = at(works)
    cookies = dict(browser.cookies)
    where = leave(browser)
    back = provider.authorize(where).removeprefix("https://id.example.com")
    browser.get(back)
    assert browser.session
    provider.authorize(where)  # a provider that takes its codes twice
    browser.cookies = cookies
    page = browser.get(back)
    assert page is not None
    assert not browser.session
    late = at(works)
    back = provider.authorize(leave(late)).removeprefix("https://id.example.com")
    late.now = NOW + HALF
    page = late.get(back)
    assert page is not None
    assert not late.session


def test_the_issuer_in_the_answer(works: Room, provider: FakeProvider) -> None:
    """RFC 9207: an answer of another authorization server is told apart."""
    linked(works)
    assert not _iss(works, provider, iss="https://evil.example")
    assert _iss(works, provider, iss=ISSUER)
    provider.metadata["authorization_response_iss_parameter_supported"] = True
    works.means.outside["works"]._metadata = None
    assert not _iss(works, provider)
    assert _iss(works, provider, iss=ISSUER)


def _iss(room: Room, provider: FakeProvider, **more: str) -> bool:
    browser = at(room)
    whole(browser, provider, **more)
    return bool(browser.session)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://login.example.org/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": 7},
        {"token_endpoint": "https://127.0.0.1/token"},
        {"token_endpoint": "https://localhost/token"},
        {"token_endpoint": "https://169.254.169.254/latest"},
        {"token_endpoint": "https://[::1]/token"},
        {"token_endpoint": "https://user:pass@login.example.org/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ""},
    ],
    ids=str,
)
def test_metadata_that_leads_elsewhere(works: Room, provider: FakeProvider, metadata: dict[str, Any]) -> None:
    provider.metadata |= metadata
    browser = at(works)
    assert browser.page is not None
    (href,) = [a["href"] for tag, a in browser.page.tags if "/signin/outside?" in a.get("href", "")]
    page = browser.get(href)
    assert page is not None
    assert "did not work" in page.alert
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(
            302, headers={"location": "https://evil.example"}, stream=httpx.ByteStream(b"{}")
        ),
        lambda request: httpx.Response(500, stream=httpx.ByteStream(b"{}")),
        lambda request: httpx.Response(200, stream=httpx.ByteStream(b"x" * (LARGEST + 1))),
        lambda request: httpx.Response(200, stream=httpx.ByteStream(b"[]")),
        lambda request: httpx.Response(
            200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b" + b"0" * 20)
        ),
    ],
)
def test_a_provider_that_answers_something_else(works: Room, provider: FakeProvider, answer: Any) -> None:
    linked(works)
    provider.answer = lambda request: answer(request) if request.url.path == "/token" else None
    browser = at(works)
    page = whole(browser, provider)
    assert page is not None
    assert "did not work" in page.alert
    assert all(one.url.host == "login.example.org" for one in provider.asked)


def test_a_provider_that_is_not_there(works: Room, provider: FakeProvider) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    provider.answer = gone
    browser = at(works)
    assert browser.page is not None
    (href,) = [a["href"] for tag, a in browser.page.tags if "/signin/outside?" in a.get("href", "")]
    page = browser.get(href)
    assert page is not None
    assert "did not work" in page.alert
    assert page.has_form("/signin/password")  # another way is there


def test_it_says_no(works: Room, provider: FakeProvider) -> None:
    browser = at(works)
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    page = browser.get(f"{CALLBACK}?provider=works&error=%3Cscript%3E&state={state}")
    assert page is not None
    assert page.scripts == ["/oauth/passkey.js"]
    assert "did not work" in page.alert


def test_signing_in_again_asks_there_again(works: Room, provider: FakeProvider) -> None:
    browser = at(works, Asked(flow="f", login=True, since=NOW))
    assert parse_qs(urlsplit(leave(browser)).query)["prompt"] == ["login"]


# -- linking


def link(browser: Browser) -> str:
    assert browser.page is not None
    (href,) = [a["href"] for tag, a in browser.page.tags if "/account/link?" in a.get("href", "")]
    browser.get(href)
    return browser.location


def test_linking_and_unlinking(works: Room, provider: FakeProvider) -> None:
    works.add("alice")
    browser = home(works)
    back = provider.authorize(link(browser)).removeprefix("https://id.example.com")
    page = browser.get(back)
    assert page is not None
    assert page.title == "Your account"
    assert works.accounts.links("acc-alice") == ["works"]
    other = at(works, source="203.0.113.1")
    whole(other, provider)
    assert other.location == DONE
    page = browser.submit("/account/unlink")
    assert page is not None
    assert works.accounts.links("acc-alice") == []
    assert [told["kind"] for told in works.record.of(Event.FACTOR_ADD)] == ["outside"]
    assert [told["kind"] for told in works.record.of(Event.FACTOR_REMOVE)] == ["outside"]


def test_nobody_links_for_somebody_else(works: Room, provider: FakeProvider) -> None:
    works.add("alice")
    works.add("mallory")
    attacker, victim = home(works, "mallory", source="203.0.113.1"), home(works)
    assert attacker.page is not None
    (href,) = [a["href"] for tag, a in attacker.page.tags if "/account/link?" in a.get("href", "")]
    with pytest.raises(OAuthError):
        victim.get(href)
    with pytest.raises(OAuthError):
        victim.get("/oauth/account/link?provider=works")
    with pytest.raises(OAuthError):
        victim.send(victim.request("GET", _own(victim), sec_fetch_site="cross-site"))
    back = provider.authorize(link(attacker)).removeprefix("https://id.example.com")
    with pytest.raises(OAuthError):
        victim.get(back)
    # Signed out meanwhile: nobody is linked.
    attacker.cookies.pop("__Host-interlock-session")
    page = attacker.get(back)
    assert page is not None
    assert page.has_form("/signin/password")
    assert works.accounts.links("acc-alice") == []
    assert works.accounts.links("acc-mallory") == []


def _own(browser: Browser) -> str:
    browser.get("/oauth/account")
    assert browser.page is not None
    (href,) = [a["href"] for tag, a in browser.page.tags if "/account/link?" in a.get("href", "")]
    return href


def test_what_is_somebodys_is_not_linked_again(works: Room, provider: FakeProvider) -> None:
    linked(works, "bob")
    works.add("alice")
    browser = home(works)
    browser.get(provider.authorize(link(browser)).removeprefix("https://id.example.com"))
    assert works.accounts.links("acc-alice") == []
    found = works.accounts.linked(works.key.hash("outside", f"{ISSUER}\0{provider.sub}".encode()))
    assert found is not None
    assert found.name == "bob"


def test_linking_that_failed_leads_back(works: Room, provider: FakeProvider) -> None:
    works.add("alice")
    browser = home(works)
    provider.change = having(nonce="another")
    page = browser.get(provider.authorize(link(browser)).removeprefix("https://id.example.com"))
    assert page is not None
    assert "not linked" in page.text
    assert works.accounts.links("acc-alice") == []


def test_the_password_still_works(works: Room) -> None:
    linked(works)
    browser = at(works)
    sign_in(browser)
    assert browser.location == DONE
