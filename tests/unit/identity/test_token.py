"""Tokens of outside issuers: what is accepted, what is remembered, and for how long."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.identity import RoleTable, issuer_handle, principal_handle, token_handle
from interlock.identity import token as module
from interlock.identity.cache import Cache
from interlock.model import Identity, Principal, Reason
from tests.unit.identity.fakes import ISSUER, NOW, ROLES, Desk, identity, issuer_spec, reason, token
from tests.unit.jose.material import ec, forge, oct_key, public, rsa, sign

S = NOW // SECOND


def verify(presented: bytes, **spec: Any) -> Any:
    return Desk(issuer_spec(**spec)).jwt.verify(presented, NOW)


def test_a_good_token_names_its_bearer() -> None:
    who = identity(verify(token(scope="read write", jti="t1")))
    assert who.principal == Principal("user", "login.example.com", "alice")
    assert who.text == "user:login.example.com/alice"
    assert who.methods == ("jwt",)
    assert who.roles == {"teller"}
    assert who.permissions == {"accounts:read"}
    assert who.scopes == {"read", "write"}
    assert who.claims["sub"] == "alice"
    assert who.issuer == ISSUER
    assert who.expires == (S + 660) * SECOND
    assert who.credential == "t1"
    assert len(who.limit_key) == 16
    assert who.handles == (token_handle(ISSUER, "t1"), principal_handle(who.principal), issuer_handle(ISSUER))
    assert who.issued == S


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iss": "https://login.example.com/"}, Reason.TOKEN_ISSUER),
        ({"iss": "https://evil.example"}, Reason.TOKEN_ISSUER),
        ({"iss": ...}, Reason.TOKEN_ISSUER),
        ({"iss": [ISSUER]}, Reason.TOKEN_ISSUER),
        ({"iss": {"a": 1}}, Reason.TOKEN_ISSUER),
        ({"aud": "other"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "Ledger"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "ledger-admin"}, Reason.TOKEN_AUDIENCE),
        ({"aud": ...}, Reason.TOKEN_AUDIENCE),
        ({"aud": []}, Reason.TOKEN_AUDIENCE),
        ({"aud": ["ledger", 1]}, Reason.TOKEN_AUDIENCE),
        ({"aud": {"ledger": 1}}, Reason.TOKEN_AUDIENCE),
        ({"exp": ...}, Reason.TOKEN_CLAIMS),
        ({"exp": None}, Reason.TOKEN_CLAIMS),
        ({"exp": str(S + 600)}, Reason.TOKEN_CLAIMS),
        ({"exp": True}, Reason.TOKEN_CLAIMS),
        ({"exp": -1}, Reason.TOKEN_CLAIMS),
        ({"exp": 1e300}, Reason.TOKEN_CLAIMS),
        ({"exp": S * 1000}, Reason.TOKEN_CLAIMS),
        ({"nbf": "now"}, Reason.TOKEN_CLAIMS),
        ({"iat": []}, Reason.TOKEN_CLAIMS),
        ({"sub": ...}, Reason.TOKEN_CLAIMS),
        ({"sub": ""}, Reason.TOKEN_CLAIMS),
        ({"sub": 7}, Reason.TOKEN_CLAIMS),
        ({"sub": "a\nb"}, Reason.TOKEN_CLAIMS),
        ({"sub": "a\u202eb"}, Reason.TOKEN_CLAIMS),
        ({"sub": "a" * 513}, Reason.TOKEN_CLAIMS),
        ({"jti": 7}, Reason.TOKEN_CLAIMS),
        ({"exp": S - 61}, Reason.TOKEN_EXPIRED),
        ({"exp": S - 60}, Reason.TOKEN_EXPIRED),
        ({"exp": 0}, Reason.TOKEN_EXPIRED),
        ({"nbf": S + 61}, Reason.TOKEN_NOT_YET),
        ({"iat": S + 61}, Reason.TOKEN_NOT_YET),
        ({"cnf": {"jkt": "x"}}, Reason.TOKEN_BINDING),
        ({"cnf": {}}, Reason.TOKEN_BINDING),
    ],
)
def test_claims_that_do_not_hold(claims: dict[str, Any], expected: Reason) -> None:
    assert reason(verify(token(**claims))) is expected


@pytest.mark.parametrize("date", [b"1e999", b"1" + b"0" * 400, b"-1" + b"0" * 400])
def test_an_expiry_beyond_all_numbers_is_no_date(date: bytes) -> None:
    payload = b'{"iss":"https://login.example.com","sub":"a","aud":"ledger","exp":' + date + b"}"
    assert reason(verify(sign({"alg": "RS256", "kid": "rsa"}, payload, rsa()))) is Reason.TOKEN_CLAIMS


@pytest.mark.parametrize(
    "claims", [{"exp": S - 59}, {"nbf": S + 60}, {"iat": S + 60}, {"exp": S + 0.5}, {"aud": ["x", "ledger"]}]
)
def test_leeway_and_lists(claims: dict[str, Any]) -> None:
    assert isinstance(verify(token(**claims)), Identity)


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
def test_types_meant_for_access(kind: str | None) -> None:
    assert isinstance(verify(token(header={} if kind is None else {"typ": kind})), Identity)


@pytest.mark.parametrize(
    "kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", "application/x", "interlock-identity+jwt"]
)
def test_types_meant_for_something_else(kind: str) -> None:
    assert reason(verify(token(header={"typ": kind}))) is Reason.TOKEN_TYPE


def test_types_can_be_narrowed() -> None:
    assert reason(verify(token(), types=["at+jwt"])) is Reason.TOKEN_TYPE
    assert isinstance(verify(token(header={"typ": "application/AT+JWT"}), types=["at+jwt"]), Identity)


def test_algorithms_are_the_issuers_own() -> None:
    assert reason(verify(token(header={"alg": "RS512"}))) is Reason.TOKEN_ALGORITHM
    none = forge({"alg": "none"}, token().split(b".")[1], None)
    assert reason(verify(none)) is Reason.TOKEN_MALFORMED  # the payload above is encoded twice
    claims = b'{"iss":"https://login.example.com","sub":"a","aud":"ledger","exp":9999999999}'
    assert reason(verify(forge({"alg": "none"}, claims, None))) is Reason.TOKEN_ALGORITHM


def test_a_shared_key_is_never_an_outside_issuers() -> None:
    """Even if the operator lists HS256 and the set holds a shared key."""
    import json

    claims = b'{"iss":"https://login.example.com","sub":"a","aud":"ledger","exp":9999999999}'
    presented = sign({"alg": "HS256", "kid": "oct"}, claims, oct_key())
    jwks = json.dumps({"keys": [oct_key().as_dict(private=True)]})
    assert reason(verify(presented, jwks=jwks, algorithms=["HS256"])) is Reason.TOKEN_ALGORITHM


def test_one_issuer_cannot_speak_for_another() -> None:
    other = issuer_spec(issuer="https://other", authority="other", jwks=public(ec("other")), algorithms=["ES256"])
    desk = Desk(issuer_spec(), other)
    forged = token(ec("other"), header={"alg": "ES256"})  # says it is of the first, signed by the second
    assert reason(desk.jwt.verify(forged, NOW)) in {Reason.TOKEN_ALGORITHM, Reason.TOKEN_KEY_UNKNOWN}
    named_alike = token(ec("rsa"), header={"alg": "ES256"})
    assert reason(Desk(issuer_spec(algorithms=["RS256", "ES256"]), other).jwt.verify(named_alike, NOW)) is (
        Reason.TOKEN_ALGORITHM
    )


def test_the_same_subject_of_two_issuers_is_two_principals() -> None:
    other = issuer_spec(issuer="https://other", authority="other")
    desk = Desk(issuer_spec(), other)
    one, two = identity(desk.jwt.verify(token(), NOW)), identity(desk.jwt.verify(token(iss="https://other"), NOW))
    assert one.principal != two.principal
    assert one.limit_key != two.limit_key


# -- roles


@pytest.mark.parametrize(
    ("claims", "source", "roles"),
    [
        ({"groups": "Tellers"}, "groups", {"teller"}),
        ({"groups": ["teller", "auditor"]}, "groups", set()),  # our names mean nothing outside
        ({"groups": ["Root"]}, "groups", set()),  # interlock:* never comes from outside
        ({"groups": ["interlock:admin"]}, "groups", set()),
        ({"groups": ...}, "groups", set()),
        ({"groups": {"Tellers": 1}}, "groups", set()),
        ({"groups": [["Tellers"], 1, None]}, "groups", set()),
        ({"realm": {"roles": ["Tellers"]}}, "realm.roles", {"teller"}),
        ({"realm": "x"}, "realm.roles", set()),
        ({"https://x.example/groups": ["Tellers"]}, "https://x.example/groups", {"teller"}),
        ({}, "", set()),
    ],
)
def test_outside_roles_count_only_through_the_map(claims: dict[str, Any], source: str, roles: set[str]) -> None:
    assert identity(verify(token(**claims), roles_from=source)).roles == roles


@pytest.mark.parametrize(
    ("claims", "scopes"), [({"scp": ["a", "b"]}, {"a", "b"}), ({"scp": "a b"}, {"a", "b"}), ({"scope": 7}, set())]
)
def test_scopes(claims: dict[str, Any], scopes: set[str]) -> None:
    assert identity(verify(token(**claims))).scopes == scopes


# -- remembering


def test_a_token_is_verified_once() -> None:
    desk = Desk()
    presented = token()
    first = desk.jwt.verify(presented, NOW)
    assert desk.jwt.verify(presented, NOW + 1) is first


def test_expiry_is_looked_at_on_every_call() -> None:
    desk = Desk()
    presented = token(exp=S + 10)
    assert isinstance(desk.jwt.verify(presented, NOW), Identity)
    assert isinstance(desk.jwt.verify(presented, (S + 70) * SECOND - 1), Identity)
    assert reason(desk.jwt.verify(presented, (S + 70) * SECOND)) is Reason.TOKEN_EXPIRED
    assert presented not in desk.jwt.entries


def test_a_token_not_yet_valid_becomes_valid() -> None:
    desk = Desk()
    presented = token(nbf=S + 61)
    assert reason(desk.jwt.verify(presented, NOW)) is Reason.TOKEN_NOT_YET
    assert isinstance(desk.jwt.verify(presented, NOW + SECOND), Identity)


def test_revocation_holds_on_the_next_call() -> None:
    desk = Desk()
    presented = token(jti="t1")
    desk.jwt.verify(presented, NOW)
    desk.directory.revoke(token_handle(ISSUER, "t1"))
    assert reason(desk.jwt.verify(presented, NOW)) is Reason.CREDENTIAL_REVOKED
    assert reason(desk.jwt.verify(presented, NOW)) is Reason.CREDENTIAL_REVOKED
    assert isinstance(desk.jwt.verify(token(jti="t2"), NOW), Identity)


def test_revoking_a_principal_revokes_its_tokens() -> None:
    desk = Desk()
    desk.directory.revoke(principal_handle("user:login.example.com/alice"))
    assert reason(desk.jwt.verify(token(), NOW)) is Reason.CREDENTIAL_REVOKED
    assert isinstance(desk.jwt.verify(token(sub="bob"), NOW), Identity)


def test_a_token_without_jti_is_revoked_however_it_is_signed() -> None:
    """Its handle is of what is signed, so that a second signature (ECDSA, PSS) over the same does not evade it."""
    spec = issuer_spec(jwks=public(ec()), algorithms=["ES256"])
    desk = Desk(spec)
    header = {"alg": "ES256", "kid": "ec"}
    one, two = token(ec(), header=header), token(ec(), header=header)
    assert one != two
    desk.directory.revoke(identity(desk.jwt.verify(one, NOW)).handles[0])
    assert reason(desk.jwt.verify(two, NOW)) is Reason.CREDENTIAL_REVOKED


def test_an_unchanged_epoch_costs_no_question() -> None:
    desk = Desk()
    presented = token()
    desk.jwt.verify(presented, NOW)
    asked = desk.directory.asked
    desk.jwt.verify(presented, NOW)
    assert desk.directory.asked == asked
    desk.directory.epoch += 1
    desk.jwt.verify(presented, NOW)
    assert desk.directory.asked > asked


def test_a_bad_token_sent_again_costs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    bad = token()[:-4] + b"AAAA"
    assert reason(desk.jwt.verify(bad, NOW)) is Reason.TOKEN_SIGNATURE
    monkeypatch.setattr(module, "split", lambda _token: pytest.fail("looked at again"))
    assert reason(desk.jwt.verify(bad, NOW + SECOND)) is Reason.TOKEN_SIGNATURE


def test_a_refusal_is_not_remembered_for_long_nor_over_new_keys() -> None:
    stranger = token(rsa("stranger"), header={"kid": "rsa"})
    desk = Desk()
    assert reason(desk.jwt.verify(stranger, NOW)) is Reason.TOKEN_SIGNATURE
    desk.jwt.update(issuer_spec(jwks=public(rsa("stranger")).replace('"stranger"', '"rsa"')))
    assert isinstance(desk.jwt.verify(stranger, NOW), Identity)


def test_memory_is_bounded() -> None:
    desk = Desk()
    cache = Cache[bytes, int](count=10, weight=100)
    for number in range(1000):
        cache.put(b"%09d" % number, number)
        assert len(cache.entries) <= 10
    assert b"%09d" % 999 in cache.entries
    heavy = Cache[bytes, int](count=1000, weight=100)
    for number in range(50):
        heavy.put(b"%040d" % number, number)
        assert sum(map(len, heavy.entries)) <= 100
    for number in range(module.REFUSED + 10):
        desk.jwt.verify(b"%d" % number, NOW)
    assert len(desk.jwt._refused.entries) <= module.REFUSED


# -- new snapshots


def test_a_key_that_was_withdrawn_no_longer_verifies() -> None:
    desk = Desk()
    presented = token()
    assert isinstance(desk.jwt.verify(presented, NOW), Identity)
    desk.jwt.update(issuer_spec(jwks=public(rsa("next"))))
    assert reason(desk.jwt.verify(presented, NOW)) is Reason.TOKEN_KEY_UNKNOWN


@pytest.mark.parametrize(
    "change",
    [{"audience": ["other"]}, {"algorithms": ["ES256"]}, {"types": ["at+jwt"]}, {"roles_map": {}}, {"authority": "x"}],
)
def test_changed_settings_are_applied_to_what_was_verified(change: dict[str, Any]) -> None:
    desk = Desk()
    presented = token()
    before = identity(desk.jwt.verify(presented, NOW))
    desk.jwt.configure([issuer_spec(**change)], ROLES)
    after = desk.jwt.verify(presented, NOW)
    assert not isinstance(after, Identity) or (after.roles, after.text) != (before.roles, before.text)


def test_changed_roles_are_applied_to_what_was_verified() -> None:
    desk = Desk()
    presented = token()
    desk.jwt.verify(presented, NOW)
    desk.jwt.configure([issuer_spec()], RoleTable({"teller": ["accounts:write"]}))
    assert identity(desk.jwt.verify(presented, NOW)).permissions == {"accounts:write"}


def test_an_issuer_that_was_removed_is_unknown() -> None:
    desk = Desk()
    presented = token()
    desk.jwt.verify(presented, NOW)
    desk.jwt.configure([], ROLES)
    assert reason(desk.jwt.verify(presented, NOW)) is Reason.TOKEN_ISSUER


def test_an_unchanged_snapshot_forgets_nothing() -> None:
    desk = Desk()
    presented = token()
    first = desk.jwt.verify(presented, NOW)
    spec = issuer_spec()
    desk.jwt.configure([msgspec.structs.replace(spec, jwks_ns=0)], RoleTable({**ROLES._roles}))
    assert desk.jwt.verify(presented, NOW) is first


def test_keys_that_cannot_be_read_refuse_and_do_not_raise() -> None:
    desk = Desk(issuer_spec(jwks="not json"))
    assert desk.jwt.issuer(ISSUER).fault  # type: ignore[union-attr]
    assert reason(desk.jwt.verify(token(), NOW)) is Reason.TOKEN_KEY_UNKNOWN
