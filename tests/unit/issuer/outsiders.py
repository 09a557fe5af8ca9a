"""Whom the issuer's tests meet from outside: another issuer of tokens, and callers that prove possession of a key."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from joserfc.jwk import Key

from interlock.clock import SECOND
from interlock.identity import RoleTable, TokenVerifier
from interlock.identity.dpop import Shown
from interlock.issuer.errors import OAuthError
from interlock.jose import Proof
from interlock.snapshot import IssuerSpec
from tests.unit.issuer.desk import URL, Desk
from tests.unit.jose.material import ec, public, sign

OUTSIDE = "https://ci.example.org"
WORKLOAD = "repo:example/app:ref:refs/heads/main"


class FakeProofs:
    """Whoever sends the header `dpop: NAME` has the key of that name."""

    algorithms = ("ES256",)

    def verify(self, proof: str, method: str, url: str, now: int, *, nonce_required: bool) -> Shown:
        if proof == "forged":
            raise OAuthError("invalid_dpop_proof", "the proof is not good")
        return Shown(Proof(hashlib.sha256(proof.encode()).digest(), proof, now, ""))

    def use(self, shown: Shown, now: int, *, of: str) -> None:
        """As often as one likes."""


def with_proofs(desk: Desk) -> None:
    desk.issuer._proofs = FakeProofs()


class Outside:
    """An issuer that the file names, with its key in a file."""

    def __init__(self, desk: Desk, issuer: str = OUTSIDE, **members: Any) -> None:
        self.desk = desk
        self.key: Key = ec()
        self.spec = IssuerSpec(
            **{
                "issuer": issuer,
                "authority": issuer.removeprefix("https://"),
                "audience": [URL],
                "algorithms": ["ES256", "RS256"],
                "leeway_s": 30,
                "jwks": public(self.key),
                **members,
            }
        )

    @property
    def verifier(self) -> TokenVerifier:
        return TokenVerifier([self.spec], RoleTable({}), self.desk.directory, lambda _issuer: None)

    def token(self, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good one but for what is said; a claim that is `...` is left out."""
        now = self.desk.clock.wall() // SECOND
        stated = {
            "iss": self.spec.issuer,
            "sub": WORKLOAD,
            "aud": URL,
            "iat": now,
            "exp": now + 600,
            "jti": f"outside-{now}",
            **claims,
        }
        payload = json.dumps({name: value for name, value in stated.items() if value is not ...}).encode()
        signing = key or self.key
        return sign({"alg": "ES256", "kid": signing.kid, **(header or {})}, payload, signing).decode()
