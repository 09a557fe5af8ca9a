"""What a worker knows: the snapshot, compiled on demand, and what was said since.

Everything is reached through one object, `Live`, that is replaced by one assignment; a call that began
on the old one ends on it. Between snapshots, keys created and credentials revoked arrive through the
change log, announced by the epoch in the shared page, which is compared before every call is decided.

Nothing here opens fail: a change log that cannot be read makes the worker `stale`, and it refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import NamedTuple, assert_never

import msgspec

from interlock.clock import SECOND
from interlock.errors import SnapshotError
from interlock.gateway.cors import is_preflight
from interlock.gateway.http1 import Malformed, RequestHead
from interlock.gateway.paths import Target, canonicalize
from interlock.gateway.route import Matched, Route
from interlock.gateway.router import NOTHING, Match, NotAllowed, Router
from interlock.gateway.upstream import Pool, Totals
from interlock.identity import (
    ApiKeyVerifier,
    Authenticate,
    CertificateVerifier,
    ProofGuard,
    RoleTable,
    Strength,
    TokenVerifier,
    compile_authenticator,
    compile_strength,
)
from interlock.limits import Limit, compile_limits
from interlock.model import Reason, Refusal
from interlock.policy import Allow, compile_allow, needs_facts
from interlock.snapshot import CorsSpec, NodePage, NodeSpec, RouteSpec, Snapshot, ZoneSpec
from interlock.snapshot.changes import Change, KeyAdded, NotBefore, Revoked, Risk, read_changes
from interlock.snapshot.counters import CounterTable
from interlock.snapshot.page import EPOCH, GENERATION
from interlock.snapshot.references import References
from interlock.snapshot.table import mark_of

TABLES = ("keys", "revoked", "marks", "risks")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a snapshot that could not be used is tried again
CONTROL_SILENT = 5 * SECOND  # without a heartbeat for this long, control is taken to be gone


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
        if isinstance(found, NotAllowed) or (found is None and method == "OPTIONS"):
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


class Guards(NamedTuple):
    """What routes that ask the same of a call have in common: made once, so that ten thousand of them are light."""

    authenticate: Authenticate | None
    vouched: Callable[[bytes], bool] | None
    strength: Strength | None
    allow: Allow
    conditional: bool
    cors: CorsSpec | None


class Compiler:
    """Turns specs into callables for one snapshot; takes over from its predecessor what is unchanged."""

    def __init__(
        self,
        node: NodeSpec,
        before: Compiler | None,
        *,
        loop: asyncio.AbstractEventLoop,
        directory: Directory,
        counters: CounterTable,
        refresh: Callable[[str], None],
        totals: Totals,
        proofs: ProofGuard | None = None,
    ) -> None:
        self.node = node
        self._proofs = proofs
        self._directory = directory
        self._counters = counters
        self._context = _context(node)
        same = before is not None and before._context == self._context
        self._compiled: dict[bytes, Route] = {}
        self._before: dict[bytes, Route] = before._compiled if before is not None and same else {}
        self._shared: dict[bytes, Guards] = {}
        self._shared_before: dict[bytes, Guards] = before._shared if before is not None and same else {}
        if before is None:
            self.roles = RoleTable(node.roles)
            self.tokens = TokenVerifier(node.issuers, self.roles, directory, refresh)
            self.keys = ApiKeyVerifier(directory, self.roles)
            self.certificates = CertificateVerifier(node.trust, self.roles, directory)
        else:
            self.roles = before.roles if before.node.roles == node.roles else RoleTable(node.roles)
            self.tokens, self.keys, self.certificates = before.tokens, before.keys, before.certificates
        self.pools: dict[str, Pool] = {}
        for name, service in node.services.items():
            known = before.pools.get(name) if before is not None else None
            self.pools[name] = known if known is not None and known.spec == service else Pool(service, loop, totals)

    def take_over(self) -> None:
        """Put the snapshot's issuers, roles and bundles in force; does not fail, so it comes when all else is done.

        The verifiers are those of the predecessor: until now, they answer as the former snapshot has them.
        """
        self.tokens.configure(self.node.issuers, self.roles)
        self.keys.configure(self.roles)
        self.certificates.configure(self.node.trust, self.roles)

    def retire(self, after: Compiler | None) -> None:
        """Close the pools that the other compiler does not have."""
        for name, pool in self.pools.items():
            if after is None or after.pools.get(name) is not pool:
                pool.close()

    def route(self, spec: RouteSpec, digest: bytes) -> Route:
        """The compiled route; the same object as before if nothing it was made from has changed."""
        route = self._compiled.get(digest)
        if route is None:
            # One snapshot back and no further: what is called no more is forgotten after two reloads.
            route = self._compiled[digest] = self._before.get(digest) or self._compile(spec)
        return route

    def _compile(self, spec: RouteSpec) -> Route:
        service = self.node.services[spec.service]
        guards = self._guards(spec, self.node.zones[service.zone] if service.zone else None)
        return Route(
            spec,
            service,
            pool=self.pools[spec.service],
            authenticate=guards.authenticate,
            vouched=guards.vouched,
            strength=guards.strength,
            allow=guards.allow,
            conditional=guards.conditional,
            cors=guards.cors,
            limit=compile_limits(spec.limits, self._counters, spec.id) if spec.limits else None,
            preflight_limit=self._preflight_limit(spec),
        )

    def _guards(self, spec: RouteSpec, zone: ZoneSpec | None) -> Guards:
        """Those of a route, by all that it asks but for its paths, its limits and whom its paths identify."""
        key = msgspec.msgpack.encode(msgspec.structs.replace(spec, id="", patterns=[], limits=[], subject={}))
        guards = self._shared.get(key) or self._shared_before.get(key)
        if guards is None:
            authenticate = None
            if spec.authenticate:
                authenticate = compile_authenticator(
                    spec.authenticate,
                    jwt=self.tokens,
                    keys=self.keys,
                    certificates=self.certificates,
                    trust=spec.trust,
                    proofs=self._proofs,
                )
            guards = Guards(
                authenticate,
                self._vouched(spec),
                None if spec.strength is None else compile_strength(spec.strength, self._directory),
                compile_allow(spec, zone),
                needs_facts(spec, zone),
                spec.cors,
            )
        self._shared[key] = guards
        return guards

    def _preflight_limit(self, spec: RouteSpec) -> Limit | None:
        """The route's limits, counted apart and per address: strangers MUST NOT spend what callers share."""
        if spec.cors is None or not spec.limits:
            return None
        limits = [msgspec.structs.replace(limit, per="address") for limit in spec.limits]
        return compile_limits(limits, self._counters, f"{spec.id}\0preflight")

    def _vouched(self, spec: RouteSpec) -> Callable[[bytes], bool] | None:
        """For routes that ask for certificates: whether this worker verified a leaf against the route's bundle."""
        if not any("mtls" in alternative for alternative in spec.authenticate):
            return None
        known, trust = self.certificates.is_known, spec.trust
        return lambda fingerprint: known(fingerprint, trust)


def _context(node: NodeSpec) -> bytes:
    """What a compiled route depends on besides its own spec."""
    return msgspec.json.encode([node.services, node.trust, node.zones, node.roles, _without_keys(node)])


def _without_keys(node: NodeSpec) -> list[object]:
    return [msgspec.structs.replace(issuer, jwks="", jwks_ns=0) for issuer in node.issuers]


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
