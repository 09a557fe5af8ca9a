"""A state database, a key and a record that only remembers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from interlock.clock import SECOND
from interlock.errors import RecordUnavailable
from interlock.issuer.totp import STEP, code_at
from interlock.keys import FactorKey
from interlock.model import Event
from interlock.store import State
from interlock.store.accounts import PASSKEY, TOTP, Account, Accounts, Factor
from interlock.store.signins import SignIns
from tests.unit.issuer.authenticator import Authenticator

NOW = 1_800_000_000 * SECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


class Record:
    """Remembers acts in order; fails when told to."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, dict[str, Any]]] = []
        self.broken = False

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        if self.broken:
            raise RecordUnavailable("the disk is full")
        msgspec.json.encode(details)  # plain values only
        self.acts.append((event.text, dict(details)))
        return f"act-{len(self.acts)}"

    note = act

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.acts]

    def of(self, event: Event) -> list[dict[str, Any]]:
        return [details for text, details in self.acts if text == event.text]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as state:

        @event.listens_for(state._engine, "connect")
        def _quick(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")  # no power fails here, and each sign-in is a dozen commits

        yield state


@pytest.fixture
def key() -> FactorKey:
    return FactorKey(b"k" * 32)


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def accounts(state: State) -> Accounts:
    return Accounts(state)


@pytest.fixture
def signins(state: State) -> SignIns:
    return SignIns(state)


@pytest.fixture
def alice(accounts: Accounts, key: FactorKey) -> Account:
    account = Account("acc-alice", "alice", ("teller",), NOW, key.id, changed=NOW)
    accounts.add(account)
    return account


# -- a whole sign-in


PASSWORD = "wet paper lanterns at noon"


class Room:
    """People of one issuer, and what lies behind them."""

    def __init__(self, state: State, key: FactorKey, record: Record, **settings: Any) -> None:
        from interlock.config import OwnIssuer
        from interlock.issuer.means import Means
        from interlock.issuer.passwords import Hasher, Pool
        from interlock.issuer.people import People

        self.settings = OwnIssuer.model_validate({"url": "https://id.example.com", **settings})
        self.ended: list[tuple[str, str]] = []
        self.taken_back: list[tuple[str, ...]] = []
        self.pool = Pool()
        self.hasher = Hasher(memory_kib=64, passes=1)
        self.means = Means.make(
            self.settings,
            state,
            key,
            record,
            pool=self.pool,
            hasher=self.hasher,
            ended=lambda sid, why: self.ended.append((sid, why)),
            taken_back=lambda account, why, *client: self.taken_back.append((account, why, *client)),
        )
        self.people = People(self.means)
        self.accounts = self.means.accounts
        self.record = record
        self.key = key

    def add(self, name: str, password: str = PASSWORD, **more: Any) -> Account:
        account_id = f"acc-{name}"
        sealed = self.means.seal_password(account_id, self.hasher.hash(password)) if password else b""
        fields: dict[str, Any] = {"roles": ("teller",), "changed": NOW, **more}
        account = Account(account_id, name, created=NOW, key=self.key.id, password=sealed, **fields)
        self.accounts.add(account)
        return account

    def add_app(self, account: Account, number: int = 1) -> bytes:
        """An authenticator app; gives its seed."""
        seed = bytes([number]) * 20
        factor_id = f"app{number}-{account.name}"
        sealed = self.means.seal_factor(account.id, factor_id, TOTP, seed)
        lookup = self.key.hash("factor", factor_id.encode())
        self.accounts.add_factor(Factor(factor_id, account.id, TOTP, "", NOW, self.key.id, sealed, lookup), most=9)
        return seed

    def add_passkey(self, account: Account, device: Authenticator) -> str:
        from interlock.issuer.webauthn import Passkey

        challenge = b"c" * 32
        options = self.means.party.creation(account.id, account.name, challenge, [])
        made, count = self.means.party.created(device.create(options), challenge)
        factor_id = f"key-{account.name}"
        sealed = self.means.seal_factor(account.id, factor_id, PASSKEY, made.encode())
        lookup = self.key.hash("credential", made.credential)
        assert Passkey.decode(made.encode()) == made
        self.accounts.add_factor(
            Factor(factor_id, account.id, PASSKEY, "", NOW, self.key.id, sealed, lookup, step=count), most=9
        )
        return factor_id


def code(seed: bytes, now: int = NOW) -> str:
    """What the app shows."""
    return code_at(seed, now // SECOND // STEP)


@pytest.fixture
def room(state: State, key: FactorKey, record: Record) -> Iterator[Room]:
    made = Room(state, key, record)
    yield made
    made.pool.close()


@pytest.fixture
def strict(state: State, key: FactorKey, record: Record) -> Iterator[Room]:
    """Where a second factor is required."""
    made = Room(state, key, record, second_factor="required")
    yield made
    made.pool.close()


@pytest.fixture
def device() -> Authenticator:
    return Authenticator("https://id.example.com", "id.example.com")
