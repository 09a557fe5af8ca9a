"""A state database, a key and a record that only remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.errors import RecordUnavailable
from interlock.keys import FactorKey
from interlock.model import Event
from interlock.store import State
from interlock.store.accounts import Account, Accounts
from interlock.store.signins import SignIns

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
