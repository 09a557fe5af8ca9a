"""The node's keys: made once, sealed under the KEK, opened only by those who need them.

    record.pub, record.sealed   recipient of the record: public half in the clear, private halves by id
    record.days, record-*.sealed   the same by day and class (`record_keys.py`)
    lookup.sealed               32 bytes: under what API keys are hashed
    assertion.sealed            Ed25519, PKCS #8 PEM: signs what upstreams are told of the caller
    ca.sealed, server.sealed    the local certificate authority, and its newest server certificate (made by `pki`)
    intake.pub, intake.sealed   to whom the persons in a segment are sealed (`intake.py`)
    store.sealed                under what the state database knows persons (`store_key.py`)
    factors.sealed              under what people sign in with is, once there is an account (`factors_key.py`)
    cache.sealed                under what `cache/` is, once somebody asked for it (`cache_key.py`)
    inventory.sealed            what is known of all of these

A keyring MUST NOT be handed to a worker: it is given the two keys it uses, as bytes.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from interlock.clock import Clock, SystemClock
from interlock.errors import KeyMaterialError
from interlock.keys import assertion
from interlock.keys.intake import ensure_intake
from interlock.keys.inventory import INVENTORY, KEK, Entry, Inventory, Version
from interlock.keys.kek import ensure_folder, load_kek
from interlock.keys.recipient import FILE, Recipient, RecipientKey, recipient
from interlock.keys.record_keys import RECORD, open_private, supersede
from interlock.keys.sealing import read_private, seal, sealed_under, unseal, write_private
from interlock.keys.store_key import ensure_store
from interlock.keys.wrapping import Kek, as_kek

if TYPE_CHECKING:
    from interlock.config import Keys

LOOKUP, ASSERTION = "lookup", "assertion"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SUFFIX = ".sealed"
Before = Callable[[str], object]  # told the id of a new key before anything of it is kept


class Keyring:
    """Opens and makes keys in one folder. Its repr shows nothing of the KEK."""

    def __init__(
        self,
        folder: Path,
        kek: Kek | bytes,
        *,
        former: Iterable[Kek] = (),
        missing: str = "",
        clock: Clock | None = None,
    ) -> None:
        """`former`: KEKs that still open what was sealed under them; `missing`: why one of them cannot be had."""
        self.folder = folder
        self.kek = as_kek(kek)
        self.former = [other for other in former if other.id != self.kek.id]
        self._missing = missing
        self._clock: Clock = clock or SystemClock()
        self._guarded = b""  # the record's public half when it was last looked at

    def __repr__(self) -> str:
        return f"Keyring({str(self.folder)!r})"

    # -- keys by name

    def ensure(self) -> None:
        """Make what is missing. A key that is there is opened, so that a wrong KEK is found at start.

        A missing private half beside a `record.pub` is refused: nobody could read the record any more.
        """
        ensure_folder(self.folder)
        self._ensure_inventory()
        self._ensure_record()
        if not self.exists(LOOKUP):
            self.seal(LOOKUP, secrets.token_bytes(32))
        self.open(LOOKUP)
        if not self.exists(ASSERTION):
            self.seal(ASSERTION, assertion.make())
        self._settle_assertion(self.open(ASSERTION))
        ensure_intake(self)
        ensure_store(self)

    def exists(self, name: str) -> bool:
        return self._path(name).exists()

    def seal(self, name: str, secret: bytes) -> None:
        """Keep a secret under a name, in place of what was there; on disk when this returns."""
        path = self._path(name)
        with self._held():
            if name != INVENTORY:
                self._note(name, replaced=path.exists())
            write_private(path, seal(self.kek, name, secret))

    def open(self, name: str) -> bytes:
        """A secret by name; `KeyMaterialError` if it is missing, damaged, readable by others or under another KEK."""
        data = read_private(self._path(name))
        under = sealed_under(name, data)
        for kek in self.former:
            if kek.id == under:
                return unseal(kek, name, data)
        try:
            return unseal(self.kek, name, data)
        except KeyMaterialError as error:
            if self._missing and under != self.kek.id:
                raise KeyMaterialError(f"{error}; {self._missing}") from error
            raise

    def check(self) -> None:
        """Open every key; `KeyMaterialError` for the first that cannot be."""
        for name in self.names():
            self.open(name)

    def adopt(self, other: Keyring) -> None:
        """Use the KEKs of another keyring of the same folder from now on."""
        self.kek, self.former, self._missing = other.kek, other.former, other._missing

    def names(self) -> list[str]:
        """Every sealed key there is."""
        found = (path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def sealed_under(self, name: str) -> str:
        """The id of the KEK that a key is sealed under."""
        return sealed_under(name, read_private(self._path(name)))

    # -- what the node uses

    @property
    def lookup_key(self) -> bytes:
        """Under what API keys are hashed (32 bytes)."""
        return self.open(LOOKUP)

    @property
    def assertion_key(self) -> bytes:
        """Ed25519 private key, PKCS #8 PEM."""
        return self.open(ASSERTION)

    def recipient(self) -> Recipient:
        """To whom new segments are sealed."""
        return recipient(self.folder)

    def open_record_key(self, key_id: str) -> RecipientKey:
        """The private half that a segment's header names."""
        private = open_private(self, key_id)
        if private is None:
            raise KeyMaterialError(f"there is no record key {key_id!r} in {self.folder}")
        return RecipientKey(private)

    def guard_recipient(self) -> str | None:
        """Put the record's public half back if it is not the active one any more; gives what stood there instead.

        Whoever can write in the folder could have writers seal to somebody else. The keys are opened only when
        the file has changed since the last look.
        """
        try:
            data = (self.folder / FILE).read_bytes()
        except OSError:
            data = b""
        if data == self._guarded:
            return None
        try:
            found = self.recipient().id
        except KeyMaterialError:
            found = "a file that cannot be read"
        entry, private = self.inventory().keys.get(RECORD), self._record_keys()
        active = entry.active.id if entry is not None and entry.active is not None else ""
        if found == active or active not in private:
            self._guarded = data
            return None
        right = Recipient(X25519PrivateKey.from_private_bytes(private[active]).public_key().public_bytes_raw())
        write_private(self.folder / FILE, right.encode())
        self._guarded = right.encode()
        return found

    # -- rotation

    def rotate_record_key(self, before: Before = lambda _id: None) -> Recipient:
        """A new recipient for segments to come; the old private halves are kept to read what there is."""
        private = X25519PrivateKey.generate()
        new = Recipient(private.public_key().public_bytes_raw())
        before(new.id)
        known = self._record_keys() if self.exists(RECORD) else {}
        # The private half first: a crash in between must not leave a recipient nobody can open.
        self.seal(RECORD, msgspec.json.encode({**known, new.id: private.private_bytes_raw()}))
        write_private(self.folder / FILE, new.encode())
        supersede(self.folder, new, self._clock.wall())
        self.note(RECORD, lambda entry, now: entry.turn(new.id, now))
        return new

    def rotate_assertion_key(self, overlap_ns: int, before: Before = lambda _id: None) -> str:
        """A new key to sign with, from now on; gives its id. The former one stays published for `overlap_ns`."""
        pem = assertion.make()
        public = assertion.public_half(pem)
        key_id = assertion.thumbprint(public)
        before(key_id)
        # Known first: what is signed with it must be verifiable.
        self.note(ASSERTION, lambda entry, now: entry.turn(key_id, now, public=public, until=now + max(overlap_ns, 1)))
        self.seal(ASSERTION, pem)
        return key_id

    def published(self) -> list[bytes]:
        """What upstreams verify assertions with: the public half of the key in use, and former ones for a while."""
        now, active = self._clock.wall(), assertion.public_half(self.open(ASSERTION))
        entry = self.inventory().keys.get(ASSERTION)
        others = [] if entry is None else [one.public for one in entry.versions if one.state(now) != "destroyed"]
        return [active, *(public for public in others if public and public != active)]

    def rewrap(self, new: Kek, *, again: bool = False) -> int:
        """Seal every key under `new`, one file after another; gives how many files that were not yet.

        At any moment each file is whole, and under either. Broken off, it is simply called again, by a keyring
        that opens both. When it returns, nothing is under any other KEK, which is checked by opening everything.
        `again`: also what is under `new` already, for one whose inner version was turned where it is kept.
        """
        if new.id not in (kek.id for kek in (self.kek, *self.former)):
            self.former = [new, *self.former]
        with self._held():
            wanted = [name for name in self.names() if again or self.sealed_under(name) != new.id]
            for name in wanted:
                if name != INVENTORY:
                    write_private(self._path(name), seal(new, name, self.open(name)))
            known, now = self.inventory(), self._clock.wall()
            entry = known.keys.setdefault(KEK, Entry(now))
            if wanted or entry.active is None or entry.active.id != new.id:
                entry.turn(new.id, now)  # last: it says that all are done
                write_private(self._path(INVENTORY), seal(new, INVENTORY, known.encode()))
            Keyring(self.folder, new).check()
        self.kek, self.former, self._missing = new, [], ""
        return len(wanted)

    # -- the inventory

    def inventory(self) -> Inventory:
        """What is known of the keys; `KeyMaterialError` if it was altered."""
        return Inventory.decode(self.open(INVENTORY)) if self.exists(INVENTORY) else Inventory()

    def note(self, name: str, change: Callable[[Entry, int], None]) -> None:
        """Change what is known of a key: `change(entry, now)`."""
        with self._held():
            known, now = self.inventory(), self._clock.wall()
            entry = known.keys.setdefault(name, Entry(now))
            change(entry, now)
            self._keep(known)

    def _note(self, name: str, *, replaced: bool) -> None:
        known, now = self.inventory(), self._clock.wall()
        if replaced and name in known.keys:
            known.keys[name].rotated_ns = now
        else:
            known.keys.setdefault(name, Entry(now))
        self._keep(known)

    def _ensure_inventory(self) -> None:
        """Begin one, with the dates of the files that are there."""
        with self._held():
            known = self.inventory()
            before = known.encode()
            if not self.exists(INVENTORY) and any(self._has_version(name, 2) for name in self.names()):
                known.remade_ns = self._clock.wall()
            for name in self.names():
                if name not in known.keys and name != INVENTORY:
                    known.keys[name] = Entry(self._path(name).stat().st_mtime_ns)
            entry = known.keys.setdefault(KEK, Entry(self._clock.wall()))
            if not entry.versions:
                entry.turn(self.kek.id, entry.created_ns)
            if not self.exists(INVENTORY) or known.encode() != before:
                self._keep(known)

    def _has_version(self, name: str, version: int) -> bool:
        return f'"version":{version},'.encode() in self._path(name).read_bytes()[:40]

    def _keep(self, known: Inventory) -> None:
        write_private(self._path(INVENTORY), seal(self.kek, INVENTORY, known.encode()))

    # --

    def _settle_assertion(self, pem: bytes) -> None:
        """The inventory knows the key in use; a rotation that broke off before it was sealed never was."""
        public = assertion.public_half(pem)
        key_id = assertion.thumbprint(public)
        known = self.inventory().keys.get(ASSERTION)
        if known is not None and known.active is not None and known.active.id == key_id:
            return

        def settle(entry: Entry, now: int) -> None:
            former = [one for one in entry.versions if one.id != key_id and one.retired_ns]
            entry.versions = [*former, Version(key_id, entry.created_ns, public=public)]

        self.note(ASSERTION, settle)

    def _ensure_record(self) -> None:
        has_public, has_private = (self.folder / FILE).exists(), self.exists(RECORD)
        if has_public and not has_private:
            raise KeyMaterialError(f"{self._path(RECORD)} is missing: the record could be written and never read")
        if not has_public:
            self.rotate_record_key()
        active = self.recipient().id
        self.open_record_key(active)
        known = self.inventory().keys.get(RECORD)
        if known is None or known.active is None or known.active.id != active:
            self.note(RECORD, lambda entry, now: _settle_record(entry, active, now))

    def _record_keys(self) -> dict[str, bytes]:
        try:
            return msgspec.json.decode(self.open(RECORD), type=dict[str, bytes])
        except msgspec.MsgspecError as error:
            raise KeyMaterialError(f"key {RECORD!r}: the contents are damaged") from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeyMaterialError(f"{name!r} is not a name for a key")
        return self.folder / f"{name}{_SUFFIX}"

    @contextmanager
    def _held(self) -> Iterator[None]:
        """One at a time changes the folder: two processes of a node may seal. MUST NOT be used within itself."""
        try:
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KeyMaterialError(f"{self.folder}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def open_keyring(settings: Keys, folder: Path, *, clock: Clock | None = None) -> Keyring:
    """The keyring that the configuration describes. A former KEK that is gone matters only where it is needed."""
    kek = load_kek(settings.kek, folder)
    former, missing = [], ""
    if settings.former_kek is not None:
        try:
            former.append(load_kek(settings.former_kek, folder))
        except KeyMaterialError as problem:
            missing = f"keys.former_kek: {problem}"
    return Keyring(folder, kek, former=former, missing=missing, clock=clock)


def _settle_record(entry: Entry, active: str, now: int) -> None:
    """The recipient in use is the active one, whether or not a rotation was noted."""
    if entry.versions:
        entry.turn(active, now)
    else:
        entry.versions = [Version(active, entry.created_ns)]
