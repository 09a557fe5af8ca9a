"""Tokens, honest and forged, each with the reason of its refusal."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import Key

from interlock.jose import KeySet, KeyUnknown, TokenRefused, verify_jws, verify_jwt
from interlock.jose.jws import ASYMMETRIC
from interlock.model import Reason
from tests.unit.jose.material import b64, ec, ed, forge, oct_key, public, rsa, sign

CLAIMS = b'{"iss":"https://iss","sub":"alice"}'
KEYS = KeySet.parse(public(rsa(), ec(), ed()))
SIGNERS: dict[str, Key] = {
    "RS256": rsa(),
    "RS384": rsa(),
    "RS512": rsa(),
    "PS256": rsa(),
    "PS384": rsa(),
    "PS512": rsa(),
    "ES256": ec(),
    "EdDSA": ed(),
    "Ed25519": ed(),
}


def reason(token: bytes, keys: KeySet = KEYS, algorithms: Any = ASYMMETRIC) -> Reason:
    with pytest.raises(TokenRefused) as caught:
        verify_jwt(token, keys, algorithms)
    return caught.value.reason


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_an_honest_token_is_verified(algorithm: str) -> None:
    key = SIGNERS[algorithm]
    token = sign({"alg": algorithm, "kid": key.kid}, CLAIMS, key)
    header, claims = verify_jwt(token, KEYS, [algorithm])
    assert header["alg"] == algorithm
    assert claims == {"iss": "https://iss", "sub": "alice"}


@pytest.mark.parametrize("curve", ["P-384", "P-521"])
def test_larger_curves(curve: str) -> None:
    key = ec("big", curve)
    algorithm = {"P-384": "ES384", "P-521": "ES512"}[curve]
    assert verify_jwt(sign({"alg": algorithm, "kid": "big"}, CLAIMS, key), KeySet.parse(public(key)), ASYMMETRIC)


def test_an_algorithm_that_is_not_allowed_is_refused_though_the_key_fits() -> None:
    token = sign({"alg": "RS512", "kid": "rsa"}, CLAIMS, rsa())
    assert reason(token, algorithms=["RS256"]) is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "RS1", None, 7, ["RS256"], "RS256 "]
)
def test_none_and_nonsense_are_no_algorithms(algorithm: Any) -> None:
    token = forge({"alg": algorithm, "kid": "rsa"}, CLAIMS, None)
    assert reason(token) is Reason.TOKEN_ALGORITHM
    assert reason(token, algorithms=["none", "None", "NONE", "nOnE", "", "RS1", "RS256 "]) is Reason.TOKEN_ALGORITHM


def test_a_public_key_is_never_a_shared_secret() -> None:
    """HS256 over the RSA key's own PEM, with HS256 allowed by a careless operator."""
    for secret in (rsa().as_pem(private=False), rsa().as_der(private=False)):
        signing = (b64(b'{"alg":"HS256","kid":"rsa"}') + "." + b64(CLAIMS)).encode()
        token = signing + b"." + b64(hmac.digest(secret, signing, "sha256")).encode()
        assert reason(token) is Reason.TOKEN_ALGORITHM
        assert reason(token, algorithms=["RS256", "HS256"]) is Reason.TOKEN_ALGORITHM


def test_a_shared_key_verifies_only_where_it_was_let_in() -> None:
    token = sign({"alg": "HS256", "kid": "oct"}, CLAIMS, oct_key())
    text = json.dumps(oct_key().as_dict(private=True))
    assert verify_jwt(token, KeySet.parse(text, secrets=True), ["HS256"])
    assert reason(token, KeySet.parse(text), ["HS256"]) is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize(
    "member",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"jwk": rsa().as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
    ],
)
def test_a_header_that_brings_a_key_or_changes_the_rules_is_refused(member: dict[str, Any]) -> None:
    token = forge({"alg": "RS256", "kid": "rsa", **member}, CLAIMS, rsa(), "RS256")
    assert reason(token) is Reason.TOKEN_HEADER


def test_harmless_header_parameters_are_ignored() -> None:
    header = {"alg": "RS256", "kid": "rsa", "x5t": "abc", "nonce": "1", "cty": "x"}
    assert verify_jwt(forge(header, CLAIMS, rsa(), "RS256"), KEYS, ASYMMETRIC)


def test_an_attackers_own_key_does_not_verify() -> None:
    token = forge({"alg": "RS256", "kid": "rsa"}, CLAIMS, rsa("mine"), "RS256")
    assert reason(token) is Reason.TOKEN_SIGNATURE


def test_a_key_is_not_used_for_another_type() -> None:
    assert reason(forge({"alg": "ES256", "kid": "rsa"}, CLAIMS, ec(), "ES256")) is Reason.TOKEN_ALGORITHM
    assert reason(forge({"alg": "RS256", "kid": "ec"}, CLAIMS, rsa(), "RS256")) is Reason.TOKEN_ALGORITHM


def test_an_unknown_kid_says_that_newer_keys_might_help() -> None:
    with pytest.raises(KeyUnknown):
        verify_jwt(sign({"alg": "RS256", "kid": "new"}, CLAIMS, rsa()), KEYS, ASYMMETRIC)


@pytest.mark.parametrize("value", [1, None, ["rsa"], {"a": 1}, True])
@pytest.mark.parametrize("name", ["kid", "typ", "cty", "x5t"])
def test_names_in_the_header_are_strings(name: str, value: Any) -> None:
    token = forge({"alg": "RS256", "kid": "rsa", name: value}, CLAIMS, rsa(), "RS256")
    assert reason(token) is Reason.TOKEN_MALFORMED


def test_a_token_without_kid_tries_the_few_keys_that_fit() -> None:
    token = sign({"alg": "RS256"}, CLAIMS, rsa("two"))
    assert verify_jwt(token, KeySet.parse(public(rsa(), rsa("two"), ec())), ASYMMETRIC)
    many = KeySet.parse(public(*[ec(str(number)) for number in range(5)]))
    assert reason(sign({"alg": "ES256"}, CLAIMS, ec("0")), many) is Reason.TOKEN_KEY_UNKNOWN


def test_a_key_without_kid_serves_tokens_with_one() -> None:
    unnamed = {name: value for name, value in rsa().as_dict(private=False).items() if name != "kid"}
    token = sign({"alg": "RS256", "kid": "whatever"}, CLAIMS, rsa())
    assert verify_jwt(token, KeySet.parse(json.dumps({"keys": [unnamed]})), ASYMMETRIC)


def good() -> bytes:
    return sign({"alg": "ES256", "kid": "ec"}, CLAIMS, ec())


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"..",
        b"a.b",
        b"a.b.c.d",
        b".".join([b"a"] * 5),
        good() + b".",
        good() + b"=",
        b" " + good(),
        good() + b"\n",
        good().replace(b".", b"..", 1),
        b"Bearer " + good(),
        good().decode().replace("e", "\u0435", 1).encode(),
        b"A" * (16 * 1024 + 1),
        forge(b'{"alg":"ES256","alg":"none","kid":"ec"}', CLAIMS, ec(), "ES256"),
        forge(b'["ES256"]', CLAIMS, ec(), "ES256"),
        forge(b'{"alg":"ES256","kid":"ec","pad":"' + b"a" * 4096 + b'"}', CLAIMS, ec(), "ES256"),
        forge({"alg": "ES256", "kid": "ec"}, b'{"sub":"alice","sub":"root"}', ec(), "ES256"),
        forge({"alg": "ES256", "kid": "ec"}, b'["sub"]', ec(), "ES256"),
        forge({"alg": "ES256", "kid": "ec"}, b"", ec(), "ES256"),
    ],
)
def test_malformed_tokens(token: bytes) -> None:
    assert reason(token) is Reason.TOKEN_MALFORMED


def test_every_single_byte_counts() -> None:
    """Changing any one byte of a token to any one other character makes it invalid."""
    token = good()
    for position in range(len(token)):
        changed = bytearray(token)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        with pytest.raises(TokenRefused):
            verify_jwt(bytes(changed), KEYS, ASYMMETRIC)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=80))
def test_nothing_but_a_typed_refusal_comes_of_rubbish(header: bytes, payload: bytes, signature: bytes) -> None:
    """Arbitrary segments, encoded or raw, are refused with a reason and never raise anything else."""
    for token in (
        b".".join((header, payload, signature)),
        ".".join(map(b64, (header, payload, signature))).encode(),
        ".".join((b64(b'{"alg":"ES256","kid":"ec"}'), b64(payload), b64(signature))).encode(),
    ):
        with pytest.raises(TokenRefused):
            verify_jws(token, KEYS, ASYMMETRIC)


def test_notes_never_hold_the_token() -> None:
    token = forge({"alg": "ES256", "kid": "ec" + "x" * 500}, CLAIMS, ec(), "ES256")
    with pytest.raises(TokenRefused) as caught:
        verify_jwt(token, KEYS, ASYMMETRIC)
    assert len(caught.value.note) < 120
    assert token.split(b".")[2].decode() not in str(caught.value)
