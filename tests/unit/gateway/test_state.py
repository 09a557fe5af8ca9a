"""A worker takes a snapshot whole or not at all, and counts how long nobody was there to make a newer one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.errors import InterlockError
from interlock.gateway.state import CONTROL_SILENT, WorkerState
from interlock.snapshot import (
    ChangeLog,
    CounterTable,
    IssuerSpec,
    NodePage,
    NodeSpec,
    Revoked,
    ServiceSpec,
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

    def publish(self, node: NodeSpec) -> None:
        tables: dict[str, list[tuple[bytes, bytes]]] = {"keys": [], "revoked": [], "marks": [], "risks": []}
        write_snapshot(self.run / "snapshot", node, [], tables, self.page.words[EPOCH])
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
