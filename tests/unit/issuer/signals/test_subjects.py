"""Whom another issuer speaks of: its own, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.issuer.signals.events import (
    CREDENTIAL_CHANGE,
    DEVICE_COMPLIANCE_CHANGE,
    SESSION_REVOKED,
    complex_subject,
    iss_sub,
    jwt_id,
    opaque,
)
from interlock.issuer.signals.sets import SetRefused
from interlock.issuer.signals.subjects import Target, targets

ISSUER = "https://idp.example.com/123456789/"
OTHER = "https://other.example.com"
ALICE = iss_sub(ISSUER, "alice")
LAPTOP = iss_sub(ISSUER, "laptop")
TENANT = opaque("123456789")


@pytest.mark.parametrize(
    ("subject", "event", "expected"),
    [
        (ALICE, SESSION_REVOKED, [("user", "alice")]),
        (ALICE, CREDENTIAL_CHANGE, [("user", "alice")]),
        ({"format": "email", "email": "a@example.com"}, SESSION_REVOKED, [("user", "a@example.com")]),
        (opaque("s1"), SESSION_REVOKED, [("session", "s1"), ("user", "s1")]),
        (opaque("u1"), CREDENTIAL_CHANGE, [("user", "u1")]),
        (jwt_id(ISSUER, "t1"), SESSION_REVOKED, [("token", "t1")]),
        (complex_subject(user=ALICE, session=opaque("s1"), tenant=TENANT), SESSION_REVOKED, [("session", "s1")]),
        (complex_subject(user=ALICE, session=opaque("s1")), CREDENTIAL_CHANGE, [("user", "alice")]),
        (complex_subject(user=ALICE, device=LAPTOP, tenant=TENANT), SESSION_REVOKED, [("user", "alice")]),
        (complex_subject(session=jwt_id(ISSUER, "t1")), SESSION_REVOKED, [("token", "t1")]),
        (complex_subject(device=LAPTOP, tenant=TENANT), DEVICE_COMPLIANCE_CHANGE, [("device", "laptop")]),
        (complex_subject(user=ALICE, device=LAPTOP), DEVICE_COMPLIANCE_CHANGE, [("user", "alice")]),
        (complex_subject(application=iss_sub(ISSUER, "shop")), SESSION_REVOKED, [("client", "shop")]),
        (complex_subject(tenant={"format": "uri", "uri": ISSUER}), SESSION_REVOKED, [("issuer", ISSUER)]),
        (
            {"format": "aliases", "identifiers": [ALICE, {"format": "email", "email": "a@example.com"}, ALICE]},
            SESSION_REVOKED,
            [("user", "alice"), ("user", "a@example.com")],
        ),
        # What cannot be told here.
        (complex_subject(tenant=TENANT), SESSION_REVOKED, []),
        (complex_subject(tenant={"format": "uri", "uri": OTHER}), SESSION_REVOKED, []),
        (complex_subject(group=iss_sub(OTHER, "g")), SESSION_REVOKED, []),
        ({"format": "did", "url": "did:example:1"}, SESSION_REVOKED, []),
        ({"format": "phone_number", "phone_number": "+1 206 555 0123"}, SESSION_REVOKED, []),
    ],
)
def test_the_narrowest_that_is_known(subject: dict[str, Any], event: str, expected: list[tuple[str, str]]) -> None:
    assert targets(ISSUER, subject, event) == [Target(*one) for one in expected]


@pytest.mark.parametrize(
    "subject",
    [
        iss_sub(OTHER, "alice"),
        iss_sub(ISSUER.rstrip("/"), "alice"),
        iss_sub(ISSUER.upper(), "alice"),
        jwt_id(OTHER, "t1"),
        complex_subject(user=iss_sub(OTHER, "alice")),
        complex_subject(user=iss_sub(OTHER, "alice"), session=opaque("s1")),
        complex_subject(session=jwt_id(OTHER, "t1"), user=ALICE),
        complex_subject(application=iss_sub(OTHER, "shop")),
        complex_subject(device=iss_sub(OTHER, "laptop")),
        {"format": "aliases", "identifiers": [ALICE, iss_sub(OTHER, "alice")]},
    ],
)
def test_nobody_elses(subject: dict[str, Any]) -> None:
    with pytest.raises(SetRefused) as refused:
        targets(ISSUER, subject, SESSION_REVOKED)
    assert refused.value.code == "access_denied"
