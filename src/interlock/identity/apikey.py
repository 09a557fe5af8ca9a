"""Verifies API keys: a keyed hash, looked up; the key itself is nowhere but at its owner.

A key that was verified is remembered until the epoch moves; then its entry is read again, so that a
revocation, a rotation's shortened overlap or changed roles hold at once. Dates and the address it may be
used from are looked at on every call.
"""

from __future__ import annotations

from ipaddress import ip_network

from interlock.addresses import within
from interlock.clock import SECOND
from interlock.errors import StateError
from interlock.identity.cache import Cache
from interlock.identity.directory import KeyDirectory
from interlock.identity.handles import key_handle, limit_key, principal_handle
from interlock.identity.keyentry import KeyEntry, decode_key_entry
from interlock.identity.marks import is_refused
from interlock.identity.roles import RoleTable
from interlock.keys import lookup_hash, well_formed
from interlock.model import Identity, Principal, Reason, Refusal

VERIFIED = 8192
VERIFIED_BYTES = VERIFIED * 64
ADDRESSES = 64  # remembered per key that is bound to networks
ALWAYS = 1 << 63  # later than any wall time

UNKNOWN = Refusal(Reason.KEY_UNKNOWN)
UNREADABLE = Refusal(Reason.KEY_UNKNOWN, (), "the key's entry cannot be read")


class VerifiedKey:
    """One key that was found; valid for `not_before <= now < until` at `epoch`."""

    __slots__ = ("allowed", "epoch", "identity", "networks", "not_before", "until", "value")

    def __init__(self, identity: Identity, value: bytes, epoch: int) -> None:
        self.identity = identity
        self.value = value
        self.not_before = identity.not_before
        self.until = identity.expires or ALWAYS
        self.epoch = epoch
        self.networks = identity.networks
        self.allowed: dict[str, bool] = {}

    def may_come_from(self, address: str) -> bool:
        """Whether `address` is in one of the key's networks; an address that is none is not."""
        known = self.allowed.get(address)
        if known is None:
            if len(self.allowed) >= ADDRESSES:
                self.allowed.clear()
            known = self.allowed[address] = within(address, self.networks)
        return known


class ApiKeyVerifier:
    """The node's own API keys."""

    def __init__(self, directory: KeyDirectory, roles: RoleTable) -> None:
        self.directory = directory
        self._roles = roles
        self._lookup_key = directory.lookup_key
        self._verified: Cache[bytes, VerifiedKey] = Cache(VERIFIED, VERIFIED_BYTES)
        self.entries = self._verified.entries  # for the fast path of `compile_authenticator`, which only reads

    def configure(self, roles: RoleTable) -> None:
        """Take over a new snapshot's roles."""
        if roles != self._roles:
            self._roles = roles
            self._verified.clear()

    def verify(self, text: bytes, address: str, now: int) -> Identity | Refusal:
        """The identity of a key's bearer, calling from `address`; `now` in wall ns."""
        entry = self.entries.get(text)
        if entry is None or entry.epoch != self.directory.epoch:
            found = self._find(text, entry)
            if isinstance(found, Refusal):
                return found
            entry = found
        if now >= entry.until:
            return Refusal(Reason.KEY_EXPIRED)
        if now < entry.not_before:
            return Refusal(Reason.KEY_EXPIRED, (), "not yet valid")
        if entry.networks and not entry.may_come_from(address):
            return Refusal(Reason.CREDENTIAL_NETWORK, (), f"key {entry.identity.credential}")
        return entry.identity

    def _find(self, text: bytes, known: VerifiedKey | None) -> VerifiedKey | Refusal:
        if known is None and not well_formed(text):
            return UNKNOWN
        epoch = self.directory.epoch
        value = self.directory.find_key(lookup_hash(self._lookup_key, text))
        if value is None:
            self._verified.drop(text)
            return UNKNOWN
        if known is not None and known.value == value:
            entry = known
        else:
            try:
                entry = VerifiedKey(self._identity(decode_key_entry(value)), value, epoch)
            except (StateError, ValueError):
                self._verified.drop(text)
                return UNREADABLE
        if is_refused(self.directory, entry.identity):
            self._verified.drop(text)
            return Refusal(Reason.CREDENTIAL_REVOKED, (), f"key {entry.identity.credential}")
        entry.epoch = epoch
        self._verified.put(text, entry)
        return entry

    def _identity(self, entry: KeyEntry) -> Identity:
        principal = Principal.parse(entry.principal)
        text = str(principal)
        roles = frozenset(entry.roles)
        return Identity(
            principal=principal,
            text=text,
            methods=("api_key",),
            roles=roles,
            permissions=self._roles.permissions(roles),
            not_before=entry.not_before,
            expires=entry.expires,
            networks=tuple(ip_network(network) for network in entry.networks),
            handles=(key_handle(entry.id), principal_handle(text)),
            limit_key=limit_key(text),
            credential=entry.id,
            issued=entry.created // SECOND,
        )
