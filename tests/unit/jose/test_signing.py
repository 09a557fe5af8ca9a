"""What we sign, joserfc verifies; and what nobody signed, it does not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet, OKPKey

from interlock.errors import KeyMaterialError
from interlock.jose import KeySet as OwnKeySet
from interlock.jose import thumbprint, verify_jwt
from interlock.jose.signing import SIGNING, Signer, encode_base64url, make_key

SIGNERS = {algorithm: Signer(make_key(algorithm), algorithm) for algorithm in SIGNING}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def key_of(signer: Signer) -> ECKey | OKPKey:
    return (ECKey if signer.algorithm == "ES256" else OKPKey).import_key(signer.jwk)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", SIGNING)
@given(claims=st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=6))
def test_another_library_verifies_what_we_sign(algorithm: str, claims: dict[str, Any]) -> None:
    signer = SIGNERS[algorithm]
    text = signer.sign(claims, "at+jwt")
    found = jws.deserialize_compact(text, key_of(signer), algorithms=[algorithm])
    assert json.loads(found.payload) == claims
    assert found.protected == {"alg": algorithm, "typ": "at+jwt", "kid": signer.kid}
    assert "=" not in text
    header, payload = verify_jwt(text.encode(), OwnKeySet.parse(json.dumps({"keys": [signer.jwk]})), [algorithm])
    assert payload == claims
    assert header["kid"] == signer.kid


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", SIGNING)
def test_a_changed_letter_is_another_token(algorithm: str) -> None:
    signer = SIGNERS[algorithm]
    text = signer.sign({"sub": "alice"}, "JWT")
    head, payload, signature = text.split(".")
    other = encode_base64url(json.dumps({"sub": "mallory"}).encode())
    for forged in (f"{head}.{other}.{signature}", f"{head}.{payload}.{signature[:-4]}AAAA"):
        with pytest.raises(BadSignatureError):
            jws.deserialize_compact(forged, key_of(signer), algorithms=[algorithm])


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_a_set_of_both_is_a_jwk_set() -> None:
    found = KeySet.import_key_set({"keys": [signer.jwk for signer in SIGNERS.values()]})
    for signer in SIGNERS.values():
        assert jwt.decode(signer.sign({"a": 1}, "JWT"), found, algorithms=list(SIGNING)).claims == {"a": 1}


@pytest.mark.parametrize("algorithm", SIGNING)
def test_a_key_is_named_by_its_thumbprint(algorithm: str) -> None:
    """RFC 7638, by another library and by ours; the name does not depend on what else the JWK says."""
    for signer in (SIGNERS[algorithm], Signer(make_key(algorithm), algorithm)):
        assert signer.kid == key_of(signer).thumbprint()
        assert signer.kid == encode_base64url(thumbprint(signer.jwk))
        assert signer.jwk["use"] == "sig"
        assert signer.jwk["alg"] == algorithm


@pytest.mark.parametrize("algorithm", SIGNING)
def test_nothing_private_is_published_or_shown(algorithm: str) -> None:
    pem = make_key(algorithm)
    signer = Signer(pem, algorithm)
    assert set(signer.jwk) <= {"kty", "crv", "x", "y", "kid", "alg", "use"}
    private = load_pem_private_key(pem, None).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    shown = f"{signer!r} {signer} {signer.jwk}"
    assert base64.b64encode(private).decode()[60:80] not in shown
    assert repr(signer) == f"Signer(kid={signer.kid!r})"


def test_signatures_of_es256_have_32_bytes_for_each_number() -> None:
    """Numbers that begin with zero bytes are padded (RFC 7518 section 3.4): one in 128 signatures has one."""
    signer = SIGNERS["ES256"]
    for number in range(600):
        signature = signer.sign({"n": number}, "JWT").rpartition(".")[2]
        assert len(signature) == 86


def test_coordinates_have_32_bytes_too() -> None:
    for _ in range(300):
        jwk = Signer(make_key("ES256"), "ES256").jwk
        assert len(jwk["x"]) == len(jwk["y"]) == 43


def test_a_key_is_for_its_own_algorithm() -> None:
    def pem(key: Any, encryption: Any = None) -> bytes:
        return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))

    wrong = [
        (make_key("ES256"), "EdDSA"),
        (make_key("EdDSA"), "ES256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "ES256"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "ES256"),
        (pem(ed448.Ed448PrivateKey.generate()), "EdDSA"),
        (pem(rsa.generate_private_key(65537, 2048)), "ES256"),
        (make_key("ES256"), "none"),
        (make_key("ES256"), "HS256"),
        (b"", "ES256"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "ES256"),
    ]
    for key, algorithm in wrong:
        with pytest.raises(KeyMaterialError):
            Signer(key, algorithm)


def test_a_key_under_a_password_is_damaged_for_us() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(KeyMaterialError):
        Signer(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")), "ES256")


def test_kinds_of_tokens_are_told_apart_by_their_header() -> None:
    signer = SIGNERS["ES256"]
    kinds = {jws.extract_compact(signer.sign({}, kind).encode()).headers()["typ"] for kind in ("JWT", "at+jwt", "JWT")}
    assert kinds == {"JWT", "at+jwt"}
