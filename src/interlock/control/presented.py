"""A token that an operator holds in their hands: which it is, and whether it is one at all.

It is held against the keys that the workers use. MUST NOT show it, nor any part of it, in an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from interlock.errors import InterlockError, UsageError
from interlock.identity import JwtIssuer, RoleTable, unnamed_token
from interlock.identity.token import OPAQUE
from interlock.jose import Compact, KeyUnknown, TokenRefused, claims_set, split
from interlock.snapshot import IssuerSpec, Snapshot


class Presented(msgspec.Struct, frozen=True):
    """What a token says of itself."""

    issuer: str
    id: str  # `jti`, or what stands for it
    claims: dict[str, Any]
    holds: bool  # whether its issuer said so, or False where that cannot be told


class Tokens:
    """Reads tokens. `look_up(opaque token, now)` gives the claims of one of our own, in JSON, or None."""

    def __init__(self, snapshot: Path, look_up: Callable[[bytes, int], bytes | None]) -> None:
        self._snapshot = snapshot
        self._look_up = look_up

    def read(self, text: str, issuers: Collection[str], own: str, now: int) -> Presented:
        """`UsageError` for what no worker would take either: to revoke it would revoke nothing."""
        try:
            token = text.encode("ascii")
            opaque = token.startswith(OPAQUE)
            compact = self._opaque(token, own, now) if opaque else split(token)
            claims = claims_set(compact)
        except (TokenRefused, UnicodeEncodeError):
            raise UsageError("this is no token (three parts with dots between them, or ila_...)") from None
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in issuers:
            raise UsageError("its issuer is none of the file, so it is refused as it is")
        token_id = claims.get("jti") or unnamed_token(token)
        if not isinstance(token_id, str):
            raise UsageError("its `jti` is no text, so it is refused as it is")
        return Presented(issuer, token_id, claims, opaque or self._holds(issuer, compact))

    def _opaque(self, token: bytes, own: str, now: int) -> Compact:
        value = self._look_up(token, now) if own else None
        if value is None:
            raise UsageError("this opaque token is known to nobody: it has expired, or was not copied whole")
        return Compact(token, {}, value)

    def _holds(self, issuer: str, compact: Compact) -> bool:
        """Whether the signature is the issuer's; False where that cannot be told. `UsageError` if it is not."""
        spec = self._spec(issuer)
        if spec is None:
            return False
        try:
            JwtIssuer(spec, RoleTable({})).check_signature(compact)
        except KeyUnknown:
            return False
        except TokenRefused as refused:
            raise UsageError(
                f"the token does not hold ({refused.reason}): it was cut short or altered, so it is refused as it is. "
                "Nothing was revoked; name another by its `jti` and --issuer"
            ) from None
        return True

    def _spec(self, issuer: str) -> IssuerSpec | None:
        try:
            snapshot = Snapshot.open(self._snapshot)
        except InterlockError:
            return None
        try:
            return next((spec for spec in snapshot.node.issuers if spec.issuer == issuer and spec.jwks), None)
        finally:
            snapshot.close()
