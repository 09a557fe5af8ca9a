"""The clients as the endpoints look them up: kept in memory, and looked at again when anything was changed."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from interlock.errors import KeyMaterialError
from interlock.issuer.http import NOW
from interlock.jose import KeySet
from interlock.keys import lookup_hash
from interlock.store.clients import Client, Clients, read_client

_NOBODY: Final = b"\0" * 32


class Known:
    """One client, with what is made of it once."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.roles = list(client.roles)
        self._certificates: list[bytes] | None = None
        self._keys: KeySet | None = None

    @property
    def certificates(self) -> list[bytes]:
        """SHA-256 of the certificates it is registered with."""
        if self._certificates is None:
            self._certificates = [
                load_pem_x509_certificate(pem.encode("ascii")).fingerprint(SHA256()) for pem in self.client.certificates
            ]
        return self._certificates

    @property
    def keys(self) -> KeySet:
        """The public keys it is registered with; none if they cannot be read."""
        if self._keys is None:
            try:
                self._keys = KeySet.parse(msgspec.json.encode(self.client.jwks or {"keys": []}).decode())
            except KeyMaterialError:
                self._keys = KeySet([], {})
        return self._keys


class _Seen:
    """A client as it was in one version of the state."""

    def __init__(self, version: int, row: str, known: Known | None) -> None:
        """`known` is None for one that is disabled."""
        self.version = version
        self.row = row
        self.known = known


class Registry:
    """All clients that may do anything. For many threads; raises `StateError` where the state does not answer.

    What a client may do is what the state says at each use: commands change it beside this process, and go on while
    it hangs. What was made of a client once is kept for as long as its row is the same.
    """

    def __init__(self, clients: Clients, lookup_key: bytes) -> None:
        self._lookup_key = lookup_key
        self._rows = clients.rows
        self._known: dict[str, _Seen] = {}
        self._listed: tuple[int, list[Client]] = (-1, [])  # all, as of a version
        self._looked: tuple[int, int] = (-1, 0)  # when (monotonic ns) the version of the state was what
        self._gone: set[str] = set()

    def __len__(self) -> int:
        return sum(1 for _ in self._all())

    def get(self, client_id: str, since: int = NOW) -> Known | None:
        """The client of that id, unless it is disabled.

        It is as it was at some moment after `since` (monotonic ns), so that what came together is looked at once.
        """
        version = self._version(since)  # before the row: what is changed between them is looked at again
        seen = self._known.get(client_id)
        if seen is None or seen.version != version:
            row = self._rows.row(client_id)
            seen = None if row is None else self._see(client_id, row, version)
            if seen is None:
                self._known.pop(client_id, None)
        return None if seen is None or client_id in self._gone else seen.known

    def _version(self, since: int) -> int:
        looked, version = self._looked
        if looked < since:
            looked = time.monotonic_ns()
            version = self._rows.version()
            self._looked = looked, version
        return version

    def spoken_for(self, issuer: str, subject: str) -> list[Client]:
        """The clients for which a token of an outside issuer speaks (RFC 7523 section 2.1)."""
        return [
            client
            for client in self._all()
            if client.assertion_issuer == issuer and subject in client.assertion_subjects
        ]

    def self_registered(self) -> int:
        """How many clients registered themselves."""
        return sum(client.self_registered for client in self._all())

    def drop(self, client_id: str) -> None:
        """It is no more, for good, whatever the state may say: that could be what cannot be changed now."""
        self._gone.add(client_id)
        self._known.pop(client_id, None)

    def _all(self) -> Iterator[Client]:
        version = self._rows.version()
        at, listed = self._listed
        if at != version:
            seen = [self._see(client_id, row, version) for client_id, row in self._rows.rows().items()]
            listed = [one.known.client for one in seen if one.known is not None]
            self._listed = version, listed
        return (client for client in listed if client.client_id not in self._gone)

    def _see(self, client_id: str, row: str, version: int) -> _Seen:
        seen = self._known.get(client_id)
        if seen is not None and seen.row == row:
            known = seen.known
        else:
            client = read_client(row)
            known = None if client.disabled else Known(client)
        self._known[client_id] = seen = _Seen(version, row, known)
        return seen

    def secret_holds(self, known: Known | None, secret: str, now: int) -> bool:
        """Whether a client has this secret now; takes as long for nobody as for somebody."""
        given = lookup_hash(self._lookup_key, secret.encode("utf-8"))
        if known is None:
            return hmac.compare_digest(given, _NOBODY) and False
        held = False
        for one in known.client.secrets:
            held |= hmac.compare_digest(given, one.hash) and (not one.until or now < one.until)
        return held
