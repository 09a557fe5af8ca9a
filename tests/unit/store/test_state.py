"""The state database."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from interlock.errors import NotFound, StateError, UsageError
from interlock.store import ApiKeyRow, Revocation, State


def key(number: int, **changes: object) -> ApiKeyRow:
    row = ApiKeyRow(
        id=f"key{number}",
        name=f"name {number}",
        principal="service:interlock/billing",
        hash=hashlib.sha256(b"%d" % number).digest(),
        roles=("caller", "röle"),
        created=1000 + number,
        networks=("10.0.0.0/8", "fd00::/8"),
        acts=(f"act{number}",),
    )
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def ids(state: State) -> list[str]:
    rows = state.keys()
    return [row.id for row in rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> State:
    return State.open(path)


def test_what_is_kept_is_found_again(path: Path, state: State) -> None:
    row = key(1, not_before=5, expires=10**18, replaced_by="later")
    state.add_key(row)
    state.close()
    with State.open(path) as again:
        assert again.key("key1") == row
        assert again.keys() == [row]
        assert again.keys(principal="service:interlock/billing") == [row]
        assert again.keys(principal="service:interlock/other") == []


def test_files_are_for_their_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        state = State.open(path)
        rows = state.usable_keys(0)
        state.add_key(key(1))
        next(rows)  # keeps the write-ahead log and its index in place
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_on_disk_before_it_returns(state: State) -> None:
    with state.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_no_key_of_that_name(state: State) -> None:
    for use in (state.key, lambda key_id: state.revoke(key_id, now=1)):
        with pytest.raises(NotFound, match="'nobody'"):
            use("nobody")


def test_ids_and_hashes_are_unique_and_all_or_nothing(state: State) -> None:
    state.add_key(key(1))
    with pytest.raises(UsageError):
        state.add_key(key(1, hash=bytes(32)))
    with pytest.raises(UsageError):
        state.add_keys([key(2), key(3, hash=key(1).hash)])
    assert ids(state) == ["key1"]
    with pytest.raises(StateError, match="32 bytes"):
        state.add_key(key(4, hash=b"short"))


def test_an_error_shows_no_values(state: State) -> None:
    state.add_key(key(1))
    with pytest.raises(UsageError) as caught:
        state.add_key(key(1))
    assert "name 1" not in str(caught.value)
    assert "INSERT" not in str(caught.value)


def test_usable_keys_come_sorted_by_hash(state: State) -> None:
    assert state.add_keys(key(number) for number in range(12_000)) == 12_000
    state.revoke("key3", now=5)
    state.add_keys([key(20_000, expires=99), key(20_001, expires=100), key(20_002, expires=101)])
    rows = list(state.usable_keys(now=100))
    assert len(rows) == 12_000 - 1 + 1
    hashes = [row.hash for row in rows]
    assert hashes == sorted(hashes)
    ids = {row.id for row in rows}
    assert "key3" not in ids
    assert ids & {"key20000", "key20001", "key20002"} == {"key20002"}


def test_a_stream_shows_one_moment(state: State) -> None:
    state.add_keys(key(number) for number in range(6000))
    rows = state.usable_keys(0)
    first = next(rows)
    other = "key1" if first.id != "key1" else "key2"
    state.revoke(other, now=1)
    assert other in {row.id for row in rows}
    assert other not in {row.id for row in state.usable_keys(0)}


def test_revoking_twice_keeps_the_first(state: State) -> None:
    state.add_key(key(1))
    assert state.revoke("key1", now=50, act="a").revoked == 50
    again = state.revoke("key1", now=60, act="b")
    assert (again.revoked, again.acts) == (50, ("act1", "a"))
    assert not again.usable(0)


def test_rotation_with_overlap(state: State) -> None:
    state.add_key(key(1))
    old = state.rotate("key1", key(2), until=5000, act="rotated")
    assert old == state.key("key1")
    assert (old.expires, old.replaced_by, old.acts) == (5000, "key2", ("act1", "rotated"))
    assert old.usable(4999)
    assert not old.usable(5000)
    assert state.key("key2") == key(2)


def test_an_overlap_never_lengthens_a_life(state: State) -> None:
    state.add_key(key(1, expires=3000))
    assert state.rotate("key1", key(2), until=5000).expires == 3000


@pytest.mark.parametrize("why", ["revoked", "replaced", "expired", "taken"])
def test_a_rotation_that_cannot_be_changes_nothing(state: State, why: str) -> None:
    state.add_key(key(1, expires=1001 if why == "expired" else 0))
    if why == "revoked":
        state.revoke("key1", now=1)
    if why == "replaced":
        state.rotate("key1", key(7), until=5000)
    if why == "taken":
        state.add_key(key(2, hash=bytes(32)))
    before = state.keys()
    with pytest.raises(UsageError):
        state.rotate("key1", key(2), until=9000)
    assert state.keys() == before


def test_revocations(state: State) -> None:
    handles = [hashlib.sha256(b"h%d" % number).digest() for number in range(300)]
    state.add_revocations(Revocation(handle, "token", 1, expires=100 + n) for n, handle in enumerate(handles))
    state.add_revocation(Revocation(handles[0], "token", 2, expires=0, act="x"))
    found = list(state.revocations(now=200))
    assert {one.handle for one in found} == {handles[0], *handles[101:]}
    assert [one.handle for one in found] == sorted(one.handle for one in found)
    with pytest.raises(StateError, match="32 bytes"):
        state.add_revocation(Revocation(b"short", "", 0))


@pytest.mark.parametrize(("first", "second", "kept"), [(100, 200, 200), (200, 100, 200), (0, 100, 0), (100, 0, 0)])
def test_a_revocation_is_never_shortened(state: State, first: int, second: int, kept: int) -> None:
    for expires in (first, second):
        state.add_revocation(Revocation(bytes(32), "token", 1, expires))
    assert [one.expires for one in state.revocations(now=1)] == [kept]


def test_a_newer_database_is_refused(path: Path, state: State) -> None:
    state.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="version 99"):
        State.open(path)


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE things (x)")
    connection.close()
    with pytest.raises(StateError, match="not made by Interlock"):
        State.open(foreign)
    (tmp_path / "text").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match="not a database"):
        State.open(tmp_path / "text")
    with pytest.raises(StateError, match="No such file"):
        State.open(tmp_path / "none" / "state.db")


def test_a_damaged_row_is_an_error_not_a_key_without_roles(path: Path, state: State) -> None:
    state.add_key(key(1))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE api_keys SET networks = 'nonsense'")
    connection.commit()
    connection.close()
    for use in (lambda: state.key("key1"), state.keys, lambda: list(state.usable_keys(0))):
        with pytest.raises(StateError, match="'key1' is damaged"):
            use()


def _add(path: Path, writer: int) -> None:
    with State.open(path) as state:
        for number in range(20):
            state.add_key(key(writer * 1000 + number))


def test_several_writers_wait_for_each_other(path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_add, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with State.open(path) as state:
        assert len(state.keys()) == 60


def test_a_writer_killed_in_the_middle_leaves_nothing(path: Path, state: State) -> None:
    state.add_key(key(1))
    pid = os.fork()
    if pid == 0:

        def rows():  # type: ignore[no-untyped-def]
            yield from (key(number) for number in range(2, 8000))
            os.kill(os.getpid(), 9)

        State.open(path).add_keys(rows())
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 9
    assert ids(state) == ["key1"]
    state.add_key(key(2))
