"""API keys: on the record first, then in the state, then at the workers; never anywhere in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.control.build import SnapshotBuilder
from interlock.control.keys import Create, KeyDesk, Named, Rotate, entry
from interlock.control.lastused import LastUsed
from interlock.control.paths import Paths
from interlock.control.publish import Publisher
from interlock.errors import NotFound, RecordUnavailable, StateError, UsageError
from interlock.identity import decode_key_entry, key_handle
from interlock.keys import Keyring, lookup_hash, well_formed
from interlock.snapshot import Change, ChangeLog, KeyAdded, NodePage, NodeSpec, Revoked, Snapshot, read_changes
from interlock.snapshot.directory import Directory
from interlock.snapshot.page import EPOCH
from interlock.store import Revocation, State
from tests.unit.control.conftest import Acts

ROLES = frozenset({"caller", "auditor"})
DAY = 86_400 * SECOND


@pytest.fixture
def desk(state: State, paths: Paths, page: NodePage, clock: ManualClock) -> KeyDesk:
    return KeyDesk(state, Publisher(paths, page), clock)


def never(_keys: list[str]) -> LastUsed:
    return LastUsed({}, complete=True)


def changes(paths: Paths, page: NodePage) -> Sequence[Change]:
    return read_changes(paths.changes, 0, page.words[EPOCH])


def make(desk: KeyDesk, keyring: Keyring, acts: Acts, **wanted: Any) -> dict[str, Any]:
    return desk.create(Create(**{"name": "billing", "roles": ["caller"], **wanted}), ROLES, keyring, acts)


def test_a_key_is_recorded_kept_as_a_hash_and_published(
    desk: KeyDesk, keyring: Keyring, acts: Acts, state: State, paths: Paths, page: NodePage, clock: ManualClock
) -> None:
    made = make(desk, keyring, acts, networks=["10.0.0.0/8"], expires_ns=DAY)
    assert well_formed(made["key"].encode())
    assert made["principal"] == "service:interlock/billing"
    row = state.key(made["id"])
    assert row.hash == lookup_hash(keyring.lookup_key, made["key"].encode())
    assert row.expires == clock.wall() + DAY
    (added,) = changes(paths, page)
    assert isinstance(added, KeyAdded)
    assert added.hash == row.hash
    added_entry = decode_key_entry(added.value)
    assert (added_entry.id, added_entry.roles, added_entry.networks) == (row.id, ["caller"], ["10.0.0.0/8"])
    assert acts.events == ["key:create"]
    assert row.acts == ("act-1",)
    assert made["key"] not in str(acts.done)


def test_what_cannot_be_recorded_is_not_done(
    desk: KeyDesk, keyring: Keyring, acts: Acts, state: State, paths: Paths, page: NodePage
) -> None:
    made = make(desk, keyring, acts)
    before = page.words[EPOCH]
    acts.broken = True
    with pytest.raises(RecordUnavailable):
        make(desk, keyring, acts)
    with pytest.raises(RecordUnavailable):
        desk.rotate(Rotate(made["id"], DAY), keyring, acts)
    with pytest.raises(RecordUnavailable):
        desk.revoke(Named(made["id"]), acts)
    assert not state.key(made["id"]).revoked
    assert len(desk.list(never)["keys"]) == 1
    assert page.words[EPOCH] == before


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"roles": []}, "at least one role"),
        ({"roles": ["caller", "root"]}, "no role 'root'"),
        ({"roles": ["interlock:admin"]}, "no role"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "printable"),
        ({"networks": ["10.0.0.1/8"]}, "host bits"),
        ({"networks": ["everywhere"]}, "network"),
        ({"expires_ns": -1}, "90d"),
        ({"expires_ns": 1 << 62}, "90d"),
    ],
)
def test_what_makes_no_key(
    desk: KeyDesk, keyring: Keyring, acts: Acts, state: State, wanted: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make(desk, keyring, acts, **wanted)
    assert state.keys() == []
    assert acts.done == []


def test_revoking(desk: KeyDesk, keyring: Keyring, acts: Acts, state: State, paths: Paths, page: NodePage) -> None:
    made = make(desk, keyring, acts)
    desk.revoke(Named(made["id"]), acts)
    assert changes(paths, page)[-1] == Revoked(key_handle(made["id"]))
    assert state.key(made["id"]).revoked
    assert desk.list(never)["keys"][0]["state"] == "revoked"
    with pytest.raises(NotFound):
        desk.revoke(Named("nosuchkey0"), acts)


def test_a_broken_database_still_refuses_the_key_and_says_what_is_missing(
    desk: KeyDesk,
    keyring: Keyring,
    acts: Acts,
    state: State,
    paths: Paths,
    page: NodePage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make(desk, keyring, acts)

    def broken(*_: object, **__: object) -> None:
        raise StateError("disk I/O error")

    monkeypatch.setattr(state, "revoke", broken)
    with pytest.raises(StateError, match="repeat"):
        desk.revoke(Named(made["id"]), acts)
    assert changes(paths, page)[-1] == Revoked(key_handle(made["id"]))


def test_what_the_database_missed_stays_refused_over_every_new_snapshot(
    desk: KeyDesk,
    keyring: Keyring,
    acts: Acts,
    state: State,
    paths: Paths,
    page: NodePage,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make(desk, keyring, acts)
    row = state.key(made["id"])
    directory = Directory(page, paths.changes, keyring.lookup_key)

    def broken(*_: object, **__: object) -> None:
        raise StateError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(state, "revoke", broken)
        with pytest.raises(StateError):
            desk.revoke(Named(made["id"]), acts)
    builder = SnapshotBuilder(paths, state, page, clock)
    for _ in range(2):
        builder.build(NodeSpec("", 0, 1), [])
        directory.rebase(Snapshot.open(paths.snapshot))
        assert directory.find_key(row.hash) is not None, "the database calls it valid"
        assert directory.is_revoked(key_handle(row.id))
    state.add_revocation(Revocation(key_handle(row.id), "key", clock.wall()))  # in both places
    builder.build(NodeSpec("", 0, 1), [])
    directory.rebase(Snapshot.open(paths.snapshot))
    assert directory.is_revoked(key_handle(row.id))


def test_a_key_added_again_after_its_revocation_stays_refused(
    desk: KeyDesk, keyring: Keyring, acts: Acts, state: State, paths: Paths, page: NodePage, clock: ManualClock
) -> None:
    """It was rotated with an overlap while somebody else revoked it; the snapshot is made in between."""
    made = make(desk, keyring, acts)
    row = state.key(made["id"])
    desk.revoke(Named(made["id"]), acts)
    SnapshotBuilder(paths, state, page, clock).build(NodeSpec("", 0, 1), [])
    ChangeLog(paths.changes, page).append([KeyAdded(row.hash, entry(row))])
    directory = Directory(page, paths.changes, keyring.lookup_key)
    directory.rebase(Snapshot.open(paths.snapshot))
    assert directory.find_key(row.hash) is not None
    assert directory.is_revoked(key_handle(row.id))


def test_rotating_leaves_the_old_key_its_overlap(
    desk: KeyDesk, keyring: Keyring, acts: Acts, state: State, paths: Paths, page: NodePage, clock: ManualClock
) -> None:
    old = make(desk, keyring, acts, expires_ns=30 * DAY, networks=["10.0.0.0/8"])
    clock.advance(86_400)
    new = desk.rotate(Rotate(old["id"], DAY), keyring, acts)
    assert new["key"] != old["key"]
    before, after = state.key(old["id"]), state.key(new["id"])
    assert before.expires == clock.wall() + DAY
    assert before.replaced_by == after.id
    assert after.expires == clock.wall() + 30 * DAY
    assert (after.principal, after.roles, after.networks) == (before.principal, before.roles, before.networks)
    _, added, shortened = changes(paths, page)
    assert isinstance(added, KeyAdded)
    assert isinstance(shortened, KeyAdded)
    assert decode_key_entry(shortened.value).expires == before.expires
    with pytest.raises(UsageError, match="replaced"):
        desk.rotate(Rotate(old["id"], DAY), keyring, acts)


def test_rotating_without_overlap_revokes_at_once(
    desk: KeyDesk, keyring: Keyring, acts: Acts, paths: Paths, page: NodePage
) -> None:
    old = make(desk, keyring, acts)
    desk.rotate(Rotate(old["id"], 0), keyring, acts)
    assert changes(paths, page)[-1] == Revoked(key_handle(old["id"]))


def test_a_list_has_no_secret(desk: KeyDesk, keyring: Keyring, acts: Acts) -> None:
    made = make(desk, keyring, acts)
    (shown,) = desk.list(never)["keys"]
    assert made["key"] not in str(shown)
    assert "hash" not in shown
    assert shown["last_used"] is None
    listed = desk.list(lambda keys: LastUsed(dict.fromkeys(keys, 1_700_000_000 * SECOND), complete=False))
    assert listed["keys"][0]["last_used"] == "2023-11-14T22:13:20.000Z"
    assert not listed["last_used_complete"]


def test_without_a_node_nobody_is_told(
    state: State, keyring: Keyring, acts: Acts, clock: ManualClock, tmp_path: Path
) -> None:
    desk = KeyDesk(state, Publisher(Paths(tmp_path / "none"), None), clock)
    made = make(desk, keyring, acts)
    desk.revoke(Named(made["id"]), acts)
    assert state.key(made["id"]).revoked
