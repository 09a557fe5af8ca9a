"""People in the state database: what is good once is good once, and nothing is there in the clear."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock.errors import NotFound, UsageError
from interlock.store import State
from interlock.store.accounts import DISABLED, PASSKEY, TOTP, Account, Accounts, Factor

HASH = b"h" * 32


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as state:
        yield state


@pytest.fixture
def accounts(state: State) -> Accounts:
    return Accounts(state)


def account(number: int = 1, **changes: object) -> Account:
    roles = ("teller", "röle")
    made = Account(f"a{number}", f"name{number}", roles, 1000 + number, "k", password=b"sealed", changed=5)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def factor(number: int = 1, **changes: object) -> Factor:
    made = Factor(f"f{number}", "a1", TOTP, "phone", 1000 + number, "k", b"sealed", bytes([number]) * 32)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def at_once(count: int, work: Callable[[], bool]) -> list[bool]:
    """Let so many threads do it at the same moment."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_what_is_kept_is_found_again(accounts: Accounts) -> None:
    one = account(acts=("act-1",))
    accounts.add(one)
    accounts.add(account(2, name="aaa"))
    assert accounts.get("a1") == one
    assert accounts.find("name1") == one
    assert accounts.find("NAME1") is None
    assert [found.name for found in accounts.all()] == ["aaa", "name1"]
    assert one.principal == "user:interlock/name1"
    with pytest.raises(NotFound):
        accounts.get("a9")


def test_a_name_is_given_once(accounts: Accounts) -> None:
    accounts.add(account())
    with pytest.raises(UsageError, match="already"):
        accounts.add(account(2, name="name1"))
    assert len(accounts.all()) == 1


def test_changes_keep_their_acts(accounts: Accounts) -> None:
    accounts.add(account(acts=("act-1",)))
    changed = accounts.change("a1", act="act-2", roles=("auditor",))
    assert changed.acts == ("act-1", "act-2")
    assert accounts.get("a1") == changed


def test_repr_shows_nothing_secret() -> None:
    shown = repr(account(password=b"PASSWORD", invitation=b"INVITED")) + repr(factor(sealed=b"SEED", lookup=b"LOOK"))
    assert not any(word in shown for word in ("PASSWORD", "INVITED", "SEED", "LOOK"))


def test_an_invitation_is_good_once_and_for_a_while(accounts: Accounts) -> None:
    accounts.add(account(password=b"", changed=0, invitation=HASH, invited_until=100))
    assert accounts.invited(HASH, 100) is None
    assert accounts.invited(b"", 50) is None
    found = accounts.invited(HASH, 99)
    assert found is not None
    assert not accounts.choose_password(found, b"new", "k", 100, invitation=HASH)
    assert not accounts.choose_password(found, b"new", "k", 50, invitation=b"x" * 32)
    assert sorted(at_once(4, lambda: accounts.choose_password(found, b"new", "k", 50, invitation=HASH))) == [
        False,
        False,
        False,
        True,
    ]
    assert accounts.invited(HASH, 50) is None
    assert accounts.get("a1").password == b"new"


def test_nobody_is_invited_by_having_no_invitation(accounts: Accounts) -> None:
    accounts.add(account(invitation=b"", invited_until=10**18))
    assert accounts.invited(b"", 1) is None


def test_a_password_chosen_on_an_older_one_is_refused(accounts: Accounts) -> None:
    accounts.add(account(must_change=True))
    before = accounts.get("a1")
    assert accounts.choose_password(before, b"new", "k", 50, act="act-9")
    after = accounts.get("a1")
    assert (after.password, after.must_change, after.acts) == (b"new", False, ("act-9",))
    assert not accounts.choose_password(before, b"other", "k", 60)
    # Within one tick of the clock, too.
    assert accounts.choose_password(after, b"third", "k", after.changed)
    assert accounts.get("a1").changed > after.changed


def test_a_disabled_person_chooses_no_password(accounts: Accounts) -> None:
    accounts.add(account(state=DISABLED, invitation=HASH, invited_until=100))
    assert not accounts.choose_password(accounts.get("a1"), b"new", "k", 50, invitation=HASH)


def test_hashing_anew_does_not_undo_a_change(accounts: Accounts) -> None:
    accounts.add(account())
    before = accounts.get("a1")
    accounts.choose_password(before, b"new", "k", 50)
    accounts.rehash(before, b"old again", "k")
    assert accounts.get("a1").password == b"new"


def test_a_step_is_taken_once_and_none_before_it(accounts: Accounts) -> None:
    accounts.add(account())
    accounts.add_factor(factor(), most=1)
    assert sorted(at_once(4, lambda: accounts.take_step("f1", 7, 100))) == [False, False, False, True]
    assert not accounts.take_step("f1", 6, 100)
    assert accounts.take_step("f1", 8, 100)
    assert accounts.factors("a1")[0].used == 100


def test_a_counter_only_grows(accounts: Accounts) -> None:
    accounts.add_factor(factor(kind=PASSKEY), most=1)
    accounts.note_use("f1", 9, 100)
    accounts.note_use("f1", 3, 200)
    (found,) = accounts.factors("a1")
    assert (found.step, found.used) == (9, 200)


def test_there_are_not_more_factors_than_allowed(accounts: Accounts) -> None:
    accounts.add_factor(factor(1), most=2)
    accounts.add_factor(factor(2), most=2)
    with pytest.raises(UsageError, match="2 of this kind"):
        accounts.add_factor(factor(3), most=2)
    accounts.add_factor(factor(4, kind=PASSKEY), most=2)
    with pytest.raises(UsageError):  # somebody's credential is nobody else's
        accounts.add_factor(factor(5, account="a2", lookup=factor(4).lookup), most=2)


def test_recovery_codes_are_good_once_and_for_their_owner(accounts: Accounts) -> None:
    accounts.add_factor(factor(), most=1)
    accounts.set_recovery("a1", [b"1" * 32, b"2" * 32], 100)
    assert not accounts.take_recovery("a2", b"1" * 32)
    assert sorted(at_once(4, lambda: accounts.take_recovery("a1", b"1" * 32))) == [False, False, False, True]
    assert accounts.recovery_left("a1") == 1
    accounts.set_recovery("a1", [b"3" * 32], 200)
    assert not accounts.take_recovery("a1", b"2" * 32)
    accounts.remove_factor("a1", "f1")
    assert accounts.recovery_left("a1") == 0
    with pytest.raises(NotFound):
        accounts.remove_factor("a1", "f1")


def test_nobody_removes_somebody_elses_factor(accounts: Accounts) -> None:
    accounts.add_factor(factor(), most=1)
    with pytest.raises(NotFound):
        accounts.remove_factor("a2", "f1")
    assert accounts.factor_by(factor().lookup) == factor()


def test_an_outside_identity_is_one_persons(accounts: Accounts) -> None:
    accounts.add(account(1))
    accounts.add(account(2))
    accounts.link("a1", "corporate", HASH, 5)
    with pytest.raises(UsageError):
        accounts.link("a2", "corporate", HASH, 5)
    found = accounts.linked(HASH)
    assert found is not None
    assert found.id == "a1"
    assert accounts.links("a1") == ["corporate"]
    assert accounts.unlink("a1", "corporate")
    assert accounts.linked(HASH) is None


def test_of_two_who_remove_the_last_factors_at_once_one_is_refused(accounts: Accounts) -> None:
    accounts.add(account())
    accounts.add_factor(factor(), most=9)
    accounts.add_factor(factor(2), most=9)
    ids = iter(["f1", "f2"])

    def remove() -> bool:
        try:
            accounts.remove_factor("a1", next(ids), keep=1)
        except UsageError:
            return False
        return True

    assert sorted(at_once(2, remove)) == [False, True]
    assert len(accounts.factors("a1")) == 1


def test_an_erased_person_leaves_nothing_to_sign_in_with(accounts: Accounts, tmp_path: Path) -> None:
    accounts.add(account(name="mallory", password=b"HER-PASSWORD"))
    accounts.add_factor(factor(sealed=b"HER-SEED"), most=1)
    accounts.forget("user:interlock/mallory", "erased-1")  # not while she can sign in
    assert accounts.find("mallory") is not None
    accounts.change("a1", state=DISABLED)
    accounts.forget("user:interlock/mallory", "erased-1")
    assert accounts.get("a1").name == "erased-1"
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(word in data for word in (b"mallory", b"HER-PASSWORD", b"HER-SEED"))
