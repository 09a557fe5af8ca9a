"""What a page carries along: good in one browser, for a while, and leading nowhere else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.issuer.flows import GOES, HALF, LONGEST, WHOLE, Asked, Flow, Flows, form_target
from interlock.issuer.levels import ACR, ONE, RESISTANT, TWO, acr_of, amr_of, answered, asked_level, level_of
from interlock.keys import FactorKey
from tests.unit.issuer.signing_in.conftest import NOW

COOKIE = "c" * 43
FLOW = Flow(Asked("flow-1", client="Ledger", acr_values=("a",), targets=("https://app.example",)), NOW, seed=b"SEED")


def test_it_is_opened_by_the_same_browser_only(key: FactorKey) -> None:
    flows = Flows(key)
    text = flows.seal(FLOW, COOKIE)
    assert flows.open(text, COOKIE) == FLOW
    assert flows.seal(FLOW, COOKIE) != text
    assert b"SEED" not in base64.urlsafe_b64decode(text + "==")
    for wrong in ("", "d" * 43, COOKIE + "x"):
        assert flows.open(text, wrong) is None
    assert Flows(FactorKey(b"o" * 32)).open(text, COOKIE) is None
    assert "SEED" not in repr(FLOW)


def test_it_cannot_be_altered(key: FactorKey) -> None:
    flows = Flows(key)
    text = flows.seal(FLOW, COOKIE)
    sealed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    for at in range(0, len(sealed), 7):
        changed = sealed.copy()
        changed[at] ^= 1
        assert flows.open(base64.urlsafe_b64encode(bytes(changed)).decode().rstrip("="), COOKIE) is None
    for wrong in ("", "A", text[:-4], text[:20], "x" * (LONGEST + 1), "\u00e9" * 50, "!!!!"):
        assert flows.open(wrong, COOKIE) is None


@given(st.text(max_size=100))
def test_whatever_else_is_nothing(text: str) -> None:
    assert Flows(FactorKey(b"k" * 32)).open(text, COOKIE) is None


def test_it_is_over_after_a_while() -> None:
    assert not FLOW.over(NOW)
    assert not FLOW.over(NOW + WHOLE - 1)
    assert FLOW.over(NOW + WHOLE)
    assert FLOW.over(NOW - 1)
    half = Flow(Asked(), NOW, at=NOW + 5)
    assert not half.over(NOW + 5 + HALF - 1)
    assert half.over(NOW + 5 + HALF)


def test_it_leads_to_paths_of_ours() -> None:
    assert all(path.startswith("/oauth/") and "//" not in path for path in GOES.values())


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("https://app.example.com/cb?x=1", "https://app.example.com"),
        ("https://app.example.com:8443/cb", "https://app.example.com:8443"),
        ("http://127.0.0.1:5000/cb", "http://127.0.0.1:5000"),
        ("http://[::1]:5000/cb", "http:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("https://app.example.com;script-src *", ""),
        ("https://*/cb", ""),
        ("https://a b/cb", ""),
        ("https://a,b/cb", ""),
        ("https:///cb", ""),
        ("https://app.example:port/", ""),
        ("//evil.example", ""),
        ("", ""),
    ],
)
def test_a_redirect_uri_as_a_form_target(uri: str, target: str) -> None:
    assert form_target(uri) == target


@given(st.text(max_size=60))
def test_no_form_target_ends_its_directive(uri: str) -> None:
    """Whatever the URI, nothing in the target could end the directive or begin another source."""
    assert not set(form_target(uri)) & set(" ;,\t\n\r*'\"")


# -- levels


@pytest.mark.parametrize(
    ("proved", "level", "amr"),
    [
        ((), 0, ()),
        (("otp",), 0, ("otp",)),
        (("pwd",), ONE, ("pwd",)),
        (("pwd", "otp"), TWO, ("pwd", "otp", "mfa")),
        (("pwd", "recovery"), TWO, ("pwd", "otp", "mfa")),
        (("pop",), RESISTANT, ("pop", "user", "mfa")),
        (("pwd", "pop"), RESISTANT, ("pwd", "pop", "user", "mfa")),
    ],
)
def test_what_is_said_of_what_was_proved(proved: tuple[str, ...], level: int, amr: tuple[str, ...]) -> None:
    assert (level_of(proved), amr_of(proved), acr_of(proved)) == (level, amr, ACR.get(level, ""))


def test_what_was_asked_for() -> None:
    assert asked_level([]) == 0
    assert asked_level(["urn:other"]) == 0
    assert asked_level([ACR[TWO], ACR[ONE]]) == ONE
    assert asked_level(["urn:other", ACR[RESISTANT]]) == RESISTANT
    assert answered(ACR[RESISTANT], [ACR[TWO]]) == ACR[TWO]
    assert answered(ACR[ONE], [ACR[TWO], ACR[ONE]]) == ACR[ONE]
    assert answered(ACR[ONE], ["urn:other"]) == ACR[ONE]
    assert answered("", [ACR[ONE]]) == ""
