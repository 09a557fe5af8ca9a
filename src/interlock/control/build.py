"""Writes `run/snapshot` and makes it the current one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

import msgspec

from interlock.clock import Clock
from interlock.control.anchors import anchors
from interlock.control.compile import with_newest_keys
from interlock.control.issuer_routes import newest_own
from interlock.control.issuers import KnownKeys
from interlock.control.keys import entry
from interlock.control.paths import Paths
from interlock.snapshot import (
    Change,
    NodePage,
    NodeSpec,
    NotBefore,
    Revoked,
    Risk,
    RouteSpec,
    Snapshot,
    read_changes,
    write_snapshot,
)
from interlock.snapshot.page import EPOCH, GENERATION
from interlock.snapshot.table import mark_value
from interlock.store import Revocations, State
from interlock.store.clients import Clients
from interlock.store.risks import Risks

T = TypeVar("T")


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
        return self.beside(lambda: self._build(node, routes))

    def beside(self, work: Callable[[], T]) -> T:
        """Do what takes long beside the calls, such as reading ten thousand routes."""
        if not self.gently:
            return work()
        with ThreadPoolExecutor(1, "build", initializer=_give_way) as thread:
            return thread.submit(work).result()

    def _build(self, node: NodeSpec, routes: Iterable[RouteSpec]) -> int:
        # Read before the state is, so that what happens meanwhile is in the change log after it.
        offset = self.page.words[EPOCH]
        now = self.clock.wall()
        node = self._with_own_issuer(node)
        logged = read_changes(self.paths.changes, 0, offset)
        tables = {
            "keys": ((row.hash, entry(row)) for row in self.state.usable_keys(now)),
            "revoked": ((handle, b"") for handle in self._revoked(logged, now)),
            "marks": ((handle, mark_value(since)) for handle, since in self._marks(logged, now)),
            "risks": ((handle, bytes([value])) for handle, value in self._risks(logged, now)),
        }
        write_snapshot(self.paths.snapshot, node, routes, tables, offset)
        self.page.words[GENERATION] += 1
        self.built += 1
        return self.page.words[GENERATION]

    def _with_own_issuer(self, node: NodeSpec) -> NodeSpec:
        """With the keys that the node's own issuer publishes now, and the self-signed certificates of its clients."""
        if not any(spec.own for spec in node.issuers):
            return node
        issuers = [newest_own(spec, self.paths) if spec.own else spec for spec in node.issuers]
        clients = Clients(self.state).all()
        return msgspec.structs.replace(node, issuers=issuers, client_anchors=anchors(clients, node.trust.values()))

    def behind(self) -> bool:
        """Whether workers know other keys of the own issuer, or other certificates of its clients, than there are."""
        node = self.current()
        return self._with_own_issuer(node) != node

    def _revoked(self, logged: Sequence[Change], now: int) -> Iterator[bytes]:
        """Handles in order: those of the state, and whatever the change log has refused since the node started.

        Workers forget what the log said before the snapshot. The state need not have heard of it (its disk may
        have been full), and a key that was rotated while it was revoked may be added again after it. What
        nothing alive could match any more is in neither.
        """
        said = {change.handle for change in logged if isinstance(change, Revoked) and _lives(change, now)}
        kept = (one.handle for one in self.state.revocations(now))
        return (handle for handle, _ in groupby(merge(kept, sorted(said))))

    def _marks(self, logged: Sequence[Change], now: int) -> Iterator[tuple[bytes, int]]:
        """Handles in order, each with the latest second that the state or the change log names, as above."""
        said = sorted(
            (change.handle, change.since) for change in logged if isinstance(change, NotBefore) and _lives(change, now)
        )
        kept = ((one.handle, one.since) for one in Revocations(self.state).marks(now))
        for handle, marks in groupby(merge(kept, said), itemgetter(0)):
            yield handle, max(since for _, since in marks)

    def _risks(self, logged: Sequence[Change], now: int) -> list[tuple[bytes, int]]:
        """Handles in order, each with the last word on it: of the change log, or else of the state."""
        risks = {row.handle: row.value for row in Risks(self.state).live(now)}
        for change in logged:
            if isinstance(change, Risk):
                risks[change.handle] = change.value if _lives(change, now) else 0
        return sorted((handle, value) for handle, value in risks.items() if value)

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


def _lives(change: Revoked | NotBefore | Risk, now: int) -> bool:
    return not change.until or now < change.until


def _give_way() -> None:
    """Lower the priority of this thread alone (Linux keeps it per thread)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
