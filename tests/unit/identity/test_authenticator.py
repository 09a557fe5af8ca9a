"""Step 2 as a route has it: alternatives, bindings, and what presented credentials do to each other."""

from __future__ import annotations

import dis
import itertools
from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.identity import (
    certificate_handle,
    compile_authenticator,
    issuer_handle,
    key_handle,
    principal_handle,
    token_handle,
)
from interlock.identity.dpop import ALGS
from interlock.keys import mint
from interlock.model import Identity, Pending, Reason, Refusal
from interlock.snapshot import TrustSpec
from tests.unit.identity.authorities import Authority
from tests.unit.identity.fakes import ISSUER, NOW, SOURCE, Desk, identity, issuer_spec, reason, token
from tests.unit.jose.material import b64, rsa

URI = "spiffe://partner.example/billing"
PARTNERS, STRANGERS = Authority(), Authority("Strangers")
ALICE = "user:login.example.com/alice"
LEAF, OTHER = PARTNERS.issue(uris=[URI]), PARTNERS.issue(uris=[URI + "2"])
STRANGER = STRANGERS.issue(uris=[URI])
BOUND = token(cnf={"x5t#S256": b64(LEAF.fingerprint)})
BAD_TOKEN = token()[:-4] + b"AAAA"
BAD_KEY = mint()[1].encode()


def desk(**members: Any) -> Desk:
    spec = TrustSpec(**{"name": "partners", "ca_pem": PARTNERS.pem, "principal": "san-uri", **members})
    return Desk(trust={"partners": spec})


def headers(result: Any) -> list[tuple[bytes, bytes]]:
    assert isinstance(result, Refusal)
    return list(result.headers)


# -- alternatives


def test_nothing_presented() -> None:
    for methods in (["jwt"], ["api_key"], ["mtls"], ["jwt+mtls", "api_key"]):
        result = desk().route(*methods, trust="partners")(None, None, None, SOURCE, NOW)
        assert reason(result) is Reason.CREDENTIAL_MISSING
        assert len(headers(result)) == (2 if methods[0].startswith("jwt") else 1)


def test_any_of_the_list_will_do() -> None:
    at = desk()
    _, key = at.directory.mint()
    route = at.route("jwt+mtls", "api_key", trust="partners")
    assert identity(route(None, key, None, SOURCE, NOW)).methods == ("api_key",)
    assert identity(route(BOUND, None, LEAF.peer, SOURCE, NOW)).methods == ("jwt", "mtls")
    assert reason(route(token(), None, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING
    assert reason(route(None, None, LEAF.peer, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING


def test_a_credential_of_another_kind_is_no_credential_here() -> None:
    at = desk()
    _, key = at.directory.mint()
    assert reason(at.route("jwt")(None, key, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING
    assert reason(at.route("api_key")(token(), None, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING
    assert reason(at.route("mtls", trust="partners")(token(), key, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING


def test_the_first_alternative_that_is_wholly_presented_applies() -> None:
    at = desk()
    _, key = at.directory.mint()
    assert identity(at.route("jwt", "api_key")(token(), key, None, SOURCE, NOW)).methods == ("jwt",)
    assert identity(at.route("api_key", "jwt")(token(), key, None, SOURCE, NOW)).methods == ("api_key",)


@pytest.mark.parametrize("alternatives", [[], [[]], [["jwt"], []], [["password"]], [["jwt", "none"]]])
def test_a_route_that_asks_for_nothing_is_no_route(alternatives: list[list[str]]) -> None:
    at = desk()
    with pytest.raises(ValueError):
        compile_authenticator(alternatives, jwt=at.jwt, keys=at.keys, certificates=at.certificates, trust="")


# -- presented and invalid


@pytest.mark.parametrize("methods", [("jwt",), ("api_key",), ("jwt", "api_key"), ("jwt+mtls", "api_key"), ("mtls",)])
def test_one_invalid_credential_refuses_whatever_else_is_presented(methods: tuple[str, ...]) -> None:
    at = desk()
    _, key = at.directory.mint()
    route = at.route(*methods, trust="partners")
    for _ in range(2):  # the second time everything good is remembered
        for good_token, good_peer in itertools.product((token(), BOUND, None), (LEAF.peer, None)):
            assert reason(route(good_token, BAD_KEY, good_peer, SOURCE, NOW)) in {
                Reason.KEY_UNKNOWN,
                Reason.TOKEN_BINDING,
            }
        assert reason(route(BAD_TOKEN, key, LEAF.peer, SOURCE, NOW)) is Reason.TOKEN_SIGNATURE
        assert reason(route(BAD_TOKEN, key, None, SOURCE, NOW)) is Reason.TOKEN_SIGNATURE
        assert reason(route(b"", key, None, SOURCE, NOW)) is Reason.TOKEN_MALFORMED
        assert reason(route(None, b"", LEAF.peer, SOURCE, NOW)) is Reason.KEY_UNKNOWN


def test_an_invalid_certificate_refuses_where_certificates_are_asked_for() -> None:
    at = desk()
    _, key = at.directory.mint()
    asking = at.route("jwt+mtls", "api_key", trust="partners")
    assert reason(asking(None, key, STRANGER.peer, SOURCE, NOW)) is Reason.CERTIFICATE_UNTRUSTED
    assert isinstance(at.route("api_key")(None, key, STRANGER.peer, SOURCE, NOW), Identity)


def test_a_revoked_key_refuses_beside_a_good_token() -> None:
    at = desk()
    key_id, key = at.directory.mint()
    route = at.route("jwt", "api_key")
    assert isinstance(route(token(), key, None, SOURCE, NOW), Identity)
    at.directory.revoke(key_handle(key_id))
    assert reason(route(token(), key, None, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED


# -- bindings


@pytest.mark.parametrize("methods", [("jwt",), ("jwt+mtls",), ("jwt", "api_key"), ("api_key",)])
def test_a_bound_token_needs_its_certificate_on_every_route(methods: tuple[str, ...]) -> None:
    at = desk()
    route = at.route(*methods, trust="partners")
    for _ in range(2):
        assert reason(route(BOUND, None, None, SOURCE, NOW)) is Reason.TOKEN_BINDING
        assert reason(route(BOUND, None, OTHER.peer, SOURCE, NOW)) is Reason.TOKEN_BINDING


def test_a_bound_token_with_its_certificate() -> None:
    at = desk()
    who = identity(at.route("jwt+mtls", trust="partners")(BOUND, None, LEAF.peer, SOURCE, NOW))
    assert who.text == ALICE
    assert who.methods == ("jwt", "mtls")
    assert who.trust == "partners"
    assert who.certificate == LEAF.fingerprint
    assert who.bound_to == LEAF.fingerprint
    named = {principal_handle(ALICE), issuer_handle(ISSUER), certificate_handle(LEAF.fingerprint)}
    assert named < set(who.handles)
    assert who.issued == int(LEAF.certificate.not_valid_before_utc.timestamp()), "the older part counts"
    assert identity(at.route("jwt")(BOUND, None, LEAF.peer, SOURCE, NOW)).methods == ("jwt",)


def test_a_binding_to_a_certificate_that_nobody_vouches_for() -> None:
    """Possession is shown, but `mtls` asks for more than possession."""
    at = desk()
    bound = token(cnf={"x5t#S256": b64(STRANGER.fingerprint)})
    assert reason(at.route("jwt+mtls", trust="partners")(bound, None, STRANGER.peer, SOURCE, NOW)) is (
        Reason.CERTIFICATE_UNTRUSTED
    )


def test_a_certificates_roles_are_not_the_bound_tokens() -> None:
    at = desk(roles_map={URI: ["auditor"]})
    who = identity(at.route("jwt+mtls", trust="partners")(BOUND, None, LEAF.peer, SOURCE, NOW))
    assert who.roles == {"teller"}


# -- both name the same principal


def test_two_good_credentials_of_different_principals() -> None:
    at = desk()
    _, key = at.directory.mint()
    for _ in range(2):
        assert reason(at.route("jwt+mtls", trust="partners")(token(), None, LEAF.peer, SOURCE, NOW)) is (
            Reason.CREDENTIAL_MISMATCH
        )
        assert reason(at.route("jwt+api_key")(token(), key, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISMATCH
        assert reason(at.route("api_key+mtls", trust="partners")(None, key, LEAF.peer, SOURCE, NOW)) is (
            Reason.CREDENTIAL_MISMATCH
        )


def test_the_same_name_under_another_authority_is_another_principal() -> None:
    at = desk()
    _, key = at.directory.mint(principal="user:interlock/alice")
    assert reason(at.route("jwt+api_key")(token(), key, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISMATCH


def test_a_configured_mapping_makes_them_one() -> None:
    at = desk(principals={URI: ALICE}, roles_map={URI: ["auditor"]})
    _, key = at.directory.mint(principal=ALICE, roles=[], expires=NOW + SECOND)
    who = identity(at.route("jwt+mtls", trust="partners")(token(), None, LEAF.peer, SOURCE, NOW))
    assert who.roles == {"teller", "auditor"}
    assert who.permissions == {"accounts:read", "audit:read"}
    three = identity(at.route("jwt+api_key+mtls", trust="partners")(token(), key, LEAF.peer, SOURCE, NOW))
    assert three.methods == ("jwt", "api_key", "mtls")
    assert three.expires == NOW + SECOND
    bob = token(sub="bob")
    assert reason(at.route("jwt+mtls", trust="partners")(bob, None, LEAF.peer, SOURCE, NOW)) is (
        Reason.CREDENTIAL_MISMATCH
    )


@pytest.mark.parametrize("parts", ["+".join(some) for some in itertools.permutations(("jwt", "api_key", "mtls"))])
def test_what_a_token_says_is_what_it_says_however_the_route_names_it(parts: str) -> None:
    at = desk(principals={URI: ALICE})
    key_id, key = at.directory.mint(principal=ALICE)
    who = identity(at.route(parts, trust="partners")(token(jti="t1", sid="s1"), key, LEAF.peer, SOURCE, NOW))
    assert who.handles[0] == token_handle(ISSUER, "t1")
    assert {key_handle(key_id), certificate_handle(LEAF.fingerprint)} < set(who.handles)
    assert who.api_key == key_handle(key_id)
    assert who.claims["sid"] == "s1"


def test_a_bound_token_does_not_vouch_for_a_third() -> None:
    at = desk()
    _, key = at.directory.mint()
    route = at.route("jwt+mtls+api_key", trust="partners")
    assert reason(route(BOUND, key, LEAF.peer, SOURCE, NOW)) is Reason.CREDENTIAL_MISMATCH


def test_a_combined_identity_is_made_once_and_ends_with_its_parts() -> None:
    at = desk()
    route = at.route("jwt+mtls", trust="partners")
    first = route(BOUND, None, LEAF.peer, SOURCE, NOW)
    assert route(BOUND, None, LEAF.peer, SOURCE, NOW) is first
    assert certificate_handle(LEAF.fingerprint) in identity(first).handles
    at.directory.revoke(certificate_handle(LEAF.fingerprint))
    assert reason(route(BOUND, None, LEAF.peer, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED


# -- the fast path decides as the slow one


def test_what_is_remembered_is_checked_on_every_call() -> None:
    at = desk()
    key_id, key = at.directory.mint(expires=NOW + 10 * SECOND)
    presented = token(exp=NOW // SECOND + 10)
    route = at.route("jwt", "api_key")
    who = route(presented, None, None, SOURCE, NOW)
    assert route(presented, None, None, SOURCE, NOW + SECOND) is who
    assert reason(route(presented, None, None, SOURCE, NOW + 70 * SECOND)) is Reason.TOKEN_EXPIRED
    it = route(None, key, None, SOURCE, NOW)
    assert route(None, key, None, SOURCE, NOW + SECOND) is it
    assert reason(route(None, key, None, SOURCE, NOW + 10 * SECOND)) is Reason.KEY_EXPIRED
    at.directory.revoke(key_handle(key_id))
    assert reason(route(None, key, None, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED


def test_a_remembered_key_is_still_held_to_its_networks() -> None:
    at = desk()
    _, key = at.directory.mint(networks=["192.0.2.0/24"])
    route = at.route("api_key")
    assert isinstance(route(None, key, None, "192.0.2.1", NOW), Identity)
    assert reason(route(None, key, None, "198.51.100.1", NOW)) is Reason.CREDENTIAL_NETWORK


def test_what_one_route_remembers_opens_no_other() -> None:
    at = desk()
    _, key = at.directory.mint()
    assert isinstance(at.route("jwt")(token(), None, None, SOURCE, NOW), Identity)
    assert isinstance(at.route("api_key")(None, key, None, SOURCE, NOW), Identity)
    assert reason(at.route("api_key")(token(), None, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING
    assert reason(at.route("jwt")(None, key, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING
    assert reason(at.route("jwt+mtls", trust="partners")(token(), None, None, SOURCE, NOW)) is Reason.CREDENTIAL_MISSING


def test_the_fast_path_calls_nothing_but_two_lookups() -> None:
    """A remembered token costs dictionary lookups and comparisons: what bounds its price is here, not a clock."""
    at = desk()
    route = at.route("jwt")
    code = route.__code__
    calls = sum(instruction.opname.startswith("CALL") for instruction in dis.get_instructions(code))
    assert calls <= 3  # one for each kind of credential, and the slow path


# -- what the caller is told


def test_the_challenge_says_no_more_than_it_must() -> None:
    at = desk()
    plain = (b"www-authenticate", b'Bearer realm="interlock"')
    invalid = (b"www-authenticate", b'Bearer realm="interlock", error="invalid_token"')
    route = at.route("jwt", "api_key")
    dpop = (b"www-authenticate", b'DPoP realm="interlock", algs="%b"' % ALGS.encode())
    assert headers(route(None, None, None, SOURCE, NOW)) == [plain, dpop]
    for bad in (BAD_TOKEN, token(exp=1), token(aud="x"), token(iss="https://x"), BOUND, b"x"):
        assert headers(route(bad, None, None, SOURCE, NOW)) == [invalid]
    assert headers(route(None, BAD_KEY, None, SOURCE, NOW)) == [plain]
    assert headers(at.route("api_key")(None, None, None, SOURCE, NOW)) == [
        (b"www-authenticate", b'ApiKey realm="interlock"')
    ]
    assert headers(at.route("mtls", trust="partners")(None, None, STRANGER.peer, SOURCE, NOW)) == [
        (b"www-authenticate", b'ClientCertificate realm="interlock"')
    ]


def test_no_challenge_where_the_issuer_is_what_failed() -> None:
    at = Desk(issuer_spec(jwks_ns=1, max_stale_ns=1))
    route = at.route("jwt")
    waiting = route(token(), None, None, SOURCE, NOW)
    assert isinstance(waiting, Pending)
    again: list[Any] = []
    waiting.wait(lambda: again.append(route(token(), None, None, SOURCE, NOW + 3 * SECOND)))
    at.jwt.expire(NOW + 3 * SECOND)
    assert reason(again[0]) is Reason.ISSUER_UNAVAILABLE
    assert headers(again[0]) == []


def test_refusals_say_nothing_secret() -> None:
    at = desk()
    _, key = at.directory.mint(expires=1)
    for result in (
        at.route("jwt")(token(rsa("new")), None, None, SOURCE, NOW),
        at.route("jwt")(BAD_TOKEN, None, None, SOURCE, NOW),
        at.route("api_key")(None, key, None, SOURCE, NOW),
        at.route("api_key")(None, BAD_KEY, None, SOURCE, NOW),
    ):
        assert isinstance(result, Refusal)
        shown = repr(result).encode()
        assert key[-49:] not in shown
        assert BAD_KEY[-49:] not in shown
        assert BAD_TOKEN.split(b".")[2][:40] not in shown


# -- every kind of caller on every kind of route


METHODS = ["jwt", "api_key", "mtls"]
ROUTES = [*METHODS, "jwt+mtls", "jwt+api_key", "api_key+mtls", "jwt+api_key+mtls"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shown", [one for n in range(4) for one in itertools.combinations(METHODS, n)], ids=str)
def test_every_caller_on_every_route(route: str, shown: tuple[str, ...]) -> None:
    """All of one principal: passes exactly if every method that the route asks for is presented."""
    at = desk(principals={URI: ALICE})
    _, key = at.directory.mint(principal=ALICE)
    result = at.route(route, trust="partners")(
        token() if "jwt" in shown else None,
        key if "api_key" in shown else None,
        LEAF.peer if "mtls" in shown else None,
        SOURCE,
        NOW,
    )
    wanted = route.split("+")
    if set(wanted) <= set(shown):
        assert identity(result).methods == tuple(wanted)
        assert identity(result).text == ALICE
    else:
        assert reason(result) is Reason.CREDENTIAL_MISSING
