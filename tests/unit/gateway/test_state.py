"""A worker takes a snapshot whole or not at all, and counts how long nobody was there to make a newer one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.errors import InterlockError
from interlock.gateway.http1 import parse_request_head
from interlock.gateway.route import Matched
from interlock.gateway.state import CONTROL_SILENT, WorkerState
from interlock.model import ANONYMOUS
from interlock.snapshot import (
    ChangeLog,
    CorsSpec,
    CounterTable,
    IssuerSpec,
    LimitSpec,
    NodePage,
    NodeSpec,
    PatternSpec,
    Revoked,
    RouteSpec,
    ServiceSpec,
    Snapshot,
    ZoneSpec,
    write_snapshot,
)
from interlock.snapshot.page import EPOCH, GENERATION

OLD = NodeSpec(
    "old",
    0,
    1,
    services={"up": ServiceSpec("up", ["http://127.0.0.1:1"])},
    issuers=[IssuerSpec("https://old", "old", ["a"], ["RS256"])],
    roles={"caller": ["call"]},
    max_stale_ns=2 * SECOND,
)
NEW = msgspec.structs.replace(
    OLD,
    config_digest="new",
    issuers=[IssuerSpec("https://new", "new", ["a"], ["RS256"])],
    roles={"caller": ["other"]},
)


class Desk:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.page = NodePage.create(run / "page", 4)
        self.log = ChangeLog(run / "changes.log", self.page)
        self.log.create()
        self.loop = asyncio.new_event_loop()
        self.publish(OLD)
        self.state = WorkerState(
            run,
            self.page,
            loop=self.loop,
            lookup_key=b"k" * 32,
            counters=CounterTable.create(run / "counters"),
            refresh=lambda _issuer: None,
        )

    def publish(self, node: NodeSpec, routes: Sequence[RouteSpec] = ()) -> None:
        tables: dict[str, list[tuple[bytes, bytes]]] = {"keys": [], "revoked": [], "marks": [], "risks": []}
        write_snapshot(self.run / "snapshot", node, routes, tables, self.page.words[EPOCH])
        self.page.words[GENERATION] += 1

    def follow(self) -> None:
        self.loop.run_until_complete(self.state.follow())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.loop.run_until_complete(desk.loop.shutdown_default_executor())
    desk.loop.close()


def test_a_new_snapshot_is_taken_whole(desk: Desk) -> None:
    before = desk.state.tokens
    desk.publish(NEW)
    desk.follow()
    assert desk.state.live.node.config_digest == "new"
    assert desk.state.tokens is before, "with what it has verified"
    assert desk.state.tokens.issuer("https://old") is None
    assert desk.state.tokens.issuer("https://new") is not None
    assert desk.state.generation == 2


@pytest.mark.parametrize("fault", ["service", "changes"])
def test_a_snapshot_that_cannot_be_used_changes_nothing(desk: Desk, fault: str) -> None:
    pools = dict(desk.state.live._compiler.pools)
    node = NEW
    if fault == "service":
        broken = ServiceSpec("up", ["https://127.0.0.1:1"], tls_ca=str(desk.run / "gone.pem"))
        node = msgspec.structs.replace(NEW, services={"up": broken})
    desk.publish(node)
    if fault == "changes":
        desk.log.append([Revoked(b"h" * 32)])
        with (desk.run / "changes.log").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"?")
    with pytest.raises((InterlockError, OSError)):
        desk.follow()
    assert desk.state.live.node.config_digest == "old"
    assert desk.state.tokens.issuer("https://old") is not None
    assert desk.state.tokens.issuer("https://new") is None
    assert desk.state.live._compiler.keys._roles == desk.state.live._compiler.roles
    assert desk.state.live._compiler.pools == pools
    assert not pools["up"]._closing
    assert desk.state.generation == 1


def test_the_former_snapshot_is_let_go_of_by_another_thread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[tuple[Snapshot, bool]] = []
    done = threading.Event()
    close = Snapshot.close

    def watched(snapshot: Snapshot) -> None:
        close(snapshot)
        closed.append((snapshot, threading.current_thread() is threading.main_thread()))
        done.set()

    monkeypatch.setattr(Snapshot, "close", watched)
    former = desk.state.live.snapshot
    desk.publish(NEW)
    desk.follow()
    assert done.wait(10)
    assert closed == [(former, False)]
    assert not desk.state.directory.is_revoked(b"h" * 32), "the new one answers"


def test_what_cannot_be_used_is_tried_later_and_later_and_a_newer_one_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tries = 1000.0, []
    load = desk.state._load
    monkeypatch.setattr(desk.loop, "time", lambda: now)
    monkeypatch.setattr(desk.state, "_load", lambda: tries.append(now) or load())
    broken = ServiceSpec("up", ["https://127.0.0.1:1"], tls_ca=str(desk.run / "gone.pem"))
    desk.publish(msgspec.structs.replace(NEW, services={"up": broken}))
    for second in range(300):
        now = 1000.0 + second
        try:
            desk.follow()
        except (InterlockError, OSError):
            assert tries[-1] == now
    assert [int(at) - 1000 for at in tries] == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    desk.publish(NEW)
    desk.follow()
    assert desk.state.live.node.config_digest == "new"


def test_another_digest_of_the_same_files_is_another_pool(desk: Desk) -> None:
    first = desk.state.live._compiler.pools["up"]
    desk.publish(OLD)
    desk.follow()
    assert desk.state.live._compiler.pools["up"] is first
    renewed = msgspec.structs.replace(OLD.services["up"], tls_digest="renewed")
    desk.publish(msgspec.structs.replace(OLD, services={"up": renewed}))
    desk.follow()
    assert desk.state.live._compiler.pools["up"] is not first
    assert first._closing


def route(number: int, **other: Any) -> RouteSpec:
    spec: dict[str, Any] = {
        "id": f"r{number}",
        "patterns": [PatternSpec(None, "", [f"r{number}", "{id}"])],
        "authenticate": [["jwt"]],
        "permission": "call",
        "limits": [LimitSpec(5, SECOND, 0, "address")],
    }
    return RouteSpec(service="up", **{**spec, **other})


def test_routes_that_ask_the_same_share_it_and_others_do_not(desk: Desk) -> None:
    routes = [
        route(0),
        route(1),
        route(2, permission="other"),
        route(3, authenticate=[["api_key"]]),
        route(4, role="x"),
    ]
    desk.publish(OLD, routes)
    desk.follow()
    first, same, *others = [desk.state.live.route(number) for number in range(len(routes))]
    assert same is not first
    assert (same.allow, same.authenticate) == (first.allow, first.authenticate)
    assert others[0].allow is not first.allow
    assert others[1].authenticate is not first.authenticate
    assert others[2].allow is not first.allow


def test_limits_that_are_written_alike_are_counted_route_by_route(desk: Desk) -> None:
    desk.publish(OLD, [route(0), route(1)])
    desk.follow()
    first, second = [desk.state.live.route(number).limit for number in (0, 1)]
    assert first is not None
    assert second is not None
    assert [first(ANONYMOUS, b"a", 10 * SECOND).refused for _ in range(6)] == [False] * 5 + [True]
    assert not second(ANONYMOUS, b"a", 10 * SECOND).refused


def test_what_routes_share_is_made_anew_with_what_it_was_made_from(desk: Desk) -> None:
    desk.publish(OLD, [route(0)])
    desk.follow()
    before = desk.state.live.route(0)
    desk.publish(OLD, [route(0), route(1)])
    desk.follow()
    assert desk.state.live.route(0) is before
    assert desk.state.live.route(1).allow is before.allow
    zones = {"z": ZoneSpec("z", ["10.0.0.0/8"])}
    zoned = msgspec.structs.replace(
        OLD, services={"up": ServiceSpec("up", ["http://127.0.0.1:1"], zone="z")}, zones=zones
    )
    desk.publish(zoned, [route(0)])
    desk.follow()
    assert desk.state.live.route(0).allow is not before.allow
    assert desk.state.live.route(0).conditional


def test_parameters_and_segments_are_kept_only_where_they_are_asked_for(desk: Desk) -> None:
    desk.publish(OLD, [route(0), route(1, subject={"user": "id"}), route(2, when="request.params.id == '7'")])
    desk.follow()
    found = []
    for number in range(3):
        head = parse_request_head(b"GET /r%d/7 HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        matched = desk.state.live.match(head)
        assert isinstance(matched, Matched)
        assert matched.target.path == f"/r{number}/7"
        found.append((dict(matched.params), matched.target.segments))
    assert found == [({}, ()), ({"id": "7"}, ("r1", "7")), ({"id": "7"}, ("r2", "7"))]


def asked_before(desk: Desk, path: bytes, *fields: bytes) -> tuple[str, bool]:
    """What OPTIONS of a path comes to: a route, and whether that answers it itself."""
    lines = b"".join(field + b"\r\n" for field in fields)
    matched = desk.state.live.match(parse_request_head(b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, lines)))
    assert isinstance(matched, Matched)
    return matched.route.id, matched.preflight


def test_a_route_for_any_method_answers_preflights_itself(desk: Desk) -> None:
    """A browser sends no credential with them, so a route that asked for one would be closed to all pages."""
    cors = CorsSpec(["https://app.example"])
    patterns = {
        "any": PatternSpec(None, "", ["any"]),
        "own": PatternSpec(["GET", "OPTIONS"], "", ["own"]),
        "mixed": PatternSpec(None, "", ["mixed"]),
        "mixed-options": PatternSpec(["OPTIONS"], "", ["mixed"]),
        "read": PatternSpec(["GET"], "", ["below", "read"]),
        "below": PatternSpec(None, "", ["below"], prefix=True),
        "plain": PatternSpec(None, "", ["plain"]),
    }
    routes = [
        route(number, id=name, patterns=[pattern], cors=None if name in ("below", "plain") else cors)
        for number, (name, pattern) in enumerate(patterns.items())
    ]
    desk.publish(OLD, routes)
    desk.follow()
    preflight = (b"Origin: https://app.example", b"Access-Control-Request-Method: GET")
    assert asked_before(desk, b"/any", *preflight) == ("any", True)
    assert asked_before(desk, b"/own", *preflight) == ("own", False), "it names OPTIONS"
    assert asked_before(desk, b"/mixed", *preflight) == ("mixed-options", False), "as does another route for it"
    assert asked_before(desk, b"/below/read", *preflight) == ("read", True), "the call itself would come to that"
    assert asked_before(desk, b"/below/other", *preflight) == ("below", False)
    assert asked_before(desk, b"/plain", *preflight) == ("plain", False)
    for fields in ((), preflight[:1], preflight[1:], (preflight[0], b"Access-Control-Request-Method: BREW")):
        assert asked_before(desk, b"/any", *fields) == ("any", False), "this is no preflight"


def test_without_control_it_serves_for_max_stale_and_no_longer(desk: Desk) -> None:
    """Counted from control's last sign of life, whenever the worker itself was started."""
    last = 1000 * SECOND
    for passed, stale in ((0, False), (2 * SECOND, False), (CONTROL_SILENT + 2 * SECOND, False)):
        desk.state.watch_control(last, last + passed)
        assert desk.state.stale is stale
    desk.state.watch_control(last, last + CONTROL_SILENT + 2 * SECOND + 1)
    assert desk.state.stale
    desk.state.watch_control(last + 10 * SECOND, last + 10 * SECOND)
    assert not desk.state.stale
