"""Zones: who may call a segment, and what they must show."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.model import ANONYMOUS, Identity, Principal, Reason
from interlock.policy import compile_allow
from interlock.snapshot import ZoneSpec
from tests.unit.policy.callers import caller, facts, route

PARTNER = caller(methods=("jwt", "mtls"), trust="partners")


def decide(zone: ZoneSpec, who: Identity, public: bool = False, **call: Any) -> Reason | None:
    spec = route(public=True) if public else route(permission="accounts:read")
    refusal = compile_allow(spec, zone)(who, facts(**call))
    return refusal.reason if refusal is not None else None


@pytest.mark.parametrize(
    ("sources", "require", "who", "passes"),
    [
        (["partners"], ["mtls"], PARTNER, True),
        (["partners"], ["mtls"], caller(), False),
        (["partners"], ["mtls"], caller(trust="partners"), False),  # vouched for, but not shown on this call
        (["partners"], ["mtls"], caller(methods=("mtls",), trust="others"), False),
        (["partners"], [], caller(), False),
        # A principal's authority is a name; the bundle's own word is asked for.
        (["partners"], [], caller(principal=Principal("service", "partners", "x"), methods=("api_key",)), False),
        (["login.example.com"], [], caller(), False),
        (["192.0.2.0/24"], [], caller(), True),
        (["198.51.100.0/24"], [], caller(), False),
        (["192.0.2.7"], [], caller(), True),
        (["2001:db8::/32", "partners"], [], caller(), False),
        (["198.51.100.0/24", "partners"], [], PARTNER, True),
        (["192.0.2.0/24"], ["mtls"], caller(), False),
        ([], ["mtls"], PARTNER, True),
        ([], ["mtls"], caller(), False),
        ([], ["jwt", "mtls"], PARTNER, True),
        ([], ["api_key", "mtls"], PARTNER, False),
        ([], [], caller(), True),
    ],
)
def test_zones(sources: list[str], require: list[str], who: Identity, passes: bool) -> None:
    assert decide(ZoneSpec("z", sources, require), who) is (None if passes else Reason.ZONE_DENIED)


@pytest.mark.parametrize(
    ("source", "passes"),
    [("::ffff:192.0.2.7", True), ("192.0.2.7%eth0", True), ("nonsense", False), ("", False), ("192.0.2.300", False)],
)
def test_addresses(source: str, passes: bool) -> None:
    zone = ZoneSpec("z", ["192.0.2.0/24"])
    assert decide(zone, caller(), source=source) is (None if passes else Reason.ZONE_DENIED)


def test_of_a_public_routes_zone_only_the_networks_hold() -> None:
    assert decide(ZoneSpec("z", ["partners"], ["mtls"]), ANONYMOUS, public=True) is None
    mixed = ZoneSpec("z", ["partners", "192.0.2.0/24"], ["mtls"])
    assert decide(mixed, ANONYMOUS, public=True) is None
    assert decide(mixed, ANONYMOUS, public=True, source="198.51.100.1") is Reason.ZONE_DENIED


def test_nobody_is_of_no_bundle_on_a_public_route() -> None:
    zone = ZoneSpec("z", ["partners", "10.0.0.0/8"])
    assert decide(zone, ANONYMOUS, public=True) is Reason.ZONE_DENIED
