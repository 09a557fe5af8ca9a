"""The record under real processes, real kills and the real kernel's refusals; keys as in production."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.audit import AttestPage, Intent, Outcome, SegmentWriter, encode, log_signer, query, run_recorder, verify
from interlock.audit.recorder_process import NoPage
from interlock.errors import RecordUnavailable
from interlock.keys import Keyring, Recipient, recipient
from interlock.model import Event
from tests.integration.node import eventually

pytestmark = pytest.mark.integration

INTENT, OUTCOME = Event.CALL_INTENT.code, Event.CALL_OUTCOME.code


def child(body: Callable[[], object]) -> int:
    """Run `body` in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException as error:
            os.write(2, repr(error).encode() + b"\n")
        finally:
            os._exit(code)
    return pid


def reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Node:
    def __init__(self, folder: Path) -> None:
        self.record = folder / "record"
        self.attest = folder / "attest"
        self.keyring = Keyring(folder / "keys", bytes(32))
        self.keyring.ensure()
        self.recipient: Recipient = recipient(folder / "keys")
        self.said = folder / "said"  # what writers were told is on the record
        AttestPage.open(self.attest)

    def writer(self, number: int) -> int:
        return child(lambda: self._write(number))

    def _write(self, number: int) -> None:
        writer = SegmentWriter(
            self.record, f"worker-{number}", self.recipient, attest=AttestPage.open(self.attest), size_limit=50_000
        )
        said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        call = 0
        while True:
            call += 1
            resource_ = f"/{os.getpid()}/{call}"
            payload = encode(Intent("user:a/b", ("jwt",), "GET", "h", "r", resource_, "10.0.0.1", "up"))
            intent = writer.append(INTENT, payload)
            writer.flush()
            os.write(said, f"{resource_}\n".encode())
            writer.append(OUTCOME, encode(Outcome(200)), intent)
            if call % 50 == 0:
                time.sleep(0.002)

    def recorder(self) -> int:
        signer, page = log_signer(self.keyring), NoPage()
        return child(lambda: run_recorder(self.record, self.recipient, signer, page, AttestPage.open(self.attest)))

    def open_key(self, recipient_id: str, sealed: bytes, info: bytes) -> bytes:
        return self.keyring.open_record_key(recipient_id).open(sealed, info)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_kill_9_of_writers_and_recorder_under_load(node: Node) -> None:
    """Whoever is killed when, all that was flushed is sealed, has an outcome, and verifies."""
    recorder = node.recorder()
    writers = [node.writer(number) for number in range(2)]
    for round_ in range(6):
        time.sleep(0.25)
        at = round_ % 2
        os.kill(writers[at], signal.SIGKILL)
        reap(writers[at])
        writers[at] = node.writer(at)
        if round_ % 3 == 2:
            os.kill(recorder, signal.SIGKILL)
            reap(recorder)
            assert verify(node.record, attest=node.attest).ok  # with nobody there to seal
            recorder = node.recorder()
    time.sleep(0.3)
    report = verify(node.record, attest=node.attest)
    assert report.ok, report.problems  # while everything runs
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
        reap(pid)
    os.kill(recorder, signal.SIGTERM)
    assert reap(recorder) == 0
    report = verify(node.record, attest=node.attest)
    assert report.ok, report.problems
    assert not [notice for notice in report.notices if "not sealed" in notice]
    said = node.said.read_text().split()
    rows = {row["resource"]: row for row in query(node.record, node.open_key)}
    assert len(said) > 500
    assert set(said) <= set(rows)
    assert {row["outcome"] for row in rows.values()} <= {"done", "unknown"}
    assert sum(row["outcome"] == "unknown" for row in rows.values()) <= 8 * 51


def test_told_to_stop_while_it_starts_it_stops_in_good_order(node: Node) -> None:
    writer = node.writer(0)
    assert eventually(lambda: node.said.exists() and len(node.said.read_text().split()) > 100)
    os.kill(writer, signal.SIGKILL)
    reap(writer)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        recorder = node.recorder()
        os.kill(recorder, signal.SIGTERM)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert reap(recorder) == 0
    assert {row["outcome"] for row in query(node.record, node.open_key)} <= {"done", "unknown"}
    report = verify(node.record, attest=node.attest)
    assert report.ok, report.problems
    assert not [notice for notice in report.notices if "not sealed" in notice]


def test_the_kernels_own_file_limit(node: Node) -> None:
    """EFBIG in the middle of a frame: what was confirmed is whole, and writing goes on in the next segment."""

    def body() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_001, 20_001))
        writer = SegmentWriter(node.record, "worker-1", node.recipient, attest=AttestPage.open(node.attest))
        refused = 0
        for call in range(300):
            payload = encode(Intent("user:a/b", (), "GET", "h", "r", f"/{call}", "10.0.0.1", "up"))
            try:
                writer.append(INTENT, payload)
                writer.flush()
            except RecordUnavailable:
                refused += 1
                time.sleep(0.11)
            else:
                node.said.open("a").write(f"/{call}\n")
        assert 0 < refused < 20

    assert reap(child(body)) == 0
    recorder = node.recorder()
    time.sleep(0.5)
    os.kill(recorder, signal.SIGTERM)
    assert reap(recorder) == 0
    report = verify(node.record)
    assert report.ok, report.problems
    assert set(node.said.read_text().split()) == {row["resource"] for row in query(node.record, node.open_key)}
