"""How strongly and how lately somebody signed in, against what a route asks: judged at every call."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.identity import (
    Strength,
    client_handle,
    compile_strength,
    family_handle,
    issuer_handle,
    key_handle,
    principal_handle,
    session_handle,
    token_handle,
)
from interlock.model import Identity, Reason, Refusal
from interlock.snapshot import StrengthSpec
from tests.unit.identity.fakes import ISSUER, NOW, SOURCE, Desk, identity, issuer_spec, token

S = NOW // SECOND
MFA, PHR = "urn:interlock:acr:mfa", "urn:interlock:acr:phr"


def of(desk: Desk, **claims: Any) -> Identity:
    return identity(desk.jwt.verify(token(**claims), NOW))


def judge(desk: Desk, **spec: Any) -> Strength:
    if "acr" in spec:
        spec.setdefault("accepted", spec["acr"])
    return compile_strength(StrengthSpec(**spec), desk.directory)


def told(refusal: Refusal | None) -> str:
    assert refusal is not None
    assert refusal.reason is Reason.AUTHENTICATION_INSUFFICIENT
    assert refusal.reason.status == 401
    ((name, value),) = refusal.headers
    assert name == b"www-authenticate"
    return value.decode()


def test_time_passes_for_a_token_that_was_verified_before() -> None:
    """The same remembered identity passes, and a second later does not."""
    desk = Desk()
    strong = judge(desk, max_age_s=300)
    who = of(desk, auth_time=S - 300)
    assert strong(who, NOW) is None
    assert strong(who, NOW + SECOND - 1) is None, "whole seconds"
    late = strong(who, NOW + SECOND)
    assert told(late) == (
        'Bearer realm="interlock", error="insufficient_user_authentication", '
        'error_description="the sign-in is not enough for this", max_age="300"'
    )


@pytest.mark.parametrize("auth_time", [..., "1700000000", None, True, -5, 1e300, [S]])
def test_who_does_not_say_when_falls_short(auth_time: Any) -> None:
    desk = Desk()
    told(judge(desk, max_age_s=300)(of(desk, auth_time=auth_time), NOW))


def test_a_fraction_of_a_second_is_cut() -> None:
    desk = Desk()
    assert of(desk, auth_time=S + 0.9).auth_time == S


@pytest.mark.parametrize(
    ("acr", "passes"), [("gold", True), ("silver", True), ("Gold", False), ("", False), (..., False)]
)
def test_how_strongly(acr: Any, passes: bool) -> None:
    desk = Desk()
    refusal = judge(desk, acr=["gold", "silver"])(of(desk, acr=acr), NOW)
    if passes:
        assert refusal is None
    else:
        assert 'acr_values="gold silver"' in told(refusal)
        assert "max_age" not in told(refusal)


@pytest.mark.parametrize("acr", [7, ["gold"], {"gold": 1}, None])
def test_what_is_no_acr(acr: Any) -> None:
    desk = Desk()
    told(judge(desk, acr=["gold"])(of(desk, acr=acr), NOW))


def test_our_own_words_never_come_from_outside() -> None:
    """Else any issuer of the file could call its sign-ins as strong as ours."""
    desk = Desk(issuer_spec(), issuer_spec(issuer="https://own", authority="interlock", own=True))
    strong = judge(desk, acr=[MFA], accepted=[MFA, PHR])
    told(strong(of(desk, acr=MFA), NOW))
    own = {"iss": "https://own", "principal": "user:interlock/alice"}
    assert strong(of(desk, acr=MFA, **own), NOW) is None
    assert strong(of(desk, acr=PHR, **own), NOW) is None, "includes it"


def test_all_that_is_asked_must_hold() -> None:
    desk = Desk()
    strong = judge(desk, max_age_s=60, acr=["gold"], risk=50)
    assert strong(of(desk, auth_time=S, acr="gold"), NOW) is None
    for claims in ({"auth_time": S}, {"acr": "gold"}, {"auth_time": S - 61, "acr": "gold"}):
        said = told(strong(of(desk, **claims), NOW))
        assert 'acr_values="gold", max_age="60"' in said, "all that the next one needs"


def test_a_token_bound_to_a_key_is_asked_by_its_own_scheme() -> None:
    desk = Desk()
    who = identity(desk.jwt.verify(token(cnf={"jkt": "A" * 43}), NOW))
    assert told(judge(desk, max_age_s=60)(who, NOW)).startswith('DPoP realm="interlock", error="insufficient_user_aut')


def test_a_key_beside_a_token_takes_the_token_s_strength() -> None:
    desk = Desk()
    _, key = desk.directory.mint(principal="user:login.example.com/alice")
    who = identity(desk.route("api_key+jwt")(token(auth_time=S, acr="gold", amr=["otp"]), key, None, SOURCE, NOW))
    assert (who.auth_time, who.acr, who.amr) == (S, "gold", ("otp",))
    assert judge(desk, max_age_s=60, acr=["gold"])(who, NOW) is None


def test_amr_is_what_it_should_be_or_nothing() -> None:
    desk = Desk()
    assert of(desk, amr=["pwd", 7, "otp"]).amr == ("pwd", "otp")
    for amr in ("pwd", 7, {"pwd": 1}):
        assert of(desk, amr=amr).amr == ()


# -- risk

ALL = {"jti": "t1", "sid": "s1", "fid": "f1", "client_id": "shop"}
ANEW = [token_handle(ISSUER, "t1"), session_handle(ISSUER, "s1"), family_handle(ISSUER, "f1")]
LASTING = [principal_handle("user:login.example.com/alice"), issuer_handle(ISSUER), client_handle(ISSUER, "shop")]


@pytest.mark.parametrize("handle", ANEW)
def test_a_risk_that_is_left_behind_by_signing_in_anew(handle: bytes) -> None:
    desk = Desk()
    strong = judge(desk, risk=60)
    who = of(desk, **ALL)
    for risk, passes in ((59, True), (60, False), (100, False), (0, True)):
        desk.directory.risks[handle] = risk
        refusal = strong(who, NOW)
        assert refusal is None if passes else told(refusal)


@pytest.mark.parametrize("handle", LASTING)
def test_a_risk_that_stays_is_no_reason_to_ask_for_another_sign_in(handle: bytes) -> None:
    """The caller would sign in, come back, and be told to sign in."""
    desk = Desk()
    desk.directory.risks[handle] = 80
    desk.directory.risks[ANEW[0]] = 90
    refusal = judge(desk, risk=60)(of(desk, **ALL), NOW)
    assert refusal == Refusal(Reason.RISK_TOO_HIGH, (), "risk 90")


def test_a_risky_key_is_not_asked_to_sign_in() -> None:
    desk = Desk()
    key_id, key = desk.directory.mint()
    desk.directory.risks[key_handle(key_id)] = 80
    who = identity(desk.keys.verify(key, SOURCE, NOW))
    refusal = judge(desk, risk=60)(who, NOW)
    assert refusal is not None
    assert refusal.reason is Reason.RISK_TOO_HIGH


@pytest.mark.parametrize("way", ["jwt+api_key", "api_key+jwt"])
def test_of_a_key_beside_a_token_the_token_is_what_another_sign_in_leaves_behind(way: str) -> None:
    for handle in (*ANEW, None):
        desk = Desk()
        key_id, key = desk.directory.mint(principal="user:login.example.com/alice")
        who = identity(desk.route(way)(token(**ALL), key, None, SOURCE, NOW))
        desk.directory.risks[handle or key_handle(key_id)] = 80
        refusal = judge(desk, risk=60)(who, NOW)
        if handle:
            told(refusal)
        else:
            assert refusal == Refusal(Reason.RISK_TOO_HIGH, (), "risk 80")


def test_where_no_route_asks_a_risk_refuses_nothing() -> None:
    desk = Desk()
    desk.directory.risks[LASTING[0]] = 100
    assert judge(desk, acr=["gold"])(of(desk, acr="gold", **ALL), NOW) is None
