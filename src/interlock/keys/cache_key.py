"""The key of what is derived from the record and kept in `cache/`.

It is replaced, and the old one is gone, whenever something MUST NOT be found there any more: with each erasure,
and when segments were pruned. So a copy of `cache/` made before, and the keys of today, reveal nothing.
"""

from __future__ import annotations

import secrets
from typing import Final, Protocol

from interlock.errors import KeyMaterialError

CACHE: Final = "cache"
SIZE = 32


class Box(Protocol):
    """What of a keyring is used here."""

    def exists(self, name: str) -> bool: ...

    def open(self, name: str) -> bytes: ...

    def seal(self, name: str, secret: bytes) -> None: ...


def cache_key(box: Box) -> bytes:
    """The present key, made if there is none; `KeyMaterialError` if it cannot be opened."""
    if not box.exists(CACHE):
        return turn_cache(box)
    key = box.open(CACHE)
    if len(key) != SIZE:
        raise KeyMaterialError(f"key {CACHE!r}: the contents are damaged")
    return key


def turn_cache(box: Box) -> bytes:
    """Another key in place of the present one, with which everything that is under it is lost."""
    key = secrets.token_bytes(SIZE)
    box.seal(CACHE, key)
    return key
