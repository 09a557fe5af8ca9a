"""A route's guard: all that is named must hold, and what names nothing allows nobody."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from interlock.model import ANONYMOUS, Identity, Reason, Refusal
from interlock.policy import ConditionInvalid, compile_allow, needs_facts
from interlock.snapshot import RouteSpec, ZoneSpec
from tests.unit.policy.callers import caller, facts, route

RESTRICTED = ZoneSpec("restricted", ["partners"], ["mtls"])
INSIDE = caller(methods=("jwt", "mtls"), trust="partners")


def decide(spec: RouteSpec, who: Identity, zone: ZoneSpec | None = None, **call: Any) -> Reason | None:
    refusal = compile_allow(spec, zone)(who, facts(**call) if needs_facts(spec, zone) else None)
    return refusal.reason if refusal is not None else None


@pytest.mark.parametrize(
    ("allow", "who", "expected"),
    [
        ({"permission": "accounts:read"}, caller(), None),
        ({"permission": "accounts:write"}, caller(), Reason.PERMISSION_MISSING),
        ({"permission": "accounts"}, caller(), Reason.PERMISSION_MISSING),
        ({"permission": "accounts:read"}, caller(permissions=frozenset()), Reason.PERMISSION_MISSING),
        ({"scope": "ledger"}, caller(), None),
        ({"scope": "ledger other"}, caller(), Reason.SCOPE_MISSING),
        ({"scope": "ledger"}, caller(scopes=frozenset({"ledge", "ledgers"})), Reason.SCOPE_MISSING),
        ({"role": "teller"}, caller(), None),
        ({"role": "auditor"}, caller(), Reason.PERMISSION_MISSING),
        ({"when": "request.hour >= 8"}, caller(), None),
        ({"when": "request.hour >= 10"}, caller(), Reason.CONDITION_FALSE),
    ],
)
def test_each_thing_that_can_be_named(allow: dict[str, str], who: Identity, expected: Reason | None) -> None:
    assert decide(route(**allow), who) is expected


def test_all_that_is_named_must_hold() -> None:
    """Every subset of what a route names, missing from the caller: passes only if nothing is."""
    spec = route(permission="accounts:read", scope="ledger", role="teller", when="claims.level == 3")
    lacks: dict[str, Any] = {
        "permissions": frozenset(),
        "scopes": frozenset(),
        "roles": frozenset(),
        "claims": {"level": 2},
    }
    for size in range(5):
        for missing in itertools.combinations(lacks, size):
            who = caller(methods=("jwt", "mtls"), trust="partners", **{name: lacks[name] for name in missing})
            assert (decide(spec, who, RESTRICTED) is None) == (not missing)


def test_a_route_that_names_nothing_allows_nobody() -> None:
    assert decide(route(), caller()) is Reason.PERMISSION_MISSING
    assert decide(route(), INSIDE, RESTRICTED) is Reason.PERMISSION_MISSING
    assert decide(route(), ANONYMOUS) is Reason.PERMISSION_MISSING


@pytest.mark.parametrize("allow", [{"permission": "p"}, {"role": "r"}, {"scope": "s"}, {"when": "true"}])
def test_nobody_is_allowed_only_by_public(allow: dict[str, str]) -> None:
    nobody = caller(
        methods=(), permissions=frozenset({"p"}), roles=frozenset({"r"}), scopes=frozenset({"s"}), claims={}
    )
    for who in (ANONYMOUS, nobody):
        assert decide(route(**allow), who) is Reason.PERMISSION_MISSING
    assert decide(route(public=True), ANONYMOUS) is None


def test_a_public_route_can_have_a_condition() -> None:
    spec = route(public=True, when="request.source == '192.0.2.7'")
    assert decide(spec, ANONYMOUS) is None
    assert decide(spec, ANONYMOUS, source="192.0.2.8") is Reason.CONDITION_FALSE


def test_a_missing_scope_is_said_as_rfc_6750_says_it() -> None:
    refusal = compile_allow(route(scope="ledger"), None)(caller(scopes=frozenset()), None)
    assert isinstance(refusal, Refusal)
    assert refusal.headers == ((b"www-authenticate", b'Bearer realm="interlock", error="insufficient_scope"'),)
    assert b"ledger" not in refusal.headers[0][1]
    bound = compile_allow(route(scope="ledger"), None)(caller(scopes=frozenset(), bound_key=b"k" * 32), None)
    assert isinstance(bound, Refusal)
    assert bound.headers[0][1].startswith(b'DPoP realm="interlock", error="insufficient_scope", algs="ES256 ')


def test_an_impossible_condition_makes_no_guard() -> None:
    with pytest.raises(ConditionInvalid):
        compile_allow(route(when="nonsense("), None)


def test_facts_are_wanted_only_where_they_are_used() -> None:
    networked = ZoneSpec("z", ["10.0.0.0/8"])
    assert not needs_facts(route(permission="p"), None)
    assert not needs_facts(route(permission="p"), RESTRICTED)
    assert needs_facts(route(when="true"), None)
    assert needs_facts(route(permission="p"), networked)


def test_without_the_facts_it_needs_a_guard_refuses() -> None:
    guard = compile_allow(route(when="true"), None)
    assert guard(caller(), None).reason is Reason.CONDITION_ERROR  # type: ignore[union-attr]
    guard = compile_allow(route(permission="accounts:read"), ZoneSpec("z", ["192.0.2.0/24"]))
    assert guard(caller(), None).reason is Reason.ZONE_DENIED  # type: ignore[union-attr]
