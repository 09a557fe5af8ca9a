"""The pages: nothing in them is active but our one script, and they can be used by anybody."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import pytest

from interlock.config import OwnIssuer
from interlock.issuer.pages import _FOLDER, SCRIPT, Pages, security
from tests.unit.issuer.authenticator import Authenticator
from tests.unit.issuer.signing_in.browser import Browser, Page
from tests.unit.issuer.signing_in.conftest import Room, code
from tests.unit.issuer.signing_in.test_account import home
from tests.unit.issuer.signing_in.test_enrolment import seed_of
from tests.unit.issuer.signing_in.test_people import consent
from tests.unit.issuer.signing_in.test_signin import at, sign_in


def first(room: Room, device: Authenticator) -> Page | None:
    return at(room).page


def failed(room: Room, device: Authenticator) -> Page | None:
    return sign_in(at(room), "nobody", "wrong")


def factor(room: Room, device: Authenticator) -> Page | None:
    account = room.add("alice")
    room.add_app(account)
    room.add_passkey(account, device)
    room.accounts.set_recovery(account.id, [b"r" * 32], 1)
    browser = at(room)
    sign_in(browser)
    return browser.submit("/signin/code", code="000000")


def password(room: Room, device: Authenticator) -> Page | None:
    room.add("alice", must_change=True)
    return sign_in(at(room))


def enrol(room: Room, device: Authenticator) -> Page | None:
    room.add("alice")
    browser = home(room)
    return browser.submit("/account/totp")


def codes(room: Room, device: Authenticator) -> Page | None:
    room.add("alice")
    browser = home(room)
    page = browser.submit("/account/totp")
    return browser.submit("/signin/totp", code=code(seed_of(page)))


def account(room: Room, device: Authenticator) -> Page | None:
    person = room.add("alice")
    seed = room.add_app(person)
    room.add_passkey(person, device)
    home(room, seed=seed, source="203.0.113.1")
    browser = at(room)
    browser.now += 60 * 10**9
    sign_in(browser)
    browser.submit("/signin/code", code=code(seed, browser.now))
    return browser.get("/oauth/account")


def asked(room: Room, device: Authenticator) -> Page | None:
    room.add("alice")
    return consent(home(room))


def out(room: Room, device: Authenticator) -> Page | None:
    room.add("alice")
    browser = home(room)
    session = room.people.session(browser.request("GET", "/"))
    assert session is not None
    return Page(room.people.ask_sign_out(browser.request("GET", "/"), session, ""))


def device_code(room: Room, device: Authenticator) -> Page | None:
    room.add("alice")
    browser = home(room)
    session = room.people.session(browser.request("GET", "/"))
    assert session is not None
    return Page(room.people.ask_device(browser.request("GET", "/"), session, "/oauth/device", error="Not known."))


def no_invitation(room: Room, device: Authenticator) -> Page | None:
    return Browser(room.people).get("/oauth/signin/begin?code=x")


ALL = [first, failed, factor, password, enrol, codes, account, asked, out, device_code, no_invitation]


@pytest.fixture(params=ALL, ids=lambda made: made.__name__)
def page(request: pytest.FixtureRequest, room: Room, device: Authenticator) -> Page:
    make: Callable[[Room, Authenticator], Page | None] = request.param
    made = make(room, device)
    assert made is not None
    return made


def test_every_template_is_shown_here() -> None:
    shown = {"signin", "factor", "password", "enrol", "codes", "account", "consent", "signout", "device", "said"}
    assert {path.stem for path in _FOLDER.glob("*.html")} == shown | {"base", "parts"}


def test_nothing_is_active_but_one_script(page: Page) -> None:
    assert page.scripts in ([], [SCRIPT])
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "link", "audio", "video")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src", "action", "formaction"):
            assert attributes.get(name, "/").startswith(("/", "#"))
            assert not attributes.get(name, "/").startswith("//")


def test_the_policy_allows_just_that(page: Page) -> None:
    policy = {
        directive.partition(" ")[0]: directive.partition(" ")[2]
        for directive in page.headers["content-security-policy"].split("; ")
    }
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["form-action"].split()[0] == "'self'"
    assert policy.get("script-src", "'self'") == "'self'"
    assert ("script-src" in policy) is bool(page.scripts)
    assert "unsafe" not in str(policy)
    (style,) = re.findall(r"<style>(.*?)</style>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    # `no-referrer` would make browsers send `Origin: null` with our own forms.
    assert page.headers["referrer-policy"] == "same-origin"


def test_forms_are_posted_and_carry_their_token(page: Page) -> None:
    for form in page.forms:
        assert form.attributes["method"] == "post"
        assert form.fields["csrf"]


def test_everybody_can_use_it(page: Page) -> None:
    """Some of WCAG 2.2 that can be told from the text: language, headings, labels, names, errors."""
    tags = page.tags
    assert dict(tags)["html"]["lang"] == "en"
    assert sum(tag == "h1" for tag, _ in tags) == 1
    assert sum(tag == "main" for tag, _ in tags) == 1
    assert "width=device-width" in str([attributes for tag, attributes in tags if tag == "meta"])
    assert "user-scalable" not in page.html
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["for"] for tag, attributes in tags if tag == "label"}
    for tag, attributes in tags:
        if tag == "input" and attributes.get("type") != "hidden" and "hidden" not in attributes:
            assert attributes["id"] in labelled
            assert "autocomplete" in attributes
            for described in attributes.get("aria-describedby", "").split():
                assert described in ids
        if tag == "svg" and "aria-hidden" not in attributes:
            assert attributes.get("class") == "qr"
    assert sum("autofocus" in attributes for _, attributes in tags) <= 1
    assert not any(int(attributes.get("tabindex", "0")) > 0 for _, attributes in tags)
    if page.status == 400 and page.forms:
        assert page.alert
        assert any(attributes.get("role") == "alert" for _, attributes in tags)


def test_without_javascript_there_is_a_way(page: Page) -> None:
    """Only passkeys need it, and their forms are hidden until the script has said that they work."""
    for form in page.forms:
        assert ("hidden" in form.attributes) is ("data-passkey" in form.attributes)


def test_browsers_come_by_https_from_then_on(page: Page) -> None:
    assert page.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:8080", "https://localhost:8443"])
def test_nobody_is_kept_to_https_where_there_is_none_or_others_may_have_none(url: str) -> None:
    shown = Pages(OwnIssuer.model_validate({"url": url})).show(
        "said", "x", lines=[], again="", again_words="", reference=""
    )
    assert "strict-transport-security" not in dict(shown.fields)


def test_where_forms_may_lead() -> None:
    assert (
        dict(security(("https://app.example", "", "https://app.example")))["content-security-policy"].count("app.") == 1
    )


def test_the_script(room: Room) -> None:
    browser = Browser(room.people)
    answer = room.people.handle(browser.request("GET", SCRIPT))
    fields = dict(answer.fields)  # type: ignore[union-attr]
    assert fields["content-type"].startswith("text/javascript")
    assert fields["x-content-type-options"] == "nosniff"
    text = answer.body.decode()  # type: ignore[union-attr]
    assert not any(word in text for word in ("innerHTML", "eval(", "document.write", "fetch(", "http:", "https:"))


def _luminance(colour: str) -> float:
    full = colour if len(colour) == 7 else "#" + "".join(2 * letter for letter in colour[1:])
    parts = [int(full[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: 4.5 for text, 3 for what marks a field."""
    style = (_FOLDER / "style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block))
    for ink, back in [
        ("ink", "card"), ("ink", "back"), ("soft", "card"), ("soft", "back"), ("ink", "field"), ("key", "card"),
        ("key-ink", "key"), ("key-ink", "key-over"), ("bad", "bad-back"), ("ink", "good-back"),
    ]:  # fmt: skip
        assert _contrast(colours[ink], colours[back]) >= 4.5, (ink, back)
    assert _contrast(colours["soft"], colours["field"]) >= 3
