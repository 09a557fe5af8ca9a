"""Step 3 of a call, compiled per route: zone, role, permission, scope, condition; all that is named must hold.

Each check is a function `(identity, facts) -> Refusal | None`; the cheap ones come first, so that a
condition is evaluated only for callers who would otherwise be let through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from interlock.jose import PROOF_ALGORITHMS
from interlock.model import Identity, Reason, Refusal
from interlock.policy.condition import compile_condition
from interlock.policy.facts import CallFacts
from interlock.policy.zone import compile_zone, zone_networks
from interlock.snapshot import RouteSpec, ZoneSpec

Allow = Callable[[Identity, CallFacts | None], Refusal | None]


def compile_allow(route: RouteSpec, zone: ZoneSpec | None) -> Allow:
    """The route's guard; `zone` is that of its service. `facts` may be None unless `needs_facts`.

    Raises `ConditionInvalid`. A route that names nothing to allow denies everybody.
    """
    checks: list[Allow] = []
    if zone is not None:
        checks.append(compile_zone(zone, public=route.public))
    if not route.public:
        if not (route.role or route.permission or route.scope or route.when):
            return _deny_all
        checks.append(_authenticated)
        if route.role:
            checks.append(_role(route.role))
        if route.permission:
            checks.append(_permission(route.permission))
        if route.scope:
            checks.append(_scopes(route.scope))
    if route.when:
        checks.append(compile_condition(route.when))
    if not checks:
        return _allow_all
    if len(checks) == 2 and route.permission and not route.public and zone is None:
        return _permission_only(route.permission)
    if len(checks) == 1:
        return checks[0]
    return _all(tuple(checks))


def needs_facts(route: RouteSpec, zone: ZoneSpec | None) -> bool:
    """Whether the route's guard has to be told of the call itself, not only who calls."""
    return bool(route.when) or (zone is not None and bool(zone_networks(zone)))


def _all(checks: tuple[Allow, ...]) -> Allow:
    def allow(identity: Identity, facts: CallFacts | None) -> Refusal | None:
        for check in checks:
            refusal = check(identity, facts)
            if refusal is not None:
                return refusal
        return None

    return allow


def _permission_only(permission: str) -> Allow:
    """The plainest route, in one call. An identity without methods has no permissions."""
    refusal = _missing_permission(permission)

    def allow(identity: Identity, _facts: CallFacts | None) -> Refusal | None:
        return None if permission in identity.permissions and identity.methods else refusal

    return allow


def _permission(permission: str) -> Allow:
    refusal = _missing_permission(permission)
    return lambda identity, _facts: None if permission in identity.permissions else refusal


def _role(role: str) -> Allow:
    refusal = Refusal(Reason.PERMISSION_MISSING, (), f"role {role}")
    return lambda identity, _facts: None if role in identity.roles else refusal


def _scopes(scope: str) -> Allow:
    """Every scope of the space-separated list (RFC 6749 section 3.3)."""
    needed = frozenset(scope.split())
    # RFC 6750 section 3.1; of a token bound to a key, RFC 9449 section 7.1
    said = b' realm="interlock", error="insufficient_scope"'
    bearer = Refusal(Reason.SCOPE_MISSING, ((b"www-authenticate", b"Bearer" + said),), f"scope {scope}")
    algorithms = b', algs="%b"' % " ".join(PROOF_ALGORITHMS).encode("ascii")
    dpop = Refusal(Reason.SCOPE_MISSING, ((b"www-authenticate", b"DPoP" + said + algorithms),), f"scope {scope}")
    return lambda identity, _facts: None if needed <= identity.scopes else dpop if identity.bound_key else bearer


def _authenticated(identity: Identity, _facts: CallFacts | None) -> Refusal | None:
    """Nobody is never allowed but by `public`, whatever a condition would say of them."""
    return None if identity.methods else _UNAUTHENTICATED


def _allow_all(_identity: Identity, _facts: CallFacts | None) -> Refusal | None:
    return None


def _deny_all(_identity: Identity, _facts: CallFacts | None) -> Refusal | None:
    return _NOTHING_ALLOWED


def _missing_permission(permission: str) -> Refusal:
    return Refusal(Reason.PERMISSION_MISSING, (), f"permission {permission}")


_UNAUTHENTICATED: Final = Refusal(Reason.PERMISSION_MISSING, (), "not authenticated")
_NOTHING_ALLOWED: Final = Refusal(Reason.PERMISSION_MISSING, (), "the route allows nothing")
