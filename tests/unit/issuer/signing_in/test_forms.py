"""Forms of other sites, of other browsers and of earlier sign-ins are not read."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from interlock.issuer.cookies import DEVICE, SESSION, SIGNIN, Cookies, new_secret
from interlock.issuer.errors import OAuthError
from interlock.issuer.forms import FIELD, Forms
from interlock.issuer.http import FORM, Request
from interlock.keys import FactorKey

ORIGIN = "https://id.example.com"
COOKIE = "c" * 43


@pytest.fixture
def forms(key: FactorKey) -> Forms:
    return Forms(key, ORIGIN)


def sent(token: str, method: str = "POST", **headers: str) -> Request:
    fields = {"content-type": FORM, "origin": ORIGIN, "sec-fetch-site": "same-origin"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    body = urlencode({FIELD: token, "x": "1"}).encode()
    return Request(method, "/", headers={name: value for name, value in fields.items() if value != "-"}, body=body)


def test_a_form_of_ours(forms: Forms) -> None:
    token = forms.token(COOKIE, "signin")
    assert forms.check(sent(token), COOKIE, "signin")["x"] == "1"
    assert forms.check(sent(token, origin="-"), COOKIE, "signin")
    assert forms.check(sent(token, sec_fetch_site="-"), COOKIE, "signin")
    assert COOKIE not in token


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://id.example.com.evil.example"},
        {"origin": "http://id.example.com"},
        {"origin": "https://id.example.com:444"},
        {"origin": "null"},
        {"origin": ""},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"origin": "-", "sec_fetch_site": "cross-site"},
        {"origin": "-", "sec_fetch_site": "none"},
        {"origin": "-", "sec_fetch_site": "-"},
        {"origin": "https://evil.example", "sec_fetch_site": "-"},
    ],
    ids=str,
)
def test_a_form_of_another_site(forms: Forms, headers: dict[str, str]) -> None:
    with pytest.raises(OAuthError, match="another site"):
        forms.check(sent(forms.token(COOKIE, "signin"), **headers), COOKIE, "signin")


def test_a_token_of_another_browser_purpose_or_node(forms: Forms, key: FactorKey) -> None:
    for token in (
        "",
        "x",
        forms.token("d" * 43, "signin"),
        forms.token(COOKIE, "consent"),
        forms.token(COOKIE, "signin")[:-1],
        Forms(FactorKey(b"o" * 32), ORIGIN).token(COOKIE, "signin"),
        "\u00e9" * 43,
    ):
        with pytest.raises(OAuthError) as refused:
            forms.check(sent(token), COOKIE, "signin")
        assert refused.value.status == 403


def test_without_a_cookie_no_token_is_good(forms: Forms) -> None:
    with pytest.raises(OAuthError):
        forms.check(sent(forms.token("", "signin")), "", "signin")


def test_a_form_is_posted_once_per_field(forms: Forms) -> None:
    with pytest.raises(OAuthError) as refused:
        forms.check(sent(forms.token(COOKIE, "signin"), method="GET"), COOKIE, "signin")
    assert refused.value.status == 405
    token = forms.token(COOKIE, "signin")
    doubled = Request("POST", "/", headers=dict(sent(token).headers), body=f"{FIELD}={token}&{FIELD}={token}".encode())
    with pytest.raises(OAuthError):
        forms.check(doubled, COOKIE, "signin")
    with pytest.raises(OAuthError):  # what a page of another site can send without being asked
        forms.check(sent(token, content_type="text/plain"), COOKIE, "signin")


# -- cookies


def test_cookies_over_https() -> None:
    cookies = Cookies(secure=True)
    for kind in (SESSION, SIGNIN, DEVICE):
        name, value = cookies.set(kind, "v")
        assert name == "set-cookie"
        assert value.startswith(f"__Host-interlock-{kind}=v; Path=/; ")
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(value.split("; "))
        assert "Domain" not in value
    assert "Max-Age=60" in cookies.set(DEVICE, "v", seconds=60)[1]
    assert "Max-Age" not in cookies.set(SESSION, "v")[1]
    assert "Max-Age=0" in cookies.clear(SESSION)[1]


def test_cookies_over_http_on_loopback() -> None:
    _, value = Cookies(secure=False).set(SESSION, "v")
    assert value == "interlock-session=v; Path=/; HttpOnly; SameSite=Lax"


def test_a_plain_cookie_does_not_stand_for_one_with_the_prefix() -> None:
    request = Request("GET", "/", headers={"cookie": "interlock-session=planted; __Secure-interlock-session=planted"})
    assert Cookies(secure=True).get(request, SESSION) == ""
    assert Cookies(secure=False).get(request, SESSION) == "planted"


@pytest.mark.parametrize(
    "others",
    [
        'a={"x":1}',
        "x=1; y=a b",
        "foo[bar]=1",
        "\u00e9=1",
        "flag",
        "path=/",
        "=",
        "",
        'q="a;b"',
        "__Host-interlock-signin=x",
    ],
)
def test_cookies_of_others_do_not_hide_ours(others: str) -> None:
    """Who serves a sibling host can set cookies for this one, too, and must not keep people from signing in by that."""
    for text in (f"{others}; __Host-interlock-session=ours", f"__Host-interlock-session=ours; {others}"):
        assert Cookies(secure=True).get(Request("GET", "/", headers={"cookie": text}), SESSION) == "ours"


def test_a_name_that_is_there_twice_is_nobodys() -> None:
    text = "__Host-interlock-session=ours; a=1; __Host-interlock-session=theirs"
    assert Cookies(secure=True).get(Request("GET", "/", headers={"cookie": text}), SESSION) == ""


@pytest.mark.parametrize("value", ['"', "a b", "a;b", "\u00e9", "x" * 200, '"a\\073b"', ""])
def test_cookies_that_we_did_not_make(value: str) -> None:
    request = Request("GET", "/", headers={"cookie": f"__Host-interlock-session={value}"})
    assert Cookies(secure=True).get(request, SESSION) in ("", "a")


def test_secrets_are_long() -> None:
    assert len(new_secret()) == 43
    assert new_secret() != new_secret()
