"""Who is who: taken in once, erased whole or not at all, and turned so that nothing older opens anything."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interlock.audit.subjects_register as module
from interlock.audit import ActRecorder, SegmentWriter, query
from interlock.audit.entries import Intent, encode
from interlock.audit.subjects import PATH, PRINCIPAL, SOURCE
from interlock.audit.subjects_register import Register, names
from interlock.clock import ManualClock
from interlock.errors import KeyMaterialError, NotFound, RecordError, UsageError
from interlock.keys import Keyring, intake, intake_keys, recipient, store_keys
from interlock.store import Persons, State
from tests.unit.audit.storage import INTENT, die

ALICE, PATIENT = "user:iss/alice", "patient:4711"


class Killed(BaseException):
    """The process is gone."""


class Scene:
    """A record with keys and a state database, and a worker that writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "record"
        self.clock = ManualClock()
        self.keyring = Keyring(folder / "keys", b"k" * 32, clock=self.clock)
        self.keyring.ensure()
        self.state = State.open(folder / "state.db")
        self.persons = Persons(self.state)
        self.worker = self.writer("worker-0")
        self.acts = ActRecorder(self.writer("control"), "os:host/root")

    def writer(self, name: str) -> SegmentWriter:
        keys = self.folder / "keys"
        return SegmentWriter(self.record, name, recipient(keys), clock=self.clock, intake=lambda: intake(keys))

    def call(self, patient: str = "4711", principal: str = ALICE) -> None:
        writer = self.worker
        writer.settle()
        who, where = writer.refer(PRINCIPAL, principal, "key"), writer.refer(SOURCE, "192.0.2.1")
        path: Any = ["/p/", writer.refer(PATH, patient, "patient")]
        writer.append(INTENT, encode(Intent(who, (), "GET", "h", "r", path, where, "up", credential=who)))
        writer.flush()

    def register(self) -> Register:
        return Register(self.folder, self.persons, self.keyring, self.clock)

    def erase(self, subject: str = PATIENT) -> str:
        register = self.register()
        register.take_in()
        person = register.find(subject)
        register.refuse_held(subject, person)
        register.request(person, "ticket")
        register.finish(self.acts)
        return person.pseudonym

    def turn(self) -> bool:
        self.register().turn(self.acts)
        self.worker.renew()  # as each second
        return self.register().turn(self.acts)

    def open_key(self, key_id: str, sealed: bytes, info: bytes) -> bytes:
        return self.keyring.open_record_key(key_id).open(sealed, info)

    def resources(self) -> list[str]:
        found = query(self.record, self.open_key, names=names(self.persons, self.keyring))
        return [row["resource"] for row in found]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_taking_in_goes_on_where_it_was(scene: Scene) -> None:
    scene.call()
    register = scene.register()
    assert register.take_in() == []
    first = register.find(PATIENT)
    scene.call()
    scene.call("0815")
    assert register.take_in() == []
    assert register.find(PATIENT) == first
    assert len(scene.persons.places(first.pseudonym)) == 1
    assert register.find("patient:0815").pseudonym != first.pseudonym
    with pytest.raises(NotFound):
        register.find("patient:1")


def test_a_person_has_one_pseudonym_over_segments_and_writers(scene: Scene) -> None:
    for _ in range(2):
        scene.call()
        scene.worker.close()
        scene.worker = scene.writer("worker-1")
    scene.register().take_in()
    assert len(scene.persons.places(scene.register().find(PATIENT).pseudonym)) == 2


def test_many_are_taken_in_in_pieces(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    for number in range(20):
        scene.call(str(number % 7))
    scene.register().take_in()
    assert len({scene.register().find(f"patient:{number}").pseudonym for number in range(7)}) == 7


def test_a_segment_in_use_is_left_until_it_ends(scene: Scene) -> None:
    scene.call()
    scene.register().take_in(ended_only=True)
    with pytest.raises(NotFound):
        scene.register().find(PATIENT)
    die(scene.worker)
    scene.register().take_in(ended_only=True)
    assert scene.register().find(PATIENT)


def test_the_database_shows_nobody(scene: Scene) -> None:
    scene.call()
    scene.register().take_in()
    scene.register().hold("h", PATIENT, 0, 0, "case", "os:host/root")
    data = b"".join(path.read_bytes() for path in scene.folder.glob("state.db*"))
    for value in (b"alice", b"4711", b"192.0.2.1"):
        assert value not in data


def test_what_is_erased_stays_erased(scene: Scene) -> None:
    """Also when the segment is taken in again, from its beginning."""
    scene.call()
    pseudonym = scene.erase()
    with sqlite3.connect(scene.folder / "state.db") as database:
        database.execute("DELETE FROM taken_in")
    scene.register().take_in()
    assert scene.resources() == [f"/p/erased:{pseudonym}"]
    with pytest.raises(NotFound):
        scene.register().find(PATIENT)
    assert scene.register().find(ALICE)


def test_no_hash_of_an_erased_id_stays(scene: Scene) -> None:
    """Whoever has the keys of today could try guesses on it."""
    scene.call()
    scene.register().take_in()
    hashed = scene.register().find(PATIENT).hash
    scene.erase()
    assert hashed not in b"".join(path.read_bytes() for path in scene.folder.glob("state.db*"))


def test_after_the_turn_old_rows_open_nothing_and_new_ones_do(scene: Scene) -> None:
    scene.call()
    scene.call("0815")
    scene.register().take_in()
    old_store, old_intake = store_keys(scene.keyring).current.id, intake(scene.keyring.folder).id
    pseudonym = scene.erase()
    assert not scene.register().turn(scene.acts)  # the worker goes on in its segment
    assert old_store not in store_keys(scene.keyring)
    assert old_intake in intake_keys(scene.keyring)
    scene.call("0815")
    assert scene.turn()
    assert set(intake_keys(scene.keyring)) == {intake(scene.keyring.folder).id} != {old_intake}
    assert scene.resources() == [f"/p/erased:{pseudonym}", "/p/0815", "/p/0815"]
    assert scene.register().find("patient:0815")
    scene.call()
    assert "/p/4711" in scene.resources()  # is new
    scene.register().take_in()
    assert scene.register().find(PATIENT).pseudonym != pseudonym


def test_a_segment_that_its_writer_left_unended_holds_nothing_up(scene: Scene) -> None:
    scene.call()
    pseudonym = scene.erase()
    die(scene.worker)
    assert scene.register().turn(scene.acts)
    assert scene.resources() == [f"/p/erased:{pseudonym}"]


def test_a_damaged_segment_holds_nothing_up(scene: Scene) -> None:
    scene.call()
    scene.worker.close()
    (path,) = [path for path in (scene.record / "segments").iterdir() if "worker" in path.name]
    data = path.read_bytes()
    path.write_bytes(data[:-10] + bytes(200))
    (problem,) = scene.register().take_in()
    assert path.name in problem
    scene.erase()
    assert scene.register().turn(scene.acts)


def test_a_hold_goes_through_the_turn(scene: Scene) -> None:
    scene.call()
    scene.call("0815")
    scene.register().hold("h1", "patient:0815", 0, 0, "case", "os:host/root")
    scene.erase()
    scene.turn()
    with pytest.raises(UsageError, match="hold h1 forbids it: case"):
        scene.erase("patient:0815")
    scene.persons.release_hold("h1")
    assert scene.erase("patient:0815")


@pytest.mark.parametrize(
    ("since", "until", "held"), [(-10, -5, False), (-10, 5, True), (5, 10, True), (2e5, 3e5, False)]
)
def test_a_hold_of_a_time(scene: Scene, since: float, until: float, held: bool) -> None:
    """Seconds from the call; a subject of a segment may be on the record until the day of it ends."""
    scene.call()
    now = scene.clock.wall()
    scene.register().hold("h1", "", now + int(since * 1e9), now + int(until * 1e9), "case", "os:host/root")
    scene.register().take_in()
    person = scene.register().find(PATIENT)
    if held:
        with pytest.raises(UsageError, match="h1"):
            scene.register().refuse_held(PATIENT, person)
    else:
        scene.register().refuse_held(PATIENT, person)


def test_what_was_derived_is_removed(scene: Scene) -> None:
    folder = scene.folder / "cache" / "day"
    folder.mkdir(parents=True)
    (folder / "part").write_text("4711")
    (scene.folder / "cache" / "index").write_text("4711")
    scene.call()
    scene.erase()
    assert list((scene.folder / "cache").iterdir()) == []


def test_an_older_copy_of_the_database_says_that_it_does_not_know(scene: Scene) -> None:
    scene.call()
    scene.call("0815")
    scene.register().take_in()
    scene.state.scrub()
    before = (scene.folder / "state.db").read_bytes()
    scene.erase()
    assert scene.turn()
    scene.state.close()
    for path in scene.folder.glob("state.db-*"):
        path.unlink()
    (scene.folder / "state.db").write_bytes(before)
    problems: list[RecordError] = []
    rows = list(query(scene.record, scene.open_key, names=names(scene.persons, scene.keyring),
                      on_problem=problems.append))  # fmt: skip
    assert all("lost:" in row["resource"] for row in rows)
    assert problems


STEPS = {
    Persons: ("take_in", "begin_erasure", "mark", "erase", "rewrap", "scrub"),
    module: ("turn_store", "turn_intake", "drop_old_store", "keep_intake", "_empty"),
    ActRecorder: ("act", "renew"),
}


def _break(monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> Callable[[], int]:
    """The process is killed before or after its step number `at`."""
    count = 0

    def wrapped(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            mine = count == at
            if mine and not after:
                raise Killed
            result = step(*arguments, **named)
            if mine:
                raise Killed
            return result

        return run

    for owner, steps in STEPS.items():
        for name in steps:
            monkeypatch.setattr(owner, name, wrapped(getattr(owner, name)))
    return lambda: count


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 26))
def test_killed_at_any_step_it_is_whole_or_gone_through_with(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    scene.call()
    scene.call("0815")
    count = _break(monkeypatch, at, after)
    try:
        scene.erase()
        assert scene.turn()
        assert count() < at  # every step was broken once
    except Killed:
        pass
    monkeypatch.undo()
    erasures = scene.persons.erasures()
    if not erasures:  # nothing was noted: all is as before
        assert scene.resources() == ["/p/4711", "/p/0815"]
        scene.register().take_in()
        assert scene.register().find(PATIENT)
        return
    register = scene.register()
    register.finish(scene.acts)
    assert scene.turn()
    (erasure,) = scene.persons.erasures()
    assert erasure.act
    assert erasure.erased
    assert erasure.scrubbed
    assert erasure.turned
    assert scene.resources() == [f"/p/erased:{erasure.pseudonym}", "/p/0815"]
    assert len(store_keys(scene.keyring).all) == 1
    assert len(intake_keys(scene.keyring)) == 1
    acts = query(scene.record, scene.open_key, kind="acts", names=names(scene.persons, scene.keyring))
    assert "subject:erase" in [row["event"] for row in acts]
    assert not register.unfinished


def _fill(monkeypatch: pytest.MonkeyPatch, at: int, step: str) -> Callable[[], int]:
    """The disk is full for the keys' file number `at`: when it is created, or when what was written is synced."""
    count = 0
    create, sync = os.open, os.fsync

    def full() -> None:
        nonlocal count
        count += 1
        if count == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if step == "create" and flags & os.O_CREAT and Path(path).parent.name == "keys":
            full()
        return create(path, flags, *more, **named)

    def synced(fd: int) -> None:
        if step == "sync" and "/keys/." in os.readlink(f"/proc/self/fd/{fd}"):
            full()
        sync(fd)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", synced)
    return lambda: count


@pytest.mark.parametrize("step", ["create", "sync"])
@pytest.mark.parametrize("at", range(1, 12))
def test_a_full_disk_in_the_moment_of_turning_keys_loses_nobody_and_keeps_nobody(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, at: int, step: str
) -> None:
    """Whoever was not erased can be named all the while; who was erased is gone, whatever could be written."""
    scene.call()
    scene.call("0815")
    pseudonym = scene.erase()
    count, said = _fill(monkeypatch, at, step), "No space left on no file"
    try:
        assert scene.turn()
        assert count() < at  # each file was refused once
    except KeyMaterialError as problem:
        said = str(problem)
    monkeypatch.undo()
    assert "No space left" in said
    left = [path.name for path in (scene.folder / "keys").iterdir() if path.name.startswith(".")]
    assert left == []
    assert scene.resources() == [f"/p/erased:{pseudonym}", "/p/0815"]
    again = Keyring(scene.folder / "keys", b"k" * 32, clock=scene.clock)  # as a process that starts now
    again.ensure()
    scene.keyring = again
    assert scene.resources() == [f"/p/erased:{pseudonym}", "/p/0815"]
    assert scene.turn()
    assert scene.resources() == [f"/p/erased:{pseudonym}", "/p/0815"]
    assert len(store_keys(again).all) == 1
    assert len(intake_keys(again)) == 1
    assert intake(scene.folder / "keys").id in intake_keys(again)
    scene.call("4712")
    scene.worker.close()
    scene.register().take_in()
    assert set(scene.resources()) == {f"/p/erased:{pseudonym}", "/p/0815", "/p/4712"}
