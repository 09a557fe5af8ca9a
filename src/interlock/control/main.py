"""The control process: answers commands, keeps issuers' keys fresh, serves the admin listener.

It is never on the path of a call: workers go on without it on their last snapshot. Whatever may take long
runs in a thread, so that its heartbeat goes on; all changes run in one thread, one after another.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from interlock.clock import SystemClock
from interlock.control.build import SnapshotBuilder
from interlock.control.check import load_checked
from interlock.control.given_keys import GivenKeys
from interlock.control.housekeeping import Housekeeping
from interlock.control.inbox import Inbox
from interlock.control.issuer_host import IssuerHost
from interlock.control.issuers import KnownKeys
from interlock.control.jwks import IssuerWatch
from interlock.control.lanes import Lanes
from interlock.control.log import Log
from interlock.control.operations import OPERATIONS, Lane
from interlock.control.paths import Paths
from interlock.control.publishing.job import PublishingJob
from interlock.control.reader_desk import ReaderDesk
from interlock.control.reload import apply, changes_between, read_applied, wait_for_workers
from interlock.control.service import Administration
from interlock.control.signals_host import SignalsHost
from interlock.control.socket import ControlSocket
from interlock.control.wire import SOCKET, Peer, Row, os_actor
from interlock.errors import InterlockError, NotAllowed, UsageError
from interlock.keys import Handover
from interlock.keys.inventory import KEK
from interlock.model import Principal
from interlock.snapshot import Counter, MetricsPage, NodePage, Tallies
from interlock.snapshot.page import CONTROL_SEEN_NS, CONTROL_SLOT, READY

if TYPE_CHECKING:
    from interlock.control.admin import AdminServer

BEAT = 1.0  # seconds
UNASKED = 15.0  # seconds after which the admin listener is loaded for whoever comes


class Control:
    """One node's control process. Made on its event loop."""

    def __init__(self, file: Path, paths: Paths, admin: socket.socket, log: Log, handover_key: bytes) -> None:
        self._file = file
        self._paths = paths
        self._log = log
        self._clock = clock = SystemClock()
        self._page = page = NodePage.open(paths.page)
        self._tallies = Tallies(MetricsPage.open(paths.metrics).take_row(CONTROL_SLOT))
        self._admin_socket = admin
        self._admin: AdminServer | None = None
        self._desk = desk = Administration(file, read_applied(paths, file), writer="control", page=page, clock=clock)
        self._lanes = Lanes()
        self._builder = SnapshotBuilder(paths, desk.state, page, clock, gently=True)
        self._known = KnownKeys(paths.jwks)
        self._watch = IssuerWatch(self._known, self._outside_keys_changed, clock, log)
        handover = Handover(paths.handover, handover_key)
        self._keys = GivenKeys(desk, handover)
        soon = asyncio.get_running_loop().call_soon_threadsafe

        def refresh(issuer: str) -> None:
            """From any thread: somebody came with a key of an outside issuer that is not known."""
            soon(self._watch.refresh, issuer)

        self._issuer = IssuerHost(
            desk, page, handover, self._known, self._builder, log, clock, soon=soon, refresh=refresh
        )
        self._signals = SignalsHost(
            desk, log, clock, signer=lambda: self._issuer.signer, refresh=refresh, take=self._issuer.take_signals
        )
        self._publishing = PublishingJob(paths, log, clock)
        self._readers = ReaderDesk(paths, self._show, self._refuse_reading, log, clock)
        self._house = Housekeeping(
            desk, self._builder, self._keys, self._issuer, self._readers, self._lanes, log, clock
        )
        desk.keys_turned = self._keys_turned
        desk.client_changed = self._issuer.client_changed
        desk.session_killed = self._issuer.say_farewell
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM. SIGUSR1 asks for a reload."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._reload_by_signal)
        self._begin(self._beat())
        sockets = ControlSocket(self._paths.run / SOCKET, self._handle, self._log)
        inbox = Inbox(self._paths.run, self._watch.refresh)
        await sockets.start()
        inbox.start()
        self._page.set_state(CONTROL_SLOT, READY)
        self._watch.configure(self._desk.config)
        await self._readers.configure(self._desk.config.record)
        await self._lanes.change(self._issuer.configure)
        await self._issuer.start()
        await self._configure_others()
        self._begin(self._serve_admin())
        for timer in self._house.timers():
            self._begin(timer)
        try:
            await self._stop.wait()
        finally:
            self._desk.stopping.set()
            await sockets.close()
            await self._readers.close()
            await self._issuer.close()
            inbox.close()
            await self._watch.close()
            if self._admin is not None:
                await self._admin.close()
            for task in list(self._tasks):
                task.cancel()
            await self._lanes.change(self._publishing.close)
            await self._lanes.change(self._signals.close)
            await self._lanes.end_readers()
            await self._lanes.change(self._desk.close)
            self._lanes.close()

    # -- commands

    async def _handle(self, op: str, arguments: dict[str, Any], peer: Peer, row: Row) -> dict[str, Any]:
        operation = OPERATIONS.get(op)
        if operation is None:
            raise UsageError(f"there is no operation {op!r}")
        if op == "reload":
            return await self._reload(peer.actor)
        if op == "keyring.rotate" and arguments.get("name") == KEK:
            # What the file says of KEKs now is what every process finds when it starts again.
            await self._reload(peer.actor)
        if op == "plan":
            return await self._lanes.change(lambda: self._builder.beside(self._plan))
        if op == "audit.prune":
            return await self._house.prune(peer.actor, dry_run=operation.read(arguments).dry_run)
        done = await self._lanes.run(operation.lane, self._work(op, arguments, peer, row))
        if op == "status":
            return {**done, **self._extra()}
        if operation.changes_clients:
            await self._lanes.change(self._issuer.bring)
        return done

    async def _show(self, op: str, arguments: dict[str, Any], peer: Peer, row: Row) -> dict[str, Any]:
        """What who may read asks at the reader socket."""
        lane = self._lanes.follow if OPERATIONS[op].lane is Lane.FOLLOWING else self._lanes.show
        return await lane(self._work(op, arguments, peer, row))

    def _work(self, op: str, arguments: dict[str, Any], peer: Peer, row: Row) -> Callable[[], dict[str, Any]]:
        return partial(self._desk.perform, op, arguments, peer.actor, row, peer)

    async def _refuse_reading(self, op: str, actor: Principal, count: int) -> NotAllowed:
        return await self._lanes.change(lambda: self._desk.refuse_reading(op, actor, count))

    def _extra(self) -> dict[str, Any]:
        return {"issuers": self._watch.status()}

    # -- as the file has it

    def _plan(self) -> dict[str, Any]:
        return {"changes": changes_between(self._desk.config, load_checked(self._file))}

    async def _reload(self, actor: Principal) -> dict[str, Any]:
        done = await self._lanes.change(lambda: self._apply(actor))
        self._watch.configure(self._desk.config)
        await self._readers.configure(self._desk.config.record)
        await self._configure_others()
        return done

    async def _configure_others(self) -> None:
        """Whom this node tells by itself: of checkpoints, and of signals."""
        await self._lanes.change(lambda: self._publishing.configure(self._desk.config.record))
        await self._lanes.change(self._signals.configure)

    def _apply(self, actor: Principal) -> dict[str, Any]:
        desk = self._desk
        before = desk.config
        config, generation = apply(
            self._file, self._builder, before=before, acts=desk.acts(actor), keyring=desk.keyring
        )
        desk.config = config
        desk.adopt_keys()
        self._issuer.configure()
        waiting = wait_for_workers(self._builder)
        self._log.info("reloaded", generation=generation, by=str(actor), waiting=waiting)
        for warning in config.warnings:
            self._log.warning(str(warning))
        changes = self._builder.beside(lambda: changes_between(before, config))
        return {"generation": generation, "changes": changes, "waiting": waiting}

    def _reload_by_signal(self) -> None:
        async def reload() -> None:
            try:
                await self._reload(os_actor())
            except InterlockError as problem:
                self._log.error("the reload was refused; nothing was changed", problem=str(problem))

        self._begin(reload())

    # -- keys

    async def _outside_keys_changed(self) -> None:
        """Those of an outside issuer are new."""
        await self._lanes.change(lambda: self._builder.rebuild(self._known))
        await self._lanes.change(lambda: wait_for_workers(self._builder))
        self._issuer.renew()

    def _keys_turned(self) -> None:
        """What upstreams verify with first; then what workers sign with."""
        self._keys.turned()
        self._issuer.keys_turned()
        self._builder.rebuild()
        wait_for_workers(self._builder)

    # -- the process

    async def _beat(self) -> None:
        while True:
            now = self._clock.monotonic()
            self._page.beat(CONTROL_SLOT, now)
            self._page.words[CONTROL_SEEN_NS] = now
            self._tallies.bring(
                {
                    Counter.SNAPSHOTS_BUILT: self._builder.built,
                    Counter.KEY_FETCHES: self._watch.fetches,
                    Counter.KEY_FETCHES_FAILED: self._watch.failures,
                }
            )
            self._tallies.bring(self._issuer.totals())
            await asyncio.sleep(BEAT)

    async def _serve_admin(self) -> None:
        """Last, since loading it takes a while: once somebody asks for it, or everything else has begun."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        loop.add_reader(self._admin_socket, asked.set)
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), UNASKED)
        loop.remove_reader(self._admin_socket)
        try:
            self._admin = await asyncio.to_thread(self._make_admin)
            await self._admin.start()
            gc.freeze()  # what is here by now stays: it need not be looked through again and again
        except Exception as problem:
            self._log.error("the admin listener does not serve", problem=repr(problem))

    def _make_admin(self) -> AdminServer:
        from interlock.control.admin import AdminServer, make_app

        self._keys.publish()
        app = make_app(self._paths, lambda: self._keys.jwks, self._extra)
        return AdminServer(app, self._admin_socket)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def run(file: Path, data_dir: Path, admin: socket.socket, log: Log, handover_key: bytes) -> None:
    """The life of the control process, after the fork."""

    async def main() -> None:
        await Control(file, Paths(data_dir), admin, log, handover_key).run()

    uvloop.run(main())
