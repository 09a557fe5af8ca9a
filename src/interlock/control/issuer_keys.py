"""The keys of the authorization server: made ahead of their time, published before they sign, dropped when nothing
they signed is alive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from interlock.clock import SECOND, Clock
from interlock.control.issuer_status import SigningKey
from interlock.control.paths import Paths
from interlock.errors import NodeError
from interlock.issuer.signing import Keys
from interlock.jose.signing import Signer, make_key
from interlock.keys import Keyring
from interlock.keys.inventory import Entry, Version
from interlock.keys.issuer_keys import ISSUER, IssuerKey, Schedule, current, keep, load, plan
from interlock.model import Event, Recorder

if TYPE_CHECKING:
    from interlock.config import OwnIssuer

AHEAD = 24 * 3600 * SECOND  # a key is published for so long before it signs
OVERLAP = 2 * 3600 * SECOND  # and for so long after: longer than any token lives


class IssuerKeys:
    """Those of one node. What is known is not read again: the keys they are sealed under may be far away."""

    def __init__(self, keyring: Keyring, paths: Paths, clock: Clock, acts: Recorder) -> None:
        self._keyring = keyring
        self._paths = paths
        self._clock = clock
        self._acts = acts
        self._known: list[IssuerKey] = []
        self._signers: dict[IssuerKey, Signer] = {}
        self.described: list[SigningKey] = []

    def tend(self, settings: OwnIssuer, *, turn: bool = False) -> Keys:
        """The keys as of now, written out for the workers' next snapshot. Raises `KeyMaterialError`, `NodeError`."""
        ahead = min(AHEAD, settings.rotate // 2)
        schedule = Schedule(settings.signing, settings.rotate, ahead, OVERLAP)
        now = self._clock.wall()
        before = self._known or load(self._keyring)
        keys = plan(before, schedule, now, make_key, turn=turn)
        signers = {key: self._signers.get(key) or Signer(key.pem, key.algorithm) for key in keys}
        if keys != before:
            for new in (key for key in keys if before and key not in before):
                former = Signer(before[-1].pem, before[-1].algorithm).kid
                self._acts.act(Event.KEYRING_ROTATE, {"key": ISSUER, "former": former, "new": signers[new].kid})
            keep(self._keyring, keys)
            _note(self._keyring, keys, {key: signer.kid for key, signer in signers.items()})
        self._known, self._signers = keys, signers
        signing = current(keys, now)
        states = ["next" if key.begins > signing.begins else "signs" if key is signing else "former" for key in keys]
        self.described = [
            SigningKey(signers[key].kid, key.algorithm, state, key.begins)
            for key, state in zip(keys, states, strict=True)
        ]
        found = Keys(signers[signing], tuple(signers.values()))
        write_public(self._paths.issuer_jwks, msgspec.json.encode(found.jwks))
        return found

    def forget(self) -> None:
        """Somebody else has changed them."""
        self._known = []


def tend_keys(
    settings: OwnIssuer, keyring: Keyring, paths: Paths, clock: Clock, acts: Recorder, *, turn: bool = False
) -> Keys:
    """The same, once."""
    return IssuerKeys(keyring, paths, clock, acts).tend(settings, turn=turn)


def _note(keyring: Keyring, keys: list[IssuerKey], kids: dict[IssuerKey, str]) -> None:
    """Into the inventory: each key by its `kid`, retired when the next one began, destroyed when it was dropped."""

    def change(entry: Entry, now: int) -> None:
        there = {kids[key]: key for key in keys}
        known = {version.id for version in entry.versions}
        for version in entry.versions:
            if version.id not in there and not version.destroyed_ns:
                version.retired_ns, version.destroyed_ns = version.retired_ns or now, now
        for kid, key in there.items():
            if kid not in known:
                entry.versions.append(Version(kid, key.made))
        if known:
            entry.rotated_ns = now
        for version, successor in zip(entry.versions, entry.versions[1:], strict=False):
            if version.id in there and successor.id in there and there[successor.id].begins <= now:
                version.retired_ns = version.retired_ns or there[successor.id].begins

    keyring.note(ISSUER, change)


def write_public(path: Path, data: bytes) -> None:
    """In place of what was there; nothing is touched if it says the same."""
    try:
        if path.exists() and path.read_bytes() == data:
            return
        aside = path.with_name(f".{path.name}")
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as problem:
        raise NodeError(f"{path} cannot be written: {problem.strerror}") from None
