"""Keys, revocations, marks and risks as a process of the node knows them: the snapshot, and what was said since.

What is created and revoked between snapshots arrives through the change log, announced by the epoch in the shared
page: whoever decides by this compares it first (`behind`), and reads what is new (`catch_up`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, assert_never

from interlock.snapshot.changes import Change, KeyAdded, NotBefore, Revoked, Risk, read_changes
from interlock.snapshot.file import Snapshot
from interlock.snapshot.page import EPOCH, NodePage
from interlock.snapshot.references import References
from interlock.snapshot.table import mark_of

TABLES: Final = ("keys", "revoked", "marks", "risks")


class Overlay:
    """What the change log has said since a snapshot."""

    __slots__ = ("keys", "marks", "revoked", "risks")

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.revoked: set[bytes] = set()
        self.marks: dict[bytes, int] = {}
        self.risks: dict[bytes, int] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        """Take changes in. One of a kind that is not known here is an error: to go on without it would fail open."""
        for change in changes:
            match change:
                case KeyAdded():
                    self.keys[change.hash] = change.value
                case Revoked():
                    self.revoked.add(change.handle)
                case NotBefore():
                    self.marks[change.handle] = max(change.since, self.marks.get(change.handle, 0))
                case Risk():
                    self.risks[change.handle] = change.value
                case _:
                    assert_never(change)


class Directory:
    """Keys, revocations and marks: the snapshot's tables under what the change log has added since."""

    def __init__(self, page: NodePage, changes: Path, lookup_key: bytes) -> None:
        self.lookup_key = lookup_key
        self.epoch = 0  # changes whenever what is known may have
        self._offset = 0  # how far the change log was read
        self._words = page.words
        self._path = changes
        self._snapshot: Snapshot | None = None
        self._since = Overlay()
        self._references = References(changes.with_name("tokens"))

    @property
    def behind(self) -> bool:
        return bool(self._words[EPOCH] != self._offset)

    def catch_up(self) -> None:
        """Read what is new in the change log; `SnapshotError` if it cannot be read."""
        target = self._words[EPOCH]
        self._since.apply(read_changes(self._path, self._offset, target))
        self._offset = target
        self.epoch += 1

    def rebase(self, snapshot: Snapshot) -> None:
        """Stand on a newer snapshot; what it already holds leaves the overlay. `SnapshotError` if it lacks a table."""
        for table in TABLES:
            snapshot.table(table)
        since = Overlay()
        target = self._words[EPOCH]
        since.apply(read_changes(self._path, snapshot.changes_offset, target))
        self._snapshot, self._since, self._offset = snapshot, since, target
        self.epoch += 1

    @property
    def offset(self) -> int:
        """The epoch of the shared page that is acknowledged."""
        return self._offset

    def find_key(self, lookup: bytes) -> bytes | None:
        found = self._since.keys.get(lookup)
        if found is None and self._snapshot is not None:
            found = self._snapshot.table("keys").get(lookup)
        return found

    def find_token(self, lookup: bytes, now: int) -> bytes | None:
        return self._references.find(lookup, now)

    def is_revoked(self, handle: bytes) -> bool:
        if handle in self._since.revoked:
            return True
        return self._snapshot is not None and self._snapshot.table("revoked").get(handle) is not None

    def not_before(self, handle: bytes) -> int:
        """The second before which nothing of this handle may have been issued; 0: there is no mark."""
        since = self._since.marks.get(handle, 0)
        kept = self._snapshot.table("marks").get(handle) if self._snapshot is not None else None
        return since if kept is None else max(since, mark_of(kept))

    def risk(self, handle: bytes) -> int:
        """What was found out about a handle, from 1 to 100; 0: nothing."""
        said = self._since.risks.get(handle)
        if said is not None:
            return said
        kept = self._snapshot.table("risks").get(handle) if self._snapshot is not None else None
        return kept[0] if kept else 0
