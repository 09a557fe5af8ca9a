"""`interlock up`: the wiring of a node, from the file to running processes."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from interlock import __version__
from interlock.audit.files import boot_id
from interlock.clock import SystemClock
from interlock.control.acts import BriefActs
from interlock.control.lock import DataLock
from interlock.control.log import Log, bridge_logging, to_stderr
from interlock.control.paths import Paths
from interlock.control.status import NODE_FILE, NodeFile
from interlock.control.wire import os_actor
from interlock.model import Event
from interlock.snapshot import ChangeLog, CounterTable, MetricsPage, NodePage
from interlock.snapshot.page import FIRST_WORKER_SLOT
from interlock.snapshot.replay import SLOTS_OF_A_WORKER, ReplayTable
from interlock.snapshot.sightings import SightingTable
from interlock.supervisor.bodies import Bodies
from interlock.supervisor.environment import withdraw_secrets
from interlock.supervisor.node import Node
from interlock.supervisor.notify import notify
from interlock.supervisor.open_files import allow_open_files
from interlock.supervisor.prepare import Prepared, in_child
from interlock.supervisor.process import keep_to_itself
from interlock.supervisor.sockets import close, listen, listen_alone

if TYPE_CHECKING:
    from interlock.config import Config

LOCK_PATIENCE = 5.0  # seconds for the last processes of a killed node to go


def run(file: Path, announce: Callable[[str], None] = print) -> int:
    """Run a node in the foreground until it is told to stop; gives the exit status.

    `announce` is given lines for the person who started it. Raises `InterlockError` if it cannot start.
    """
    from interlock.config import load

    file = file.absolute()
    config = load(file)
    log = to_stderr("node")
    bridge_logging(log)
    withdraw_secrets(config)
    keep_to_itself()
    for warning in config.warnings:
        log.warning(str(warning))
    allow_open_files(config, log)
    lock = DataLock.take(config.data_dir, "a node", wait=LOCK_PATIENCE)
    try:
        return _run(file, config, log, announce)
    finally:
        lock.release()


def _run(file: Path, config: Config, log: Log, announce: Callable[[str], None]) -> int:
    paths = Paths(config.data_dir)
    paths.make_run_dir()
    workers = config.worker_count
    sockets = listen([str(listener.address) for listener in config.listeners], workers)
    admin = None
    try:
        admin = listen_alone(str(config.admin))
        page = _make_shared(paths, workers)
        bodies = Bodies(file, config, paths, page, admin, log)
        bodies.load()
        held = [sock for own in sockets for sock in own]
        prepared = in_child(bodies.prepare, Prepared, closing=[*held, admin])
        for note in prepared.notes:
            log.info(note)
        bodies.give(prepared)
        acts = BriefActs(paths, "supervisor", str(os_actor()))
        acts.act(Event.NODE_START, {"version": __version__, "config": prepared.config_digest, "workers": workers})
        described = _describe(file, config, sockets[0], admin)
        (paths.run / NODE_FILE).write_bytes(msgspec.json.encode(described))
        node = Node(
            page=page,
            recorder=bodies.recorder,
            control=bodies.control,
            analyst=bodies.analyst,
            workers=[(bodies.worker(FIRST_WORKER_SLOT + n, own), own) for n, own in enumerate(sockets)],
            admin=admin,
            acts=acts,
            log=log,
            clock=SystemClock(),
            serving=lambda: _serving(described, announce),
        )
        gc.collect()
        gc.freeze()  # what is here now is shared with every child and never looked at again
        try:
            return node.run()
        finally:
            notify("STOPPING=1")
            (paths.run / NODE_FILE).unlink(missing_ok=True)
    finally:
        close(sockets)
        if admin is not None:
            admin.close()


def _make_shared(paths: Paths, workers: int) -> NodePage:
    """Fresh shared memory; whoever still had the old one is gone, by the data directory's lock."""
    slots = FIRST_WORKER_SLOT + workers
    clock = SystemClock()
    page = NodePage.create(paths.page, slots)
    ChangeLog(paths.changes, page).create()
    CounterTable.create(paths.counters).close()
    SightingTable.create(paths.sightings).close()
    places = SLOTS_OF_A_WORKER * workers
    ReplayTable.create(paths.replays, wall=clock.wall(), monotonic=clock.monotonic(), slots=places).close()
    MetricsPage.create(paths.metrics, slots).close()
    return page


def _describe(file: Path, config: Config, sockets: list[socket.socket], admin: socket.socket) -> NodeFile:
    urls = []
    for listener, sock in zip(config.listeners, sockets, strict=True):
        urls.append(f"{'http' if listener.tls == 'off' else 'https'}://{_name(sock)}")
    return NodeFile(
        pid=os.getpid(),
        version=__version__,
        boot_id=boot_id(),
        started=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        workers=config.worker_count,
        listeners=urls,
        admin=f"http://{_name(admin)}",
        config=str(file),
        max_unsealed_ns=config.defaults.max_unsealed,
    )


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def _serving(described: NodeFile, announce: Callable[[str], None]) -> None:
    notify("READY=1")
    for url in described.listeners:
        announce(f"Interlock serves {url}")
    announce(f"Interlock administers {described.admin} (metrics, status); Ctrl-C stops")
