"""Subjects: as SSF 1.0 section 3 and RFC 9493 write them, and when one is of another (SSF section 8.1.3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.issuer.signals.events import (
    canonical,
    complex_subject,
    covers,
    iss_sub,
    matches,
    opaque,
    read_subject,
    wanted,
)

ISSUER = "https://idp.example.com/123456789/"
ALICE = iss_sub(ISSUER, "alice")
BOB = iss_sub(ISSUER, "bob")
TENANT = {"format": "opaque", "id": "example-a38h4792-uw2"}

# The examples of SSF 1.0, CAEP 1.0 and RFC 9493.
EXAMPLES: list[dict[str, Any]] = [
    {"format": "email", "email": "foo@example.com"},
    {"format": "phone_number", "phone_number": "+12065550100"},
    {"format": "account", "uri": "acct:example.user@service.example.com"},
    {"format": "iss_sub", "iss": "https://issuer.example.com/", "sub": "145234573"},
    {"format": "opaque", "id": "11112222333344445555"},
    {"format": "did", "url": "did:example:123456"},
    {"format": "uri", "uri": "urn:uuid:4e851e98-83c4-4743-a5da-150ecb53042f"},
    {"format": "jwt_id", "iss": ISSUER, "jti": "B70BA622-9515-4353-A866-823539EECBC8"},
    {"format": "ip-addresses", "ip-addresses": ["10.29.37.75", "2001:0db8:0000:0000:0000:8a2e:0370:7334"]},
    {"format": "catalog_item", "catalog_id": "c0384/winter/2354122"},
    {
        "format": "aliases",
        "identifiers": [
            {"format": "email", "email": "user@example.com"},
            {"format": "phone_number", "phone_number": "+12065550100"},
        ],
    },
    {
        "format": "complex",
        "user": {"format": "email", "email": "bar@example.com"},
        "tenant": {"format": "iss_sub", "iss": "https://example.com/idp1", "sub": "1234"},
    },
]


@pytest.mark.parametrize("subject", EXAMPLES, ids=lambda subject: subject["format"])
def test_the_examples_of_the_standards_are_read(subject: dict[str, Any]) -> None:
    assert read_subject(subject) is subject


@pytest.mark.parametrize(
    "subject",
    [
        None,
        "alice",
        [],
        {},
        {"format": ""},
        {"format": 1},
        {"format": "iss_sub", "iss": ISSUER},
        {"format": "iss_sub", "iss": ISSUER, "sub": ""},
        {"format": "iss_sub", "iss": [ISSUER], "sub": "alice"},
        {"format": "opaque", "id": 7},
        {"format": "jwt_id", "iss": ISSUER},
        {"format": "email"},
        {"format": "complex"},
        {"format": "complex", "user": "alice"},
        {"format": "complex", "user": {"format": "complex", "user": ALICE}},
        {"format": "aliases", "identifiers": []},
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [ALICE]}]},
        {"format": "aliases", "identifiers": [{"format": "complex", "user": ALICE}]},
        {"format": "opaque", "id": "x" * 5000},
    ],
)
def test_what_is_no_subject_is_refused(subject: Any) -> None:
    with pytest.raises(ValueError):
        read_subject(subject)


def test_a_subject_has_one_spelling() -> None:
    other = {"sub": "alice", "iss": ISSUER, "format": "iss_sub"}
    assert canonical(ALICE) == canonical(other)
    assert canonical(ALICE) != canonical(BOB)


def test_the_examples_of_matching() -> None:
    # SSF 1.0 section 8.1.3.1: less restrictive, more restrictive, and no match.
    user = {"format": "email", "email": "jdoe@example.com"}
    assert matches(complex_subject(tenant=TENANT), complex_subject(tenant=TENANT, user=user))
    device = {"format": "ip-addresses", "ip-addresses": ["10.29.37.75"]}
    assert matches(complex_subject(user=user, device=device), complex_subject(user=user))
    one, other = ({"format": "did", "url": f"did:example:{name}"} for name in ("123456", "9999999"))
    assert not matches(complex_subject(user=user, group=one), complex_subject(user=user, group=other))


def test_simple_ones_match_when_they_are_identical_and_a_person_is_met_in_a_complex_one() -> None:
    assert matches(ALICE, iss_sub(ISSUER, "alice"))
    assert not matches(ALICE, BOB)
    assert matches(ALICE, complex_subject(user=ALICE, session=opaque("s1")))
    assert not matches(BOB, complex_subject(user=ALICE, session=opaque("s1")))


def test_who_left_one_person_out_still_hears_of_what_concerns_everybody() -> None:
    everything = complex_subject(tenant={"format": "uri", "uri": ISSUER})
    assert matches(ALICE, everything), "that is the standard's rule for what was added"
    assert not covers(ALICE, everything)
    assert covers(ALICE, complex_subject(user=ALICE, session=opaque("s1")))
    assert not covers(complex_subject(user=ALICE, session=opaque("s1")), ALICE)


def test_everybody_or_those_asked_for() -> None:
    assert wanted(ALICE, [], [], everybody=True)
    assert not wanted(ALICE, [], [ALICE], everybody=True)
    assert wanted(BOB, [], [ALICE], everybody=True)
    assert not wanted(ALICE, [], [], everybody=False)
    assert wanted(ALICE, [ALICE], [], everybody=False)
    assert not wanted(BOB, [ALICE], [], everybody=False)
