"""The clients as the endpoints look them up: in memory, since the control process alone changes them."""

from __future__ import annotations

import hmac
from functools import cached_property

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from interlock.errors import KeyMaterialError
from interlock.jose import KeySet
from interlock.keys import lookup_hash
from interlock.store.clients import Client, Clients

_NOBODY = b"\0" * 32


class Known:
    """One client, with what is made of it once."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.roles = list(client.roles)

    @cached_property
    def certificates(self) -> list[bytes]:
        """SHA-256 of the certificates it is registered with."""
        return [
            load_pem_x509_certificate(pem.encode("ascii")).fingerprint(SHA256()) for pem in self.client.certificates
        ]

    @cached_property
    def keys(self) -> KeySet:
        """The public keys it is registered with; none if they cannot be read."""
        try:
            return KeySet.parse(msgspec.json.encode(self.client.jwks or {"keys": []}).decode())
        except KeyMaterialError:
            return KeySet([], {})


class Registry:
    """All clients that may do anything."""

    def __init__(self, clients: Clients, lookup_key: bytes) -> None:
        self._lookup_key = lookup_key
        self._known = {client.client_id: Known(client) for client in clients.all() if not client.disabled}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, client_id: str) -> Known | None:
        """The client of that id, unless it is disabled."""
        return self._known.get(client_id)

    def spoken_for(self, issuer: str, subject: str) -> list[Client]:
        """The clients for which a token of an outside issuer speaks (RFC 7523 section 2.1)."""
        return [
            known.client
            for known in list(self._known.values())
            if known.client.assertion_issuer == issuer and subject in known.client.assertion_subjects
        ]

    def self_registered(self) -> int:
        """How many clients registered themselves."""
        return sum(known.client.self_registered for known in list(self._known.values()))

    def put(self, client: Client) -> None:
        """It is new, or has changed."""
        if client.disabled:
            self.drop(client.client_id)
        else:
            self._known[client.client_id] = Known(client)

    def drop(self, client_id: str) -> None:
        self._known.pop(client_id, None)

    def secret_holds(self, known: Known | None, secret: str, now: int) -> bool:
        """Whether a client has this secret now; takes as long for nobody as for somebody."""
        given = lookup_hash(self._lookup_key, secret.encode("utf-8"))
        if known is None:
            return hmac.compare_digest(given, _NOBODY) and False
        held = False
        for one in known.client.secrets:
            held |= hmac.compare_digest(given, one.hash) and (not one.until or now < one.until)
        return held
