"""Sessions, failures and what is good once, in the state database."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from interlock.errors import NotAllowed, StateError
from interlock.store import State
from interlock.store.accounts import ACTIVE, DISABLED, Account, Accounts
from interlock.store.schema import MIGRATIONS
from interlock.store.signins import Failures, SessionRow, SignIns
from tests.unit.store.test_accounts import at_once


@pytest.fixture
def signins(tmp_path: Path) -> Iterator[SignIns]:
    with State.open(tmp_path / "state.db") as state:
        for account in ("a1", "a2"):
            Accounts(state).add(Account(account, account, (), 1, "k"))
        yield SignIns(state)


def session(number: int, **changes: object) -> SessionRow:
    row = SessionRow(bytes([number]) * 32, f"sid{number}", "a1", number, number, 1000, 5, ("pwd",), "acr", "k", b"src")
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def test_a_session_is_found_by_its_cookie(signins: SignIns) -> None:
    assert signins.begin(session(1), most=5) == []
    assert signins.session(bytes([1]) * 32) == session(1)
    assert signins.session(bytes([2]) * 32) is None
    signins.touch(bytes([1]) * 32, 50)
    signins.touch(bytes([1]) * 32, 40)
    found = signins.session(bytes([1]) * 32)
    assert found is not None
    assert found.seen == 50


def test_another_session_of_the_former_cookie_is_to_end(signins: SignIns) -> None:
    """By whoever asked, who first tells whatever hangs on it: it is not over before that is done."""
    signins.begin(session(1), most=5)
    assert signins.begin(session(2), former=bytes([1]) * 32, most=5) == ["sid1"]
    assert [row.sid for row in signins.sessions(10)] == ["sid1", "sid2"]
    signins.revoke(10, sid="sid1")
    # The same session under another cookie has not ended.
    assert signins.begin(session(3, sid="sid2"), former=bytes([2]) * 32, most=5) == []
    assert [row.sid for row in signins.sessions(10)] == ["sid2"]


def test_the_oldest_beyond_the_number_allowed_end(signins: SignIns) -> None:
    for number in (1, 2, 3):
        signins.begin(session(number), most=3)
    signins.touch(bytes([1]) * 32, 500)  # the one that is in use stays
    assert signins.begin(session(4), most=3) == ["sid2"]
    assert signins.begin(session(5, account="a2"), most=3) == []


def test_nobody_is_signed_in_with_a_former_password(signins: SignIns) -> None:
    """The attack: it was proved, then another one was chosen, then the sign-in goes on."""
    accounts = Accounts(signins._state)
    before = accounts.get("a1")
    proved = session(1, changed=before.changed)
    assert accounts.choose_password(before, b"sealed", "k", 77)
    with pytest.raises(NotAllowed):
        signins.begin(proved, most=5)
    assert signins.sessions(10) == []
    signins.begin(session(1, changed=accounts.get("a1").changed), most=5)


def test_who_is_signed_in_with_a_former_password_is_found(signins: SignIns) -> None:
    accounts = Accounts(signins._state)
    for number, account in ((1, "a1"), (2, "a1"), (3, "a2")):
        signins.begin(session(number, account=account), most=5)
    assert signins.left_behind() == {}
    assert accounts.choose_password(accounts.get("a1"), b"sealed", "k", 77)
    signins.begin(session(4, changed=accounts.get("a1").changed), most=5)
    signins.revoke(50, sid="sid2")
    assert signins.left_behind() == {"sid1": "a1"}


@pytest.mark.parametrize("account", ["a1", "nobody"])
def test_nobody_is_signed_in_who_may_not_be(signins: SignIns, account: str) -> None:
    """The attack: a sign-in that was checked before the account was disabled ends after it, and waits there."""
    accounts = Accounts(signins._state)
    accounts.change("a1", state=DISABLED)
    with pytest.raises(NotAllowed):
        signins.begin(session(1, account=account), most=5)
    accounts.change("a1", state=ACTIVE)
    assert signins.sessions(10) == []


def test_revoking(signins: SignIns) -> None:
    for number in (1, 2):
        signins.begin(session(number), most=5)
    signins.begin(session(3, account="a2"), most=5)
    assert [row.sid for row in signins.revoke(50, sid="sid1")] == ["sid1"]
    assert signins.revoke(50, sid="sid1") == []
    assert [row.sid for row in signins.revoke(60, account="a1")] == ["sid2"]
    assert [row.sid for row in signins.sessions(60)] == ["sid3"]
    assert signins.sessions(60, account="a1") == []
    for wrong in ({}, {"sid": "a", "account": "b"}):
        with pytest.raises(StateError):
            signins.revoke(50, **wrong)


def test_counting_is_not_interrupted(signins: SignIns) -> None:
    key = b"k" * 32

    def one_more(found: Mapping[bytes, Failures]) -> Sequence[Failures]:
        before = found.get(key)
        return [Failures(key, 1, (before.count if before else 0) + 1)]

    at_once(8, lambda: bool(signins.count([key], one_more)))
    (counted,) = signins.count([key], lambda found: list(found.values()))
    assert counted.count == 8
    signins.count([key], lambda found: [Failures(key, 1, 0)])
    assert signins.count([key], lambda found: list(found.values())) == []


def test_what_is_good_once(signins: SignIns) -> None:
    assert sorted(at_once(4, lambda: signins.spend(b"s" * 32, 100))) == [False, False, False, True]


def test_what_is_over_is_dropped(signins: SignIns) -> None:
    signins.begin(session(1, expires=100), most=5)
    signins.begin(session(2, expires=500), most=5)
    signins.spend(b"s" * 32, 100)
    signins.count([b"1" * 32, b"2" * 32], lambda _: [Failures(b"1" * 32, 50, 3), Failures(b"2" * 32, 50, 3, 300)])
    signins.sweep(200, window=100, kept=50)
    assert signins.session(bytes([1]) * 32) is None
    assert signins.session(bytes([2]) * 32) is not None
    assert signins.spend(b"s" * 32, 400)
    kept = signins.count([b"1" * 32, b"2" * 32], lambda found: list(found.values()))
    assert [one.key for one in kept] == [b"2" * 32]  # a lock is never dropped before its time


def test_who_was_signed_in_before_sessions_knew_the_password_stays_so(tmp_path: Path) -> None:
    """A state of the version before: its sessions stand on the passwords that there are."""
    path = tmp_path / "state.db"
    with State.open(path) as state:
        accounts = Accounts(state)
        accounts.add(Account("a1", "a1", (), 1, "k", changed=70))
        SignIns(state).begin(session(1, changed=70), most=5)
    number = [step.__name__ for step in MIGRATIONS].index("_sessions_know_the_password")
    with closing(sqlite3.connect(path)) as former:
        former.execute("ALTER TABLE sessions DROP COLUMN changed")
        former.execute(f"PRAGMA user_version = {number}")
        former.commit()
    with State.open(path) as state:
        signins = SignIns(state)
        assert signins.sessions(10) == [session(1, changed=70)]
        assert signins.left_behind() == {}
        signins.begin(session(2, changed=70), most=5)
