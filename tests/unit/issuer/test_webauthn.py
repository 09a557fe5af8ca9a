"""Passkeys: what verifies, and everything that is a little different and does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.issuer.webauthn import Passkey, PasskeyRefused, RelyingParty
from tests.unit.issuer.authenticator import UP, UV, Authenticator, b64

PARTY = RelyingParty("https://id.example.com")
CHALLENGE = b"c" * 32
OTHER = b"o" * 32


@pytest.fixture
def device() -> Authenticator:
    return Authenticator("https://id.example.com", "id.example.com")


@pytest.fixture
def passkey(device: Authenticator) -> Passkey:
    made, _ = PARTY.created(device.create(PARTY.creation("acc1", "alice", CHALLENGE, [])), CHALLENGE)
    return made


@pytest.mark.parametrize(
    ("url", "rp_id", "origin", "usable"),
    [
        ("https://id.example.com", "id.example.com", "https://id.example.com", True),
        ("https://ID.example.com:8443/tenant", "id.example.com", "https://id.example.com:8443", True),
        ("https://id.example.com:443", "id.example.com", "https://id.example.com", True),
        ("http://localhost:8080", "localhost", "http://localhost:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1", "http://127.0.0.1:8080", False),
        ("https://[::1]:8443", "::1", "https://[::1]:8443", False),
    ],
)
def test_the_relying_party_is_what_the_file_says(url: str, rp_id: str, origin: str, usable: bool) -> None:
    party = RelyingParty(url)
    assert (party.id, party.origin, party.usable) == (rp_id, origin, usable)


def test_what_browsers_are_asked(passkey: Passkey) -> None:
    made = json.loads(PARTY.creation("acc1", "alice", CHALLENGE, [passkey]))
    assert made["rp"]["id"] == "id.example.com"
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert made["authenticatorSelection"]["residentKey"] == "required"
    assert made["attestation"] == "none"
    assert made["excludeCredentials"][0]["id"] == b64(passkey.credential)
    used = json.loads(PARTY.request(CHALLENGE, []))
    assert (used["rpId"], used["userVerification"], used["allowCredentials"]) == ("id.example.com", "required", [])


def test_a_passkey_is_made_and_used(device: Authenticator, passkey: Passkey) -> None:
    assert passkey.credential == device.credential
    assert Passkey.decode(passkey.encode()) == passkey
    answer = PARTY.presented(device.get(PARTY.request(CHALLENGE, [passkey])))
    assert (answer.credential, answer.user) == (device.credential, b"acc1")
    assert PARTY.asserted(answer, CHALLENGE, passkey) == 1
    assert "acc1" not in repr(passkey)


CHANGES: list[dict[str, Any]] = [
    {"origin": "https://id.example.com.evil.example"},
    {"origin": "http://id.example.com"},
    {"origin": "https://id.example.com:444"},
    {"challenge": b64(OTHER)},
    {"challenge": ""},
    {"type": "webauthn.other"},
    {"crossOrigin": True},
    {"crossOrigin": "false"},
    {"topOrigin": "https://evil.example"},
    {"flags": UP},  # nobody was verified
    {"flags": UV},  # nobody was there
    {"flags": 0},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_what_is_a_little_different_is_refused(
    device: Authenticator, passkey: Passkey, changes: dict[str, Any]
) -> None:
    fresh = Authenticator(device.origin, device.rp_id)
    with pytest.raises(PasskeyRefused):
        PARTY.created(fresh.create(PARTY.creation("acc1", "alice", CHALLENGE, []), **changes), CHALLENGE)
    with pytest.raises(PasskeyRefused):
        PARTY.asserted(PARTY.presented(device.get(PARTY.request(CHALLENGE, []), **changes)), CHALLENGE, passkey)


def test_what_was_made_for_another_site_is_refused(device: Authenticator, passkey: Passkey) -> None:
    device.rp_id = "example.com"
    with pytest.raises(PasskeyRefused):
        PARTY.asserted(PARTY.presented(device.get(PARTY.request(CHALLENGE, []))), CHALLENGE, passkey)
    with pytest.raises(PasskeyRefused):
        PARTY.created(device.create(PARTY.creation("acc1", "alice", CHALLENGE, [])), CHALLENGE)


def test_another_device_is_not_this_one(device: Authenticator, passkey: Passkey) -> None:
    thief = Authenticator(device.origin, device.rp_id)
    thief.user = b"acc1"
    with pytest.raises(PasskeyRefused, match="another credential"):
        PARTY.asserted(PARTY.presented(thief.get(PARTY.request(CHALLENGE, []))), CHALLENGE, passkey)
    thief.credential = device.credential
    with pytest.raises(PasskeyRefused):
        PARTY.asserted(PARTY.presented(thief.get(PARTY.request(CHALLENGE, []))), CHALLENGE, passkey)


def test_one_made_cannot_stand_for_one_used(device: Authenticator, passkey: Passkey) -> None:
    made = device.create(PARTY.creation("acc1", "alice", CHALLENGE, []))
    with pytest.raises(PasskeyRefused):
        PARTY.asserted(PARTY.presented(made), CHALLENGE, passkey)
    with pytest.raises(PasskeyRefused):
        PARTY.created(device.get(PARTY.request(CHALLENGE, [])), CHALLENGE)


@pytest.mark.parametrize("form", ["tpm", "android-safetynet", "apple", "fido-u2f", "android-key", "unknown", ""])
def test_attestations_that_nobody_asked_for_are_not_parsed(device: Authenticator, form: str) -> None:
    with pytest.raises(PasskeyRefused):
        PARTY.created(device.create(PARTY.creation("acc1", "alice", CHALLENGE, []), form=form), CHALLENGE)


def test_short_ids_are_refused(device: Authenticator) -> None:
    device.credential = b"short"
    with pytest.raises(PasskeyRefused, match="length"):
        PARTY.created(device.create(PARTY.creation("acc1", "alice", CHALLENGE, [])), CHALLENGE)


def test_whatever_is_sent_is_refused_as_a_passkey(device: Authenticator, passkey: Passkey) -> None:
    good = json.loads(device.get(PARTY.request(CHALLENGE, [])))
    texts = [
        "",
        "null",
        "[]",
        "{}",
        "[" * 5000,
        '"x"',
        "{",
        "x" * 20_000,
        '{"id": 7}',
        '{"id": "!"}',
        '{"id": "\u00e9"}',
    ]
    for name in ("id", "rawId", "type", "response"):
        texts += [json.dumps({**good, name: wrong}) for wrong in (None, 7, [], {}, "", "AA", "\0")]
    for name in ("clientDataJSON", "authenticatorData", "signature"):
        for wrong in (None, 7, [], {}, "", "AA", "\0", "A" * 300):
            texts.append(json.dumps({**good, "response": {**good["response"], name: wrong}}))
    for text in texts:
        with pytest.raises(PasskeyRefused):
            PARTY.asserted(PARTY.presented(text), CHALLENGE, passkey)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from(["clientDataJSON", "authenticatorData", "signature", "attestationObject"])
)
def test_no_bytes_raise_anything_else(data: bytes, name: str) -> None:
    """Whatever bytes stand in a part of the answer, it is refused as a passkey."""
    device = Authenticator("https://id.example.com", "id.example.com")
    made = json.loads(device.create(PARTY.creation("acc1", "alice", CHALLENGE, [])))
    used = json.loads(device.get(PARTY.request(CHALLENGE, [])))
    for answer in (made, used):
        answer["response"][name] = b64(data)
    with pytest.raises(PasskeyRefused):
        PARTY.asserted(PARTY.presented(json.dumps(used)), CHALLENGE, Passkey(device.credential, data))
    if name in ("clientDataJSON", "attestationObject"):
        with pytest.raises(PasskeyRefused):
            PARTY.created(json.dumps(made), CHALLENGE)
