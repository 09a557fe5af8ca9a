"""What the node is doing, from shared memory alone; and whose name the admin listener answers to."""

from __future__ import annotations

import os

import msgspec
import pytest

from interlock.clock import SECOND, ManualClock
from interlock.control.admin import is_own_host, public_jwks
from interlock.control.paths import Paths
from interlock.control.status import NODE_FILE, NodeFile, read_status, rfc3339
from interlock.keys import Keyring
from interlock.snapshot import NodePage
from interlock.snapshot.page import (
    ALARMS,
    CONTROL,
    CONTROL_SLOT,
    FIRST_WORKER_SLOT,
    GENERATION,
    READY,
    RECORDER,
    RECORDER_SLOT,
    SEALED_NS,
    SUPERVISOR,
    SUPERVISOR_SLOT,
    WORKER,
)


@pytest.fixture
def running(paths: Paths, page: NodePage, clock: ManualClock) -> NodePage:
    """All roles played by this process."""
    node = NodeFile(os.getpid(), "1", "boot", "now", 1, ["http://127.0.0.1:1"], "http://127.0.0.1:2")
    (paths.run / NODE_FILE).write_bytes(msgspec.json.encode(node))
    clock.advance(100)
    for slot, kind in (
        (SUPERVISOR_SLOT, SUPERVISOR),
        (RECORDER_SLOT, RECORDER),
        (CONTROL_SLOT, CONTROL),
        (FIRST_WORKER_SLOT, WORKER),
    ):
        page.claim(slot, kind, clock.wall())
        page.set_state(slot, READY)
        page.beat(slot, clock.monotonic())
    page.words[SEALED_NS] = clock.wall()
    return page


def test_all_is_well(paths: Paths, running: NodePage, clock: ManualClock) -> None:
    status = read_status(paths.run, clock)
    assert status["running"]
    assert status["serving"]
    assert status["problems"] == []
    assert [one["kind"] for one in status["processes"]] == ["supervisor", "recorder", "control", "worker"]


def test_nothing_ran_here(paths: Paths, clock: ManualClock) -> None:
    assert read_status(paths.run, clock)["serving"] is False
    assert read_status(paths.run / "nothing", clock)["processes"] == []


@pytest.mark.parametrize(
    ("slot", "said", "serving"),
    [
        (RECORDER_SLOT, "recorder (slot 1) is down", True),
        (CONTROL_SLOT, "control (slot 2) is down", True),
        (FIRST_WORKER_SLOT, "0 of 1 workers serve", False),
    ],
)
def test_what_is_down_is_said(
    paths: Paths, running: NodePage, clock: ManualClock, slot: int, said: str, serving: bool
) -> None:
    running.release(slot)
    status = read_status(paths.run, clock)
    assert said in status["problems"]
    assert status["serving"] is serving


def test_silence_a_late_recorder_an_old_snapshot_and_alarms_are_said(
    paths: Paths, running: NodePage, clock: ManualClock
) -> None:
    running.words[GENERATION] = 2
    running.words[ALARMS] = 3
    clock.advance(31)
    said = "\n".join(read_status(paths.run, clock)["problems"])
    assert "no sign of life" in said
    assert "calls are refused until the recorder is back" in said
    assert "not on the current snapshot" in said
    assert "3 alarms" in said


def test_a_dead_supervisor_is_no_running_node(paths: Paths, running: NodePage, clock: ManualClock) -> None:
    running.claim(SUPERVISOR_SLOT, SUPERVISOR, 1, pid=2**22 - 1)
    status = read_status(paths.run, clock)
    assert not status["running"]
    assert not status["serving"]


def test_a_time() -> None:
    assert rfc3339(1_700_000_000 * SECOND + 5_000_000) == "2023-11-14T22:13:20.005Z"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:9443", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:9443", True),
        ("[::1]", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:9443", False),
        ("localhost:80@evil.example", False),
        ("[::2]:9443", False),
        ("", False),
    ],
)
def test_a_web_page_cannot_read_the_admin_listener_by_another_name(host: str, own: bool) -> None:
    assert is_own_host(host) is own


def test_only_the_public_half_is_shown(keyring: Keyring) -> None:
    (key,) = public_jwks(keyring.assertion_key)["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
