"""The authorization server as workers see it: a service of the node, its routes, and an issuer they trust."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from interlock.clock import SECOND
from interlock.config.own_issuer import EVENTS
from interlock.control.paths import Paths
from interlock.control.rates import limits
from interlock.errors import KeyMaterialError
from interlock.model.principal import OWN_AUTHORITY
from interlock.snapshot import CorsSpec, IssuerSpec, LimitSpec, PatternSpec, RouteSpec, ServiceSpec
from interlock.snapshot.spec import ISSUER_SERVICE

if TYPE_CHECKING:
    from interlock.config import OwnIssuer

SOCKET = "issuer.sock"
BODY = 256 * 1024
PAGES = LimitSpec(20, SECOND, 60, "address")  # what people do by hand, and what tries passwords
# What programs call, beneath `/oauth/`.
PROGRAMS = ("token", "introspect", "revoke", "par", "device_authorization", "register")
SIGNALS = ("streams", "status", "subjects/add", "subjects/remove", "verify", "poll")
SET = 16 * 1024  # bytes of a security event token
# What others may send us: anybody can, and each costs a signature to look at.
TOLD = (LimitSpec(50, SECOND, 200, "address"), LimitSpec(500, SECOND, 1000, "route"))
LEEWAY = 2  # seconds: the clock that dates our tokens may be stepped while they live


def own_service(issuer: OwnIssuer | None, paths: Paths, *, signals: bool = False) -> dict[str, ServiceSpec]:
    """Where workers send its calls. `signals`: others send theirs there, also where there is no issuer."""
    if issuer is None and not signals:
        return {}
    where = f"unix:{paths.run.absolute() / SOCKET}"
    return {ISSUER_SERVICE: ServiceSpec(ISSUER_SERVICE, [where], forward_credentials=True)}


def own_issuer(issuer: OwnIssuer | None, paths: Paths) -> list[IssuerSpec]:
    """Its tokens are verified like anybody's, with the keys that it publishes; for the node's own routes only."""
    if issuer is None:
        return []
    return [
        IssuerSpec(
            issuer=issuer.url,
            authority=OWN_AUTHORITY,
            audience=list(issuer.audiences),
            algorithms=["ES256", "EdDSA"],
            leeway_s=LEEWAY,
            jwks=published(paths),
            types=["at+jwt"],
            own=True,
            dpop_nonce=issuer.dpop.nonce == "required",
            dpop_fapi2=issuer.profile is not None,
        )
    ]


def published(paths: Paths) -> str:
    """The issuer's public keys as they were last written out (JWKS)."""
    try:
        return paths.issuer_jwks.read_text(encoding="utf-8")
    except OSError as problem:
        raise KeyMaterialError(f"{paths.issuer_jwks} cannot be read: {problem.strerror}") from None


def newest_own(spec: IssuerSpec, paths: Paths) -> IssuerSpec:
    """The same issuer with its keys as they are now."""
    return msgspec.structs.replace(spec, jwks=published(paths))


def signal_route(issuer: OwnIssuer | None) -> RouteSpec:
    """Where outside issuers push their signals, which prove themselves whose they are."""
    host, root = ("", "") if issuer is None else (issuer.listens_for, issuer.path)
    path = f"{root}{EVENTS}".strip("/").split("/")
    return RouteSpec(
        "interlock: signals of others",
        [PatternSpec(["POST"], host, path)],
        ISSUER_SERVICE,
        public=True,
        limits=list(TOLD),
        body_limit=SET,
    )


def issuer_routes(issuer: OwnIssuer) -> Iterator[RouteSpec]:
    """Metadata that any page may read, what programs call, what a token opens, and the pages for people."""
    host, root = issuer.listens_for, issuer.path

    def everywhere(methods: list[str], path: str) -> list[PatternSpec]:
        """At each host that programs call."""
        return [PatternSpec(methods, name, path.strip("/").split("/")) for name in issuer.program_hosts]

    def pattern(methods: list[str] | None, path: str, *, prefix: bool = False) -> PatternSpec:
        return PatternSpec(methods, host, path.strip("/").split("/"), prefix)

    *documents, folder = issuer.paths
    programs = limits(issuer.limit)
    scripts = None
    if issuer.origins:
        scripts = CorsSpec(list(issuer.origins), ["GET", "POST"], ["authorization", "content-type", "dpop"])
    yield RouteSpec(
        "interlock issuer: metadata",
        [pattern(["GET", "HEAD"], path) for path in (*documents, f"{folder}/jwks")],
        ISSUER_SERVICE,
        public=True,
        limits=programs,
        cors=CorsSpec(["*"], ["GET", "HEAD"]),
        body_limit=0,
    )
    yield RouteSpec(
        "interlock issuer: programs",
        [one for name in PROGRAMS for one in everywhere(["POST"], f"{folder}/{name}")]
        + everywhere(["GET", "PUT", "DELETE"], f"{root}/oauth/register/{{client_id}}"),
        ISSUER_SERVICE,
        public=True,
        limits=programs,
        cors=scripts,
        body_limit=BODY,
    )
    yield RouteSpec(
        "interlock issuer: userinfo",
        everywhere(["GET", "POST"], f"{folder}/userinfo"),
        ISSUER_SERVICE,
        authenticate=[["jwt"]],
        scope="openid",
        limits=programs,
        cors=scripts,
        body_limit=BODY,
    )
    if issuer.signals is not None:
        yield RouteSpec(
            "interlock issuer: signals",
            [pattern(["GET", "POST", "PUT", "PATCH", "DELETE"], f"{folder}/ssf/{name}") for name in SIGNALS],
            ISSUER_SERVICE,
            authenticate=[["jwt"]],
            scope="ssf.manage",
            limits=programs,
            body_limit=BODY,
        )
    yield RouteSpec(
        "interlock issuer: pages",
        [pattern(["GET", "HEAD", "POST"], folder, prefix=True)],
        ISSUER_SERVICE,
        public=True,
        limits=[PAGES],
        body_limit=BODY,
    )
