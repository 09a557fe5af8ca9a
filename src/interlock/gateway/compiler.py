"""Routes as callables: made on demand from what a snapshot says of them, and kept while nothing of it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from interlock.gateway.route import Route
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
from interlock.policy import Allow, compile_allow, needs_facts
from interlock.snapshot import CorsSpec, NodeSpec, RouteSpec, ZoneSpec
from interlock.snapshot.counters import CounterTable
from interlock.snapshot.directory import Directory


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
