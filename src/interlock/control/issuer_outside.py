"""Outside issuers as the authorization server meets them: whose tokens it exchanges, and whose word it takes.

They are those of `identity.issuers`, with the keys that are kept for calls. What they say is for this issuer: an
assertion names its URL as the only audience, a token that is exchanged may name any audience that is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from interlock.identity import KeyDirectory, RoleTable, TokenVerifier
from interlock.issuer.client_auth import FAPI2_ALGORITHMS
from interlock.snapshot import IssuerSpec

if TYPE_CHECKING:
    from interlock.config import OwnIssuer


class OutsideIssuers:
    """Two verifiers, kept while the file and the keys change."""

    def __init__(self, directory: KeyDirectory, refresh: Callable[[str], None]) -> None:
        """`refresh(issuer)` asks for newer keys; it is called from any thread."""
        self._roles = RoleTable({})
        self.exchanged = TokenVerifier([], self._roles, directory, refresh)
        self.asserted = TokenVerifier([], self._roles, directory, refresh)

    def configure(self, settings: OwnIssuer, specs: Iterable[IssuerSpec]) -> None:
        """Take over the file, or newer keys. `specs`: all that the file names."""
        known = [_strict(spec) if settings.profile is not None else spec for spec in specs]
        exchange, assertions = set(settings.exchange), set(settings.assertions)
        self.exchanged.configure(
            [
                replace(spec, audience=[*spec.audience, settings.url, *settings.audiences])
                for spec in known
                if spec.issuer in exchange
            ],
            self._roles,
        )
        self.asserted.configure(
            [replace(spec, audience=[settings.url]) for spec in known if spec.issuer in assertions], self._roles
        )

    def expire(self, now: int) -> None:
        """Now and then: nobody waits for keys any more."""
        self.exchanged.expire(now)
        self.asserted.expire(now)


def _strict(spec: IssuerSpec) -> IssuerSpec:
    """FAPI 2.0 Security Profile section 5.4.1."""
    return replace(spec, algorithms=[name for name in spec.algorithms if name in FAPI2_ALGORITHMS])
