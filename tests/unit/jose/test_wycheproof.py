"""The whole Wycheproof JWS set through the verifier, each refusal with the reason it deserves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interlock.jose import KeySet, TokenRefused, verify_jws
from interlock.model import Reason
from tests.unit.jose.material import FOLDER

FILE = FOLDER / "wycheproof" / "json_web_signature_test.json"
TOTAL = 401

MALFORMED, SIGNATURE, ALGORITHM = Reason.TOKEN_MALFORMED, Reason.TOKEN_SIGNATURE, Reason.TOKEN_ALGORITHM

# What each kind of invalid test has to be refused for.
BY_COMMENT = {
    "rejectsModifiedSignature": SIGNATURE,
    "rejectsMissingSignature": SIGNATURE,
    "rejectsMissingSignatureAndSeparator": MALFORMED,
    "rejectsModifiedPayload": SIGNATURE,
    "rejectsMissingPayload": SIGNATURE,
    "rejectsMissingPayloadAndSeparator": MALFORMED,
    "rejectsModifiedHeader": Reason.TOKEN_KEY_UNKNOWN,  # it is the kid that was modified
    "rejectsMissingHeader": MALFORMED,
    "rejectsMissingHeaderAndSeparator": MALFORMED,
    "rejectsMissingHeaderAndSignature": MALFORMED,
    "rejectsMissingHeaderSignatureAndSeparator": MALFORMED,
    "rejectsMissingHeaderSignatureAndSeparators": MALFORMED,
    "rejectsEmptyString": MALFORMED,
    "rejectsExtraEmptyComponent": MALFORMED,
    "rejectsExtraComponent": MALFORMED,
    "rejectsValidJsonSerialization": MALFORMED,
    "rejectsNoneAlgorithmAndMissingSignature": ALGORITHM,
    "rejectsSymmetryConfusionAttacks_aesKeyFromEcVerificationKeyBytes": ALGORITHM,
    "rejectsAttackerProvidedEmbeddedJwk": Reason.TOKEN_HEADER,
    "rejectWrongUse": ALGORITHM,
    "rejectWrongKeyOps": ALGORITHM,
    "rejectsSpacesInMac": MALFORMED,
    "rejectsInvalidCharacterInsertedInMac": MALFORMED,
    "rejects0ReplacedbyInvalidCharacter": MALFORMED,
    "rejectsInvalidCharacters": MALFORMED,
    "spacesInHeader": MALFORMED,
    "invalidCharactersInHeader": MALFORMED,
    "spacesInPayload": MALFORMED,
    "invalidCharactersInPayload": MALFORMED,
    "InvalidCharacterInPayload": MALFORMED,
    "ModifiedUnusedBitsInPayload": MALFORMED,
    "MacOfIncorrectlyEncodedMessage": MALFORMED,
}
BY_GROUP = {"SpecialCaseEs256": SIGNATURE}
BY_FLAG = {"ModifiedPadding": SIGNATURE, "ModifiedSignature": SIGNATURE, "AlgIsNone": ALGORITHM}

ACCEPTED = "accepted"

# Where we decide otherwise than the set says, and why.
EXCEPTIONS: dict[int, tuple[Reason | str, str]] = {
    346: (ALGORITHM, "marked valid, but the token says PS384 and its key PS256: a key is for one algorithm"),
    350: (ALGORITHM, "as 346"),
    347: (ALGORITHM, "marked valid, but the key's alg is 'ES521', which no standard knows"),
    351: (ALGORITHM, "as 347"),
    367: (ACCEPTED, "marked invalid, but byte-identical to the valid 357"),
    370: (ACCEPTED, "marked invalid, but byte-identical to the valid 357"),
    372: (MALFORMED, "marked valid, but its header contains '?', which is not base64url"),
    373: (MALFORMED, "marked valid, but its payload contains '?', which is not base64url"),
}

if not FILE.exists():
    pytest.skip(
        f"CONFORMANCE NOT TESTED: no Wycheproof vectors in {FOLDER}; set INTERLOCK_VECTORS", allow_module_level=True
    )


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text())["testGroups"]
    return found


CASES = [
    pytest.param(group, test, id=f"{test['tcId']}-{test['comment']}") for group in groups() for test in group["tests"]
]


def key_of(group: dict[str, Any]) -> dict[str, Any]:
    key: dict[str, Any] = group.get("public") or group["private"]
    return key


def decide(group: dict[str, Any], test: dict[str, Any]) -> Reason | str:
    key = key_of(group)
    keys = KeySet.parse(json.dumps(key), secrets=True)
    # As an operator would: the algorithm that the key is for, and for keys that do not say, what fits them.
    algorithms = [key["alg"].replace("ES521", "ES512")] if "alg" in key else ["RS256", "ES256"]
    token = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
    try:
        verify_jws(token.encode(), keys, algorithms)
    except TokenRefused as refused:
        return refused.reason
    return ACCEPTED


def expected(group: dict[str, Any], test: dict[str, Any]) -> Reason | str:
    if test["tcId"] in EXCEPTIONS:
        return EXCEPTIONS[test["tcId"]][0]
    if test["result"] == "valid":
        return ACCEPTED
    if "WrongPrimitive" in test["flags"]:  # signed with one algorithm, perhaps saying another
        header = json.loads(_decode(test["jws"].split(".")[0]))
        return SIGNATURE if header["alg"] == key_of(group)["alg"] else ALGORITHM
    for flag in test["flags"]:
        if flag in BY_FLAG:
            return BY_FLAG[flag]
    if group["comment"] in BY_GROUP:
        return BY_GROUP[group["comment"]]
    return BY_COMMENT[test["comment"]]


def _decode(segment: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


@pytest.mark.parametrize(("group", "test"), CASES)
def test_vector(group: dict[str, Any], test: dict[str, Any]) -> None:
    assert decide(group, test) == expected(group, test)


def test_the_whole_set_was_run() -> None:
    assert len(CASES) == TOTAL


def test_exceptions_are_still_exceptions() -> None:
    """An exception that agrees with the set is stale; each has a reason in words."""
    results = {test["tcId"]: test["result"] for group in groups() for test in group["tests"]}
    for number, (outcome, why) in EXCEPTIONS.items():
        assert (outcome == ACCEPTED) != (results[number] == "valid"), number
        assert why


def test_the_identical_vectors_are_identical() -> None:
    tokens = {test["tcId"]: test["jws"] for group in groups() for test in group["tests"]}
    assert tokens[367] == tokens[370] == tokens[357]
