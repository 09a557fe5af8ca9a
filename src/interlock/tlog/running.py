"""A running hash: each value vouches for everything before it, in order.

It is the first form of the log's head. Unlike a Merkle root it proves nothing about one entry without
all the others, and it MUST NOT be presented as such a proof.
"""

from __future__ import annotations

from hashlib import sha256

START = bytes(32)  # before the first entry


def extend(running: bytes, entry: bytes) -> bytes:
    """The running hash after `entry`: SHA-256(running || entry), 32 bytes."""
    return sha256(running + entry).digest()
