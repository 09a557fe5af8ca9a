"""Who may tell us something: outside issuers of the file with `signals`, and their keys as last fetched."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

from interlock.control.compile import compile_issuers
from interlock.control.issuers import KnownKeys
from interlock.control.paths import Paths
from interlock.errors import KeyMaterialError
from interlock.identity import JwtIssuer, RoleTable
from interlock.jose import Compact
from interlock.model import Principal
from interlock.snapshot import IssuerSpec

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.config.signals import Received


class Stale(KeyMaterialError):
    """The issuer's keys are too old to go by, or were never had."""


class OutsideSource:
    """One issuer that may tell us something (`issuer.signals.sets.Source`); of one moment."""

    def __init__(self, keys: JwtIssuer, settings: Received) -> None:
        spec = keys.spec
        self.issuer = spec.issuer
        self.authority = spec.authority
        self.audience = settings.audience or tuple(spec.audience)
        self.max_age = settings.max_age
        self.leeway = spec.leeway_s * 1_000_000_000
        self.settings = settings
        self._keys = keys

    def check_signature(self, compact: Compact, now: int) -> None:
        """Raises `TokenRefused`, and `Stale` where the keys do not count."""
        if self._keys.stale(now):
            raise Stale(f"the keys of {self.issuer} are too old, or were never fetched")
        self._keys.check_signature(compact)

    @property
    def from_file(self) -> bool:
        """Whether no newer keys could be had."""
        return self._keys.from_file

    def principal(self, kind: str, name: str) -> Principal:
        """Somebody of the issuer's own; `ValueError` for what names nobody."""
        return Principal(kind, self.authority, name)

    def shows(self, authorization: str) -> bool:
        """Whether who pushes has shown what the file wants to be shown. Raises `KeyMaterialError`."""
        if self.settings.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        wanted = self.settings.token.resolve().strip()
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1", "replace"), wanted)


class Sources:
    """Finds an issuer by its name. Keys are read when they have changed; for any number of threads."""

    def __init__(self, paths: Paths, config: Callable[[], Config]) -> None:
        self._known = KnownKeys(paths.jwks)
        self._config = config
        self._made: dict[str, tuple[IssuerSpec, JwtIssuer]] = {}

    def find(self, name: str) -> OutsideSource | None:
        """None for whoever is not in the file, or may not tell us anything."""
        config = self._config()
        issuer = next((one for one in config.identity.issuers if one.issuer == name), None)
        if issuer is None or issuer.signals is None:
            return None
        spec = next(spec for spec in compile_issuers(config, self._known) if spec.issuer == name)
        made = self._made.get(name)
        if made is None or made[0] != spec:
            made = self._made[name] = (spec, JwtIssuer(spec, RoleTable({})))
        return OutsideSource(made[1], issuer.signals)

    def names(self, *, polled: bool) -> list[str]:
        """Those that are polled, or that push."""
        return [
            one.issuer
            for one in self._config().identity.issuers
            if one.signals is not None and (one.signals.poll is not None) == polled
        ]
