"""Writes `run/snapshot` and makes it the current one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import merge
from itertools import groupby

import msgspec

from interlock.clock import Clock
from interlock.control.compile import with_newest_keys
from interlock.control.issuers import KnownKeys
from interlock.control.keys import entry
from interlock.control.paths import Paths
from interlock.snapshot import (
    NodePage,
    NodeSpec,
    Revoked,
    RouteSpec,
    Snapshot,
    read_changes,
    write_snapshot,
)
from interlock.snapshot.page import EPOCH, GENERATION
from interlock.store import State


@dataclass
class SnapshotBuilder:
    """For one thread. The file is replaced whole or not at all; the generation is raised after it."""

    paths: Paths
    state: State
    page: NodePage
    clock: Clock
    built: int = 0  # snapshots
    gently: bool = False  # leave the processors to the workers: a million keys take seconds

    def build(self, node: NodeSpec, routes: Iterable[RouteSpec]) -> int:
        """Write a snapshot of `node`, `routes` and the state; gives its generation."""
        if not self.gently:
            return self._build(node, routes)
        with ThreadPoolExecutor(1, "build", initializer=_give_way) as thread:
            return thread.submit(self._build, node, routes).result()

    def _build(self, node: NodeSpec, routes: Iterable[RouteSpec]) -> int:
        # Read before the state is, so that what happens meanwhile is in the change log after it.
        offset = self.page.words[EPOCH]
        now = self.clock.wall()
        tables = {
            "keys": ((row.hash, entry(row)) for row in self.state.usable_keys(now)),
            "revoked": ((handle, b"") for handle in self._revoked(offset, now)),
        }
        write_snapshot(self.paths.snapshot, node, routes, tables, offset)
        self.page.words[GENERATION] += 1
        self.built += 1
        return self.page.words[GENERATION]

    def _revoked(self, offset: int, now: int) -> Iterator[bytes]:
        """Handles in order: those of the state, and whatever the change log has refused since the node started.

        Workers forget what the log says before `offset`. The state need not have heard of it (its disk may
        have been full), and a key that was rotated while it was revoked may be added again after it.
        """
        logged = {
            change.handle for change in read_changes(self.paths.changes, 0, offset) if isinstance(change, Revoked)
        }
        kept = (one.handle for one in self.state.revocations(now))
        return (handle for handle, _ in groupby(merge(kept, sorted(logged))))

    def rebuild(self, known: KnownKeys | None = None) -> int:
        """What workers run with now over the state as it is now, and, if given, with newer keys of issuers.

        Whom they trust is never taken from anywhere else: no half-made reload can come back by this way.
        """
        current = Snapshot.open(self.paths.snapshot)
        try:
            node = msgspec.structs.replace(current.node, built_ns=self.clock.wall())
            if known is not None:
                node = msgspec.structs.replace(node, issuers=with_newest_keys(node.issuers, known))
            return self.build(node, (current.route(number) for number in range(current.route_count)))
        finally:
            current.close()

    def current(self) -> NodeSpec:
        """What the workers have been given."""
        snapshot = Snapshot.open(self.paths.snapshot)
        try:
            return snapshot.node
        finally:
            snapshot.close()

    def overlay(self) -> int:
        """Bytes of the change log that are not in the current snapshot."""
        snapshot = Snapshot.open(self.paths.snapshot)
        try:
            return self.page.words[EPOCH] - snapshot.changes_offset
        finally:
            snapshot.close()


def _give_way() -> None:
    """Lower the priority of this thread alone (Linux keeps it per thread)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
