"""Tells the system behind who is calling: a signed, short-lived assertion in `Interlock-Identity`.

A JWT (RFC 7519) signed with Ed25519 (RFC 8037), audience the service's name, made once per identity and
service and used for 30 seconds. The public key is served by the admin listener at
`/.well-known/jwks.json`. Inbound headers of that name never pass, in any spelling.
"""

from __future__ import annotations

import warnings
from typing import Final

from joserfc import jwt
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from interlock.clock import SECOND
from interlock.model import Identity

# RFC 9864 renames this use of EdDSA to Ed25519; the systems behind know the older name.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

REUSED: Final = 30 * SECOND
VALID: Final = 60  # seconds
ENTRIES: Final = 4096


class Assertions:
    """Signs for one node; MUST NOT be handed an identity that was not verified."""

    def __init__(self, private_key: bytes, issuer: str = "interlock") -> None:
        """`private_key`: an Ed25519 private key, PKCS #8 PEM."""
        self._registry = JWSRegistry(algorithms=["EdDSA"])
        self._issuer = issuer
        self._made: dict[tuple[Identity, str], tuple[bytes, int]] = {}
        self.sign_with(private_key)

    def sign_with(self, private_key: bytes) -> None:
        """Sign with this key from now on; what was signed before is not used again."""
        self._key = OKPKey.import_key(private_key)
        self._header = {"alg": "EdDSA", "typ": "interlock-identity+jwt", "kid": self._key.thumbprint()}
        self._made.clear()

    def line(self, identity: Identity, service: str, now: int) -> bytes:
        """The header line for a call of `identity` to `service`; `now` in wall ns."""
        made = self._made.get((identity, service))
        if made is not None and now < made[1]:
            return made[0]
        if len(self._made) >= ENTRIES:
            self._made.clear()
        seconds = now // SECOND
        claims = {
            "iss": self._issuer,
            "sub": identity.text,
            "aud": service,
            "iat": seconds,
            "exp": seconds + VALID,
            "amr": list(identity.methods),
            "roles": sorted(identity.roles),
            "scope": " ".join(sorted(identity.scopes)),
        }
        token = jwt.encode(self._header, claims, self._key, registry=self._registry)
        line = b"interlock-identity: " + token.encode("ascii") + b"\r\n"
        self._made[(identity, service)] = (line, now + REUSED)
        return line
