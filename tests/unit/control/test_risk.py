"""A risk is recorded, kept and brought to the workers; the last word counts, over snapshots and starts."""

from __future__ import annotations

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.control.paths import Paths
from interlock.control.risk import Found, RiskDesk
from interlock.errors import RecordUnavailable, StateError, UsageError
from interlock.identity import client_handle, principal_handle, session_handle, token_handle
from interlock.snapshot import ChangeLog, NodePage, Risk, Snapshot
from interlock.snapshot.directory import Directory
from interlock.store import State
from interlock.store.risks import Risks
from tests.unit.control.conftest import Acts
from tests.unit.control.test_credentials import ISSUER
from tests.unit.control.test_revocation import ALICE, Bench, broken

HANDLE = principal_handle(ALICE)


@pytest.fixture
def bench(state: State, paths: Paths, page: NodePage, clock: ManualClock, acts: Acts) -> Bench:
    return Bench(state, paths, page, clock, acts)


def desk_of(bench: Bench) -> RiskDesk:
    return RiskDesk(bench.state, bench.publisher, bench.clock)


def found(value: int, **more: object) -> Found:
    return Found(**{"kind": "principal", "id": ALICE, "value": value, "why": "a test", **more})  # type: ignore[arg-type]


def test_the_last_word_counts(bench: Bench) -> None:
    desk = desk_of(bench)
    done = desk.set(found(80), bench.named, bench.acts)
    assert bench.acts.done == [
        ("credential:risk", {"kind": "principal", "principal": ALICE, "risk": 80, "why": "a test"})
    ]
    assert bench.changes == [Risk(HANDLE, 80)]
    assert [(row.value, row.act) for row in Risks(bench.state).live(0)] == [(80, done["act"])]
    directory = Directory(bench.page, bench.paths.changes, b"k" * 32)
    directory.catch_up()
    assert directory.risk(HANDLE) == bench.rebuild().risk(HANDLE) == 80
    desk.set(found(20), bench.named, bench.acts)
    directory.catch_up()
    assert directory.risk(HANDLE) == bench.rebuild().risk(HANDLE) == 20, "unlike a mark it can be lowered"
    desk.set(found(0), bench.named, bench.acts)
    directory.catch_up()
    assert directory.risk(HANDLE) == bench.rebuild().risk(HANDLE) == 0
    assert list(Risks(bench.state).live(0)) == []


def test_an_overlay_lowers_what_the_snapshot_says(bench: Bench) -> None:
    desk = desk_of(bench)
    desk.set(found(80), bench.named, bench.acts)
    directory = bench.rebuild()
    desk.set(found(0), bench.named, bench.acts)
    directory.catch_up()
    assert directory.risk(HANDLE) == 0
    assert directory.risk(b"x" * 32) == 0


def test_it_ends_by_itself(bench: Bench) -> None:
    until = bench.clock.wall() + 60 * SECOND
    desk_of(bench).set(found(80, until_ns=until), bench.named, bench.acts)
    assert bench.rebuild().risk(HANDLE) == 80
    bench.clock.advance(60)
    assert bench.rebuild().risk(HANDLE) == 0
    assert Risks(bench.state).drop(bench.clock.wall()) == 1


def test_it_outlives_the_node(bench: Bench) -> None:
    desk_of(bench).set(found(80), bench.named, bench.acts)
    ChangeLog(bench.paths.changes, bench.page).create()
    directory = Directory(bench.page, bench.paths.changes, b"k" * 32)
    bench.rebuild()
    directory.rebase(Snapshot.open(bench.paths.snapshot))
    assert directory.risk(HANDLE) == 80


def test_what_cannot_be_recorded_is_not_done(bench: Bench) -> None:
    bench.acts.broken = True
    with pytest.raises(RecordUnavailable):
        desk_of(bench).set(found(80), bench.named, bench.acts)
    assert bench.changes == []


def test_a_broken_database_is_told_and_the_workers_know(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Risks, "put", broken)
        with pytest.raises(StateError, match="repeat"):
            desk_of(bench).set(found(80), bench.named, bench.acts)
    assert bench.rebuild().risk(HANDLE) == 80


@pytest.mark.parametrize(
    ("wanted", "handle"),
    [
        ({"kind": "session", "id": "s1", "issuer": ISSUER}, session_handle(ISSUER, "s1")),
        ({"kind": "client", "id": "shop", "issuer": ISSUER}, client_handle(ISSUER, "shop")),
        ({"kind": "token", "id": "t1", "issuer": ISSUER}, token_handle(ISSUER, "t1")),
    ],
)
def test_of_what(bench: Bench, wanted: dict[str, str], handle: bytes) -> None:
    desk_of(bench).set(found(50, **wanted), bench.named, bench.acts)
    assert bench.changes == [Risk(handle, 50)]


@pytest.mark.parametrize(
    "wanted",
    [
        {"value": -1},
        {"value": 101},
        {"kind": "weather"},
        {"id": "nobody"},
        {"kind": "session", "id": "s", "issuer": "https://nobody.example.com"},
    ],
)
def test_what_is_no_risk(bench: Bench, wanted: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        desk_of(bench).set(found(50, **wanted) if "value" not in wanted else found(**wanted), bench.named, bench.acts)  # type: ignore[arg-type]
    assert bench.acts.done == []


def test_erasing_a_person_takes_the_name_away(bench: Bench) -> None:
    desk_of(bench).set(found(80), bench.named, bench.acts)
    bench.state.forget(ALICE, "service:interlock/erased-1", bench.clock.wall())
    (row,) = Risks(bench.state).live(0)
    assert row.what == "principal service:interlock/erased-1"
    assert bench.rebuild().risk(HANDLE) == 80
