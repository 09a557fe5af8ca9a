"""What keys there are: purpose, algorithm, state, since when, and who answers for them (PCI DSS 4.0.1, 3.6 and 3.7).

Kept as `inventory.sealed` beside the keys: like each of them sealed under the KEK, so that nobody without it can
change a date or a name unnoticed. What was there before the inventory has the date of its file.
"""

from __future__ import annotations

from typing import Final

import msgspec

from interlock.errors import KeyMaterialError

INVENTORY: Final = "inventory"
KEK: Final = "kek"
VERSION: Final = 1

# What each key is for, and of what kind. A key that is not named here is listed as `other`.
KNOWN: Final = {
    KEK: ("opens all other keys", ""),  # the provider says what it is
    "record": ("opens the record", "X25519 (HPKE)"),
    "lookup": ("under which API keys are looked up", "HMAC-SHA-256"),
    "assertion": ("signs who calls, for upstreams", "Ed25519"),
    "ca": ("signs certificates", "ECDSA P-256"),
    "server": ("serves `tls: auto`", "ECDSA P-256"),
    "log": ("signs the record's checkpoints", "Ed25519"),
    "issuer": ("signs tokens", "ES256 or EdDSA"),
    "intake": ("takes in the keys of persons in the record", "X25519 (HPKE)"),
    "store": ("wraps the keys of persons in the record", "AES-256-GCM"),
    "cache": ("wraps the keys of what is derived from the record", "AES-256-GCM"),
    "factors": ("seals how people sign in", "AES-256-GCM, HMAC-SHA-256"),
    INVENTORY: ("this inventory", "AES-256-GCM"),
}


OF_A_MONTH: Final = ("opens the record of that month's days", "X25519 (HPKE)")


class Version(msgspec.Struct):
    """One generation of a key. Times in wall ns, 0: not yet."""

    id: str
    created_ns: int
    retired_ns: int = 0  # used for nothing new
    destroyed_ns: int = 0  # may lie ahead
    public: bytes = b""  # what others verify with, where they may need it after the rotation

    def state(self, now: int) -> str:
        if self.destroyed_ns and self.destroyed_ns <= now:
            return "destroyed"
        return "retired" if self.retired_ns else "active"


class Entry(msgspec.Struct):
    """One key by name. Only grows: what was there stays listed."""

    created_ns: int
    rotated_ns: int = 0
    custodian: str = ""
    versions: list[Version] = []  # newest last; empty where a key has only one that matters

    def turn(self, new: str, now: int, *, public: bytes = b"", until: int = 0) -> None:
        """`new` is the active version from now on; the others are retired, and destroyed at `until` if that is said."""
        for version in self.versions:
            if version.id != new and not version.retired_ns:
                version.retired_ns, version.destroyed_ns = now, until
        if self.versions:
            self.rotated_ns = now
        self.versions = [version for version in self.versions if version.id != new]
        self.versions.append(Version(new, now, public=public))

    @property
    def active(self) -> Version | None:
        return self.versions[-1] if self.versions else None


class Inventory(msgspec.Struct):
    version: int = VERSION
    keys: dict[str, Entry] = {}
    remade_ns: int = 0  # it was missing then, though there were keys that had been in one

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Inventory:
        try:
            found = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise KeyMaterialError(f"key {INVENTORY!r}: the contents are damaged") from error
        if found.version != VERSION:
            raise KeyMaterialError(f"key {INVENTORY!r}: version {found.version} is not known here")
        return found
