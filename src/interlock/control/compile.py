"""From the file to what workers read: pure but for the files that the configuration names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from interlock.clock import SECOND
from interlock.control.issuer_routes import issuer_routes, own_issuer, own_service, signal_route
from interlock.control.issuers import DISCOVERY, KnownKeys
from interlock.control.paths import Paths
from interlock.control.rates import limits
from interlock.errors import KeyMaterialError
from interlock.issuer.levels import including
from interlock.snapshot import (
    CertificateSpec,
    ConnectionSpec,
    CorsSpec,
    IssuerSpec,
    ListenerSpec,
    NodeSpec,
    PatternSpec,
    RouteSpec,
    ServiceSpec,
    StrengthSpec,
    TrustSpec,
    ZoneSpec,
)

if TYPE_CHECKING:
    from interlock.config import Config, Issuer
    from interlock.config.strength import Strength


def compile_node(config: Config, paths: Paths, now: int) -> NodeSpec:
    """Everything but the routes; `now` in wall ns. Raises `KeyMaterialError` for a file that cannot be read."""
    return NodeSpec(
        config_digest=config.digest,
        built_ns=now,
        worker_count=config.worker_count,
        listeners=_listeners(config, paths),
        services=_services(config) | own_service(config.issuer, paths, signals=config.identity.pushing),
        issuers=compile_issuers(config, KnownKeys(paths.jwks), callers=True) + own_issuer(config.issuer, paths),
        trust={
            name: TrustSpec(
                name,
                _text(trust.ca),
                trust.principal,
                {outside: list(roles) for outside, roles in trust.roles.items()},
                dict(trust.principals),
            )
            for name, trust in config.trust.items()
        },
        zones={name: ZoneSpec(name, list(zone.sources), list(zone.require)) for name, zone in config.zones.items()},
        roles={role: list(permissions) for role, permissions in config.roles.items()},
        connections=_connections(config),
        trusted_proxies=list(config.trusted_proxies),
        max_stale_ns=config.defaults.max_stale,
        max_unsealed_ns=config.defaults.max_unsealed,
        auto_ca=_text(paths.pki / "ca.pem") if uses_own_authority(config) else "",
    )


def compile_routes(config: Config) -> Iterator[RouteSpec]:
    """The routes in the order of the file, and those of the authorization server."""
    if config.issuer is not None:
        yield from issuer_routes(config.issuer)
    if config.identity.pushing:
        yield signal_route(config.issuer)
    for route in config.routes:
        yield RouteSpec(
            id=route.id,
            patterns=[
                PatternSpec(
                    None if pattern.methods is None else sorted(pattern.methods),
                    pattern.host,
                    pattern.texts(),
                    pattern.prefix,
                )
                for pattern in route.match
            ],
            service=route.service,
            authenticate=[list(methods) for methods in route.authenticate],
            trust=route.trust,
            public=route.allow.public,
            permission=route.allow.permission,
            scope=route.allow.scope,
            when=route.allow.when,
            role=route.allow.role,
            limits=limits(route.limit),
            cors=None
            if route.cors is None
            else CorsSpec(
                list(route.cors.origins),
                list(route.cors.methods),
                list(route.cors.headers),
                route.cors.credentials,
                route.cors.max_age // SECOND,
            ),
            body_limit=config.body_of(route),
            timeout_ns=config.timeout_of(route),
            durable=config.record_of(route) == "durable",
            subject=dict(route.subject),
            strength=None if route.strength is None else _strength(route.strength),
        )


def _strength(asked: Strength) -> StrengthSpec:
    return StrengthSpec(
        max_age_s=asked.max_age_s,
        acr=list(asked.acr),
        accepted=list(including(asked.acr)),
        risk=asked.risk or 0,
        same_network=asked.network == "same",
    )


def compile_issuers(config: Config, known: KnownKeys, *, callers: bool = False) -> list[IssuerSpec]:
    """Outside issuers with their keys: from their file, or as last fetched. `callers`: only those of callers."""
    specs = []
    for issuer in config.identity.issuers:
        if callers and not issuer.callers:
            continue
        jwks, fetched = "", 0
        if isinstance(issuer.jwks, Path):
            jwks = _text(issuer.jwks)
        elif (last := known.get(issuer.issuer, source_of(issuer))) is not None:
            jwks, fetched = last.jwks, last.fetched_ns
        specs.append(
            IssuerSpec(
                issuer=issuer.issuer,
                authority=issuer.authority,
                audience=list(issuer.audience),
                algorithms=list(issuer.algorithms),
                leeway_s=issuer.leeway // SECOND,
                jwks=jwks,
                jwks_ns=fetched,
                max_stale_ns=issuer.max_stale,
                roles_from=issuer.roles.claim if issuer.roles is not None else "",
                roles_map={} if issuer.roles is None else {name: list(to) for name, to in issuer.roles.map.items()},
                types=list(issuer.types),
                source=source_of(issuer),
                dpop_nonce=issuer.dpop.nonce == "required",
            )
        )
    return specs


def source_of(issuer: Issuer) -> str:
    """Where the keys are fetched from; empty: nowhere, they are in a file."""
    return "" if isinstance(issuer.jwks, Path) else str(issuer.jwks or DISCOVERY)


def with_newest_keys(issuers: Iterable[IssuerSpec], known: KnownKeys) -> list[IssuerSpec]:
    """The same issuers under the same settings, with their keys as last fetched from the same place."""
    specs = []
    for spec in issuers:
        last = known.get(spec.issuer, spec.source) if spec.source else None
        specs.append(spec if last is None else replace(spec, jwks=last.jwks, jwks_ns=last.fetched_ns))
    return specs


def uses_own_authority(config: Config) -> bool:
    """Whether any listener has a certificate of the built-in authority."""
    return any(listener.tls == "auto" for listener in config.listeners)


def _listeners(config: Config, paths: Paths) -> list[ListenerSpec]:
    specs = []
    for listener in config.listeners:
        certificates = []
        if listener.tls == "auto":
            # The key is handed to workers by another way, together with the certificate.
            certificates.append(CertificateSpec(list(listener.hosts), str(paths.pki / "server.pem"), ""))
        elif listener.tls != "off":
            files = listener.tls
            certificates.append(CertificateSpec(list(listener.hosts), str(files.certificate), str(files.key)))
        certificates += [
            CertificateSpec(list(one.hosts), str(one.certificate), str(one.key)) for one in listener.certificates
        ]
        specs.append(
            ListenerSpec(
                str(listener.address),
                "files" if certificates else "off",
                certificates,
                config.asks_client(listener),
            )
        )
    return specs


def _services(config: Config) -> dict[str, ServiceSpec]:
    specs = {}
    for name, service in config.services.items():
        tls = service.tls
        specs[name] = ServiceSpec(
            name,
            list(service.upstreams),
            zone=service.zone,
            data=list(service.data),
            durable=(service.record or ("durable" if service.data else config.defaults.record)) == "durable",
            connect_timeout_ns=service.connect_timeout,
            read_timeout_ns=service.timeout or config.defaults.timeout,
            pool=service.pool,
            forward_credentials=service.forward_credentials,
            tls_ca=str(tls.ca) if tls is not None and tls.ca is not None else "",
            tls_certificate=str(tls.certificate) if tls is not None and tls.certificate is not None else "",
            tls_key=str(tls.key) if tls is not None and tls.key is not None else "",
            tls_digest=_digest(tls.ca, tls.certificate, tls.key) if tls is not None else "",
        )
    return specs


def _connections(config: Config) -> ConnectionSpec:
    given = config.connections
    return ConnectionSpec(
        per_worker=given.per_worker,
        per_address=given.per_address,
        handshakes=given.handshakes,
        failures=given.failures.count,
        failures_period_ns=given.failures.period_ns,
        header_timeout_ns=given.header_timeout,
        body_timeout_ns=given.body_timeout,
        idle_timeout_ns=given.idle_timeout,
        head_size=given.head_size,
        head_count=given.head_count,
    )


def _digest(*files: Path | None) -> str:
    """One digest over several files, so that it shows when any of them was replaced."""
    parts = hashlib.sha256()
    for path in files:
        try:
            data = b"" if path is None else path.read_bytes()
        except OSError as problem:
            raise KeyMaterialError(f"{path} cannot be read: {problem.strerror}") from None
        parts.update(hashlib.sha256(data).digest())
    return parts.hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise KeyMaterialError(f"{path} cannot be read: {problem}") from None
