"""What a grant at the token endpoint is asked, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from interlock.issuer.access import Minted
from interlock.issuer.http import Request
from interlock.issuer.registry import Known
from interlock.issuer.service import Issuer
from interlock.store.clients import Client


class Asked(msgspec.Struct, frozen=True):
    """A request to the token endpoint whose client is known."""

    request: Request
    known: Known
    jkt: bytes = b""  # thumbprint of the DPoP key it came with (RFC 9449 section 5)
    certificate: bytes = b""  # what a token for this client is bound to (RFC 8705 section 3)

    @property
    def client(self) -> Client:
        return self.known.client

    @property
    def form(self) -> dict[str, str]:
        return self.request.form

    @property
    def now(self) -> int:
        return self.request.now


class Given(msgspec.Struct, frozen=True):
    """What a grant gives (RFC 6749 section 5.1)."""

    access: Minted
    scopes: tuple[str, ...]
    refresh_token: str = ""
    id_token: str = ""
    more: dict[str, Any] = {}
    details: tuple[dict[str, Any], ...] = ()  # authorization_details (RFC 9396 section 7)

    def __repr__(self) -> str:
        return f"Given({self.access!r})"


GrantType = Callable[[Issuer, Asked], Given]
