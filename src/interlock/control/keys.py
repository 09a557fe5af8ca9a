"""Making, rotating and revoking API keys: on the record first, then in the state, then at the workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import msgspec

from interlock.clock import Clock
from interlock.control.lastused import LastUsed
from interlock.control.publish import Publisher
from interlock.control.status import rfc3339
from interlock.errors import StateError, UsageError
from interlock.identity import KeyEntry, encode_key_entry, key_handle, principal_handle
from interlock.identity.marks import earliest
from interlock.keys import Keyring, lookup_hash, mint
from interlock.model import Event, Principal, Recorder
from interlock.snapshot import KeyAdded, Revoked
from interlock.store import ApiKeyRow, Revocations, State

LONGEST = 100 * 365 * 86_400 * 10**9  # ns


class Create(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    roles: list[str]
    networks: list[str] = []
    expires_ns: int = 0  # from now; 0: never


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    overlap_ns: int


class Named(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class KeyDesk:
    """API keys of one node."""

    def __init__(self, state: State, publisher: Publisher, clock: Clock) -> None:
        self._state = state
        self._publisher = publisher
        self._clock = clock

    def create(self, wanted: Create, roles: frozenset[str], keyring: Keyring, acts: Recorder) -> dict[str, Any]:
        """Make a key. `roles`: those the file knows."""
        now = self._clock.wall()
        row, text = _made(wanted, roles, keyring.lookup_key, now)
        row = replace(row, created=self._dated(row.principal, now))
        details = {"key": row.id, "principal": row.principal, "roles": list(row.roles)}
        if row.networks:
            details["networks"] = list(row.networks)
        if row.expires:
            details["expires"] = rfc3339(row.expires)
        act = acts.act(Event.KEY_CREATE, details)
        row = replace(row, acts=(act,))
        self._state.add_key(row)
        self._publisher.publish([KeyAdded(row.hash, entry(row))])
        return {**describe(row, now), "key": text}

    def rotate(self, wanted: Rotate, keyring: Keyring, acts: Recorder) -> dict[str, Any]:
        """Make a key's successor; the old one works on until the overlap is over."""
        if not 0 <= wanted.overlap_ns <= LONGEST:
            raise UsageError("the overlap is a duration such as 24h")
        now = self._clock.wall()
        old = self._state.key(wanted.id)
        key_id, text = mint()
        until = now + wanted.overlap_ns
        successor = ApiKeyRow(
            key_id,
            old.name,
            old.principal,
            lookup_hash(keyring.lookup_key, text.encode("ascii")),
            old.roles,
            self._dated(old.principal, now),
            networks=old.networks,
            expires=_renewed(old, now),
        )
        act = acts.act(
            Event.KEY_ROTATE, {"key": old.id, "successor": key_id, "principal": old.principal, "until": rfc3339(until)}
        )
        old = self._state.rotate(old.id, replace(successor, acts=(act,)), until=until, act=act)
        changes: list[KeyAdded | Revoked] = [KeyAdded(successor.hash, entry(successor))]
        if wanted.overlap_ns == 0:
            changes.append(Revoked(key_handle(old.id)))
        else:
            changes.append(KeyAdded(old.hash, entry(old)))
        self._publisher.publish(changes)
        return {**describe(successor, now), "key": text, "replaces": old.id, "replaced_until": rfc3339(old.expires)}

    def _dated(self, principal: str, now: int) -> int:
        """When a new key counts as made: after whatever was revoked of its principal (`interlock.identity.marks`)."""
        return earliest(now, Revocations(self._state).not_before(principal_handle(principal)))

    def revoke(self, wanted: Named, acts: Recorder) -> dict[str, Any]:
        """Refuse a key from now on; when this returns, no live worker takes it."""
        now = self._clock.wall()
        row = self._state.key(wanted.id)
        act = acts.act(Event.KEY_REVOKE, {"key": row.id, "principal": row.principal})
        try:
            row = self._state.revoke(row.id, now=now, act=act)
        except StateError as problem:
            self._publisher.publish([Revoked(key_handle(row.id))])
            raise StateError(
                f"{problem}; the running node refuses the key, but the database still calls it valid and the node "
                "would take it again once it is stopped and started: repeat the command"
            ) from problem
        killed = self._publisher.publish([Revoked(key_handle(row.id))])
        return {**describe(row, now), "workers_killed": killed}

    def list(self, used: Callable[[list[str]], LastUsed]) -> dict[str, Any]:
        """All keys, without anything secret; `used` says of some when they were last used."""
        now = self._clock.wall()
        rows = self._state.keys()
        found = used([row.id for row in rows])
        shown = []
        for row in rows:
            last = found.times.get(row.id)
            shown.append({**describe(row, now), "last_used": rfc3339(last) if last is not None else None})
        return {"keys": shown, "last_used_complete": found.complete}


def entry(row: ApiKeyRow) -> bytes:
    """A key as workers read it."""
    return encode_key_entry(
        KeyEntry(row.id, row.principal, list(row.roles), list(row.networks), row.not_before, row.expires, row.created)
    )


def describe(row: ApiKeyRow, now: int) -> dict[str, Any]:
    """A key for people and programs."""
    return {
        "id": row.id,
        "name": row.name,
        "principal": row.principal,
        "roles": list(row.roles),
        "networks": list(row.networks),
        "state": _state(row, now),
        "created": rfc3339(row.created),
        "expires": rfc3339(row.expires) if row.expires else None,
        "revoked": rfc3339(row.revoked) if row.revoked else None,
        "replaced_by": row.replaced_by or None,
    }


def _state(row: ApiKeyRow, now: int) -> str:
    if row.revoked:
        return "revoked"
    if row.expires and now >= row.expires:
        return "expired"
    return "replaced" if row.replaced_by else "active"


def _renewed(old: ApiKeyRow, now: int) -> int:
    """A successor lives as long as the old key was meant to, counted from now."""
    return now + (old.expires - old.created) if old.expires else 0


def _made(wanted: Create, roles: frozenset[str], lookup_key: bytes, now: int) -> tuple[ApiKeyRow, str]:
    if not wanted.roles:
        raise UsageError("a key needs at least one role")
    for role in wanted.roles:
        if role not in roles:
            known = ", ".join(sorted(roles)) or "none"
            raise UsageError(f"there is no role {role!r} in the file (roles: {known})")
    if not 0 <= wanted.expires_ns <= LONGEST:
        raise UsageError("a key expires after a duration such as 90d")
    try:
        principal = Principal("service", "interlock", wanted.name)
        networks = tuple(str(ip_network(network)) for network in wanted.networks)
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    key_id, text = mint()
    row = ApiKeyRow(
        key_id,
        wanted.name,
        str(principal),
        lookup_hash(lookup_key, text.encode("ascii")),
        tuple(dict.fromkeys(wanted.roles)),
        now,
        networks=networks,
        expires=now + wanted.expires_ns if wanted.expires_ns else 0,
    )
    return row, text
