"""A transparency log, pure: hashes, a growing Merkle tree, tiles, proofs, signed checkpoints and cosignatures.

It works on bytes and on keys that it is handed, and never touches a file or a clock. RFC 9162 section 2 and the
C2SP specifications signed-note, tlog-tiles, tlog-checkpoint, tlog-cosignature, tlog-proof and tlog-witness; which
version of each, its module says.
"""

from interlock.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    format_checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from interlock.tlog.cosignature import (
    Cosignature,
    CosignatureVerifier,
    Cosigner,
    WitnessPolicy,
    timestamp_of,
    verify_cosignatures,
)
from interlock.tlog.leaf import LEAF_PREFIX, leaf_hash
from interlock.tlog.node import EMPTY_ROOT, HASH_SIZE, MAX_SIZE, NODE_PREFIX, cut, node_hash
from interlock.tlog.note import (
    Ed25519Signer,
    Ed25519Verifier,
    Note,
    OpenedNote,
    Signature,
    Signer,
    Verifier,
    format_note,
    open_note,
    parse_note,
    parse_signature,
    sign_note,
)
from interlock.tlog.proof import (
    consistency_proof,
    inclusion_proof,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
)
from interlock.tlog.running import START, extend
from interlock.tlog.tiles import (
    TILE_WIDTH,
    Tile,
    TiledTree,
    TileReader,
    changed_tiles,
    grown_tiles,
    parse_tile_path,
)
from interlock.tlog.tlogproof import (
    PROOF_SUFFIX,
    TlogProof,
    VerifiedProof,
    format_tlog_proof,
    make_tlog_proof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from interlock.tlog.tree import TILE_HEIGHT, Growth, Tree
from interlock.tlog.vkey import COSIGNATURE_V1, ED25519, VerifierKey, parse_vkey, verifier_key
from interlock.tlog.witness import (
    ADD_CHECKPOINT,
    SIZE_TYPE,
    AddCheckpoint,
    format_add_checkpoint,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_size,
)

__all__ = [
    "ADD_CHECKPOINT",
    "COSIGNATURE_V1",
    "ED25519",
    "EMPTY_ROOT",
    "HASH_SIZE",
    "LEAF_PREFIX",
    "MAX_SIZE",
    "NODE_PREFIX",
    "PROOF_SUFFIX",
    "SIZE_TYPE",
    "START",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "AddCheckpoint",
    "Checkpoint",
    "Cosignature",
    "CosignatureVerifier",
    "Cosigner",
    "Ed25519Signer",
    "Ed25519Verifier",
    "Growth",
    "Note",
    "OpenedNote",
    "Signature",
    "SignedCheckpoint",
    "Signer",
    "Tile",
    "TileReader",
    "TiledTree",
    "TlogProof",
    "Tree",
    "VerifiedProof",
    "Verifier",
    "VerifierKey",
    "WitnessPolicy",
    "changed_tiles",
    "consistency_proof",
    "cut",
    "extend",
    "format_add_checkpoint",
    "format_checkpoint",
    "format_note",
    "format_tlog_proof",
    "grown_tiles",
    "inclusion_proof",
    "leaf_hash",
    "make_tlog_proof",
    "node_hash",
    "open_checkpoint",
    "open_note",
    "parse_add_checkpoint",
    "parse_checkpoint",
    "parse_cosignatures",
    "parse_note",
    "parse_signature",
    "parse_size",
    "parse_tile_path",
    "parse_tlog_proof",
    "parse_vkey",
    "root_from_inclusion",
    "sign_checkpoint",
    "sign_note",
    "timestamp_of",
    "verifier_key",
    "verify_consistency",
    "verify_cosignatures",
    "verify_inclusion",
    "verify_tlog_proof",
]
