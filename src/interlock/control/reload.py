"""Taking up a changed file: all of it or nothing, while calls go on.

The bytes that were taken up last are kept in `run/applied`, so that a control process that was restarted
knows what the node runs with, whatever has become of the file since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.control.build import SnapshotBuilder
from interlock.control.check import load_checked
from interlock.control.compile import compile_node, compile_routes
from interlock.control.paths import Paths
from interlock.errors import InterlockError, NodeError
from interlock.keys import Keyring, open_keyring
from interlock.model import Event, Recorder
from interlock.snapshot import NodeSpec, await_generation

if TYPE_CHECKING:
    from interlock.config import Change, Config

SHOWN = 50  # changes named in the record


def read_applied(paths: Paths, file: Path) -> Config:
    """The configuration the node runs with. Raises `ConfigError`, `NodeError` if it was never written."""
    from interlock.config import parse

    try:
        data = paths.applied.read_bytes()
    except OSError as problem:
        raise NodeError(f"{paths.applied} cannot be read: {problem.strerror}") from None
    # What it names was looked at when it was taken up. Had a file gone since, nobody could revoke any more.
    return parse(data, file, look_at_files=False)


def apply(
    file: Path, builder: SnapshotBuilder, *, before: Config | None, acts: Recorder, keyring: Keyring
) -> tuple[Config, int]:
    """Check the file, record that it is taken up, and write the snapshot made of it.

    Gives the configuration and the snapshot's generation. `before`: what the node runs with; None at start.
    Raises `ConfigError`, or `NodeError` for what only a restart can change; nothing is changed then.
    """
    paths = builder.paths
    try:
        data = file.read_bytes()
    except OSError as problem:
        raise NodeError(f"{file} cannot be read: {problem.strerror}") from None
    try:
        config = builder.beside(lambda: load_checked(file, data))
        changes = builder.beside(lambda: changes_between(before, config)) if before is not None else []
        _refuse_what_needs_a_restart(changes)
        if before is not None and before.keys != config.keys:
            open_keyring(config.keys, paths.keys).check()
        if config.issuer is not None:
            from interlock.control.issuer_keys import tend_keys

            tend_keys(config.issuer, keyring, paths, builder.clock, acts)  # workers need them to verify its tokens
        node = compile_node(config, paths, builder.clock.wall())
    except InterlockError as problem:
        acts.act(Event.CONFIG_REFUSED, {"file": str(file), "problems": str(problem)[:4000]})
        raise
    if before is not None:
        node = _with_running_listeners(node, builder.current())
    details: dict[str, Any] = {"file": str(file), "digest": config.digest}
    if before is not None:
        details["changes"] = [f"{change['kind']} {change['where']}" for change in changes[:SHOWN]]
        details["change_count"] = len(changes)
    acts.act(Event.CONFIG_LOAD, details)
    try:
        with _kept(paths, data):
            generation = builder.build(node, compile_routes(config))
    except InterlockError as problem:
        acts.act(Event.CONFIG_REFUSED, {"file": str(file), "problems": str(problem)[:4000]})
        raise
    return config, generation


def _refuse_what_needs_a_restart(changes: list[dict[str, Any]]) -> None:
    needed = [change["where"] for change in changes if change["restart"]]
    if needed:
        raise NodeError(f"a reload cannot change {', '.join(needed)}: restart the node; nothing was changed")


def changes_between(before: Config, after: Config) -> list[dict[str, Any]]:
    """What taking up `after` would change, in plain values."""
    from interlock.config import plan

    return [_change(change) for change in plan(before, after)]


def wait_for_workers(builder: SnapshotBuilder) -> list[int]:
    """Wait until the workers use the snapshot; gives the slots of those that do not after ten seconds."""
    return await_generation(builder.paths.run, builder.page)


def _with_running_listeners(node: NodeSpec, running: NodeSpec) -> NodeSpec:
    """A port that the kernel chose stays what it is."""
    listeners = [
        msgspec.structs.replace(new, address=old.address)
        for new, old in zip(node.listeners, running.listeners, strict=True)
    ]
    return msgspec.structs.replace(node, listeners=listeners)


def _change(change: Change) -> dict[str, Any]:
    return {"kind": change.kind, "where": change.where, "summary": change.summary, "restart": change.restart}


@contextmanager
def _kept(paths: Paths, data: bytes) -> Iterator[None]:
    """Keep the bytes that are taken up, on disk before they are published; the former ones if that fails."""
    former = paths.applied.with_name(f"{paths.applied.name}.former")
    try:
        former.unlink(missing_ok=True)
        if paths.applied.exists():
            os.link(paths.applied, former)
        _replace(paths.applied, data)
    except OSError as problem:
        raise NodeError(f"{paths.applied} cannot be written: {problem.strerror}; nothing was changed") from None
    try:
        yield
    except BaseException:
        if former.exists():
            os.replace(former, paths.applied)
        else:
            paths.applied.unlink(missing_ok=True)
        raise


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
