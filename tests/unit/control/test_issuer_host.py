"""The issuer and the signals of a running node follow the file; what cannot be begun is said, and tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SystemClock
from interlock.config import load
from interlock.control import issuer_host
from interlock.control.build import SnapshotBuilder
from interlock.control.issuer_host import IssuerHost
from interlock.control.issuer_status import ISSUER_REPORT, IssuerStatus
from interlock.control.issuers import KnownKeys
from interlock.control.log import Log
from interlock.control.paths import Paths
from interlock.control.reload import apply
from interlock.control.service import Administration
from interlock.control.signals.status import SIGNALS_REPORT, SignalsStatus
from interlock.control.signals_host import SignalsHost
from interlock.control.wire import os_actor
from interlock.errors import KeyMaterialError, StateError
from interlock.issuer.backchannel import Farewell
from interlock.keys import Handover, handover_key
from interlock.snapshot import NodePage
from interlock.snapshot.replay import ReplayTable
from tests.unit.control.conftest import FILE

URL = "https://id.example.com"
OWN = f"issuer: {{url: {URL}}}\n"
PUSHED = (
    "identity: {issuers: [{issuer: https://idp.example.com, authority: idp.example.com, audience: [a], jwks: j.json,\n"
    "  algorithms: [RS256], signals: {audience: https://node.example.com, push: true}}]}\n"
)


class Bench:
    """A node's control process without its sockets."""

    def __init__(self, file: Path, paths: Paths, page: NodePage) -> None:
        self.file, self.paths, self.page = file, paths, page
        clock = SystemClock()
        ReplayTable.create(paths.replays, wall=clock.wall(), monotonic=clock.monotonic(), slots=1024).close()
        self.desk = Administration(file, load(file), writer="control", page=page, clock=clock)
        self.desk.keyring.ensure()
        self.builder = SnapshotBuilder(paths, self.desk.state, page, clock)
        apply(file, self.builder, before=None, acts=self.desk.acts(os_actor()), keyring=self.desk.keyring)
        self.soon: list[tuple[Any, ...]] = []
        log = Log("control", as_json=True)
        self.host = IssuerHost(
            self.desk,
            page,
            Handover(paths.handover, handover_key()),
            KnownKeys(paths.jwks),
            self.builder,
            log,
            clock,
            soon=lambda *work: self.soon.append(work),
            refresh=lambda _issuer: None,
        )
        self.taken: list[Callable[..., Any]] = []
        self.signals = SignalsHost(
            self.desk,
            log,
            clock,
            signer=lambda: self.host.signer,
            refresh=lambda _issuer: None,
            take=self.taken.append,
        )

    def write(self, extra: str) -> None:
        self.file.write_text(FILE + extra)
        self.desk.config = load(self.file)

    @property
    def status(self) -> IssuerStatus | None:
        return ISSUER_REPORT.read(self.paths.run)


@pytest.fixture
def bench(file: Path, paths: Paths, page: NodePage) -> Iterator[Bench]:
    made = Bench(file, paths, page)
    yield made
    made.signals.close()
    if made.host._issuing is not None:
        made.host._issuing.close()
    made.desk.close()


def test_a_file_without_an_issuer_has_none(bench: Bench) -> None:
    bench.host.configure()
    bench.host.tend()
    bench.host.keys_turned()
    bench.host.say_farewell("s1", "revoked")
    assert (bench.host.issuer, bench.host.signer, bench.status, bench.soon) == (None, None, None, [])
    assert bench.host.totals() == {}


def test_it_is_begun_changed_and_ended_as_the_file_has_it(bench: Bench) -> None:
    bench.write(OWN)
    bench.host.configure()
    first = bench.host.issuer
    assert first is not None
    assert bench.host.signer is first.keys.signer
    assert bench.status is not None
    assert (bench.status.url, bench.status.serving, bench.status.problem) == (URL, True, "")
    bench.write("issuer: {url: https://login.example.com}\n")
    bench.host.configure()
    assert bench.status.url == "https://login.example.com"
    bench.write("")
    bench.host.configure()
    assert (bench.host.issuer, bench.status) == (None, None)


def test_what_cannot_be_begun_is_said_and_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "the disk is full")

    bench.write(OWN)
    with monkeypatch.context() as patched:
        patched.setattr(issuer_host, "open_shared", broken)
        bench.host.configure()
        assert bench.host.issuer is None
        assert bench.status is not None
        assert not bench.status.serving
        assert "it could not begin" in bench.status.problem
        assert "the disk is full" in bench.status.problem
        bench.host.tend()
        assert not bench.status.serving
    bench.host.tend()
    assert bench.host.issuer is not None
    assert (bench.status.serving, bench.status.problem) == (True, "")


def test_one_that_ran_answers_no_more_when_its_new_settings_fail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on with settings that the file has no more."""
    bench.write(OWN)
    bench.host.configure()
    with monkeypatch.context() as patched:
        patched.setattr(bench.host._issuing, "configure", _no_key)
        bench.host.configure()
        assert bench.host.issuer is None
    assert bench.status is not None
    assert not bench.status.serving


def _no_key(*_: object) -> None:
    raise KeyMaterialError("the key-encryption key is gone")


def test_keys_that_cannot_be_tended_are_told_and_raised(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(OWN)
    bench.host.configure()
    with monkeypatch.context() as patched:
        patched.setattr(bench.host._issuing, "tend", _no_key)
        with pytest.raises(KeyMaterialError):
            bench.host.tend()
    assert bench.status is not None
    assert bench.status.serving
    assert "its keys cannot be looked after" in bench.status.problem
    bench.host.tend()
    assert bench.status.problem == ""


def test_clients_hear_of_a_session_that_ended_though_the_queue_is_broken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(OWN)
    bench.host.configure()
    issuing = bench.host._issuing
    assert issuing is not None
    gone = [Farewell("shop", "https://shop.example.com/out", "token")]
    monkeypatch.setattr(issuing, "farewells", lambda _sid: gone)

    def broken(*_: object) -> None:
        raise StateError("the database is locked")

    monkeypatch.setattr(bench.desk.outbox, "ended", broken)
    with pytest.raises(StateError):
        issuing.ended("s1", "signed-out")
    assert [work[1:] for work in bench.soon] == [(gone,)]


def test_signals_are_begun_once_the_file_wants_any_and_what_was_said_before_is_taken_away(bench: Bench) -> None:
    (bench.file.parent / "j.json").write_text('{"keys": []}')
    SIGNALS_REPORT.write(bench.paths.run, SignalsStatus())
    bench.signals.configure()
    assert (SIGNALS_REPORT.read(bench.paths.run), bench.taken) == (None, [])
    bench.write(PUSHED)
    bench.signals.configure()
    bench.signals.configure()
    assert len(bench.taken) == 1
