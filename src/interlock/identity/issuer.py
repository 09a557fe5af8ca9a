"""An outside token issuer: its keys, and how its tokens become identities.

The checks of a token, after those of `interlock.jose.jws` (1 to 6); each raises `TokenRefused`:

 7. `typ` is meant for access                      token-type
 8. `aud` names us                                 token-audience
 9. `exp`, `nbf`, `iat` are dates                  token-claims   (compared on every call)
10. `sub` names a principal                        token-claims
11. `cnf` is a binding that we can check           token-binding
12. roles through the map, scopes as they stand
"""

from __future__ import annotations

from typing import Any

from interlock.errors import KeyMaterialError
from interlock.identity import claims as claim
from interlock.identity.handles import (
    client_handle,
    family_handle,
    issuer_handle,
    limit_key,
    principal_handle,
    session_handle,
    token_handle,
    unnamed_token,
)
from interlock.identity.roles import RoleTable, mapped_roles, named_in
from interlock.jose import SYMMETRIC, Compact, KeySet, TokenRefused, confirmation, verify_compact
from interlock.model import Identity, Principal, Reason
from interlock.model.principal import OWN_AUTHORITY
from interlock.snapshot import IssuerSpec


class JwtIssuer:
    """One issuer as the snapshot describes it; immutable.

    Keys that cannot be read make an issuer without keys (see `fault`), never an error in a worker.
    """

    def __init__(self, spec: IssuerSpec, roles: RoleTable) -> None:
        self.spec = spec
        self.algorithms = frozenset(spec.algorithms) - SYMMETRIC  # whoever could check such a token could make one
        self.fault = ""
        self._roles = roles
        try:
            self.keys = KeySet.parse(spec.jwks) if spec.jwks else KeySet([], {})
        except KeyMaterialError as error:
            self.keys = KeySet([], {})
            self.fault = str(error)
        self.from_file = bool(spec.jwks) and spec.jwks_ns == 0
        self._fresh_until = spec.jwks_ns + spec.max_stale_ns if spec.jwks else 0

    def usable_until(self, expires: int) -> int:
        """Until when an answer from these keys may be reused: the token's end, or when the keys turn stale."""
        return expires if self.from_file else min(expires, self._fresh_until)

    def stale(self, now: int) -> bool:
        """Whether the keys are too old to go by, or were never had. `now` in wall ns."""
        return not self.from_file and now >= self._fresh_until

    def check_signature(self, compact: Compact) -> None:
        """Checks 3 to 6; raises `KeyUnknown` when newer keys might help."""
        verify_compact(compact, self.keys, self.algorithms)

    def identify(self, compact: Compact, claims: dict[str, Any]) -> Identity:
        """Checks 7 to 12, on a token whose signature holds."""
        spec = self.spec
        # 7. and 8.
        claim.check_type(compact.header, spec.types)
        claim.check_audience(claims, spec.audience)
        # 9.
        not_before, expires = claim.validity(claims, spec.leeway_s)
        # 10.
        try:
            name = claim.subject(claims)
            principal = _own_principal(claims) if spec.own else Principal(spec.subject_kind, spec.authority, name)
        except ValueError as error:
            raise TokenRefused(Reason.TOKEN_CLAIMS, f"sub: {error}") from error
        # 11.
        bound = confirmation(claims)
        # 12.
        if spec.own:
            roles = frozenset(named_in(claims, "roles"))
        else:
            roles = mapped_roles(named_in(claims, spec.roles_from), spec.roles_map) if spec.roles_from else frozenset()
        text = str(principal)
        token_id = claim.token_id(claims)
        return Identity(
            principal=principal,
            text=text,
            methods=("jwt",),
            roles=roles,
            permissions=self._roles.permissions(roles),
            scopes=claim.scopes(claims),
            claims=claims,
            issuer=spec.issuer,
            not_before=not_before,
            expires=expires,
            handles=(
                token_handle(spec.issuer, token_id or unnamed_token(compact.token)),
                principal_handle(text),
                *_origins(spec.issuer, claims),
                *(claim.hangs_on(claims) if spec.own else ()),
            ),
            bound_to=bound.certificate,
            bound_key=bound.key,
            limit_key=limit_key(text),
            credential=token_id,
            issued=claim.issued(claims),
            auth_time=claim.auth_time(claims),
            acr=claim.acr(claims, own=spec.own),
            amr=claim.amr(claims),
        )


def _own_principal(claims: dict[str, Any]) -> Principal:
    """Whom a token of the node itself names: `sub` alone does not tell a client from a person of the same name."""
    principal = Principal.parse(str(claims.get("principal", "")))
    if principal.authority != OWN_AUTHORITY or principal.kind not in ("service", "user", "device"):
        raise ValueError("the principal is not one of the node's own")
    return principal


def _origins(issuer: str, claims: dict[str, Any]) -> list[bytes]:
    """The handles of what a token comes from: its issuer, client, sign-in and refresh token."""
    found = [issuer_handle(issuer), *(client_handle(issuer, name) for name in claim.client(claims))]
    if session := claim.session(claims):
        found.append(session_handle(issuer, session))
    if family := claim.family(claims):
        found.append(family_handle(issuer, family))
    return found
