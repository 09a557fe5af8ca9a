"""Not-before marks and revoked handles: what each reaches, in whole seconds, and that nothing else is hurt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.identity import (
    CertificateVerifier,
    certificate_handle,
    client_handle,
    family_handle,
    issuer_handle,
    key_handle,
    principal_handle,
    session_handle,
    token_handle,
    unnamed_token,
)
from interlock.identity.marks import earliest, mark
from interlock.model import Identity, Reason
from interlock.snapshot import TrustSpec
from tests.unit.identity.authorities import AT, Authority
from tests.unit.identity.fakes import (
    ISSUER,
    NOW,
    ROLES,
    SOURCE,
    Desk,
    FakeDirectory,
    identity,
    issuer_spec,
    reason,
    token,
)

S = NOW // SECOND
OTHER = "https://other.example.com"
ALICE = "user:login.example.com/alice"


def names(claims: dict[str, Any], issuer: str = ISSUER) -> dict[str, bytes]:
    """Every handle that a token with these claims must carry."""
    presented = token(iss=issuer, **claims)
    found = {
        "principal": principal_handle(ALICE),
        "issuer": issuer_handle(issuer),
        "token": token_handle(issuer, claims.get("jti") or unnamed_token(presented)),
    }
    makers: dict[str, Callable[[str, str], bytes]] = {
        "client_id": client_handle,
        "azp": client_handle,
        "sid": session_handle,
        "fid": family_handle,
    }
    return found | {name: make(issuer, claims[name]) for name, make in makers.items() if name in claims}


FULL = {"jti": "t1", "client_id": "shop", "azp": "web", "sid": "s1", "fid": "f1"}


@pytest.mark.parametrize("which", sorted(names(FULL)))
@pytest.mark.parametrize("by_mark", [False, True], ids=["revoked", "marked"])
def test_whatever_a_token_hangs_on_refuses_it(which: str, by_mark: bool) -> None:
    desk = Desk()
    presented = token(**FULL)
    route = desk.route("jwt")
    assert isinstance(route(presented, None, None, SOURCE, NOW), Identity)
    handle = names(FULL)[which]
    if by_mark:
        desk.directory.mark(handle, S + 1)
    else:
        desk.directory.revoke(handle)
    for _ in range(2):
        assert reason(route(presented, None, None, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED
    assert reason(Desk().jwt.verify(token(aud="x"), NOW)) is Reason.TOKEN_AUDIENCE


@pytest.mark.parametrize("claim", ["jti", "client_id", "azp", "sid", "fid"])
def test_names_of_another_issuer_are_other_names(claim: str) -> None:
    """What one issuer calls `s1` is nothing to the tokens of another."""
    desk = Desk(issuer_spec(), issuer_spec(issuer=OTHER, authority="other.example.com"))
    for name in set(names(FULL, OTHER)) - {"principal"}:
        desk.directory.revoke(names(FULL, OTHER)[name])
    assert isinstance(desk.jwt.verify(token(**{claim: FULL[claim]}), NOW), Identity)
    assert reason(desk.jwt.verify(token(iss=OTHER, **FULL), NOW)) is Reason.CREDENTIAL_REVOKED


@pytest.mark.parametrize("claim", ["jti", "client_id", "azp", "sid"])
@pytest.mark.parametrize("value", [7, ["x"], {}, None, True])
def test_a_token_that_could_not_be_named_is_refused(claim: str, value: Any) -> None:
    """Else the holder of a token whose issuer writes numbers could not be thrown out by that name."""
    assert reason(Desk().jwt.verify(token(**{claim: value}), NOW)) is Reason.TOKEN_CLAIMS


def test_a_family_is_only_what_our_own_issuer_writes() -> None:
    who = identity(Desk().jwt.verify(token(fid=7, jti="t1"), NOW))
    assert who.handles == (token_handle(ISSUER, "t1"), principal_handle(ALICE), issuer_handle(ISSUER))


# -- in whole seconds


@pytest.mark.parametrize(
    ("iat", "passes"),
    [
        (S - 1, False),
        (S, False),  # the second of the revocation itself
        (S + 0.999999, False),  # of the same second, whatever the fraction says
        (S + 1, True),
        (S + 1.5, True),
        (S + 30, True),  # as far ahead as the leeway allows
        (0, False),
        (0.5, False),
        (..., False),  # does not say when it was issued
    ],
)
def test_a_mark_compares_whole_seconds(iat: Any, passes: bool) -> None:
    desk = Desk()
    desk.directory.mark(principal_handle(ALICE), mark(NOW + 999_999_999))
    result = desk.jwt.verify(token(iat=iat), NOW)
    assert isinstance(result, Identity) if passes else reason(result) is Reason.CREDENTIAL_REVOKED


def test_without_a_mark_a_token_need_not_say_when_it_was_issued() -> None:
    assert identity(Desk().jwt.verify(token(iat=...), NOW)).issued == 0


def test_signing_in_again_at_once_works_with_what_is_dated_by_earliest() -> None:
    """Revoked in the middle of a second, signed in again within the same: the new token waits for the next second."""
    desk = Desk()
    route = desk.route("jwt")
    revoked = NOW + 400_000_000
    before = token(iat=S)
    assert isinstance(route(before, None, None, SOURCE, revoked), Identity)
    since = mark(revoked)
    desk.directory.mark(principal_handle(ALICE), since)
    again = NOW + 500_000_000
    dated = earliest(again, since)
    assert dated == NOW + SECOND
    assert dated - again < SECOND
    assert isinstance(route(token(iat=dated // SECOND), None, None, SOURCE, dated), Identity)
    assert reason(route(before, None, None, SOURCE, dated)) is Reason.CREDENTIAL_REVOKED
    assert reason(route(token(iat=again // SECOND), None, None, SOURCE, dated)) is Reason.CREDENTIAL_REVOKED


@pytest.mark.parametrize("later", [0, 1, SECOND // 2, SECOND, 5 * SECOND])
def test_earliest_waits_for_the_rest_of_a_second_and_no_longer(later: int) -> None:
    now = NOW + later
    assert earliest(now, 0) == now
    assert now <= earliest(now, mark(NOW)) <= max(now, NOW + SECOND)
    assert earliest(now, mark(NOW)) // SECOND >= mark(NOW)


def test_an_issuer_whose_clock_is_ahead() -> None:
    """It dates what it issued before the revocation later than it; `ahead` reaches that as well."""
    handle = issuer_handle(ISSUER)
    dated_ahead = token(iat=S + 20)
    for ahead, passes in ((0, True), (30, False)):
        desk = Desk()
        desk.directory.mark(handle, mark(NOW, ahead))
        assert isinstance(desk.jwt.verify(dated_ahead, NOW), Identity) is passes


def test_others_of_the_same_issuer_are_not_hurt() -> None:
    desk = Desk()
    desk.directory.mark(principal_handle(ALICE), S + 1)
    desk.directory.mark(client_handle(ISSUER, "shop"), S + 1)
    assert isinstance(desk.jwt.verify(token(sub="bob", client_id="other"), NOW), Identity)
    assert reason(desk.jwt.verify(token(sub="bob", azp="shop"), NOW)) is Reason.CREDENTIAL_REVOKED


# -- keys and certificates


def test_a_mark_over_a_principal_refuses_its_older_keys() -> None:
    desk = Desk()
    _, old = desk.directory.mint(created=NOW)
    _, undated = desk.directory.mint()
    _, new = desk.directory.mint(created=NOW + SECOND)
    route = desk.route("api_key")
    for text in (old, undated, new):
        assert isinstance(route(None, text, None, SOURCE, NOW), Identity)
    desk.directory.mark(principal_handle("service:interlock/billing"), S + 1)
    for text in (old, undated):
        assert reason(route(None, text, None, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED
    assert isinstance(route(None, new, None, SOURCE, NOW), Identity)


def test_one_key_of_a_principal_is_not_the_other() -> None:
    desk = Desk()
    first, one = desk.directory.mint(created=NOW)
    _, other = desk.directory.mint(created=NOW)
    desk.directory.revoke(key_handle(first))
    assert reason(desk.keys.verify(one, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED
    assert isinstance(desk.keys.verify(other, SOURCE, NOW), Identity)


def test_a_mark_over_a_principal_refuses_its_older_certificates() -> None:
    authority = Authority()
    uri = "spiffe://partner.example/billing"
    old, new = authority.issue(uris=[uri]), authority.issue(uris=[uri], start=AT - timedelta(hours=1))
    directory = FakeDirectory()
    spec = TrustSpec("partners", authority.pem, "san-uri")
    verifier = CertificateVerifier({"partners": spec}, ROLES, directory)
    for leaf in (old, new):
        assert isinstance(verifier.verify(leaf.peer, "partners", NOW), Identity)
    directory.mark(principal_handle(f"service:partners/{uri}"), int((AT - timedelta(hours=2)).timestamp()))
    assert reason(verifier.verify(old.peer, "partners", NOW)) is Reason.CREDENTIAL_REVOKED
    assert isinstance(verifier.verify(new.peer, "partners", NOW), Identity)
    directory.revoke(certificate_handle(new.fingerprint))
    assert reason(verifier.verify(new.peer, "partners", NOW)) is Reason.CREDENTIAL_REVOKED


def test_what_is_remembered_is_asked_about_once_per_epoch() -> None:
    desk = Desk()
    route = desk.route("jwt")
    presented = token(**FULL)
    route(presented, None, None, SOURCE, NOW)
    desk.directory.mark(principal_handle("user:login.example.com/bob"), S)
    before = desk.directory.asked
    route(presented, None, None, SOURCE, NOW)
    once = desk.directory.asked
    assert once > before
    for _ in range(10):
        route(presented, None, None, SOURCE, NOW)
    assert desk.directory.asked == once
