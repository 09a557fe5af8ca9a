"""Taking up a file: all of it or nothing, and on the record either way."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.tour.issuer import Partner
from interlock.clock import ManualClock
from interlock.config import Config
from interlock.control import reload as subject
from interlock.control.build import SnapshotBuilder
from interlock.control.issuers import DISCOVERY, Known, KnownKeys
from interlock.control.keys import entry
from interlock.control.paths import Paths
from interlock.control.reload import changes_between, read_applied
from interlock.errors import ConfigError, NodeError, RecordUnavailable, SnapshotError
from interlock.keys import Keyring
from interlock.snapshot import ChangeLog, KeyAdded, NodePage, RouteSpec, Snapshot
from interlock.snapshot.page import GENERATION
from interlock.store import ApiKeyRow, State
from tests.unit.control.conftest import Acts


@pytest.fixture
def builder(paths: Paths, state: State, page: NodePage, clock: ManualClock, keyring: Keyring) -> SnapshotBuilder:
    return SnapshotBuilder(paths, state, page, clock)


def apply(file: Path, builder: SnapshotBuilder, *, before: Config | None, acts: Acts) -> tuple[Config, int]:
    keyring = Keyring(builder.paths.keys, b"k" * 32)
    return subject.apply(file, builder, before=before, acts=acts, keyring=keyring)


def routes(paths: Paths) -> list[RouteSpec]:
    snapshot = Snapshot.open(paths.snapshot)
    try:
        return [snapshot.route(number) for number in range(snapshot.route_count)]
    finally:
        snapshot.close()


def test_the_first_snapshot_holds_the_file_and_the_state(
    builder: SnapshotBuilder, file: Path, acts: Acts, state: State, paths: Paths, page: NodePage
) -> None:
    state.add_key(ApiKeyRow("a" * 10, "n", "service:interlock/n", b"h" * 32, ("caller",), 1))
    state.add_key(ApiKeyRow("b" * 10, "n", "service:interlock/n", b"g" * 32, ("caller",), 1, revoked=2))
    config, generation = apply(file, builder, before=None, acts=acts)
    assert generation == page.words[GENERATION] == 1
    assert acts.events == ["config:load"]
    snapshot = Snapshot.open(paths.snapshot)
    assert snapshot.node.config_digest == config.digest
    assert snapshot.node.roles == {"caller": ["call"]}
    assert snapshot.table("keys").get(b"h" * 32) is not None
    assert snapshot.table("keys").get(b"g" * 32) is None
    (route,) = routes(paths)
    assert route.id == "GET /a"
    assert route.authenticate == [["api_key"]]
    assert (route.limits[0].count, route.limits[0].burst, route.limits[0].per) == (5, 9, "principal")
    assert not route.public
    snapshot.close()


def test_a_reload_tells_what_it_changed(builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths) -> None:
    before, _ = apply(file, builder, before=None, acts=acts)
    file.write_text(file.read_text().replace("GET /a", "GET /b"))
    after, generation = apply(file, builder, before=before, acts=acts)
    assert generation == 2
    assert [route.id for route in routes(paths)] == ["GET /b"]
    assert acts.done[-1][1]["change_count"] == 2
    assert {change["kind"] for change in changes_between(before, after)} == {"added", "removed"}


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("allow: call", "allow: {permission: call, when: 'no.such > 1'}"), ConfigError, "when"),
        (("roles:", "rolls:"), ConfigError, "roles"),
        (("127.0.0.1:8080", "127.0.0.1:8081"), NodeError, "restart"),
        (("version: 1", "version: 1\nworkers: 7"), NodeError, "workers"),
        (("version: 1", "version: 1\nconnections: {per_worker: 7}"), NodeError, "connections"),
        (("services:", "trust: {t: {ca: nothing.pem, principal: san-uri}}\nservices:"), ConfigError, "nothing.pem"),
    ],
)
def test_a_file_that_cannot_be_taken_up_changes_nothing_and_is_recorded(
    builder: SnapshotBuilder,
    file: Path,
    acts: Acts,
    paths: Paths,
    change: tuple[str, str],
    kind: type[Exception],
    said: str,
) -> None:
    before, _ = apply(file, builder, before=None, acts=acts)
    kept = paths.snapshot.read_bytes(), paths.applied.read_bytes()
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(kind, match=said):
        apply(file, builder, before=before, acts=acts)
    assert (paths.snapshot.read_bytes(), paths.applied.read_bytes()) == kept
    assert builder.page.words[GENERATION] == 1
    assert acts.events[-1] == "config:refused"


def test_a_reload_that_cannot_be_recorded_is_not_made(
    builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths
) -> None:
    before, _ = apply(file, builder, before=None, acts=acts)
    kept = paths.snapshot.read_bytes()
    acts.broken = True
    with pytest.raises(RecordUnavailable):
        apply(file, builder, before=before, acts=acts)
    assert paths.snapshot.read_bytes() == kept


def test_what_the_node_runs_with_is_known_whatever_becomes_of_the_file(
    builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths
) -> None:
    before, _ = apply(file, builder, before=None, acts=acts)
    file.write_text("this is: [no file")
    assert read_applied(paths, file).digest == before.digest
    file.unlink()
    assert read_applied(paths, file).digest == before.digest
    paths.applied.unlink()
    with pytest.raises(NodeError):
        read_applied(paths, file)


def test_what_the_node_runs_with_is_known_without_the_files_it_names(
    builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths
) -> None:
    """Or nobody could revoke beside a control that is down, and control could not start again."""
    authority = Partner(file.parent).ca_file
    file.write_text(
        f"trust: {{t: {{ca: {authority}, principal: san-uri}}}}\n"
        + file.read_text().replace("authenticate: [api_key]", "authenticate: [mtls], trust: t")
    )
    before, _ = apply(file, builder, before=None, acts=acts)
    authority.unlink()
    assert read_applied(paths, file).digest == before.digest
    with pytest.raises(ConfigError, match="does not exist"):
        apply(file, builder, before=before, acts=acts)


@pytest.mark.parametrize("fails", ["keeping", "publishing"])
def test_a_reload_that_fails_halfway_leaves_all_as_it_was(
    builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    before, _ = apply(file, builder, before=None, acts=acts)
    kept = paths.snapshot.read_bytes(), paths.applied.read_bytes()
    file.write_text(file.read_text().replace("GET /a", "GET /b"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device") if fails == "keeping" else SnapshotError("no space")

    with monkeypatch.context() as patched:
        if fails == "keeping":
            patched.setattr(subject.os, "fsync", full)
        else:
            patched.setattr(builder, "build", full)
        with pytest.raises((NodeError, SnapshotError)):
            apply(file, builder, before=before, acts=acts)
    assert (paths.snapshot.read_bytes(), paths.applied.read_bytes()) == kept
    assert acts.events[-1] == "config:refused"
    _, generation = apply(file, builder, before=before, acts=acts)
    assert generation == 2
    assert paths.applied.read_bytes() == file.read_bytes()


def test_newer_keys_bring_no_issuer_back(builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths) -> None:
    """Whatever control believes it runs with, a rebuild trusts whom the running snapshot trusts."""
    plain = file.read_text().replace("[api_key]", "[jwt]")
    issuer = "{{issuer: https://{0}, audience: a, algorithms: [RS256]}}"
    file.write_text(plain + f"identity: {{issuers: [{issuer.format('old')}, {issuer.format('kept')}]}}\n")
    before, _ = apply(file, builder, before=None, acts=acts)
    file.write_text(plain + f"identity: {{issuers: [{issuer.format('kept')}]}}\n")
    apply(file, builder, before=before, acts=acts)
    known = KnownKeys(paths.jwks)
    for name in ("old", "kept"):
        known.put(Known(f"https://{name}", "newer", 5, DISCOVERY))
    builder.rebuild(known)
    assert [(one.issuer, one.jwks) for one in builder.current().issuers] == [("https://kept", "newer")]


def test_a_rebuild_keeps_the_configuration_and_takes_the_state_in(
    builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths, state: State, page: NodePage
) -> None:
    apply(file, builder, before=None, acts=acts)
    row = ApiKeyRow("a" * 10, "n", "service:interlock/n", b"h" * 32, ("caller",), 1)
    state.add_key(row)
    ChangeLog(paths.changes, page).append([KeyAdded(row.hash, entry(row))])
    assert builder.overlay() > 0
    before = builder.current()
    assert builder.rebuild() == 2
    assert builder.overlay() == 0
    assert [route.id for route in routes(paths)] == ["GET /a"]
    assert builder.current().config_digest == before.config_digest
    snapshot = Snapshot.open(paths.snapshot)
    assert snapshot.table("keys").get(row.hash) == entry(row)
    snapshot.close()


def test_a_gentle_build_builds_the_same(builder: SnapshotBuilder, file: Path, acts: Acts, paths: Paths) -> None:
    apply(file, builder, before=None, acts=acts)
    builder.gently = True
    assert builder.rebuild() == 2
    assert [route.id for route in routes(paths)] == ["GET /a"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_what_takes_long_leaves_the_processors_to_the_workers(
    builder: SnapshotBuilder, file: Path, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = apply(file, builder, before=None, acts=acts)
    seen: list[int] = []

    def watched(name: str) -> None:
        plain = getattr(subject, name)

        def work(*words: Any) -> Any:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return plain(*words)

        monkeypatch.setattr(subject, name, work)

    watched("load_checked")
    watched("changes_between")
    builder.gently = True
    apply(file, builder, before=before, acts=acts)
    assert seen == [10, 10]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 10
