"""Opaque access tokens of the running issuer: kept by their keyed hash where workers find them."""

from __future__ import annotations

from interlock.control.paths import Paths
from interlock.keys import lookup_hash
from interlock.snapshot.references import ReferenceLog


class KeptReferences:
    """The one writer of a node. A token is written, not synced: a few microseconds, and nobody is waited for."""

    def __init__(self, paths: Paths, lookup_key: bytes) -> None:
        self._log = ReferenceLog(paths.tokens)
        self._lookup_key = lookup_key

    def add(self, token: str, claims: bytes, expires: int, now: int) -> None:
        self._log.add(lookup_hash(self._lookup_key, token.encode("ascii")), claims, expires, now)
