"""Revocations and marks: kept together or not at all, never weakened, dropped when they are over."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from interlock.clock import SECOND
from interlock.errors import StateError
from interlock.store import ApiKeyRow, Mark, Revocation, Revocations, State
from interlock.store.revocations import KEPT
from interlock.store.schema import APPLICATION_ID, MIGRATIONS

ALICE = "user:login.example.com/alice"
HANDLE, OTHER = b"\1" * 32, b"\2" * 32


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / "state.db")


@pytest.fixture
def kept(state: State) -> Revocations:
    return Revocations(state)


def key(name: str, principal: str = ALICE, expires: int = 0) -> ApiKeyRow:
    return ApiKeyRow(name, name, principal, name.encode().ljust(32, b"."), ("caller",), 1, expires=expires)


def test_a_principal_goes_with_its_keys(state: State, kept: Revocations) -> None:
    state.add_keys([key("a"), key("b"), key("gone"), key("over", expires=50), key("bob", "user:x/bob")])
    state.revoke("gone", now=10, act="before")
    rows = kept.keep(now=100, act="x", marks=[Mark(HANDLE, "alice", 7, 100, 0, "x")], keys_of=ALICE)
    assert [row.id for row in rows] == ["a", "b"], "those that could still be used"
    rows = state.keys()
    assert {row.id: row.revoked for row in rows} == {"a": 100, "b": 100, "gone": 10, "over": 0, "bob": 0}
    assert state.key("a").acts == ("x",)
    assert kept.not_before(HANDLE) == 7
    assert kept.not_before(OTHER) == 0


def test_all_or_nothing(state: State, kept: Revocations) -> None:
    state.add_key(key("a"))
    with pytest.raises(StateError, match="32 bytes"):
        kept.keep(
            now=1, act="", revocations=[Revocation(HANDLE, "t", 1)], marks=[Mark(b"short", "m", 1, 1)], keys_of=ALICE
        )
    assert not kept.is_revoked(HANDLE)
    assert not state.key("a").revoked


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ((5, 100), (6, 200), (6, 200)),
        ((6, 200), (5, 100), (6, 200)),  # a clock that went back
        ((5, 0), (6, 100), (6, 0)),
        ((5, 100), (6, 0), (6, 0)),
        ((6, 100), (5, 0), (6, 0)),
        ((5, 200), (6, 100), (6, 200)),
    ],
)
def test_a_mark_is_never_weakened(
    kept: Revocations, first: tuple[int, int], second: tuple[int, int], left: tuple[int, int]
) -> None:
    for number, (since, expires) in enumerate((first, second)):
        kept.keep(now=1, act="", marks=[Mark(HANDLE, f"{number}", since, number, expires, f"act-{number}")])
    (found,) = kept.marks(now=1)
    assert (found.since, found.expires) == left
    assert found.act == ("act-1" if second[0] > first[0] else "act-0"), "the act that set the second"


def test_what_is_live_comes_in_order(kept: Revocations) -> None:
    marks = [Mark(bytes([n]) * 32, "", 1, 1, expires) for n, expires in ((3, 0), (1, 50), (2, 51), (4, 49))]
    kept.keep(now=1, act="", marks=marks)
    assert [mark.handle[0] for mark in kept.marks(now=50)] == [2, 3]


def test_what_is_over_is_dropped_a_day_later(kept: Revocations) -> None:
    at = 1000 * SECOND
    kept.keep(
        now=1,
        act="",
        revocations=[Revocation(HANDLE, "", 1, at), Revocation(OTHER, "", 1, 0)],
        marks=[Mark(HANDLE, "", 5, 1, at), Mark(OTHER, "", 5, 1, at + SECOND)],
    )
    assert kept.drop(at + KEPT - 1) == 0
    assert [one.handle for one in kept.revocations(at)] == [OTHER]
    assert [one.handle for one in kept.revocations(at - 1)] == [HANDLE, OTHER], "a clock that was set back"
    assert kept.drop(at + KEPT) == 2
    assert not kept.is_revoked(HANDLE)
    assert kept.is_revoked(OTHER), "what has no end is kept"
    assert kept.not_before(HANDLE) == 0
    assert kept.not_before(OTHER) == 5
    assert kept.drop(1 << 62) == 1


def test_a_database_of_before_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    number = [step.__name__ for step in MIGRATIONS].index("_marks")
    with create_engine(f"sqlite:///{path}").begin() as connection:
        for step in MIGRATIONS[:number]:
            step(connection)
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")
    with State.open(path) as state:
        Revocations(state).keep(now=1, act="", marks=[Mark(HANDLE, "", 5, 1)])
        assert [mark.since for mark in Revocations(state).marks(0)] == [5]
