"""What workers know of revocations, as control sees it."""

from __future__ import annotations

import threading
from typing import Final

from interlock.control.paths import Paths
from interlock.identity.handles import client_handle, issuer_handle, principal_handle
from interlock.snapshot import NodePage, Snapshot, TrustSpec
from interlock.snapshot.directory import Directory
from interlock.snapshot.page import GENERATION

HANDLES: Final = 4096  # that are remembered; then remembering begins anew


class Known:
    """The same snapshot and the same change log. For many threads."""

    def __init__(self, paths: Paths, page: NodePage, lookup_key: bytes) -> None:
        self._paths = paths
        self._page = page
        self.directory = Directory(page, paths.changes, lookup_key)
        self._generation = -1
        self._snapshot: Snapshot | None = None
        self._lock = threading.Lock()
        self._handles: dict[tuple[str, str, str], tuple[bytes, ...]] = {}

    def catch_up(self) -> Directory:
        """The directory, with everything that was announced."""
        with self._lock:
            generation = self._page.words[GENERATION]
            if generation != self._generation:
                snapshot = Snapshot.open(self._paths.snapshot)
                self.directory.rebase(snapshot)
                self._snapshot, self._generation = snapshot, generation
            elif self.directory.behind:
                self.directory.catch_up()
        return self.directory

    def earliest(self, issuer: str, principal: str, client_id: str) -> int:
        """The second before which nothing that the issuer gave them may have been dated; 0: there is no mark."""
        directory = self.catch_up()
        names = issuer, principal, client_id
        handles = self._handles.get(names)
        if handles is None:
            if len(self._handles) >= HANDLES:
                self._handles.clear()
            handles = principal_handle(principal), client_handle(issuer, client_id), issuer_handle(issuer)
            self._handles[names] = handles
        found = 0
        for handle in handles:
            found = max(found, directory.not_before(handle))
        return found

    def trust(self, name: str) -> TrustSpec | None:
        """A trust bundle of the present snapshot."""
        self.catch_up()
        return None if self._snapshot is None else self._snapshot.node.trust.get(name)


class Current:
    """A directory that is always as new as what was announced."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.lookup_key = known.directory.lookup_key

    @property
    def epoch(self) -> int:
        return self._known.catch_up().epoch

    def find_key(self, lookup: bytes) -> bytes | None:
        return self._known.catch_up().find_key(lookup)

    def find_token(self, lookup: bytes, now: int) -> bytes | None:
        return self._known.directory.find_token(lookup, now)

    def is_revoked(self, handle: bytes) -> bool:
        return self._known.directory.is_revoked(handle)

    def not_before(self, handle: bytes) -> int:
        return self._known.directory.not_before(handle)

    def risk(self, handle: bytes) -> int:
        return self._known.directory.risk(handle)
