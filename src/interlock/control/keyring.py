"""The node's own keys: the inventory, rotation, custodians. On the record first, as every act.

What a rotation changes for workers is handed over with a new snapshot (`interlock.keys.handover`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.clock import Clock
from interlock.config.secrets import SecretRef, parse_secret
from interlock.control.compile import uses_own_authority
from interlock.control.issuer_keys import tend_keys
from interlock.control.paths import Paths
from interlock.control.status import rfc3339
from interlock.errors import NotFound, UsageError
from interlock.keys import ASSERTION, LOOKUP, RECORD, Handed, Handover, Keyring, rotate_log_key
from interlock.keys.assertion import jwk, public_half, thumbprint
from interlock.keys.inventory import INVENTORY, KEK, KNOWN, OF_A_MONTH, Entry
from interlock.keys.issuer_keys import ISSUER
from interlock.keys.log_key import LOG
from interlock.keys.record_keys import is_month
from interlock.model import Event, Recorder

if TYPE_CHECKING:
    from interlock.config import Config

LONGEST = 100 * 365 * 86_400 * 10**9  # ns
NAME = 200  # characters of a custodian

NOT_HERE = {
    LOOKUP: "every API key is stored under it, and none could be found again: revoke and issue the API keys instead",
    INVENTORY: "it is sealed anew with each change",
    "ca": "whoever calls trusts its certificate; it is not replaced while they do",
    "server": "its certificate is renewed with a new key by itself, at two thirds of its life",
    "intake": "it is turned by itself with each erasure: `interlock audit erase`",
    "cache": "it is turned by itself with each erasure, and when segments are pruned",
    "store": "it is turned by itself with each erasure: `interlock audit erase`",
    "factors": "sessions and recovery codes are known by their hash under it, and none could be found again",
}


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    to: str = ""  # for the KEK: what the file is expected to name
    overlap_ns: int = 86_400 * 10**9
    again: bool = False


class Custodian(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    person: str


class Destroyed(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class KeyringDesk:
    """The keys of one node."""

    def __init__(self, keyring: Keyring, paths: Paths, clock: Clock) -> None:
        self._keyring = keyring
        self._paths = paths
        self._clock = clock

    # -- the inventory

    def inventory(self) -> dict[str, Any]:
        """Every key, one row for each of its generations, without anything secret; and what is wrong."""
        keyring, now = self._keyring, self._clock.wall()
        known = keyring.inventory()
        rows: list[dict[str, Any]] = []
        problems: list[str] = []
        if known.remade_ns:
            problems.append(f"the inventory was missing and was begun anew at {rfc3339(known.remade_ns)}")
        there = keyring.names()
        for name in sorted({*known.keys, *there, INVENTORY}, key=_order):
            entry = known.keys.get(name, Entry(0))
            under = keyring.sealed_under(name) if name in there else ""
            if name != KEK and not under:
                problems.append(f"{name}: its file is missing")
            elif under and under != keyring.kek.id:
                problems.append(f"{name}: still sealed under {under}: run `interlock keyring rotate kek`")
            purpose, algorithm = KNOWN.get(name, OF_A_MONTH if is_month(name) else ("other", ""))
            row = {
                "name": name,
                "purpose": purpose,
                "algorithm": algorithm or (keyring.kek.algorithm if name == KEK else ""),
                "rotated": _time(entry.rotated_ns),
                "sealed_under": under or None,
                "custodian": entry.custodian or None,
            }
            generations = [
                {
                    "id": version.id,
                    "state": version.state(now),
                    "created": _time(version.created_ns),
                    "retired": _time(version.retired_ns),
                    "destroyed": _time(version.destroyed_ns if version.destroyed_ns <= now else 0),
                }
                for version in entry.versions
            ] or [
                {"id": None, "state": "active", "created": _time(entry.created_ns), "retired": None, "destroyed": None}
            ]
            rows += [{**row, **generation} for generation in generations]
        problems += self._strangers(known.keys)
        return {"keys": rows, "problems": problems}

    def _strangers(self, known: dict[str, Entry]) -> list[str]:
        """Keys in use that the inventory does not call active: somebody put back an old file."""
        keyring = self._keyring
        in_use = {
            KEK: keyring.kek.id,
            RECORD: keyring.recipient().id,
            ASSERTION: thumbprint(public_half(keyring.assertion_key)),
        }
        found = []
        for name, key_id in in_use.items():
            entry = known.get(name)
            if entry is None or entry.active is None or entry.active.id != key_id:
                found.append(f"{name}: {key_id} is in use, and is not the active one of the inventory")
        return found

    # -- acts

    def rotate(self, wanted: Turn, config: Config, acts: Recorder, turned: Callable[[], None]) -> dict[str, Any]:
        """A new key in place of the one of that name; `turned` is called when it is in the keyring."""
        name, keyring = wanted.name, self._keyring
        if name in NOT_HERE:
            raise UsageError(f"{name} is not rotated: {NOT_HERE[name]}")
        if name != KEK and wanted.to:
            raise UsageError("--to is for the kek")
        former = self._active(name)

        def record(new: str) -> None:
            acts.act(Event.KEYRING_ROTATE, {"key": name, "former": former, "new": new})

        done: dict[str, Any] = {"name": name, "former": former}
        if name == RECORD:
            done["id"] = keyring.rotate_record_key(record).id
        elif name == ASSERTION:
            if not 0 <= wanted.overlap_ns <= LONGEST:
                raise UsageError("the overlap is a duration such as 24h")
            done["id"] = keyring.rotate_assertion_key(wanted.overlap_ns, record)
            done["published_until"] = rfc3339(self._clock.wall() + wanted.overlap_ns)
            turned()
        elif name == LOG:
            done["id"] = rotate_log_key(keyring, record).public.hex()
        elif name == ISSUER:
            if config.issuer is None:
                raise UsageError("the file names no `issuer`")
            done["id"] = tend_keys(config.issuer, keyring, self._paths, self._clock, acts, turn=True).signer.kid
            turned()
        elif name == KEK:
            done |= self._rotate_kek(wanted, config, record)
        else:
            raise NotFound(f"there is no key {name!r} that is rotated (kek, record, assertion, log, issuer)")
        return done

    def _rotate_kek(self, wanted: Turn, config: Config, record: Callable[[str], None]) -> dict[str, Any]:
        """Everything under the KEK that the file names. Broken off, it is simply done again."""
        keyring = self._keyring
        named = str(config.keys.kek or SecretRef("file", str(keyring.folder / KEK)))
        if wanted.to and _reference(wanted.to, config.path.parent) != named:
            raise UsageError(
                f"{config.path} names the KEK {named}: write `kek: {wanted.to}` and `former_kek: {named}` under `keys:`"
                " first, so that a node that starts meanwhile can open both"
            )
        under = {name: keyring.sealed_under(name) for name in keyring.names()}
        former = sorted({kek for kek in under.values() if kek != keyring.kek.id})
        if not former and not wanted.again:
            raise UsageError(
                f"everything is sealed under {named} already: name a new one under `keys:` as `kek`, and this one as"
                " `former_kek`; or say --again to seal everything anew under the same one"
            )
        record(keyring.kek.id)
        count = keyring.rewrap(keyring.kek, again=wanted.again)
        return {"id": keyring.kek.id, "former": ", ".join(former) or keyring.kek.id, "sealed": count}

    def custodian(self, wanted: Custodian, acts: Recorder) -> dict[str, Any]:
        """Who answers for a key."""
        person = wanted.person.strip()
        if not person or len(person) > NAME or not person.isprintable():
            raise UsageError(f"a custodian is a name of at most {NAME} characters")
        if wanted.name != KEK and not self._keyring.exists(wanted.name):
            raise NotFound(f"there is no key {wanted.name!r}")
        acts.act(Event.KEYRING_CUSTODIAN, {"key": wanted.name, "custodian": person})
        self._keyring.note(wanted.name, lambda entry, _now: setattr(entry, "custodian", person))
        return {"name": wanted.name, "custodian": person}

    def destroyed(self, wanted: Destroyed, acts: Recorder) -> dict[str, Any]:
        """An operator says that a former KEK was destroyed where it was kept, which nobody here can see."""
        entry = self._keyring.inventory().keys.get(KEK, Entry(0))
        found = next((version for version in entry.versions if version.id == wanted.id), None)
        if found is None:
            raise NotFound(f"there is no KEK {wanted.id!r} in the inventory")
        if not found.retired_ns:
            raise UsageError(f"the KEK {wanted.id} is in use: rotate it first")
        acts.act(Event.KEYRING_DESTROYED, {"key": KEK, "id": wanted.id})

        def note(entry: Entry, now: int) -> None:
            for version in entry.versions:
                if version.id == wanted.id:
                    version.destroyed_ns = now

        self._keyring.note(KEK, note)
        return {"name": KEK, "id": wanted.id}

    def _active(self, name: str) -> str:
        entry = self._keyring.inventory().keys.get(name)
        return "" if entry is None or entry.active is None else entry.active.id


def hand_over(handover: Handover, keyring: Keyring, config: Config) -> None:
    """Give workers the keys that they use, as they are now."""
    from interlock.pki import SERVER

    server = keyring.open(SERVER) if uses_own_authority(config) else b""
    handover.put(Handed(keyring.lookup_key, keyring.assertion_key, server))


def jwks(keyring: Keyring) -> dict[str, Any]:
    """What upstreams verify `Interlock-Identity` with (RFC 7517), the key in use first."""
    return {"keys": [jwk(public) for public in keyring.published()]}


def _reference(text: str, folder: Path) -> str:
    """As the configuration shows it: an absolute path in place of a relative one."""
    try:
        return str(parse_secret(text, folder))
    except ValueError:
        return text


def _order(name: str) -> tuple[int, str]:
    known = list(KNOWN)
    return (known.index(name) if name in known else len(known), name)


def _time(ns: int) -> str | None:
    return rfc3339(ns) if ns else None
