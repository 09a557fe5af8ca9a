"""ID tokens (OpenID Connect Core 1.0 section 2): who signed in, said to one client."""

from __future__ import annotations

import hashlib
from typing import Any

from interlock.clock import SECOND
from interlock.issuer.access import said
from interlock.issuer.service import Issuer
from interlock.jose.signing import encode_base64url
from interlock.store.clients import Grant

LIVES = 300  # seconds
PROFILE, EMAIL = "profile", "email"


def mint(issuer: Issuer, grant: Grant, now: int, *, access_token: str = "") -> str:
    """Sign it. It goes to the client alone, so it says nothing that was not asked for by scope."""
    seconds = now // SECOND
    claims: dict[str, Any] = {
        "iss": issuer.url,
        "sub": grant.subject,
        "aud": grant.client_id,
        "exp": seconds + LIVES,
        "iat": seconds,
        "auth_time": grant.auth_time,
    } | said({"sid": grant.session, "nonce": grant.nonce, "acr": grant.acr, "amr": list(grant.amr)})
    if access_token:
        digest = hashlib.sha256(access_token.encode("ascii")).digest()  # of ES256; for EdDSA see below
        if issuer.keys.signer.algorithm == "EdDSA":  # Ed25519 hashes with SHA-512
            digest = hashlib.sha512(access_token.encode("ascii")).digest()
        claims["at_hash"] = encode_base64url(digest[: len(digest) // 2])
    return issuer.keys.signer.sign({**claims, **issuer.people.claims(grant)}, "JWT")
