"""A proof in one text file, for verifying offline that an entry is in a log (C2SP tlog-proof).

The format is that of commit 0065ea5, the steps of verifying those of another copy, with the same format and a
section on them, whose commit is not known. A file is a line that names the format, a line `extra` if there are extra
data, a line `index`, the inclusion proof with a hash a line, an empty line, and the signed checkpoint verbatim.

Extra data are authenticated by nothing: they MUST NOT be trusted beyond helping to find the leaf. The leaf hash
MUST come from what the verifier holds, never from the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock.errors import LogError
from interlock.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from interlock.tlog.cosignature import Cosignature, WitnessPolicy, verify_cosignatures
from interlock.tlog.encoding import decode_base64, decode_hash, decode_size, encode_base64
from interlock.tlog.note import MAX_NOTE, Verifier, parse_note
from interlock.tlog.proof import inclusion_proof, verify_inclusion
from interlock.tlog.tiles import TiledTree

PROOF_SUFFIX: Final = ".tlog-proof"  # of a file that holds one
MAX_EXTRA: Final = 1_000_000  # bytes
_HEADER: Final = "c2sp.org/tlog-proof@v1"
_MAX_HASHES: Final = 63  # of a tree of 2**63 - 1 leaves


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof file as it is written. Nothing of it is verified."""

    index: int
    hashes: tuple[bytes, ...]  # from the leaf's sibling up
    checkpoint: bytes  # the signed note
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """What a proof has shown: that the leaf is at this index of this log, and who else saw that tree."""

    index: int
    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def make_tlog_proof(tree: TiledTree, index: int, checkpoint: bytes, extra: bytes = b"") -> TlogProof:
    """The proof of one leaf in a signed checkpoint, which must be one of this tree or of what it once was.

    Raises LogError if it is not: a proof that does not verify is not made.
    """
    head = parse_checkpoint(parse_note(checkpoint).text)
    hashes = tuple(inclusion_proof(tree, index, head.size))
    verify_inclusion(tree.leaf(index), index, head.size, hashes, head.root)
    return TlogProof(index, hashes, checkpoint, extra)


def format_tlog_proof(proof: TlogProof) -> bytes:
    """The file ("Format"). Raises LogError if it would not read back as the same proof."""
    extra = f"extra {encode_base64(proof.extra)}\n" if proof.extra else ""
    hashes = "".join(f"{encode_base64(one)}\n" for one in proof.hashes)
    data = f"{_HEADER}\n{extra}index {proof.index}\n{hashes}\n".encode() + proof.checkpoint
    if parse_tlog_proof(data) != proof:
        raise LogError("that cannot be written as a proof")
    return data


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read a file. Verifies nothing. Raises LogError if it is malformed, or the checkpoint in it is."""
    if len(data) > 2 * MAX_EXTRA + MAX_NOTE:
        raise LogError("the proof is too long")
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise LogError("the proof is not ASCII before its checkpoint") from None
    if lines.pop(0) != _HEADER or not blank:
        raise LogError(f"a proof begins with {_HEADER} and has an empty line before its checkpoint")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
        if not 0 < len(extra) <= MAX_EXTRA:
            raise LogError(f"extra data are 1 to {MAX_EXTRA} bytes, or left out")
    if not lines or not lines[0].startswith("index "):
        raise LogError("the proof has no index")
    index = decode_size(lines.pop(0).removeprefix("index "))
    if len(lines) > _MAX_HASHES:
        raise LogError("the inclusion proof is too long")
    hashes = tuple(decode_hash(line) for line in lines)
    parse_checkpoint(parse_note(checkpoint).text)
    return TlogProof(index, hashes, checkpoint, extra)


def verify_tlog_proof(
    proof: TlogProof | bytes,
    leaf: bytes,
    log: Sequence[Verifier],
    policy: WitnessPolicy | None = None,
    *,
    origin: str | None = None,
    latest: int | None = None,
) -> VerifiedProof:
    """Verify offline ("Verifying a tlog proof"). Raises LogError if one of these does not hold.

    1. The leaf hash is the caller's: it is of what the caller holds.
    2. A key of `log` signed the checkpoint, whose origin is acceptable (see `open_checkpoint`).
    3. Every cosignature of a known witness verifies, and they fulfil the policy, if there is one; none made
       after `latest` counts.
    4. The inclusion proof leads from the leaf to the root of the checkpoint.
    """
    read = parse_tlog_proof(proof) if isinstance(proof, bytes) else proof
    signed = open_checkpoint(read.checkpoint, log, origin=origin)  # 2
    cosignatures = () if policy is None else verify_cosignatures(signed.opened.note, policy, latest=latest)  # 3
    checkpoint = signed.checkpoint
    verify_inclusion(leaf, read.index, checkpoint.size, read.hashes, checkpoint.root)  # 4
    return VerifiedProof(read.index, checkpoint, cosignatures)
