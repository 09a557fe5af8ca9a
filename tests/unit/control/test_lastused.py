"""The last use of each key, read from the record: the latest, of keys only, and never guessed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import Intent, SegmentWriter, encode
from interlock.clock import ManualClock
from interlock.config import load
from interlock.control.lastused import last_used
from interlock.control.paths import Paths
from interlock.control.service import Administration
from interlock.control.wire import os_actor
from interlock.errors import KeyMaterialError
from interlock.keys import Keyring, recipient
from interlock.model import Event


class Record:
    """Calls of made-up keys, one segment for each list of them."""

    def __init__(self, paths: Paths, keyring: Keyring, clock: ManualClock) -> None:
        self.folder = paths.record
        self.clock = clock
        self._paths = paths
        self._keyring = keyring
        self.opened = 0

    def open_key(self, recipient_id: str, sealed: bytes, info: bytes) -> bytes:
        self.opened += 1
        return self._keyring.open_record_key(recipient_id).open(sealed, info)

    def segment(self, *credentials: str, methods: tuple[str, ...] = ("api_key",)) -> int:
        """Gives the time of the last one, which is also when the file was last written to."""
        writer = SegmentWriter(self.folder, "worker-0", recipient(self._paths.keys), clock=self.clock)
        before = set((self.folder / "segments").glob("*")) if self.folder.exists() else set()
        for credential in credentials:
            self.clock.advance(1)
            call = Intent("service:interlock/x", methods, "GET", "h", "GET /a", "/a", "10.0.0.1", "up")
            call.credential = credential
            writer.append(Event.CALL_INTENT.code, encode(call))
            writer.flush()
        now = self.clock.wall()
        writer.close()
        (path,) = set((self.folder / "segments").glob("*")) - before
        os.utime(path, ns=(now, now))
        return now


@pytest.fixture
def record(paths: Paths, keyring: Keyring, clock: ManualClock) -> Record:
    return Record(paths, keyring, clock)


def test_the_latest_of_all_segments(record: Record) -> None:
    record.segment("a", "b", "a")
    early = record.segment("b")
    late = record.segment("a", "elsewhere")
    found = last_used(record.folder, record.open_key, ["a", "b", "never"])
    assert found.complete
    assert found.times == {"a": late - 10**9, "b": early}


def test_an_empty_record_is_complete(record: Record) -> None:
    assert last_used(record.folder, record.open_key, ["a"]) == ({}, True)


def test_a_token_that_calls_itself_like_a_key_is_none(record: Record) -> None:
    record.segment("a", methods=("jwt",))
    assert last_used(record.folder, record.open_key, ["a"]) == ({}, True)


def test_what_is_older_than_every_answer_is_not_opened(record: Record) -> None:
    for _ in range(5):
        record.segment("a", "b")
    record.opened = 0
    last_used(record.folder, record.open_key, ["a", "b"])
    assert record.opened == 1


def test_the_time_it_takes_is_bounded_and_that_is_said(record: Record) -> None:
    for _ in range(5):
        record.segment("a")
    ticks = iter(range(100))
    found = last_used(record.folder, record.open_key, ["never"], budget=2, monotonic=lambda: float(next(ticks)))
    assert not found.complete
    assert record.opened < 5


def test_a_segment_that_cannot_be_read_is_said(record: Record) -> None:
    record.segment("a")

    def lost(*_: object) -> bytes:
        raise KeyMaterialError("no such key")

    assert last_used(record.folder, lost, ["a"]) == ({}, False)


@pytest.mark.parametrize("readable", [True, False])
def test_the_list_of_a_node(
    record: Record, paths: Paths, file: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """Reading is recorded; without the key-encryption key there is still a list."""

    def perform(op: str, **arguments: Any) -> dict[str, Any]:
        return desk.perform(op, arguments, os_actor(), rows.append)

    rows: list[dict[str, Any]] = []
    desk = Administration(file, load(file), writer="cli", page=None, clock=clock)
    monkeypatch.setitem(desk.__dict__, "keyring", record._keyring)
    assert perform("key.list") == {"keys": [], "last_used_complete": True}
    made = [perform("key.create", name=name, roles=["caller"]) for name in ("used", "unused")]
    record.segment(made[0]["id"])
    if not readable:
        del desk.__dict__["keyring"]
        monkeypatch.setattr("interlock.control.desks.open_keyring", _no_kek)
    listed = perform("key.list")
    assert listed["last_used_complete"] is readable
    assert [bool(key["last_used"]) for key in listed["keys"] if key["name"] == "used"] == [readable]
    assert [key["last_used"] for key in listed["keys"] if key["name"] == "unused"] == [None]
    if readable:
        perform("audit.query", kind="acts")
        assert {"kind": "last-used"} in [row["details"] for row in rows]
    desk.__dict__["keyring"] = record._keyring  # what it wrote is sealed and signed, which takes a key
    desk.close()


def _no_kek(*_: object, **__: object) -> bytes:
    raise KeyMaterialError("it is not to be had")
