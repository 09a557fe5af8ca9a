"""The leaf hash of RFC 6962 section 2.1 (and C2SP tlog-tiles): what the Merkle tree will be built from.

The prefix keeps a leaf from ever being taken for an inner node; it MUST NOT be left out.
"""

from __future__ import annotations

from hashlib import sha256

LEAF_PREFIX = b"\x00"


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry), 32 bytes."""
    return sha256(LEAF_PREFIX + entry).digest()
