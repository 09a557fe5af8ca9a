"""Tokens bound to a key, as a route meets them: what a thief, a replayer and a careless client send."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from interlock.clock import SECOND, ManualClock
from interlock.identity import Possession, ProofGuard
from interlock.identity.dpop import ALGS
from interlock.jose import thumbprint
from interlock.jose.dpop_nonce import Nonces
from interlock.model import Identity, Pending, Reason, Refusal
from interlock.snapshot import TrustSpec
from interlock.snapshot.replay import ReplayTable
from tests.unit.identity.authorities import Authority
from tests.unit.identity.fakes import NOW, SOURCE, Desk, identity, issuer_spec, reason, token
from tests.unit.jose.material import b64, ec, rsa, sign

PARTNERS = Authority()
LEAF = PARTNERS.issue(uris=["spiffe://partner.example/billing"])
URL = "https://api.example.com/accounts/1"


def jwk(key: Any) -> dict[str, Any]:
    return {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}


def jkt(key: Any) -> str:
    return b64(thumbprint(jwk(key)))


BOUND = token(cnf={"jkt": jkt(ec())})
UNBOUND = token()
ONLY_CERTIFICATE = token(cnf={"x5t#S256": b64(LEAF.fingerprint)})
BOTH = token(cnf={"jkt": jkt(ec()), "x5t#S256": b64(LEAF.fingerprint)})


class Door:
    """A route that takes a token, a key or both with a certificate, on a node that has run for a while."""

    def __init__(self, folder: Path, *methods: str, **issuer: Any) -> None:
        self.clock = ManualClock(wall=NOW, monotonic=5000 * SECOND)
        table = ReplayTable.create(folder / "replays", wall=NOW - 3600 * SECOND, monotonic=1400 * SECOND, slots=4096)
        self.guard = ProofGuard(table, Nonces(b"n" * 32), self.clock.monotonic)
        trust = {"partners": TrustSpec(name="partners", ca_pem=PARTNERS.pem, principal="san-uri")}
        self.desk = Desk(issuer_spec(**issuer), trust=trust, proofs=self.guard)
        self.route = self.desk.route(*methods or ("jwt",), trust="partners")
        self.number = 0

    def proof(self, presented: bytes = BOUND, key: Any = None, **members: Any) -> bytes:
        """A new proof for a GET of `URL` with that token, but for what is said."""
        self.number += 1
        key = key or ec()
        claims = {
            "jti": str(self.number),
            "htm": "GET",
            "htu": URL,
            "iat": self.clock.wall() // SECOND,
            "ath": b64(hashlib.sha256(presented).digest()),
            **members,
        }
        payload = json.dumps({name: value for name, value in claims.items() if value is not ...}).encode()
        return sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(key)}, payload, key)

    def call(
        self,
        presented: bytes | None = BOUND,
        proof: bytes | None = None,
        *,
        scheme: str = "dpop",
        key: bytes | None = None,
        peer: Any = None,
        method: str = "GET",
        url: str = URL,
    ) -> Identity | Refusal | Pending:
        """A call with the token by that scheme; `proof`: the field's value, None if there was none."""
        possession = None
        if scheme == "dpop" or proof is not None:
            possession = Possession(presented if scheme == "dpop" else None, proof, method, url)
        return self.ask(presented if scheme == "bearer" else None, possession, key=key, peer=peer)

    def ask(
        self, bearer: bytes | None, possession: Possession | None, *, key: bytes | None = None, peer: Any = None
    ) -> Identity | Refusal | Pending:
        return self.route(bearer, key, peer, SOURCE, self.clock.wall(), possession)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def challenge(result: Any) -> bytes:
    assert isinstance(result, Refusal)
    return dict(result.headers)[b"www-authenticate"]


def test_a_bound_token_with_its_proof(door: Door) -> None:
    for _ in range(3):
        who = identity(door.call(proof=door.proof()))
        assert who.text == "user:login.example.com/alice"
        assert who.methods == ("jwt",)
        assert who.bound_key == thumbprint(jwk(ec()))


def test_a_stolen_token_is_of_no_use(door: Door) -> None:
    """Without the key: as a bearer token, without proof, with the thief's own key, with an overheard proof."""
    thief = ec("thief")
    overheard = door.proof()
    assert identity(door.call(proof=overheard))
    for result, why in (
        (door.call(scheme="bearer"), Reason.DPOP_MISSING),
        (door.call(scheme="bearer", proof=door.proof()), Reason.DPOP_MISSING),
        (door.call(scheme="bearer", proof=overheard), Reason.DPOP_MISSING),
        (door.call(), Reason.DPOP_MISSING),
        (door.call(proof=b""), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(key=thief)), Reason.TOKEN_BINDING),
        (door.call(proof=overheard), Reason.DPOP_REPLAYED),
        (door.call(proof=door.proof(), method="POST"), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(), url=URL + "/2"), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(), url=URL.replace("https", "http")), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(token(sub="bob"))), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(ath=...)), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(iat=NOW // SECOND - 61)), Reason.DPOP_INVALID),
        (door.call(proof=door.proof(iat=NOW // SECOND + 11)), Reason.DPOP_INVALID),
        (door.call(proof=b", ".join((door.proof(), door.proof()))), Reason.DPOP_INVALID),
        (door.call(proof=b"x" * 100_000), Reason.DPOP_INVALID),
    ):
        assert reason(result) is why
        assert reason(result).status == 401


def test_the_fast_path_knows_bound_tokens_too(door: Door) -> None:
    """What is remembered of a token is not that somebody proved possession of its key."""
    assert identity(door.call(proof=door.proof()))
    for _ in range(3):
        assert reason(door.call(scheme="bearer")) is Reason.DPOP_MISSING
        assert reason(door.call()) is Reason.DPOP_MISSING
    assert identity(door.call(UNBOUND, scheme="bearer"))
    assert identity(door.call(UNBOUND, scheme="bearer"))


def test_an_unbound_token_does_not_come_by_the_scheme(door: Door) -> None:
    for presented in (UNBOUND, ONLY_CERTIFICATE):
        result = door.call(presented, door.proof(presented), peer=LEAF.peer)
        assert reason(result) is Reason.TOKEN_BINDING
    assert identity(door.call(UNBOUND, scheme="bearer"))


def test_a_token_bound_in_both_ways_needs_both(door: Door) -> None:
    assert identity(door.call(BOTH, door.proof(BOTH), peer=LEAF.peer)).bound_to == LEAF.fingerprint
    assert reason(door.call(BOTH, door.proof(BOTH))) is Reason.TOKEN_BINDING
    assert reason(door.call(BOTH, door.proof(BOTH), peer=PARTNERS.issue(uris=["spiffe://x/y"]).peer)) is (
        Reason.TOKEN_BINDING
    )
    assert reason(door.call(BOTH, peer=LEAF.peer)) is Reason.DPOP_MISSING
    assert reason(door.call(BOTH, scheme="bearer", peer=LEAF.peer)) is Reason.DPOP_MISSING


def test_a_proof_beside_something_else_adds_nothing_but_has_to_be_good(tmp_path: Path) -> None:
    door = Door(tmp_path, "jwt", "api_key")
    _, key = door.desk.directory.mint()
    assert identity(door.call(UNBOUND, door.proof(UNBOUND), scheme="bearer")).bound_key == b""
    assert reason(door.call(UNBOUND, b"x", scheme="bearer")) is Reason.DPOP_INVALID
    assert reason(door.call(UNBOUND, door.proof(BOUND), scheme="bearer")) is Reason.DPOP_INVALID
    used = door.proof(UNBOUND)
    assert identity(door.call(UNBOUND, used, scheme="bearer"))
    assert reason(door.call(UNBOUND, used, scheme="bearer")) is Reason.DPOP_REPLAYED
    assert identity(door.call(None, door.proof(), scheme="", key=key)).methods == ("api_key",)
    assert reason(door.call(None, b"x", scheme="", key=key)) is Reason.DPOP_INVALID
    assert reason(door.call(None, door.proof(), scheme="")) is Reason.CREDENTIAL_MISSING
    assert reason(door.call(BOUND, door.proof(), key=b"ilk_wrong")) is Reason.KEY_UNKNOWN


def test_whatever_a_proofs_key_is_made_of_is_a_refusal(door: Door) -> None:
    """The attack: a caller without any credential makes the route raise, with a trace in the log for each call."""
    for member in ({"y": 5}, {"n": None}, {"e": {}}):
        header = {
            "typ": "dpop+jwt",
            "alg": "EdDSA",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32)), **member},
        }
        made = ".".join((b64(json.dumps(header).encode()), b64(b'{"jti":"1","htm":"GET"}'), b64(bytes(64)))).encode()
        for presented in (None, BOUND):
            assert reason(door.call(presented, made, scheme="dpop")) is Reason.DPOP_INVALID


def test_a_bound_token_refuses_on_routes_that_ask_for_something_else(tmp_path: Path) -> None:
    door = Door(tmp_path, "api_key")
    _, key = door.desk.directory.mint()
    assert reason(door.call(scheme="bearer", key=key)) is Reason.DPOP_MISSING
    assert reason(door.call(proof=door.proof())) is Reason.CREDENTIAL_MISSING
    assert identity(door.call(proof=door.proof(), key=key)).methods == ("api_key",)


def test_with_a_certificate_of_the_same_principal(tmp_path: Path) -> None:
    door = Door(tmp_path, "jwt+mtls")
    who = identity(door.call(BOTH, door.proof(BOTH), peer=LEAF.peer))
    assert who.methods == ("jwt", "mtls")
    assert who.bound_key == thumbprint(jwk(ec()))


def test_a_bad_token_is_a_bad_token_by_this_scheme_too(door: Door) -> None:
    stranger = token(rsa("stranger"), {"kid": "rsa"}, cnf={"jkt": jkt(ec())})
    for presented, why in (
        (stranger, Reason.TOKEN_SIGNATURE),
        (token(exp=1, cnf={"jkt": jkt(ec())}), Reason.TOKEN_EXPIRED),
        (token(cnf={"jkt": jkt(ec()), "jwk": {}}), Reason.TOKEN_BINDING),
        (b"", Reason.TOKEN_MALFORMED),
    ):
        result = door.call(presented, door.proof(presented))
        assert reason(result) is why
        assert challenge(result).startswith(b"DPoP ")
    proof = door.proof()
    assert reason(door.call(proof, proof)) is Reason.TOKEN_ISSUER, "a proof is no token"


# -- the same call, asked twice


def test_a_call_that_is_asked_again_is_not_its_own_replay(door: Door) -> None:
    possession = Possession(BOUND, door.proof(), "GET", URL)
    for seconds in (0, 3, 60, 300):  # waiting for keys; then each minute
        door.clock.advance(seconds)
        assert identity(door.ask(None, possession))
    assert reason(door.ask(None, Possession(BOUND, possession.proof, "GET", URL))) is Reason.DPOP_INVALID, "too old"


def test_what_was_proven_does_not_outlive_the_token(door: Door) -> None:
    possession = Possession(BOUND, door.proof(), "GET", URL)
    who = identity(door.ask(None, possession))
    door.desk.directory.revoke(who.handles[1])
    assert reason(door.ask(None, possession)) is Reason.CREDENTIAL_REVOKED


def test_what_was_proven_is_proven_of_that_key(door: Door) -> None:
    possession = Possession(BOUND, door.proof(), "GET", URL)
    assert identity(door.ask(None, possession))
    possession.proven = b"k" * 32
    assert reason(door.ask(None, possession)) is Reason.TOKEN_BINDING


def test_a_proof_that_was_refused_is_not_proven(door: Door) -> None:
    possession = Possession(BOUND, door.proof(htm="POST"), "GET", URL)
    for _ in range(2):
        assert reason(door.ask(None, possession)) is Reason.DPOP_INVALID
    assert possession.proven == b""


def test_a_call_that_waits_for_keys_has_not_used_its_proof(tmp_path: Path) -> None:
    door = Door(tmp_path, jwks_ns=1, max_stale_ns=1)
    proof = door.proof()
    possession = Possession(BOUND, proof, "GET", URL)
    assert isinstance(door.ask(None, possession), Pending)
    assert possession.proven == b""
    door.desk.jwt.update(issuer_spec())
    assert identity(door.ask(None, possession))
    assert reason(door.call(proof=proof)) is Reason.DPOP_REPLAYED


# -- what the caller is told


def test_the_challenge_says_what_is_wrong_and_what_is_taken(door: Door) -> None:
    algs = b'algs="%b"' % ALGS.encode()
    used = door.proof()
    assert identity(door.call(proof=used))
    for result, error in (
        (door.call(proof=used), b"invalid_dpop_proof"),
        (door.call(proof=door.proof(htm="POST")), b"invalid_dpop_proof"),
        (door.call(proof=door.proof(nonce="x")), b"use_dpop_nonce"),
        (door.call(proof=door.proof(key=ec("thief"))), b"invalid_token"),
        (door.call(scheme="bearer"), b"invalid_token"),
        (door.call(), b"invalid_token"),
        (door.call(UNBOUND, door.proof(UNBOUND)), b"invalid_token"),
    ):
        assert challenge(result) == b'DPoP realm="interlock", error="%b", %b' % (error, algs)


def test_a_nonce_where_the_issuer_requires_one(tmp_path: Path) -> None:
    door = Door(tmp_path, dpop_nonce=True)
    result = door.call(proof=door.proof())
    assert reason(result) is Reason.DPOP_NONCE_NEEDED
    assert isinstance(result, Refusal)
    nonce = dict(result.headers)[b"dpop-nonce"].decode()
    assert identity(door.call(proof=door.proof(nonce=nonce)))
    assert identity(door.call(UNBOUND, scheme="bearer")), "it is of no use to a token that is bound to nothing"


def test_a_nonce_that_ends_soon_is_renewed_with_the_answer(tmp_path: Path) -> None:
    door = Door(tmp_path, dpop_nonce=True)
    nonce = door.guard.nonce()
    possession = Possession(BOUND, door.proof(nonce=nonce), "GET", URL)
    assert identity(door.ask(None, possession))
    assert possession.nonce == ""
    door.clock.advance(70)
    possession = Possession(BOUND, door.proof(nonce=nonce), "GET", URL)
    assert identity(door.ask(None, possession))
    assert possession.nonce == door.guard.nonce() != nonce


def test_where_no_proofs_can_be_taken_nothing_bound_is(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.desk.proofs = None
    door.route = door.desk.route("jwt")
    result = door.call(proof=door.proof())
    assert reason(result) is Reason.DPOP_UNAVAILABLE
    assert isinstance(result, Refusal)
    assert result.headers == ()
    assert identity(door.call(UNBOUND, scheme="bearer"))


def test_nothing_secret_is_shown(door: Door) -> None:
    proof = door.proof()
    assert BOUND.decode() not in repr(Possession(BOUND, proof, "GET", URL))
    result = door.call(proof=proof, url=URL + "/x")
    assert isinstance(result, Refusal)
    assert "accounts" not in result.note
    assert proof.decode() not in repr(result)


# -- under FAPI 2.0


FITS = {"ES256": True, "PS256": True, "Ed25519": True, "RS256": False, "PS384": False, "ES384": False, "Ed448": False}
MADE_WITH: dict[str, tuple[str, Any]] = {
    "ES256": ("ES256", ec),
    "PS256": ("PS256", rsa),
    "Ed25519": ("EdDSA", lambda: OKPKey.generate_key("Ed25519")),
    "RS256": ("RS256", rsa),
    "PS384": ("PS384", rsa),
    "ES384": ("ES384", lambda: ec("ec384", "P-384")),
    "Ed448": ("EdDSA", lambda: OKPKey.generate_key("Ed448")),
}


@pytest.mark.parametrize("fapi2", [True, False])
@pytest.mark.parametrize("name", FITS)
def test_proofs_for_tokens_of_a_fapi_issuer_are_signed_with_what_fapi_names(
    tmp_path: Path, name: str, fapi2: bool
) -> None:
    """FAPI 2.0 Security Profile section 5.4.1, at the resource server: such a key was never given a token here."""
    door = Door(tmp_path, dpop_fapi2=fapi2)
    alg, make = MADE_WITH[name]
    key = make()
    presented = token(cnf={"jkt": jkt(key)})
    for _ in range(2):  # once more with a sender whose header is known by now
        number = door.number = door.number + 1
        claims = {"jti": f"f{number}", "htm": "GET", "htu": URL, "iat": door.clock.wall() // SECOND}
        claims["ath"] = b64(hashlib.sha256(presented).digest())
        proof = sign({"typ": "dpop+jwt", "alg": alg, "jwk": jwk(key)}, json.dumps(claims).encode(), key)
        found = door.call(presented, proof)
        if fapi2 and not FITS[name]:
            assert reason(found) is Reason.DPOP_INVALID
        else:
            assert isinstance(found, Identity)
        again = Door(tmp_path, dpop_fapi2=False)
        assert isinstance(again.call(presented, proof), Identity)


# -- a route that takes only tokens bound to a key


def test_a_route_may_take_only_tokens_that_are_bound_to_a_key(tmp_path: Path) -> None:
    door = Door(tmp_path, "jwt+dpop")
    assert identity(door.call(proof=door.proof())).bound_key == thumbprint(jwk(ec()))
    for result, why in (
        (door.call(UNBOUND, scheme="bearer"), Reason.CREDENTIAL_MISSING),
        (door.call(UNBOUND, scheme="bearer", proof=door.proof(UNBOUND)), Reason.CREDENTIAL_MISSING),
        (door.call(UNBOUND, proof=door.proof(UNBOUND)), Reason.TOKEN_BINDING),
        (door.call(ONLY_CERTIFICATE, scheme="bearer", peer=LEAF.peer), Reason.CREDENTIAL_MISSING),
        (door.call(scheme="bearer"), Reason.DPOP_MISSING),
        (door.call(None, scheme="bearer", proof=door.proof()), Reason.CREDENTIAL_MISSING),
        (door.ask(None, None, peer=LEAF.peer), Reason.CREDENTIAL_MISSING),
    ):
        assert reason(result) is why
    missing = challenge(door.ask(None, None))
    assert missing == b'DPoP realm="interlock", algs="%b"' % ALGS.encode()
    assert b"Bearer" not in challenge(door.call(token(exp=1), scheme="bearer"))


def test_a_token_that_another_route_has_verified_opens_none_that_asks_for_a_key(tmp_path: Path) -> None:
    """It is remembered by then, and the shortest way is taken."""
    door = Door(tmp_path, "jwt")
    assert identity(door.call(UNBOUND, scheme="bearer"))
    strict = door.desk.route("jwt+dpop")
    assert reason(strict(UNBOUND, None, None, SOURCE, door.clock.wall(), None)) is Reason.CREDENTIAL_MISSING


def test_with_a_certificate_or_beside_another_way(tmp_path: Path) -> None:
    door = Door(tmp_path, "jwt+dpop+mtls", "jwt+mtls")
    assert identity(door.call(BOTH, door.proof(BOTH), peer=LEAF.peer)).methods == ("jwt", "mtls")
    assert identity(door.call(ONLY_CERTIFICATE, scheme="bearer", peer=LEAF.peer)).methods == ("jwt", "mtls")
    door = Door(tmp_path, "jwt+dpop+mtls")
    assert reason(door.call(ONLY_CERTIFICATE, scheme="bearer", peer=LEAF.peer)) is Reason.CREDENTIAL_MISSING
    assert reason(door.call(BOUND, door.proof())) is Reason.CREDENTIAL_MISSING


@pytest.mark.parametrize("way", ["dpop", "api_key+dpop", "mtls+dpop"])
def test_a_key_is_a_tokens(tmp_path: Path, way: str) -> None:
    with pytest.raises(ValueError, match="not a list of ways"):
        Door(tmp_path, way)


# -- room for used proofs


def test_nobody_without_a_credential_takes_room_for_used_proofs(tmp_path: Path) -> None:
    """The attack: proofs with keys of one's own, beside nothing or a guessed key, until no caller's finds a place."""
    door = Door(tmp_path, "jwt", "api_key")
    door.guard._table.close()
    table = ReplayTable.create(tmp_path / "small", wall=NOW - 3600 * SECOND, monotonic=1400 * SECOND, slots=128)
    door.guard._table = table  # with 32 places for one key, as it has thousands for all keys of a flood
    for number in range(80):
        guessed = b"ilk_guessed" if number % 2 else None
        found = door.ask(None, Possession(None, door.proof(b"", ath=...), "GET", URL), key=guessed)
        assert reason(found) in (Reason.CREDENTIAL_MISSING, Reason.KEY_UNKNOWN)
    assert identity(door.call(proof=door.proof()))
