"""Control's part of pruning: a key goes when all that is sealed to it is over and held by nobody; then the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import Recorder
from interlock.audit.journal import Ended
from interlock.audit.prune import request_of
from interlock.audit.reader import SegmentReader, decrypt
from interlock.audit.subjects_register import Register
from interlock.control import prune as pruning
from interlock.control.paths import Paths
from interlock.control.prune import PruneDesk, StateHolds
from interlock.errors import KeyMaterialError, RecordError, RecordUnavailable
from interlock.keys import DayRecipient, Keyring, RecordDays
from interlock.model.retention import DAY
from interlock.store import Person, Persons, State, SubjectRow, TakenIn
from tests.unit.audit.storage import World, call, settle
from tests.unit.control.conftest import Acts

KEPT = {0: 30 * DAY, 1: 300 * DAY}
SECONDS = 86_400


class Nothing:
    """Nothing is held."""

    def reason(self, name: str, ended: Ended, since_ns: int, until_ns: int) -> str:
        return ""


class Node:
    """A record whose segments are sealed to the keys of their days, and the parts of control that prune it."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.clock = self.world.clock
        self.paths = Paths(folder)
        self.paths.make_run_dir()
        self.keyring = Keyring(self.paths.keys, bytes(32), clock=self.clock)
        self.keyring.ensure()
        self.days = RecordDays(self.keyring, self.clock)
        self.world.recipient = DayRecipient(self.paths.keys, self.clock)  # type: ignore[assignment]
        self.acts = Acts()
        self.desk = PruneDesk(self.paths, self.keyring, self.clock)
        self.recorder = self.start()

    def start(self) -> Recorder:
        return self.world.recorder(prune=(self.paths.run / "prune", lambda: KEPT))

    def segment(self, number: int = 0) -> Path:
        before = set(self.world.segments())
        writer = self.world.writer()
        call(writer, number)
        writer.close()
        settle(self.recorder)
        (path,) = {path for path in self.world.segments() if "worker" in path.name} - before
        return path

    def pass_days(self, count: int, *, tend: bool = True) -> None:
        for _ in range(count):
            self.clock.advance(SECONDS)
            if tend:
                self.days.tend(0)

    def prune(self, holds: pruning.Holds | None = None, **settings: bool) -> dict[str, Any]:
        holds = holds or Nothing()
        return self.desk.carry_out(self.desk.plan(KEPT, holds), holds, self.acts, **settings)

    def record(self) -> None:
        for _ in range(20):
            self.recorder.tick()
            self.clock.advance(0.3)

    def open_key(self, recipient_id: str, sealed: bytes, info: bytes) -> bytes:
        return self.keyring.open_record_key(recipient_id).open(sealed, info)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.days.tend(0)
    return node


def key_of(path: Path) -> str:
    with SegmentReader(path) as reader:
        return reader.header.recipient


def test_the_key_goes_first_and_then_the_files(node: Node) -> None:
    first = node.segment()
    node.pass_days(40)
    second = node.segment()
    key, copy = key_of(first), first.read_bytes()
    assert key_of(second) != key
    done = node.prune()
    assert (done["keys"], [one["file"] for one in done["segments"]], done["kept"]) == ([key], [first.name], [])
    assert node.acts.done == [("keyring:destroyed", {"key": "record", "id": key})]
    assert request_of(node.paths.run / "prune") == [first.name]
    node.record()
    assert not first.exists()
    assert second.exists()
    first.write_bytes(copy)  # from a backup
    with pytest.raises(RecordError, match="no record key"):
        list(decrypt(first, node.open_key))
    assert len(list(decrypt(second, node.open_key))) == 3
    assert node.recorder.stop()
    report = node.world.verify()
    assert report.ok, report.problems


def test_a_dry_run_changes_nothing(node: Node) -> None:
    first = node.segment()
    node.pass_days(40)
    done = node.prune(dry_run=True)
    assert [one["file"] for one in done["segments"]] == [first.name]
    assert node.acts.done == []
    assert not (node.paths.run / "prune").exists()
    assert node.open_key
    assert len(list(decrypt(first, node.open_key))) == 3


def test_what_is_not_old_enough_stays(node: Node) -> None:
    node.segment()
    node.pass_days(29)
    assert node.prune()["segments"] == []
    node.pass_days(3)
    assert len(node.prune()["segments"]) == 1


def test_a_key_goes_with_the_last_that_is_sealed_to_it(node: Node) -> None:
    """While control was down, later days were sealed to the last key there was."""
    node.pass_days(2, tend=False)
    first = node.segment()
    node.pass_days(18, tend=False)
    second = node.segment()
    node.pass_days(20)
    third = node.segment()
    assert key_of(first) == key_of(second) != key_of(third)
    assert node.prune()["segments"] == []  # the first one is 38 days old, and the second one 20
    node.pass_days(12)
    assert [one["file"] for one in node.prune()["segments"]] == [first.name, second.name]
    node.record()
    assert [path.exists() for path in (first, second, third)] == [False, False, True]


def test_what_is_in_use_is_never_due(node: Node) -> None:
    path = node.segment()
    node.pass_days(400, tend=False)  # control was down: writers would still seal to it or a later one
    done = node.prune()
    assert done["segments"] == []
    assert done["kept"] == [{"key": key_of(path), "segments": 1, "why": "its key is in use"}]


def test_the_record_key_that_writers_fall_back_on_is_replaced_before_it_is_destroyed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    first = node.segment()
    former = node.keyring.recipient().id
    assert key_of(first) == former
    node.pass_days(40)
    assert [one["file"] for one in node.prune()["segments"]] == [first.name]
    assert node.acts.events == ["keyring:rotate", "keyring:destroyed"]
    assert node.keyring.recipient().id != former
    with pytest.raises(KeyMaterialError):
        node.keyring.open_record_key(former)
    node.keyring.ensure()
    node.record()
    assert not first.exists()


class Held:
    """One segment is, by name."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def reason(self, name: str, ended: Ended, since_ns: int, until_ns: int) -> str:
        return "hold 1: a case" if name in self.names else ""


def test_what_is_under_a_hold_stays_with_all_that_shares_its_key(node: Node) -> None:
    paths = [node.segment(number) for number in (1, 2)]
    node.pass_days(2)
    other = node.segment(3)
    node.pass_days(40)
    done = node.prune(Held(paths[1].name))
    assert [one["file"] for one in done["segments"]] == [other.name]
    assert done["kept"] == [{"key": key_of(paths[0]), "segments": 2, "why": "hold 1: a case"}]
    node.record()
    assert [path.exists() for path in (*paths, other)] == [True, True, False]
    assert len(list(decrypt(paths[0], node.open_key))) == 3
    assert len(node.prune()["segments"]) == 2


def test_a_hold_that_comes_between_plan_and_deed_counts(node: Node) -> None:
    path = node.segment()
    node.pass_days(40)
    plan = node.desk.plan(KEPT, Nothing())
    done = node.desk.carry_out(plan, Held(path.name), node.acts)
    assert (done["segments"], node.acts.done) == ([], [])
    assert not (node.paths.run / "prune").exists()


def test_a_request_for_what_is_not_over_is_refused_by_the_recorder(node: Node) -> None:
    """Whoever forges a plan, or a bug in it, still does not get at yesterday's files."""
    path = node.segment()
    node.pass_days(1)
    node.desk._ask([path.name])
    node.record()
    assert path.exists()


@pytest.mark.parametrize("step", ["act", "destroy", "ask", "died before", "died after"])
def test_broken_off_anywhere_it_is_gone_on_with(node: Node, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = node.segment()
    key = key_of(path)
    node.pass_days(40)

    def failing(*_: object) -> None:
        raise KeyMaterialError("injected")

    real: Callable[..., Any] = pruning.destroy

    def done_but_failing(*arguments: Any) -> None:
        real(*arguments)
        raise KeyMaterialError("injected")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "act":
        node.acts.broken = True
    elif step == "ask":
        monkeypatch.setattr(pruning, "write_request", full)
    else:
        monkeypatch.setattr(pruning, "destroy", done_but_failing if step == "died after" else failing)
    with pytest.raises((KeyMaterialError, RecordUnavailable)):
        node.prune()
    if step == "act":
        assert node.keyring.open_record_key(key)  # what cannot be recorded is not done
    node.record()
    assert path.exists()
    monkeypatch.undo()
    node.acts.broken = False
    assert [one["file"] for one in node.prune()["segments"]] == [path.name]
    node.record()
    assert not path.exists()
    assert node.recorder.stop()
    assert node.world.verify().ok


def test_a_file_that_cannot_be_read_keeps_everything(node: Node) -> None:
    path = node.segment()
    node.pass_days(40)
    stranger = path.with_name("20240101T000000Z-worker-9-00000000.seg")
    stranger.write_bytes(b"garbage")
    done = node.prune()
    assert done["segments"] == []
    assert "cannot be read" in done["kept"][0]["why"]


# -- the holds of the state database


@pytest.fixture
def register(node: Node) -> Register:
    persons = Persons(State.open(node.paths.state))
    return Register(node.paths.data_dir, persons, node.keyring, node.clock)


def holds_of(node: Node, register: Register) -> StateHolds:
    return StateHolds(register, register._persons)


def test_a_hold_of_a_time_keeps_what_is_of_it(node: Node, register: Register) -> None:
    first = node.segment()
    at = node.clock.wall()
    node.pass_days(5)
    second = node.segment()
    node.pass_days(60)
    register.hold("h1", "", at - DAY, at + DAY, "a case", "os:root")
    done = node.prune(holds_of(node, register))
    assert [one["file"] for one in done["segments"]] == [second.name]
    assert done["kept"][0]["why"] == "hold h1: a case"
    register._persons.release_hold("h1")
    assert [one["file"] for one in node.prune(holds_of(node, register))["segments"]] == [first.name, second.name]


def test_a_hold_of_a_person_keeps_what_names_them_and_what_was_not_looked_at(node: Node, register: Register) -> None:
    path = node.segment()
    node.pass_days(40)
    register.hold("h2", "user:iss/alice", 0, 0, "a case", "os:root")
    assert node.prune(holds_of(node, register))["kept"][0]["why"] == "hold h2: whom it names is not known yet"
    register._persons.take_in(TakenIn(path.name, "", 0, 0, True), (), ())
    assert len(node.prune(holds_of(node, register))["segments"]) == 1


def test_a_hold_that_cannot_be_opened_keeps_everything(node: Node, register: Register) -> None:
    node.segment()
    node.pass_days(40)
    register.hold("h3", "user:iss/alice", 0, 0, "a case", "os:root")
    (node.paths.keys / "store.sealed").write_bytes(b"{}")
    with pytest.raises(KeyMaterialError):
        node.prune(holds_of(node, register))
    assert not (node.paths.run / "prune").exists()


def test_what_the_database_knows_of_pruned_segments_goes_with_them(node: Node, register: Register) -> None:
    first = node.segment()
    node.pass_days(40)
    second = node.segment()
    persons = register._persons
    ids = []
    for path, names in ((first, ("a", "b")), (second, ("b",))):
        with SegmentReader(path) as reader:
            ids.append(reader.header.id)
        rows = [SubjectRow(ids[-1], number, name, "k", b"w") for number, name in enumerate(names)]
        new = [Person(name, name.encode(), "k", b"s") for name in names if not persons.find([name.encode()])]
        persons.take_in(TakenIn(path.name, "", 0, 0, True), new, rows)
    derived = node.paths.data_dir / "cache" / "columns"
    derived.parent.mkdir()
    derived.write_bytes(b"derived")
    desk = PruneDesk(node.paths, node.keyring, node.clock, register.forget)
    desk.carry_out(desk.plan(KEPT, Nothing()), Nothing(), node.acts)
    assert persons.of_segment(ids[0]) == []
    assert [row.pseudonym for row in persons.of_segment(ids[1])] == ["b"]
    assert [person.pseudonym for person in persons.find([b"a", b"b"])] == ["b"]
    assert not derived.exists()
