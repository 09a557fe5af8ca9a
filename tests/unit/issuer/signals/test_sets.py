"""Security event tokens: made as RFC 8417 and SSF 1.0 want them, and verified against what an attacker would send."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet

from interlock.clock import SECOND
from interlock.identity import JwtIssuer, RoleTable
from interlock.issuer.signals import sets
from interlock.issuer.signals.events import SESSION_REVOKED, VERIFICATION, iss_sub, opaque
from interlock.issuer.signals.sets import CODES, SetRefused, claims_of, number_of, verify
from interlock.jose import Compact
from interlock.jose.signing import Signer, make_key
from interlock.model import Refusal
from interlock.snapshot import IssuerSpec
from tests.unit.jose.material import b64, ec, forge, oct_key, public, rsa, sign

ISSUER = "https://idp.example.com/123456789/"
OTHER = "https://other.example.com"
AUDIENCE = "https://sp.example.com/caep"
NOW = 1_615_305_160 * SECOND
HEADER = {"typ": "secevent+jwt", "alg": "RS256", "kid": "rsa"}
DAY = 86_400 * SECOND

# CAEP 1.0 section 3.1.2, "Required claims + Simple Subject", as it stands there.
EXAMPLE: dict[str, Any] = {
    "iss": ISSUER,
    "jti": "24c63fb56e5a2d77a6b512616ca9fa24",
    "iat": 1615305159,
    "aud": AUDIENCE,
    "txn": "8675309",
    "sub_id": {"format": "opaque", "id": "dMTlD|1600802906337.16|16008.16"},
    "events": {SESSION_REVOKED: {"event_timestamp": 1615304991}},
}
# The unsecured SET of RFC 8417 section 2.2: of another profile, without a subject, and signed by nobody.
SCIM = (
    b"eyJ0eXAiOiJzZWNldmVudCtqd3QiLCJhbGciOiJub25lIn0."
    b"eyJqdGkiOiI0ZDM1NTllYzY3NTA0YWFiYTY1ZDQwYjAzNjNmYWFkOCIsImlhdCI6MTQ1ODQ5NjQwNCwiaXNzIjoiaHR0cHM6Ly9zY2ltLmV4YW1wb"
    b"GUuY29tIiwiYXVkIjpbImh0dHBzOi8vc2NpbS5leGFtcGxlLmNvbS9GZWVkcy85OGQ1MjQ2MWZhNWJiYzg3OTU5M2I3NzU0IiwiaHR0cHM6Ly9zY2l"
    b"tLmV4YW1wbGUuY29tL0ZlZWRzLzVkNzYwNDUxNmIxZDA4NjQxZDc2NzZlZTciXSwiZXZlbnRzIjp7InVybjppZXRmOnBhcmFtczpzY2ltOmV2ZW50"
    b"OmNyZWF0ZSI6eyJyZWYiOiJodHRwczovL3NjaW0uZXhhbXBsZS5jb20vVXNlcnMvNDRmNjE0MmRmOTZiZDZhYjYxZTc1MjFkOSIsImF0dHJpYnV0Z"
    b"XMiOlsiaWQiLCJuYW1lIiwidXNlck5hbWUiLCJwYXNzd29yZCIsImVtYWlscyJdfX19."
)


class FakeSource:
    """An issuer with its keys; implements `Source`."""

    def __init__(self, issuer: str, keys: str, algorithms: tuple[str, ...] = ("RS256", "ES256")) -> None:
        self.issuer = issuer
        self.audience = (AUDIENCE, "sp")
        self.max_age = 14 * DAY
        self.leeway = 30 * SECOND
        spec = IssuerSpec(issuer, "idp.example.com", ["sp"], list(algorithms), jwks=keys)
        self._keys = JwtIssuer(spec, RoleTable({}))

    def check_signature(self, compact: Compact, now: int) -> None:
        self._keys.check_signature(compact)


SOURCES = {
    ISSUER: FakeSource(ISSUER, public(rsa())),
    OTHER: FakeSource(OTHER, public(rsa("other"))),
}


def take(token: bytes) -> sets.EventSet:
    return verify(token, SOURCES.get, NOW)[1]


def made(header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> bytes:
    """A good token but for what changes; a claim set to None is left out."""
    claims = {name: value for name, value in {**EXAMPLE, **changes}.items() if value is not None}
    return sign(header or HEADER, json.dumps(claims).encode(), key or rsa())


def refused(token: bytes) -> SetRefused:
    with pytest.raises(SetRefused) as caught:
        take(token)
    assert caught.value.code in CODES
    return caught.value


# -- good ones


def test_the_example_of_caep_is_taken() -> None:
    found = take(made())
    assert (found.issuer, found.jti, found.iat) == (ISSUER, EXAMPLE["jti"], 1615305159)
    assert found.subject == EXAMPLE["sub_id"]
    assert found.events == EXAMPLE["events"]
    assert found.txn == "8675309"


@pytest.mark.parametrize("typ", ["secevent+jwt", "application/secevent+jwt", "SecEvent+JWT"])
def test_types_are_compared_as_media_types(typ: str) -> None:
    assert take(made({**HEADER, "typ": typ})).jti == EXAMPLE["jti"]


def test_it_may_be_for_several() -> None:
    # SSF 1.0 section 4.1.8.
    assert take(made(aud=["https://sp.example.com/web", AUDIENCE])).jti
    assert take(made(aud="sp")).jti


def test_names_that_are_not_known_are_ignored() -> None:
    assert take(made(toe=1615304991, nbf="x", unknown={"deep": [1]})).jti


# -- what an attacker, or a mistake, sends


def test_the_example_of_rfc_8417_is_of_nobody_here() -> None:
    assert refused(SCIM).code == "invalid_issuer"
    SOURCES["https://scim.example.com"] = FakeSource("https://scim.example.com", public(rsa()))
    try:
        assert refused(SCIM).code == "invalid_key", "alg none is no signature"
    finally:
        del SOURCES["https://scim.example.com"]


@pytest.mark.parametrize("typ", [None, "JWT", "at+jwt", "logout+jwt", "dpop+jwt", "jwt", "secevent", ""])
def test_no_other_token_is_taken_for_one(typ: str | None) -> None:
    """An access token, an ID token, a logout token of the same issuer and with the same key."""
    header = {name: value for name, value in {**HEADER, "typ": typ}.items() if value is not None}
    caught = refused(made(header))
    assert caught.code == "invalid_request"
    assert not caught.authentic


@pytest.mark.parametrize(("claim", "value"), [("exp", 1615309999), ("sub", "jane.smith@example.com"), ("exp", 0)])
def test_it_has_neither_exp_nor_sub(claim: str, value: Any) -> None:
    caught = refused(made(**{claim: value}))
    assert caught.code == "invalid_request"
    assert claim in caught.description
    assert caught.authentic, "the issuer itself has said so"


def test_the_key_of_another_issuer_opens_nothing() -> None:
    assert refused(made({**HEADER, "kid": "other"}, rsa("other"))).code == "invalid_key"
    assert refused(made(HEADER, rsa("other"))).code == "invalid_key"
    # And who is trusted itself cannot speak as somebody else.
    assert take(made({**HEADER, "kid": "other"}, rsa("other"), iss=OTHER, sub_id=opaque("x"))).issuer == OTHER


def test_an_issuer_that_is_not_in_the_file_is_none() -> None:
    for issuer in ("https://evil.example.com", ISSUER.rstrip("/"), "", 7, [ISSUER]):
        assert refused(made(iss=issuer)).code == "invalid_issuer"
    assert refused(made(iss=None)).code == "invalid_issuer"


def test_algorithms_are_not_confused() -> None:
    payload = json.dumps(EXAMPLE).encode()
    confused = forge({**HEADER, "alg": "HS256"}, payload, None).rstrip(b".")
    public_key = rsa().as_pem(private=False)  # as the secret: everybody has it
    attempts = [
        forge({**HEADER, "alg": "none"}, payload, None),
        confused + b"." + b64(hmac.digest(public_key, confused, "sha256")).encode(),
        forge({**HEADER, "alg": "HS256"}, payload, oct_key(), "HS256"),
        forge({**HEADER, "alg": "PS256"}, payload, rsa(), "PS256"),  # not among those of the file
        forge({**HEADER, "alg": "ES256", "kid": "rsa"}, payload, ec(), "ES256"),
        forge({**HEADER, "alg": "RS256", "jwk": rsa("mine").as_dict(private=False)}, payload, rsa("mine"), "RS256"),
        forge({**HEADER, "jku": "https://evil.example.com/jwks"}, payload, rsa(), "RS256"),
        forge({**HEADER, "crit": ["exp"]}, payload, rsa(), "RS256"),
        forge({**HEADER, "b64": False}, payload, rsa(), "RS256"),
    ]
    for attempt in attempts:
        assert refused(attempt).code == "invalid_key"


def test_an_altered_one_does_not_hold() -> None:
    head, _, signature = made().split(b".")
    payload = base64.urlsafe_b64encode(json.dumps({**EXAMPLE, "jti": "x"}).encode()).rstrip(b"=")
    assert refused(b".".join((head, payload, signature))).code == "invalid_key"
    assert refused(b".".join((head, payload, b""))).code == "invalid_key"


def test_a_key_that_is_not_known_may_come_to_be() -> None:
    caught = refused(made({**HEADER, "kid": "next"}, rsa("next")))
    assert caught.key_unknown
    assert not refused(made({**HEADER, "kid": "rsa"}, rsa("next"))).key_unknown


@pytest.mark.parametrize(
    "aud", [None, "https://sp.example.com", [], [7], {"sp": 1}, "SP", ["https://else.example.com"]]
)
def test_what_is_for_somebody_else_is_not_for_us(aud: Any) -> None:
    assert refused(made(aud=aud)).code == "invalid_audience"


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 513},
        {"iat": None},
        {"iat": "1615305159"},
        {"iat": True},
        {"iat": -1},
        {"iat": 1615305160 + 31},
        {"iat": 1615305160 - 15 * 86_400},
        {"iat": 10**30},
        {"sub_id": None},
        {"sub_id": "alice"},
        {"sub_id": {"format": "complex"}},
        {"events": None},
        {"events": {}},
        {"events": []},
        {"events": {SESSION_REVOKED: "x"}},
        {"events": {f"urn:event:{number}": {} for number in range(9)}},
    ],
)
def test_what_is_missing_or_no_such_thing(changes: dict[str, Any]) -> None:
    assert refused(made(**changes)).code == "invalid_request"


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"x",
        b"a.b",
        b"a.b.c.d",
        b"e30.e30.",
        b"eyJ0eXAiOiJzZWNldmVudCtqd3QifQ.W10.AA",
        b"{}",
        b"\xff\xfe",
        b"A" * 20_000,
        b"eyJ0eXAi" + b"A" * 30_000 + b".e30.AA",
    ],
)
def test_what_is_no_token_at_all(token: bytes) -> None:
    assert refused(token).code == "invalid_request"


def test_a_member_that_is_there_twice_has_no_meaning() -> None:
    claims = json.dumps(EXAMPLE)[:-1] + ', "iss": "https://other.example.com"}'
    assert refused(sign(HEADER, claims.encode(), rsa())).code == "invalid_request"


def test_deep_nesting_is_refused() -> None:
    deep = b'{"a":' * 2000 + b"1" + b"}" * 2000
    assert refused(sign(HEADER, deep, rsa())).code == "invalid_request"


@pytest.mark.parametrize("cut", range(0, 600, 37))
def test_no_part_of_a_token_is_one(cut: int) -> None:
    refused(made()[:cut])


def test_nothing_of_a_token_is_in_a_refusal() -> None:
    token = made(aud="x")
    assert token.rpartition(b".")[2].decode() not in refused(token).note


# -- making


def test_ours_says_what_the_standard_wants_and_another_library_verifies_it() -> None:
    signer = Signer(make_key("ES256"), "ES256")
    claims = claims_of(
        ISSUER, ["shop"], iss_sub(ISSUER, "alice"), SESSION_REVOKED, {"event_timestamp": 1}, NOW, txn="t"
    )
    text = sets.sign(signer, claims)
    header = json.loads(base64.urlsafe_b64decode(text.split(".")[0] + "=="))
    assert header == {"alg": "ES256", "typ": "secevent+jwt", "kid": signer.kid}
    decoded = joserfc_jwt.decode(text, KeySet([ECKey.import_key(signer.jwk)]))
    assert set(decoded.claims) == {"iss", "jti", "iat", "aud", "sub_id", "events", "txn"}
    assert decoded.claims["aud"] == "shop"
    assert decoded.claims["iat"] == NOW // SECOND
    source = FakeSource(ISSUER, json.dumps({"keys": [signer.jwk]}))
    source.audience = ("shop",)
    assert verify(text.encode(), {ISSUER: source}.get, NOW)[1].subject == iss_sub(ISSUER, "alice")


def test_each_has_a_name_of_its_own() -> None:
    names = {claims_of(ISSUER, ["a"], opaque("s"), VERIFICATION, {}, NOW)["jti"] for _ in range(100)}
    assert len(names) == 100


def test_several_audiences_are_a_list() -> None:
    assert claims_of(ISSUER, ["a", "b"], opaque("s"), VERIFICATION, {}, NOW)["aud"] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (1.9, 1), (True, None), ("1", None), (None, None), (-1, None), (float("nan"), None), (1e400, None)],
)
def test_dates(value: Any, expected: int | None) -> None:
    assert number_of(value) == expected


def test_our_own_set_opens_nothing_as_an_access_token(desk: Any) -> None:
    """The workers, introspection and `id_token_hint` of the very issuer whose key has signed it."""
    claims = claims_of(desk.issuer.url, [desk.issuer.url], iss_sub(desk.issuer.url, "x"), SESSION_REVOKED, {}, NOW)
    text = sets.sign(desk.keys.signer, claims)
    verifier = desk.verifier([desk.issuer.url])
    assert isinstance(verifier.verify(text.encode(), desk.clock.wall()), Refusal)
    assert desk.issuer.hinted(text) == {}
