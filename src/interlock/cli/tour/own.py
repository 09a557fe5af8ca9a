"""A program with tokens of the node's own issuer: bearer tokens, and tokens bound to a key that it holds."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey


class Program:
    """One client and its key."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self._key = ECKey.generate_key("P-256")

    def __repr__(self) -> str:
        return f"Program({self.client_id!r})"

    def proof(self, method: str, url: str, *, token: str = "", nonce: str = "") -> str:
        """A proof of possession for one request (RFC 9449 section 4.2), with the token's hash where there is one."""
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
        }
        if token:
            digest = hashlib.sha256(token.encode("ascii")).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
        if nonce:
            claims["nonce"] = nonce
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self._key.as_dict(private=False)}
        return jwt.encode(header, claims, self._key)
