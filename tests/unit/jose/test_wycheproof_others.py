"""Wycheproof's other two JOSE sets: encrypted tokens, of which we take none, and keys, good and bad."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from interlock.jose import KeySet, TokenRefused, split, verify_jws
from interlock.model import Reason
from tests.unit.jose.material import FOLDER, b64, oct_key

JWE = FOLDER / "wycheproof" / "json_web_encryption_test.json"
JWK = FOLDER / "wycheproof" / "json_web_key_test.json"
ALGORITHMS = ("RS256", "ES256", "HS256", "HS384", "HS512")
ACCEPTED = "accepted"

# Where we decide otherwise than the set says, and why.
EXCEPTIONS = {
    1: "shared and public keys in one set: each is for its own algorithms, and a shared one is only taken if asked for",
    4: "two keys of one name are both tried, as RFC 7517 section 4.5 allows while keys are changed",
    7: "a key with the ROCA weakness is well formed; whoever's it is has to replace it",
}

if not (JWE.exists() and JWK.exists()):
    pytest.skip(
        f"CONFORMANCE NOT TESTED: no Wycheproof vectors in {FOLDER}; set INTERLOCK_VECTORS", allow_module_level=True
    )


def cases(file: Any) -> list[Any]:
    return [
        pytest.param(group, test, id=f"{test['tcId']}-{test['comment']}")
        for group in json.loads(file.read_text())["testGroups"]
        for test in group["tests"]
    ]


@pytest.mark.parametrize(("group", "test"), cases(JWE))
def test_no_encrypted_token_is_taken(group: dict[str, Any], test: dict[str, Any]) -> None:
    """Whether the set calls it valid or not, and whatever its key is for: nothing here decrypts."""
    keys = KeySet.parse(json.dumps(group["private"]), secrets=True)
    text = test["jwe"] if isinstance(test["jwe"], str) else json.dumps(test["jwe"])
    with pytest.raises(TokenRefused) as refused:
        verify_jws(text.encode(), keys, ALGORITHMS)
    assert refused.value.reason is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(("group", "test"), cases(JWK))
def test_keys(group: dict[str, Any], test: dict[str, Any]) -> None:
    keys = KeySet.parse(json.dumps(group.get("public") or group["private"]), secrets=True)
    try:
        verify_jws(test["jws"].encode(), keys, ALGORITHMS)
        found = ACCEPTED
    except TokenRefused as refused:
        found = refused.reason
    if test["tcId"] in EXCEPTIONS or test["result"] == "valid":
        assert found == ACCEPTED
    elif test["comment"] == "rejectsModifiedSignature":
        assert found is Reason.TOKEN_SIGNATURE
    else:
        assert found is not ACCEPTED
        assert not len(keys) or found is Reason.TOKEN_ALGORITHM, "the key is set aside, or for something else"


def test_both_sets_were_run_whole() -> None:
    assert (len(cases(JWE)), len(cases(JWK))) == (139, 26)


@pytest.mark.parametrize("segments", [3, 5])
def test_what_is_compressed_is_never_unpacked(segments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few KiB that would be 10 MiB: as a JWE (RFC 7516), or calling itself one in a signed token's header."""

    def unpacked(*_: object, **__: object) -> bytes:
        raise AssertionError("it was unpacked")

    bomb = b64(zlib.compress(b"\0" * 10_000_000, 9)[2:-4])
    header = b64(json.dumps({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}).encode())
    token = ".".join([header, *(["", b64(b"iv" * 6)] if segments == 5 else []), bomb, b64(b"t" * 16)])
    monkeypatch.setattr(zlib, "decompress", unpacked)
    monkeypatch.setattr(zlib, "decompressobj", unpacked)
    keys = KeySet.parse(json.dumps(oct_key().as_dict(private=True)), secrets=True)
    with pytest.raises(TokenRefused) as refused:
        verify_jws(token.encode(), keys, ALGORITHMS)
    assert refused.value.reason is (Reason.TOKEN_MALFORMED if segments == 5 else Reason.TOKEN_ALGORITHM)


def test_how_long_a_token_may_be() -> None:
    for length in (16 * 1024 + 1, 10_000_000):
        with pytest.raises(TokenRefused) as refused:
            split(b"e30." + b"A" * (length - 8) + b".e30")
        assert refused.value.reason is Reason.TOKEN_MALFORMED
