"""Proof files: made, read and verified offline; nothing that is changed in one passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import LogError
from interlock.tlog import (
    Checkpoint,
    Ed25519Verifier,
    TiledTree,
    TlogProof,
    WitnessPolicy,
    format_checkpoint,
    format_tlog_proof,
    make_tlog_proof,
    parse_tlog_proof,
    sign_checkpoint,
    sign_note,
    verify_tlog_proof,
)
from tests.unit.tlog.reference import filled, leaves
from tests.unit.tlog.test_cosignature import NOW, W1, W2, W3
from tests.unit.tlog.test_note import signer

SIZE = 300
LEAVES = leaves(SIZE)
TREE = TiledTree(filled(SIZE)[0], SIZE)
LOG = signer("log.example/1", 9)
KNOWN = [Ed25519Verifier(LOG.key)]


def head(size: int = SIZE) -> Checkpoint:
    return Checkpoint("log.example/1", size, TREE.root(size))


def checkpoint(size: int = SIZE) -> bytes:
    text = format_checkpoint(head(size))
    return sign_checkpoint(head(size), [LOG], [W1.cosign(text, NOW), W2.cosign(text, NOW + 1)])


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
@pytest.mark.parametrize("extra", [b"", b"\0extra\xff"])
def test_made_written_read_verified(index: int, extra: bytes) -> None:
    proof = make_tlog_proof(TREE, index, checkpoint(), extra)
    data = format_tlog_proof(proof)
    assert parse_tlog_proof(data) == proof
    shown = verify_tlog_proof(data, LEAVES[index], KNOWN, WitnessPolicy(2, [W1.key, W2.key, W3.key]), latest=NOW + 1)
    assert (shown.index, shown.checkpoint) == (index, head())
    assert [one.timestamp for one in shown.cosignatures] == [NOW, NOW + 1]
    assert verify_tlog_proof(proof, LEAVES[index], KNOWN).cosignatures == ()


def test_the_file_byte_by_byte() -> None:
    signed = checkpoint(2)
    proof = make_tlog_proof(TREE, 1, signed, b"abc")
    assert proof.hashes == (LEAVES[0],)
    lines = format_tlog_proof(proof).split(b"\n", 5)
    assert lines[:3] == [b"c2sp.org/tlog-proof@v1", b"extra YWJj", b"index 1"]
    assert len(lines[3]) == 44
    assert lines[4:] == [b"", signed]


def test_one_leaf_needs_no_hashes() -> None:
    data = format_tlog_proof(make_tlog_proof(TREE, 0, checkpoint(1)))
    assert data == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + checkpoint(1)
    verify_tlog_proof(data, LEAVES[0], KNOWN)


def test_a_checkpoint_of_what_the_tree_once_was() -> None:
    verify_tlog_proof(make_tlog_proof(TREE, 99, checkpoint(100)), LEAVES[99], KNOWN)
    with pytest.raises(LogError):
        make_tlog_proof(TREE, 100, checkpoint(100))


def test_no_proof_in_a_checkpoint_of_another_tree() -> None:
    other = sign_checkpoint(Checkpoint("log.example/1", SIZE, bytes(32)), [LOG])
    with pytest.raises(LogError):
        make_tlog_proof(TREE, 0, other)


def test_what_does_not_verify() -> None:
    proof = make_tlog_proof(TREE, 7, checkpoint())
    with pytest.raises(LogError):
        verify_tlog_proof(proof, LEAVES[8], KNOWN)
    with pytest.raises(LogError):
        verify_tlog_proof(replace(proof, index=8), LEAVES[7], KNOWN)
    with pytest.raises(LogError):
        verify_tlog_proof(replace(proof, checkpoint=checkpoint(299)), LEAVES[7], KNOWN)
    with pytest.raises(LogError):
        verify_tlog_proof(proof, LEAVES[7], [Ed25519Verifier(signer("log.example/1", 8).key)])
    with pytest.raises(LogError):
        verify_tlog_proof(proof, LEAVES[7], KNOWN, origin="log.example/2")
    with pytest.raises(LogError):
        verify_tlog_proof(proof, LEAVES[7], KNOWN, WitnessPolicy(2, [W1.key, W3.key]))
    with pytest.raises(LogError):
        verify_tlog_proof(proof, LEAVES[7], KNOWN, WitnessPolicy(2, [W1.key, W2.key]), latest=NOW)


def test_a_witness_does_not_stand_in_for_the_log() -> None:
    alone = sign_note(format_checkpoint(head()), [], [W1.cosign(format_checkpoint(head()), NOW)])
    with pytest.raises(LogError):
        verify_tlog_proof(make_tlog_proof(TREE, 7, alone), LEAVES[7], KNOWN, WitnessPolicy(1, [W1.key]))


def test_no_changed_byte_passes() -> None:
    data = format_tlog_proof(make_tlog_proof(TREE, 7, checkpoint()))
    policy = WitnessPolicy(2, [W1.key, W2.key])
    verify_tlog_proof(data, LEAVES[7], KNOWN, policy)
    for at in range(len(data)):
        for changed in (
            data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
            data[:at] + data[at + 1 :],
            data[: at + 1] + data[at:],
            data[:at],
        ):
            if changed == data:
                continue
            with pytest.raises(LogError):
                verify_tlog_proof(changed, LEAVES[7], KNOWN, policy)


GOOD = format_tlog_proof(make_tlog_proof(TREE, 7, checkpoint(), b"abc")).decode()


@pytest.mark.parametrize(
    "data",
    [
        "",
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v1\n\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n\n",
        GOOD.replace("@v1", "@v2"),
        GOOD.replace("\n", "\r\n"),
        "\n" + GOOD,
        GOOD + "\n",
        GOOD.replace("extra YWJj", "extra "),
        GOOD.replace("extra YWJj", "extra"),
        GOOD.replace("extra YWJj", "extra YWJ"),
        GOOD.replace("extra YWJj", "extra YWJj "),
        GOOD.replace("extra YWJj", "Extra YWJj"),
        GOOD.replace("extra YWJj\n", "extra YWJj\nextra YWJj\n"),
        GOOD.replace("extra YWJj\nindex 7\n", "index 7\nextra YWJj\n"),
        GOOD.replace("index 7", "index 07"),
        GOOD.replace("index 7", "index -7"),
        GOOD.replace("index 7", "index"),
        GOOD.replace("index 7", "index  7"),
        GOOD.replace("index 7", f"index {2**63}"),
        GOOD.replace("index 7\n", ""),
        GOOD.replace("index 7\n", "index 7\nAAAA\n"),
        GOOD.replace("index 7\n", "index 7\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 63),
        GOOD.replace("index 7\n", "index 7\n\n"),
        GOOD.replace("index 7\n", "index 7\u00e9\n"),
        GOOD.replace("extra YWJj", "extra " + "AAAA" * 400_000),
        "c2sp.org/tlog-proof@v1\n" + "a" * 4_000_000,
    ],
)
def test_malformed_files(data: str) -> None:
    with pytest.raises(LogError):
        parse_tlog_proof(data.encode())


@pytest.mark.parametrize(
    "proof",
    [
        TlogProof(-1, (), checkpoint()),
        TlogProof(0, (bytes(31),), checkpoint()),
        TlogProof(0, (), b"checkpoint\n"),
        TlogProof(0, (bytes(32),) * 64, checkpoint()),
        TlogProof(0, (), checkpoint(), bytes(1_000_001)),
    ],
)
def test_what_is_no_proof_is_not_written(proof: TlogProof) -> None:
    with pytest.raises(LogError):
        format_tlog_proof(proof)


SIGNED = checkpoint()


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    st.binary(max_size=100),
)
def test_proofs_read_back(index: int, hashes: tuple[bytes, ...], extra: bytes) -> None:
    """What is written is read back as the same."""
    proof = TlogProof(index, hashes, SIGNED, extra)
    assert parse_tlog_proof(format_tlog_proof(proof)) == proof


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: GOOD.encode()[:60] + tail))
def test_anything_else_is_refused(data: bytes) -> None:
    """No bytes raise anything but LogError."""
    try:
        parse_tlog_proof(data)
    except LogError:
        return
    assert format_tlog_proof(parse_tlog_proof(data)) == data
