"""Key sets: what is taken, and what is set aside with a reason."""

from __future__ import annotations

import json

import pytest
from joserfc.jwk import ECKey, OKPKey

from interlock.errors import KeyMaterialError
from interlock.jose import KeySet
from tests.unit.jose.material import b64, ec, ed, oct_key, public, rsa


def test_keys_are_for_the_algorithms_that_fit_them() -> None:
    keys = KeySet.parse(public(rsa(), ec(), ed()))
    assert [sorted(key.algorithms) for key in keys.keys] == [
        ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        ["ES256"],
        ["Ed25519", "EdDSA"],
    ]


def test_alg_narrows_a_key_to_one_algorithm() -> None:
    keys = KeySet.parse(public(rsa(), alg="RS384"))
    assert keys.keys[0].algorithms == {"RS384"}


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ({"use": "enc"}, "use"),
        ({"key_ops": ["encrypt"]}, "key_ops"),
        ({"alg": "ES256"}, "alg"),
        ({"alg": "RSA-OAEP"}, "alg"),
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"kty": "RSA2"}, "kty"),
        ({"d": "AQAB"}, "private"),
        ({"n": "not base64 !"}, ""),
        ({"n": 5}, ""),
        ({"e": None}, ""),
    ],
)
def test_a_key_that_cannot_verify_is_set_aside(member: dict[str, object], why: str) -> None:
    bad = {**rsa().as_dict(private=False), **member}
    good = ec().as_dict(private=False)
    keys = KeySet.parse(json.dumps({"keys": [bad, good]}))
    assert [key.kid for key in keys.keys] == ["ec"]
    assert why in keys.set_aside["rsa"]


def test_a_huge_exponent_is_set_aside() -> None:
    bad = {**rsa().as_dict(private=False), "e": b64((2**70 + 1).to_bytes(9, "big"))}
    assert "exponent" in KeySet.parse(json.dumps(bad)).set_aside["rsa"]


def test_a_short_modulus_is_set_aside() -> None:
    assert "1024 bits" in KeySet.parse(public(rsa("short", 1024))).set_aside["short"]


def test_a_point_off_the_curve_is_set_aside() -> None:
    bad = {**ec().as_dict(private=False), "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
    assert "ec" in KeySet.parse(json.dumps(bad)).set_aside


def test_keys_for_agreement_and_foreign_curves_are_set_aside() -> None:
    x25519 = OKPKey.generate_key("X25519", {"kid": "x"}).as_dict(private=False)
    koblitz = ECKey.generate_key("secp256k1", {"kid": "k"}).as_dict(private=False)
    assert set(KeySet.parse(json.dumps({"keys": [x25519, koblitz]})).set_aside) == {"x", "k"}


def test_a_published_private_key_is_not_used() -> None:
    keys = KeySet.parse(json.dumps(rsa().as_dict(private=True)))
    assert not keys
    assert "private" in keys.set_aside["rsa"]


def test_shared_keys_only_when_asked_for_and_long_enough() -> None:
    text = json.dumps(oct_key().as_dict(private=True))
    assert not KeySet.parse(text)
    assert KeySet.parse(text, secrets=True).keys[0].algorithms == {"HS256", "HS384", "HS512"}
    short = json.dumps({"kty": "oct", "kid": "s", "k": "c2hvcnQ"})
    assert not KeySet.parse(short, secrets=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys":{}}', '{"keys":[],"keys":[]}', "null", '{"keys":"x"}'])
def test_what_is_no_key_set_is_refused(text: str) -> None:
    with pytest.raises(KeyMaterialError):
        KeySet.parse(text)


def test_members_that_are_no_objects_are_set_aside() -> None:
    assert set(KeySet.parse('{"keys":[1,null,[]]}').set_aside) == {"#0", "#1", "#2"}


def test_size_and_number_are_bounded() -> None:
    with pytest.raises(KeyMaterialError, match="larger"):
        KeySet.parse('{"keys":[]' + " " * (512 * 1024) + "}")
    with pytest.raises(KeyMaterialError, match="more than"):
        KeySet.parse(json.dumps({"keys": [{}] * 257}))
