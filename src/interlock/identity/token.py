"""Verifies tokens of the node's own and of all outside issuers, each token once.

The verified result is kept by the token's bytes; expiry, the issuer's keys being stale and, when the epoch
has moved, revocation are looked at on every call. What was refused is kept too, for a short while, so that
a bad token sent again does not cost another signature. Unknown keys wait for one refresh (`refresh.py`).

An opaque token of the node's own (`ila_...`) is looked up in place of its signature; its claims mean the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from interlock.clock import SECOND
from interlock.identity.cache import Cache
from interlock.identity.directory import KeyDirectory
from interlock.identity.issuer import JwtIssuer
from interlock.identity.marks import is_refused
from interlock.identity.refresh import Refreshes
from interlock.identity.roles import RoleTable
from interlock.jose import Compact, KeyUnknown, TokenRefused, claims_set, split
from interlock.keys import lookup_hash
from interlock.model import Identity, Pending, Reason, Refusal
from interlock.snapshot import IssuerSpec

VERIFIED: Final = 10_000  # tokens kept
VERIFIED_BYTES: Final = 32 * 1024 * 1024
REFUSED: Final = 4096
REFUSED_FOR: Final = 5 * SECOND
OPAQUE: Final = b"ila_"  # what an opaque token begins with
_LIKE_JWT: Final[dict[str, Any]] = {"typ": "at+jwt"}


class Verified:
    """One token that held when it was looked at; valid for `not_before <= now < until` at `epoch`."""

    __slots__ = ("bound", "epoch", "identity", "not_before", "until")

    def __init__(self, identity: Identity, until: int, epoch: int) -> None:
        self.identity = identity
        self.not_before = identity.not_before
        self.until = until
        self.epoch = epoch
        self.bound = bool(identity.bound_to or identity.bound_key)


class TokenVerifier:
    """The issuers of the file. `configure` on every new snapshot, `update` when one issuer's keys are new."""

    def __init__(
        self,
        issuers: Iterable[IssuerSpec],
        roles: RoleTable,
        directory: KeyDirectory,
        refresh: Callable[[str], None],
    ) -> None:
        """`refresh(issuer)` asks for newer keys and returns at once; they come by `update`, or do not."""
        self._roles = roles
        self._directory = directory
        self._refreshes = Refreshes(refresh)
        self._issuers = {spec.issuer: JwtIssuer(spec, roles) for spec in issuers}
        self._verified: Cache[bytes, Verified] = Cache(VERIFIED, VERIFIED_BYTES)
        self._refused: Cache[bytes, tuple[Refusal, int]] = Cache(REFUSED, REFUSED * 32)
        self.examined = 0  # signatures checked
        self.entries = self._verified.entries  # for the fast path of `compile_authenticator`, which only reads

    def verify(self, token: bytes, now: int) -> Identity | Refusal | Pending:
        """The identity of a token's bearer, as far as the token alone can tell: its bindings are not yet checked."""
        entry = self.entries.get(token)
        if entry is not None:
            if entry.not_before <= now < entry.until and self._current(entry):
                return entry.identity
            self._verified.drop(token)
        digest = hashlib.blake2b(token, digest_size=16).digest()
        known = self._refused.entries.get(digest)
        if known is not None:
            if 0 <= now - known[1] < REFUSED_FOR:
                return known[0]
            self._refused.drop(digest)
        try:
            return self._examine(token, now)
        except TokenRefused as refused:
            refusal = Refusal(refused.reason, (), refused.note)
            if refused.reason is not Reason.TOKEN_NOT_YET:
                self._refused.put(digest, (refusal, now))
            return refusal

    def issuer(self, name: str) -> JwtIssuer | None:
        return self._issuers.get(name)

    def update(self, spec: IssuerSpec) -> None:
        """Put an issuer's new keys (or settings) in place and wake whoever waits for them."""
        old = self._issuers.get(spec.issuer)
        self._issuers[spec.issuer] = JwtIssuer(spec, self._roles)
        if old is None or _settings(old.spec) != _settings(spec):
            self._forget(spec.issuer)
        self._refused.clear()
        self._refreshes.arrived(spec.issuer)

    def configure(self, issuers: Iterable[IssuerSpec], roles: RoleTable) -> None:
        """Take over a new snapshot; what was verified under the same settings stays verified."""
        specs = {spec.issuer: spec for spec in issuers}
        if roles != self._roles:
            self._roles = roles
            self._issuers.clear()
            self._verified.clear()
        for gone in set(self._issuers) - set(specs):
            del self._issuers[gone]
            self._forget(gone)
        self._refused.clear()
        for spec in specs.values():
            known = self._issuers.get(spec.issuer)
            if known is None or known.spec != spec:
                self.update(spec)

    def expire(self, now: int) -> None:
        """Once a second or so: let those who waited too long for a key be refused."""
        self._refreshes.expire(now)

    def _current(self, entry: Verified) -> bool:
        """Whether nobody revoked it since it was last looked at."""
        epoch = self._directory.epoch
        if entry.epoch != epoch:
            if is_refused(self._directory, entry.identity):
                return False
            entry.epoch = epoch
        return True

    def _examine(self, token: bytes, now: int) -> Identity | Refusal | Pending:
        if token.startswith(OPAQUE):
            return self._look_up(token, now)
        compact = split(token)
        claims = claims_set(compact)
        issuer = self._issuer_of(claims)
        if issuer.stale(now):
            return self._refreshes.wait(issuer.spec.issuer, now, Refusal(Reason.ISSUER_UNAVAILABLE))
        self.examined += 1
        try:
            issuer.check_signature(compact)
        except KeyUnknown as unknown:
            refusal = Refusal(Reason.TOKEN_KEY_UNKNOWN, (), unknown.note)
            return refusal if issuer.from_file else self._refreshes.wait(issuer.spec.issuer, now, refusal)
        return self._identify(issuer, compact, claims, now)

    def _look_up(self, token: bytes, now: int) -> Identity:
        value = self._directory.find_token(lookup_hash(self._directory.lookup_key, token), now)
        if value is None:
            raise TokenRefused(Reason.TOKEN_UNKNOWN)
        compact = Compact(token, _LIKE_JWT, value)
        claims = claims_set(compact)
        issuer = self._issuer_of(claims)
        if not issuer.spec.own:
            raise TokenRefused(Reason.TOKEN_ISSUER, "an opaque token is the node's own")
        return self._identify(issuer, compact, claims, now)

    def _issuer_of(self, claims: dict[str, Any]) -> JwtIssuer:
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise TokenRefused(Reason.TOKEN_ISSUER, f"iss {name!r:.120}")
        return issuer

    def _identify(self, issuer: JwtIssuer, compact: Compact, claims: dict[str, Any], now: int) -> Identity:
        identity = issuer.identify(compact, claims)
        if now >= identity.expires:
            raise TokenRefused(Reason.TOKEN_EXPIRED)
        if now < identity.not_before:
            raise TokenRefused(Reason.TOKEN_NOT_YET)
        epoch = self._directory.epoch
        if is_refused(self._directory, identity):
            raise TokenRefused(Reason.CREDENTIAL_REVOKED)
        self._verified.put(compact.token, Verified(identity, issuer.usable_until(identity.expires), epoch))
        return identity

    def _forget(self, issuer: str) -> None:
        for token in [token for token, entry in self.entries.items() if entry.identity.issuer == issuer]:
            self._verified.drop(token)


def _settings(spec: IssuerSpec) -> tuple[Any, ...]:
    """Everything that a verification depends on; when the keys were fetched is not part of it."""
    return (
        spec.jwks,
        spec.authority,
        spec.audience,
        spec.algorithms,
        spec.leeway_s,
        spec.roles_from,
        spec.roles_map,
        spec.types,
        spec.subject_kind,
        spec.max_stale_ns,
    )
