"""A data directory with keys and a small file, and no processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import ManualClock
from interlock.control.paths import Paths
from interlock.errors import RecordUnavailable
from interlock.keys import Keyring
from interlock.model import Event
from interlock.snapshot import ChangeLog, NodePage
from interlock.snapshot.page import FIRST_WORKER_SLOT
from interlock.store import State

FILE = """\
version: 1
listeners:
  - {address: 127.0.0.1:8080, tls: off}
services:
  up: {upstreams: [http://127.0.0.1:9000]}
routes:
  - {match: GET /a, service: up, authenticate: [api_key], allow: call, limit: 5/s burst 9 per principal}
roles:
  caller: [call]
"""


class Acts:
    """Remembers acts in order; fails when told to."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.broken = False

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        if self.broken:
            raise RecordUnavailable("the disk is full")
        self.done.append((event.text, dict(details)))
        return f"act-{len(self.done)}"

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.done]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "interlock.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path / "interlock-data")
    paths.make_run_dir()
    return paths


@pytest.fixture
def page(paths: Paths) -> NodePage:
    page = NodePage.create(paths.page, FIRST_WORKER_SLOT + 1)
    ChangeLog(paths.changes, page).create()
    return page


@pytest.fixture
def keyring(paths: Paths) -> Keyring:
    keyring = Keyring(paths.keys, b"k" * 32)
    keyring.ensure()
    return keyring


@pytest.fixture
def state(paths: Paths) -> State:
    return State.open(paths.state)
