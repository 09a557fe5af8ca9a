"""Thumbprints of JWKs, by the standards' own examples."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.jose import Malformed, thumbprint
from tests.unit.jose.material import b64, ec, ed, oct_key, rsa

# RFC 7638 section 3.1
RSA = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
# RFC 8037 appendix A.3
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
# RFC 9449 section 6.1
EC = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}


@pytest.mark.parametrize(
    ("jwk", "expected"),
    [
        (RSA, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (OKP, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        (EC, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
    ],
)
def test_the_examples_of_the_standards(jwk: dict[str, Any], expected: str) -> None:
    assert b64(thumbprint(jwk)) == expected
    assert thumbprint({**dict(reversed(jwk.items())), "use": "sig", "kid": "other"}) == thumbprint(jwk)


@pytest.mark.parametrize("key", [rsa(), ec(), ec("big", "P-521"), ed()])
def test_the_private_half_has_the_thumbprint_of_the_public_one(key: Any) -> None:
    assert b64(thumbprint(key.as_dict(private=True))) == key.thumbprint()


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": None},
        {"kty": ["EC"]},
        {"kty": "oct", "k": "AAAA"},
        oct_key().as_dict(private=True),
        {"kty": "EC", "crv": "P-256", "x": "AAAA"},
        {**EC, "x": 5},
        {**EC, "x": ""},
        {**EC, "x": 'A","y":"B'},
        {**EC, "x": "A\\u0041"},
        {**EC, "x": "A=="},
        {**EC, "x": "\u00e9"},
        {**EC, "x": "AAAA\n"},
    ],
)
def test_what_is_no_public_key_has_none(jwk: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        thumbprint(jwk)
