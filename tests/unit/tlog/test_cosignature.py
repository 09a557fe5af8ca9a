"""Cosignatures: the form published, what they cover, and how many witnesses are enough."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.errors import LogError
from interlock.tlog import (
    Checkpoint,
    Cosignature,
    CosignatureVerifier,
    Cosigner,
    Note,
    Signature,
    WitnessPolicy,
    format_checkpoint,
    format_note,
    open_note,
    parse_note,
    parse_signature,
    parse_vkey,
    sign_checkpoint,
    timestamp_of,
    verify_cosignatures,
)
from tests.unit.tlog.test_checkpoint import HEAD, ROOT
from tests.unit.tlog.test_note import signer

NOW = 1_679_315_147
TEXT = format_checkpoint(HEAD)
# the example of the specification; which public key it is of, is not published
EXAMPLE = (
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
)


def witness(number: int, name: str | None = None) -> Cosigner:
    return Cosigner(name or f"witness.example/{number}", Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


W1, W2, W3 = witness(1), witness(2), witness(3)


def note(*signatures: Signature) -> Note:
    return parse_note(sign_checkpoint(HEAD, [signer(HEAD.origin, 9)], signatures))


def test_the_example_of_the_specification() -> None:
    signature = parse_signature(EXAMPLE)
    assert timestamp_of(signature) == NOW
    assert (signature.key_id.hex(), len(signature.value)) == ("8d66cf3f", 72)


def test_what_is_signed_byte_by_byte() -> None:
    signature = W1.cosign(TEXT, NOW)
    assert signature.value[:8] == NOW.to_bytes(8, "big")
    message = f"cosignature/v1\ntime 1679315147\n{TEXT}".encode()
    Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32).public_key().verify(signature.value[8:], message)
    assert W1.key.signature_type == 4
    assert parse_vkey(str(W1.key)) == W1.key
    assert "witness.example/1" in repr(W1)


def test_a_cosignature_is_a_note_signature() -> None:
    opened = open_note(format_note(note(W1.cosign(TEXT, NOW))), [CosignatureVerifier(W1.key)])
    assert [one.name for one in opened.verified] == ["witness.example/1"]


def test_every_byte_and_the_time_are_covered() -> None:
    signature = W1.cosign(TEXT, NOW)
    known = CosignatureVerifier(W1.key)
    known.verify(TEXT.encode(), signature.value)
    for at in range(len(signature.value)):
        changed = bytearray(signature.value)
        changed[at] ^= 1
        with pytest.raises(LogError):
            known.verify(TEXT.encode(), bytes(changed))
    for at in range(len(TEXT)):
        with pytest.raises(LogError):
            known.verify(TEXT[:at].encode() + b"~" + TEXT[at + 1 :].encode(), signature.value)
    for length in (0, 8, 71):
        with pytest.raises(LogError):
            known.verify(TEXT.encode(), signature.value[:length])
    with pytest.raises(LogError):
        known.verify(TEXT.encode(), signature.value + b"\0")


def test_extension_lines_are_covered() -> None:
    extended = format_checkpoint(Checkpoint(HEAD.origin, HEAD.size, ROOT, ("extension",)))
    known = CosignatureVerifier(W1.key)
    known.verify(extended.encode(), W1.cosign(extended, NOW).value)
    with pytest.raises(LogError):
        known.verify(extended.encode(), W1.cosign(TEXT, NOW).value)


@pytest.mark.parametrize("timestamp", [-1, 2**63])
def test_times_out_of_range_are_not_signed(timestamp: int) -> None:
    with pytest.raises(LogError):
        W1.cosign(TEXT, timestamp)


def test_a_time_beyond_the_range_is_refused() -> None:
    with pytest.raises(LogError):
        timestamp_of(Signature("a", bytes(4), (2**63).to_bytes(8, "big") + bytes(64)))


def test_only_checkpoints_are_cosigned() -> None:
    with pytest.raises(LogError):
        W1.cosign("hello\n", NOW)


def test_a_log_key_is_not_a_witness() -> None:
    with pytest.raises(LogError):
        CosignatureVerifier(signer("log").key)
    with pytest.raises(LogError):
        WitnessPolicy(1, [signer("log").key])


def test_k_of_n() -> None:
    policy = WitnessPolicy(2, [W1.key, str(W2.key), W3.key])
    one, two, three = (cosigner.cosign(TEXT, NOW + at) for at, cosigner in enumerate((W1, W2, W3)))
    assert verify_cosignatures(note(one, three), policy) == (
        Cosignature("witness.example/1", NOW),
        Cosignature("witness.example/3", NOW + 2),
    )
    assert len(verify_cosignatures(note(one, two, three), policy)) == 3
    for too_few in ((), (one,), (two,)):
        with pytest.raises(LogError):
            verify_cosignatures(note(*too_few), policy)


def test_one_witness_counts_once() -> None:
    policy = WitnessPolicy(2, [W1.key, W2.key])
    early, late = W1.cosign(TEXT, NOW), W1.cosign(TEXT, NOW + 60)
    with pytest.raises(LogError):
        verify_cosignatures(note(early, late, early), policy)
    assert verify_cosignatures(note(late, early), WitnessPolicy(1, [W1.key])) == (
        Cosignature("witness.example/1", NOW + 60),
    )


def test_strangers_do_not_count() -> None:
    policy = WitnessPolicy(1, [W1.key])
    impostor = witness(7, name="witness.example/1")
    for stranger in (W2, impostor):
        with pytest.raises(LogError):
            verify_cosignatures(note(stranger.cosign(TEXT, NOW)), policy)
    assert len(verify_cosignatures(note(impostor.cosign(TEXT, NOW), W1.cosign(TEXT, NOW)), policy)) == 1


def test_a_false_cosignature_refuses_the_note() -> None:
    elsewhere = W1.cosign(format_checkpoint(Checkpoint(HEAD.origin, 6, ROOT)), NOW)
    with pytest.raises(LogError, match="does not verify"):
        verify_cosignatures(note(elsewhere, W2.cosign(TEXT, NOW)), WitnessPolicy(1, [W1.key, W2.key]))


def test_a_cosignature_from_the_future_does_not_count() -> None:
    signed = note(W1.cosign(TEXT, NOW))
    policy = WitnessPolicy(1, [W1.key])
    assert verify_cosignatures(signed, policy, latest=NOW) == (Cosignature("witness.example/1", NOW),)
    with pytest.raises(LogError):
        verify_cosignatures(signed, policy, latest=NOW - 1)


@pytest.mark.parametrize(
    ("threshold", "witnesses"),
    [(0, [W1.key]), (-1, [W1.key]), (2, [W1.key]), (0, []), (1, [W1.key, W1.key]), (1, [W1.key, witness(1, "x").key])],
)
def test_a_policy_that_makes_no_sense(threshold: int, witnesses: list[str]) -> None:
    with pytest.raises(LogError):
        WitnessPolicy(threshold, witnesses)
