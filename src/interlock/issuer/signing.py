"""What the issuer signs with, and what others verify it with."""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.jose import KeySet
from interlock.jose.signing import Signer


class Keys(msgspec.Struct, frozen=True):
    """The key that signs, and all that are published."""

    signer: Signer
    published: tuple[Signer, ...]

    @property
    def verifiers(self) -> KeySet:
        """What they verify with."""
        return KeySet.parse(msgspec.json.encode(self.jwks).decode())

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [signer.jwk for signer in self.published]}
