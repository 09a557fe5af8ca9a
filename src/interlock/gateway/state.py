"""What a worker knows: the snapshot, compiled on demand, and what was said since.

Everything is reached through one object, `Live`, that is replaced by one assignment; a call that began
on the old one ends on it. Between snapshots, keys created and credentials revoked arrive through the
change log, announced by the epoch in the shared page, which is compared before every call is decided.

Nothing here opens fail: a change log that cannot be read makes the worker `stale`, and it refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from interlock.clock import SECOND
from interlock.errors import SnapshotError
from interlock.gateway.compiler import Compiler
from interlock.gateway.cors import is_preflight
from interlock.gateway.http1 import Malformed, RequestHead
from interlock.gateway.paths import Target, canonicalize
from interlock.gateway.route import Matched, Route
from interlock.gateway.router import NOTHING, Match, NotAllowed, Router
from interlock.gateway.upstream import Totals
from interlock.identity import ProofGuard, TokenVerifier
from interlock.model import Reason, Refusal
from interlock.snapshot import NodePage, Snapshot
from interlock.snapshot.counters import CounterTable
from interlock.snapshot.directory import Directory
from interlock.snapshot.page import GENERATION

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a snapshot that could not be used is tried again
CONTROL_SILENT = 5 * SECOND  # without a heartbeat for this long, control is taken to be gone


class Live:
    """One snapshot in use: finds and compiles the route of a call."""

    def __init__(self, snapshot: Snapshot, router: Router, compiler: Compiler) -> None:
        self.snapshot = snapshot
        self.node = snapshot.node
        self._router = router
        self._compiler = compiler
        self._routes: list[Route | None] = [None] * snapshot.route_count

    def match(self, head: RequestHead) -> Matched | Refusal:
        """The route of a request, on its one canonical path."""
        try:
            target = canonicalize(head.target, head.host)
        except Malformed as problem:
            return Refusal(problem.reason, (), problem.note)
        method = head.method
        found = self._router.match(method, head.hostname, target.segments)
        if method == "OPTIONS" and not (isinstance(found, Match) and found.named):
            wanted = is_preflight(head)
            if wanted is not None:
                other = self._router.match(wanted, head.hostname, target.segments)
                if other is not None and not isinstance(other, NotAllowed):
                    route = self.route(other.route)
                    if route.cors is not None:
                        return _matched(route, target, other, preflight=True)
        if isinstance(found, NotAllowed):
            return Refusal(Reason.METHOD_NOT_ALLOWED, ((b"allow", found.allow),))
        if found is None:
            return Refusal(Reason.NO_ROUTE)
        return _matched(self.route(found.route), target, found)

    def route(self, number: int) -> Route:
        route = self._routes[number]
        if route is None:
            route = self._routes[number] = self._compiler.route(
                self.snapshot.route(number), self.snapshot.route_digest(number)
            )
        return route


def _matched(route: Route, target: Target, found: Match, *, preflight: bool = False) -> Matched:
    """With the parameters and the segments only where they are asked for: thousands of paths are remembered."""
    if route.asks_params:
        return Matched(route, target, found.params, preflight)
    target.segments = ()
    return Matched(route, target, NOTHING, preflight)


class WorkerState:
    """The worker's present `Live`, and how it comes to be replaced."""

    def __init__(
        self,
        run: Path,
        page: NodePage,
        *,
        loop: asyncio.AbstractEventLoop,
        lookup_key: bytes,
        counters: CounterTable,
        refresh: Callable[[str], None],
        proofs: ProofGuard | None = None,
    ) -> None:
        self._path = run / "snapshot"
        self._page = page
        self._loop = loop
        self._counters = counters
        self._refresh = refresh
        self._proofs = proofs
        self.directory = Directory(page, run / "changes.log", lookup_key)
        self.generation = -1
        self.damaged = False  # the change log cannot be read
        self.outdated = False  # control has been gone for longer than `max_stale`
        self.trusted_proxies: list[IPv4Network | IPv6Network] = []
        self._compiler: Compiler | None = None
        self._loading = False
        self._unusable = -1  # the generation that could not be used
        self._pause = FIRST_PAUSE
        self._again = 0.0  # when it is tried again, by the loop's clock
        self.swaps = 0  # snapshots taken into use
        self.upstreams = Totals()
        generation = page.words[GENERATION]
        self._swap(*self._load(), generation)

    live: Live

    @property
    def stale(self) -> bool:
        """Nothing may be decided on what this worker knows."""
        return self.damaged or self.outdated

    def catch_up(self) -> None:
        """Apply what was revoked or added; called before a call is decided on older state."""
        try:
            self.directory.catch_up()
            self.damaged = False
        except SnapshotError:
            self.damaged = True

    async def follow(self) -> None:
        """Take over a newer snapshot, read and built in a thread; the loop goes on meanwhile.

        One that could not be used is tried again later and later, for it may have been this worker's want of something.
        """
        if self._loading or (self._page.words[GENERATION] == self._unusable and self._loop.time() < self._again):
            return
        self._loading = True
        generation = -1
        try:
            while self._page.words[GENERATION] != self.generation:
                generation = self._page.words[GENERATION]
                snapshot, router = await self._loop.run_in_executor(None, self._load)
                former = self.live.snapshot
                self._swap(snapshot, router, generation)
                # Who lets go of a replaced file last frees its pages and blocks: with a million keys, a long while.
                self._loop.run_in_executor(None, former.close)
        except BaseException:
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if generation == self._unusable else FIRST_PAUSE
            self._unusable, self._again = generation, self._loop.time() + self._pause
            raise
        finally:
            self._loading = False

    def watch_control(self, seen: int, now: int) -> None:
        """Once a second, monotonic ns: for how long has nobody been there to replace the snapshot?

        `seen`: the last sign of any control process since the node started, so that no worker that is
        started again begins to count anew.
        """
        self.outdated = now - seen > self.live.node.max_stale_ns + CONTROL_SILENT

    def sweep(self, now: float) -> None:
        if self._compiler is not None:
            for pool in self._compiler.pools.values():
                pool.sweep(now)

    def _load(self) -> tuple[Snapshot, Router]:
        snapshot = Snapshot.open(self._path)
        return snapshot, Router.build(snapshot.patterns())

    def _swap(self, snapshot: Snapshot, router: Router, generation: int) -> None:
        """Use a snapshot from now on: all of it, or, if anything of it cannot be used, nothing."""
        before = self._compiler
        proxies = [ip_network(network) for network in snapshot.node.trusted_proxies]
        compiler = Compiler(
            snapshot.node,
            before,
            loop=self._loop,
            directory=self.directory,
            counters=self._counters,
            refresh=self._refresh,
            totals=self.upstreams,
            proofs=self._proofs,
        )
        try:
            self.directory.rebase(snapshot)
        except SnapshotError:
            compiler.retire(before)
            raise
        self.live = Live(snapshot, router, compiler)
        self.trusted_proxies = proxies
        self.generation = generation
        self._compiler = compiler
        self.swaps += 1
        compiler.take_over()
        if before is not None:
            before.retire(compiler)

    @property
    def open_upstream(self) -> int:
        """Connections to the services of the present snapshot, made or being made."""
        return sum(pool.open for pool in self._compiler.pools.values()) if self._compiler is not None else 0

    @property
    def tokens(self) -> TokenVerifier:
        assert self._compiler is not None
        return self._compiler.tokens
