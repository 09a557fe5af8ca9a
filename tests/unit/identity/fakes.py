"""The node's state and outside issuers, for tests; they implement the real interfaces."""

from __future__ import annotations

import json
from typing import Any

from joserfc.jwk import Key

from interlock.clock import SECOND
from interlock.identity import (
    ApiKeyVerifier,
    Authenticate,
    CertificateVerifier,
    KeyEntry,
    ProofGuard,
    RoleTable,
    TokenVerifier,
    compile_authenticator,
    encode_key_entry,
)
from interlock.keys import lookup_hash, mint
from interlock.model import Identity, Pending, Reason, Refusal
from interlock.snapshot import IssuerSpec, TrustSpec
from tests.unit.jose.material import public, rsa, sign

NOW = 1_700_000_000 * SECOND
ISSUER = "https://login.example.com"
ROLES = RoleTable({"teller": ["accounts:read"], "auditor": ["audit:read"], "interlock:admin": ["everything"]})
SOURCE = "192.0.2.7"


class FakeDirectory:
    """Keys and revocations in memory; every change moves the epoch, as the interface demands."""

    lookup_key = b"L" * 32

    def __init__(self) -> None:
        self.epoch = 1
        self.keys: dict[bytes, bytes] = {}
        self.tokens: dict[bytes, bytes] = {}
        self.revoked: set[bytes] = set()
        self.marks: dict[bytes, int] = {}
        self.risks: dict[bytes, int] = {}
        self.finds = 0
        self.asked = 0

    def find_key(self, lookup: bytes, /) -> bytes | None:
        self.finds += 1
        return self.keys.get(lookup)

    def find_token(self, lookup: bytes, now: int, /) -> bytes | None:
        return self.tokens.get(lookup)

    def is_revoked(self, handle: bytes, /) -> bool:
        self.asked += 1
        return handle in self.revoked

    def not_before(self, handle: bytes, /) -> int:
        return self.marks.get(handle, 0)

    def risk(self, handle: bytes, /) -> int:
        return self.risks.get(handle, 0)

    def mark(self, handle: bytes, since: int) -> None:
        self.marks[handle] = since
        self.epoch += 1

    def add(self, text: bytes, value: bytes) -> None:
        self.keys[lookup_hash(self.lookup_key, text)] = value
        self.epoch += 1

    def revoke(self, handle: bytes) -> None:
        self.revoked.add(handle)
        self.epoch += 1

    def mint(self, **members: Any) -> tuple[str, bytes]:
        """A key that is known here: its id and text."""
        key_id, text = mint()
        entry = {
            "principal": "service:interlock/billing",
            "roles": ["teller"],
            "networks": [],
            "not_before": 0,
            "expires": 0,
            **members,
        }
        self.add(text.encode(), encode_key_entry(KeyEntry(id=key_id, **entry)))
        return key_id, text.encode()


def issuer_spec(**members: Any) -> IssuerSpec:
    return IssuerSpec(
        **{
            "issuer": ISSUER,
            "authority": "login.example.com",
            "audience": ["ledger"],
            "algorithms": ["RS256"],
            "leeway_s": 60,
            "jwks": public(rsa()),
            "roles_from": "groups",
            "roles_map": {"Tellers": ["teller"], "Root": ["interlock:admin"]},
            **members,
        }
    )


def token(key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
    """A good token but for what is said; a claim that is `...` is left out."""
    key = key or rsa()
    stated = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "ledger",
        "exp": NOW // SECOND + 600,
        "iat": NOW // SECOND,
        "groups": ["Tellers", "Others"],
        **claims,
    }
    payload = json.dumps({name: value for name, value in stated.items() if value is not ...}).encode()
    return sign({"alg": "RS256", "kid": key.kid, **(header or {})}, payload, key)


class Desk:
    """Everything that step 2 needs, wired as the gateway wires it."""

    def __init__(
        self, *issuers: IssuerSpec, trust: dict[str, TrustSpec] | None = None, proofs: ProofGuard | None = None
    ) -> None:
        self.directory = FakeDirectory()
        self.asked: list[str] = []
        self.jwt = TokenVerifier(issuers or (issuer_spec(),), ROLES, self.directory, self.asked.append)
        self.keys = ApiKeyVerifier(self.directory, ROLES)
        self.certificates = CertificateVerifier(trust or {}, ROLES, self.directory)
        self.proofs = proofs

    def route(self, *alternatives: str, trust: str = "") -> Authenticate:
        return compile_authenticator(
            [alternative.split("+") for alternative in alternatives],
            jwt=self.jwt,
            keys=self.keys,
            certificates=self.certificates,
            trust=trust,
            proofs=self.proofs,
        )


def reason(result: Identity | Refusal | Pending) -> Reason:
    assert isinstance(result, Refusal), result
    return result.reason


def identity(result: Identity | Refusal | Pending) -> Identity:
    assert isinstance(result, Identity), result
    return result


def pending(result: Identity | Refusal | Pending) -> Pending:
    assert isinstance(result, Pending), result
    return result
