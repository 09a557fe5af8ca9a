"""Calls on the record: whatever fails, each answer is true and each intent gets its one outcome."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from interlock.audit import format_id, query, read_frames
from interlock.audit.segment import RecordId
from interlock.audit.writer import SyncTicket
from interlock.gateway import calls as module
from interlock.gateway.calls import CallRecorder
from interlock.gateway.floods import Flood
from interlock.gateway.pipeline import Pipeline
from interlock.gateway.route import Route
from interlock.keys import Recipient
from interlock.model import ANONYMOUS, Event, Identity, Principal, Reason, Refusal
from interlock.snapshot import PatternSpec, RouteSpec, ServiceSpec
from tests.unit.audit.storage import World, open_plain


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Loop:
    """Turns when it is told to."""

    def __init__(self) -> None:
        self.ready: list[Any] = []
        self.lock = threading.Lock()

    def call_soon(self, callback: Any, *arguments: Any) -> None:
        with self.lock:
            self.ready.append(lambda: callback(*arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *arguments: Any) -> None:
        self.call_soon(callback, *arguments)

    def turn(self) -> None:
        with self.lock:
            ready, self.ready = self.ready, []
        for callback in ready:
            callback()


class Caller:
    """A call as the recorder of calls sees it."""

    def __init__(self, number: int, durable: bool = False) -> None:
        self.fate: list[str] = []
        self.identity = ANONYMOUS
        self.target = SimpleNamespace(path=f"/{number}")
        self.route = SimpleNamespace(durable=durable, id="r", service="s", subjects=[])
        self.method, self.source, self.trace, self.upstream = "GET", "10.0.0.1", "", ""
        self.head = SimpleNamespace(hostname="h", target=b"/")
        self.bytes_in = self.bytes_out = 0
        self.intent: RecordId | None = None
        self.reference = ""

    def forward(self) -> None:
        self.fate.append("forwarded")

    def unrecorded(self) -> None:
        self.fate.append("unrecorded")

    def unsynced(self) -> None:
        self.fate.append("unsynced")


class Scene:
    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = Loop()
        self.writer = world.writer()
        self.calls = CallRecorder(self.writer, self.loop)  # type: ignore[arg-type]

    def begin(self, number: int, durable: bool = False) -> Caller:
        caller = Caller(number, durable)
        self.calls.intent(caller)  # type: ignore[arg-type]
        return caller

    def end(self, caller: Caller, status: int = 200) -> None:
        self.calls.outcome(caller, status, None, "", 1)  # type: ignore[arg-type]

    def fail(self, step: str) -> None:
        self.world.disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == step else None

    def heal(self) -> None:
        self.world.disk.fault = None
        self.world.clock.advance(1)

    def rows(self) -> dict[str, list[object]]:
        """Statuses on the record by path; fails if an intent has more than one outcome."""
        found: dict[str, list[object]] = {}
        for row in query(self.world.record, open_plain):
            found.setdefault(str(row["resource"]), []).append(row["status"])
        frames = [
            frame.refers
            for path in self.world.segments()
            for frame in read_frames(path)
            if frame.event == module.OUTCOME
        ]
        assert len(frames) == len(set(frames))
        return found


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_outcomes_of_a_failed_flush_come_with_the_next_good_one(scene: Scene) -> None:
    """Also when a new intent comes first."""
    caller = scene.begin(1)
    scene.loop.turn()
    scene.end(caller)
    scene.fail("write")
    scene.loop.turn()
    scene.heal()
    other = scene.begin(2)
    scene.loop.turn()
    scene.end(other)
    scene.loop.turn()
    assert scene.rows() == {"/1": [200], "/2": [200]}


def test_outcomes_that_could_not_even_be_appended_are_kept(scene: Scene) -> None:
    callers = [scene.begin(number) for number in range(3)]
    scene.loop.turn()
    scene.fail("write")
    scene.end(callers[0])
    scene.loop.turn()  # the segment is given up
    scene.fail("create")
    scene.end(callers[1])  # no other can be begun
    scene.loop.turn()
    scene.heal()
    scene.end(callers[2])
    scene.loop.turn()
    assert scene.rows() == {"/0": [200], "/1": [200], "/2": [200]}


def test_kept_outcomes_are_tried_again_without_any_traffic(scene: Scene) -> None:
    caller = scene.begin(1)
    scene.loop.turn()
    scene.end(caller)
    scene.fail("write")
    scene.loop.turn()
    scene.calls.sweep()
    scene.heal()
    scene.calls.sweep()
    assert scene.rows() == {"/1": [200]}


def test_outcomes_survive_many_failures_in_a_row(scene: Scene) -> None:
    callers = [scene.begin(number) for number in range(20)]
    scene.loop.turn()
    for number, caller in enumerate(callers):
        scene.end(caller)
        scene.fail(("write", "create", "fdatasync", "rename")[number % 4])
        lost = scene.begin(100 + number)
        scene.loop.turn()
        assert lost.fate == ["unrecorded"] or number % 4 > 0
        scene.calls.sweep()
        scene.world.clock.advance(1)
    scene.heal()
    scene.calls.sweep()
    found = scene.rows()
    assert all(found[f"/{number}"] == [200] for number in range(20))


def test_an_intent_that_was_lost_gets_no_outcome(scene: Scene) -> None:
    scene.begin(0)
    scene.loop.turn()
    scene.fail("write")
    caller = scene.begin(1)
    scene.end(caller, 499)  # the caller went away in the same turn
    scene.loop.turn()
    scene.heal()
    scene.calls.sweep()
    scene.loop.turn()
    assert caller.fate == ["unrecorded"]
    assert scene.rows() == {"/0": [None]}


def test_what_is_kept_is_bounded_and_written_in_parts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 10)
    monkeypatch.setattr(module, "KEPT_AT_ONCE", 3)
    callers = [scene.begin(number) for number in range(15)]
    scene.loop.turn()
    scene.fail("write")
    for caller in callers:
        scene.end(caller)
    scene.loop.turn()
    scene.heal()
    scene.calls.sweep()
    assert sum(statuses == [200] for statuses in scene.rows().values()) == 3
    for _ in range(5):
        scene.loop.turn()
    assert sum(statuses == [200] for statuses in scene.rows().values()) == 10


def test_closing_writes_what_was_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_AT_ONCE", 2)
    callers = [scene.begin(number) for number in range(7)]
    scene.loop.turn()
    scene.fail("write")
    for caller in callers:
        scene.end(caller)
    scene.loop.turn()
    scene.heal()
    asyncio.run(scene.calls.close())
    assert all(statuses == [200] for statuses in scene.rows().values())


def refuse(scene: Scene, caller: Caller) -> list[tuple[Reason, str]]:
    """Have the call refused; gives the answers, with the reference each one shows."""
    answers: list[tuple[Reason, str]] = []
    pipeline = object.__new__(Pipeline)
    pipeline.answer_refusal = lambda call, refusal: answers.append((refusal.reason, call.reference))  # type: ignore[method-assign]
    refusal = Refusal(Reason.NO_ROUTE)
    scene.calls.refused(
        caller,  # type: ignore[arg-type]
        refusal,
        lambda recorded: pipeline._refused(caller, refusal, recorded),  # type: ignore[arg-type]
        1,
    )
    return answers


def test_a_recorded_refusal_is_answered_as_it_is(scene: Scene) -> None:
    caller = Caller(1)
    answers = refuse(scene, caller)
    assert answers == []
    scene.loop.turn()
    ((reason, reference),) = answers
    assert reason is Reason.NO_ROUTE
    (row,) = query(scene.world.record, open_plain)
    assert row["id"] == reference


@pytest.mark.parametrize("step", ["write", "create"])
def test_a_refusal_that_cannot_be_recorded_says_that_and_refers_to_nothing(scene: Scene, step: str) -> None:
    if step == "write":
        scene.begin(0)
        scene.loop.turn()
    scene.fail(step)
    answers = refuse(scene, Caller(1))
    scene.loop.turn()
    assert answers == [(Reason.RECORD_UNAVAILABLE, "")]


@pytest.mark.parametrize("step", ["write", "create"])
def test_a_count_that_cannot_be_written_is_given_back(scene: Scene, step: str) -> None:
    if step == "write":
        scene.begin(0)
        scene.loop.turn()
    back: list[int] = []
    flood = Flood(5)
    flood.count, flood.reasons = 3, {"no-route": 3}
    scene.fail(step)
    scene.calls.refusals("10.0.0.1", flood, 9, lambda: back.append(1))
    scene.loop.turn()
    assert back == [1]
    scene.heal()
    scene.calls.refusals("10.0.0.1", flood, 9, lambda: back.append(2))
    scene.loop.turn()
    assert back == [1]
    scene.fail("write")
    scene.begin(1)
    scene.loop.turn()
    assert back == [1]


def settle(scene: Scene, *callers: Caller) -> None:
    for _ in range(2000):
        scene.loop.turn()
        if all(caller.fate for caller in callers):
            return
        threading.Event().wait(0.005)
    raise AssertionError("a durable call waits for ever")


def test_a_durable_call_passes_once_it_is_on_disk(scene: Scene) -> None:
    caller = scene.begin(1, durable=True)
    scene.loop.turn()
    settle(scene, caller)
    assert caller.fate == ["forwarded"]
    assert ("fdatasync", scene.world.segments()[0]) in scene.world.disk.steps


def test_a_durable_call_flushed_while_a_sync_fails_does_not_pass(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three turns of the loop: one is syncing, one was flushed since, one finds the segment spoiled."""
    ran, may_run = threading.Event(), threading.Event()
    run = SyncTicket.run

    def slow(ticket: SyncTicket) -> None:
        may_run.wait(10)
        try:
            run(ticket)
        finally:
            ran.set()

    monkeypatch.setattr(SyncTicket, "run", slow)
    first = scene.begin(1, durable=True)
    scene.loop.turn()
    second = scene.begin(2, durable=True)
    scene.loop.turn()
    scene.fail("fdatasync")
    may_run.set()
    assert ran.wait(10)
    scene.heal()
    third = scene.begin(3)
    scene.calls._flush()  # before the loop hears of the failed sync
    settle(scene, first, second, third)
    assert (first.fate, second.fate, third.fate) == (["unsynced"], ["unsynced"], ["unrecorded"])


def test_an_error_nobody_foresaw_leaves_no_durable_call_waiting(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ticket: SyncTicket) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(SyncTicket, "run", broken)
    caller = scene.begin(1, durable=True)
    scene.loop.turn()
    settle(scene, caller)
    assert caller.fate == ["unsynced"]
    monkeypatch.undo()
    again = scene.begin(2, durable=True)
    scene.loop.turn()
    settle(scene, again)
    assert again.fate == ["forwarded"]


def test_references_are_those_of_the_record(scene: Scene) -> None:
    caller = scene.begin(1)
    scene.loop.turn()
    assert caller.intent is not None
    (row,) = query(scene.world.record, open_plain)
    assert row["id"] == format_id(caller.intent)


@pytest.mark.parametrize(
    ("patterns", "path", "found"),
    [
        (["p", "{id}"], "/p/7", {1: "patient"}),
        (["p", "{id}", "x", "{other}"], "/p/7/x/7", {1: "patient", 3: "patient"}),
        (["{id}", "p"], "/p/p", {0: "patient", 1: "patient"}),
        (["p", "{other}"], "/p/7", {}),
    ],
)
def test_which_segments_of_a_path_identify_somebody(patterns: list[str], path: str, found: dict[int, str]) -> None:
    """Also where a value is repeated: a copy of it would outlive the erasure."""
    spec = RouteSpec("r", [PatternSpec(None, "", patterns)], "up", subject={"patient": "id"})
    nothing: Any = None
    route = Route(
        spec, ServiceSpec("up", []), pool=nothing, authenticate=None, vouched=None, strength=None, allow=nothing,
        conditional=False, cors=None, limit=None, preflight_limit=None,
    )  # fmt: skip
    segments = tuple(path[1:].split("/"))
    params = {text[1:-1]: segments[at] for at, text in enumerate(patterns) if text.startswith("{")}
    assert route.identifying(segments, params) == found


def test_who_a_call_is_about_is_sealed_apart(world: World) -> None:
    private = X25519PrivateKey.generate()
    intake = Recipient(private.public_key().public_bytes_raw())
    loop = Loop()
    calls = CallRecorder(world.writer(intake=lambda: intake), loop)  # type: ignore[arg-type]
    alice = Identity(principal=Principal.parse("user:iss/alice"), text="user:iss/alice", methods=(), credential="k1")
    for number in range(2):
        caller = Caller(number)
        caller.identity = alice
        caller.target = SimpleNamespace(path="/p/4711/x", segments=("p", "4711", "x"))
        caller.params = {"id": "4711"}  # type: ignore[attr-defined]
        caller.route.subjects, caller.route.identifying = [1], lambda segments, params: {1: "patient"}
        calls.intent(caller)  # type: ignore[arg-type]
        calls.refused(caller, Refusal(Reason.RATE_LIMITED), lambda written: None, 1)  # type: ignore[arg-type]
    calls.refused_connection("192.0.2.77", Refusal(Reason.TLS_TIMEOUT), "")
    for source in ("*", "192.0.2.88", "2001:db8::/64", "user:iss/bob"):
        calls.refusals(source, Flood(1), 2, lambda: None)
    loop.turn()
    frames = [frame for path in world.segments() for frame in read_frames(path)]
    assert [frame.event for frame in frames].count(Event.RECORD_SUBJECT.code) == 3 + 4
    rows = list(query(world.record, open_plain))
    assert {row["resource"] for row in rows if row["resource"]} == {"/p/hidden:1/x"}
    assert "*" in {row["source"] for row in rows}
    assert not [row for row in rows if "192.0.2" in str(row) or "alice" in str(row) or "bob" in str(row)]
