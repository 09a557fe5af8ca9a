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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from interlock.clock import SystemClock
from interlock.control.build import SnapshotBuilder
from interlock.control.certificates import ensure_certificate
from interlock.control.check import load_checked
from interlock.control.compile import compile_issuers, uses_own_authority
from interlock.control.farewells import Farewells
from interlock.control.inbox import Inbox
from interlock.control.issuer_desk import IssuerDesk
from interlock.control.issuer_proofs import open_shared
from interlock.control.issuer_status import IssuerStatus, write_issuer
from interlock.control.issuers import KnownKeys
from interlock.control.issuing import IssuerServer
from interlock.control.jwks import IssuerWatch
from interlock.control.keyring import hand_over, jwks
from interlock.control.log import Log
from interlock.control.paths import Paths
from interlock.control.prune import read_wanted
from interlock.control.publish import Publisher
from interlock.control.publishing.job import PublishingJob
from interlock.control.reader_desk import ReaderDesk
from interlock.control.readers import READS
from interlock.control.reload import apply, changes_between, read_applied, wait_for_workers
from interlock.control.service import REVOCABLE, Administration, Row
from interlock.control.signals.job import SignalsJob
from interlock.control.signals.status import write_signals
from interlock.control.signals.telling import Telling
from interlock.control.socket import ControlSocket
from interlock.control.wire import SOCKET, Peer, os_actor
from interlock.errors import InterlockError, NodeError, NotAllowed
from interlock.keys import Handover, RecordDays, factor_key
from interlock.keys.inventory import KEK
from interlock.model import Event, Principal
from interlock.snapshot import Counter, MetricsPage, NodePage, Tallies
from interlock.snapshot.page import CONTROL_SEEN_NS, CONTROL_SLOT, READY
from interlock.store.risks import Risks

if TYPE_CHECKING:
    from interlock.control.admin import AdminServer
    from interlock.issuer.service import Issuer
    from interlock.store.clients import Client

BEAT = 1.0  # seconds
HOUSEKEEPING = 60.0
ISSUING = 10.0
SUBJECTS = 30.0
PRUNING = 86_400.0
COUNTING = 5.0
EXPIRING = 3600.0
OVERLAY = 1024 * 1024  # bytes of changes after which a new snapshot takes them in
READERS = 2  # questions to the record at a time
FOLLOWERS = 8  # who watch the record at a time
REVOKING = frozenset({"key.revoke"}) | {f"revoke.{kind}" for kind in REVOCABLE}
# What may take long and changes nothing.
READING = READS | {"key.list", "revoke.list"}
T = TypeVar("T")


class Control:
    """One node's control process."""

    def __init__(self, file: Path, paths: Paths, admin: socket.socket, log: Log, handover_key: bytes) -> None:
        self._file = file
        self._paths = paths
        self._log = log
        self._clock = SystemClock()
        self._page = NodePage.open(paths.page)
        self._tallies = Tallies(MetricsPage.open(paths.metrics).take_row(CONTROL_SLOT))
        self._admin_socket = admin
        self._admin: AdminServer | None = None
        self._config = read_applied(paths, file)
        self._desk = Administration(file, self._config, writer="control", page=self._page, clock=self._clock)
        self._desk.keys_turned = self._keys_turned
        self._days: RecordDays | None = None  # once the keyring can be opened
        self._pruned = False  # lately
        self._handover = Handover(paths.handover, handover_key)
        self._jwks: dict[str, Any] = {"keys": []}
        self._builder = SnapshotBuilder(paths, self._desk.state, self._page, self._clock, gently=True)
        self._known = KnownKeys(paths.jwks)
        self._watch = IssuerWatch(self._known, self._keys_changed, self._clock, log)
        self._issuing: IssuerDesk | None = None
        self._issuer_problem = ""
        self._issuer_told: IssuerStatus | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._issuer_server = IssuerServer(paths.run, self._issuer, lambda: self._issuer_path)
        self._farewells = Farewells(log)
        self._publishing = PublishingJob(paths, log, self._clock)
        self._reader_desk = ReaderDesk(paths, self._show, self._refuse_reading, log, self._clock)
        self._signals: SignalsJob | None = None
        self._changes = ThreadPoolExecutor(1, "changes")
        self._revoking = ThreadPoolExecutor(1, "revoking")
        self._questions = ThreadPoolExecutor(READERS, "questions")
        self._shown = ThreadPoolExecutor(READERS, "shown")  # to who only reads: a slow one keeps no operator waiting
        self._followers = ThreadPoolExecutor(FOLLOWERS, "followers")
        self._following = 0
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM. SIGUSR1 asks for a reload."""
        loop = self._loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._reload_by_signal)
        self._begin(self._beat())
        sockets = ControlSocket(self._paths.run / SOCKET, self._handle, self._log)
        inbox = Inbox(self._paths.run, self._watch.refresh)
        await sockets.start()
        inbox.start()
        self._page.set_state(CONTROL_SLOT, READY)
        self._watch.configure(self._config)
        await self._reader_desk.configure(self._config.record)
        await self._change(self._configure_issuer)
        await self._issuer_server.start()
        await self._change(lambda: self._publishing.configure(self._config.record))
        await self._change(self._configure_signals)
        self._begin(self._serve_admin())
        self._begin(self._keep_house())
        self._begin(self._keep_issuer())
        self._begin(self._keep_subjects())
        self._begin(self._keep_retention())
        self._begin(self._keep_refusals())
        self._begin(self._keep_revocations())
        try:
            await self._stop.wait()
        finally:
            self._desk.stopping.set()
            await sockets.close()
            await self._reader_desk.close()
            await self._issuer_server.close()
            await self._farewells.close()
            if self._issuing is not None:
                self._issuing.close()
            inbox.close()
            await self._watch.close()
            if self._admin is not None:
                await self._admin.close()
            for task in list(self._tasks):
                task.cancel()
            await loop.run_in_executor(self._changes, self._publishing.close)
            if self._signals is not None:
                await loop.run_in_executor(self._changes, self._signals.close)
            await loop.run_in_executor(self._revoking, int)  # what has begun ends
            self._revoking.shutdown()
            self._questions.shutdown(wait=False, cancel_futures=True)
            self._shown.shutdown(wait=False, cancel_futures=True)
            self._followers.shutdown(wait=False, cancel_futures=True)
            await loop.run_in_executor(self._changes, self._desk.close)
            self._changes.shutdown()

    # -- commands

    async def _handle(self, op: str, arguments: dict[str, Any], peer: Peer, row: Row) -> dict[str, Any]:
        actor = peer.actor
        if op == "reload":
            return await self._reload(actor)
        if op == "keyring.rotate" and arguments.get("name") == KEK:
            await self._reload(actor)  # what the file says of KEKs now is what every process finds when it starts again
        if op == "plan":
            return await self._change(self._plan)
        if op == "status":
            return {**await self._change(lambda: self._desk.perform(op, arguments, actor, row)), **self._extra()}
        if op == "audit.follow":
            return await self._follow(arguments, peer, row)
        if op == "audit.prune":
            return await self._prune(actor, dry_run=read_wanted(arguments).dry_run)
        if op in REVOKING:  # waits for no other change: it is as safe beside the node
            work = partial(self._desk.perform, op, arguments, actor, row)
            return await asyncio.get_running_loop().run_in_executor(self._revoking, work)
        if op in READING:
            work = partial(self._desk.perform, op, arguments, actor, row, peer)
            return await asyncio.get_running_loop().run_in_executor(self._questions, work)
        done = await self._change(lambda: self._desk.perform(op, arguments, actor, row))
        if op.startswith("client."):
            await self._change(self._bring_issuer)
        return done

    async def _show(self, op: str, arguments: dict[str, Any], peer: Peer, row: Row) -> dict[str, Any]:
        """What who may read asks at the reader socket."""
        if op == "audit.follow":
            return await self._follow(arguments, peer, row)
        work = partial(self._desk.perform, op, arguments, peer.actor, row, peer)
        return await asyncio.get_running_loop().run_in_executor(self._shown, work)

    async def _refuse_reading(self, op: str, actor: Principal, count: int) -> NotAllowed:
        return await self._change(lambda: self._desk.refuse_reading(op, actor, count))

    async def _follow(self, arguments: dict[str, Any], peer: Peer, row: Row) -> dict[str, Any]:
        """Each in a thread of its own, for as long as it lasts."""
        if self._following >= FOLLOWERS:
            raise NodeError(f"{FOLLOWERS} follow the record already")
        self._following += 1
        try:
            work = partial(self._desk.perform, "audit.follow", arguments, peer.actor, row, peer)
            return await asyncio.get_running_loop().run_in_executor(self._followers, work)
        finally:
            self._following -= 1

    async def _change(self, work: Callable[[], T]) -> T:
        """Run in the one thread that changes things."""
        return await asyncio.get_running_loop().run_in_executor(self._changes, work)

    def _plan(self) -> dict[str, Any]:
        return {"changes": changes_between(self._config, load_checked(self._file))}

    async def _reload(self, actor: Principal) -> dict[str, Any]:
        done = await self._change(lambda: self._apply(actor))
        self._watch.configure(self._config)
        await self._reader_desk.configure(self._config.record)
        await self._change(lambda: self._publishing.configure(self._config.record))
        await self._change(self._configure_signals)
        return done

    def _apply(self, actor: Principal) -> dict[str, Any]:
        before = self._config
        acts, keyring = self._desk.acts(actor), self._desk.keyring
        config, generation = apply(self._file, self._builder, before=before, acts=acts, keyring=keyring)
        self._config = self._desk.config = config
        self._desk.adopt_keys()
        self._configure_issuer()
        waiting = wait_for_workers(self._builder)
        self._log.info("reloaded", generation=generation, by=str(actor), waiting=waiting)
        for warning in config.warnings:
            self._log.warning(str(warning))
        return {"generation": generation, "changes": changes_between(before, config), "waiting": waiting}

    def _reload_by_signal(self) -> None:
        async def reload() -> None:
            try:
                await self._reload(os_actor())
            except InterlockError as problem:
                self._log.error("the reload was refused; nothing was changed", problem=str(problem))

        self._begin(reload())

    # -- the authorization server

    def _issuer(self) -> Issuer | None:
        return None if self._issuing is None else self._issuing.issuer

    @property
    def _issuer_path(self) -> str:
        return "" if self._issuing is None else self._issuing.path

    def _configure_issuer(self) -> None:
        """Begin, change or end issuing as the file has it now. What cannot be begun leaves the node without it."""
        try:
            self._put_issuer()
            self._issuer_problem = ""
        except (InterlockError, OSError) as problem:
            self._issuer_problem = f"it could not begin: {problem}"
            self._log.error("the issuer does not serve", problem=str(problem))
            if self._issuing is not None:
                self._issuing.issuer = None
        self._tell_issuer()

    def _put_issuer(self) -> None:
        if self._issuing is None:
            if self._config.issuer is None:
                return
            desk = self._desk
            publisher = Publisher(self._paths, self._page)
            proofs, replays = open_shared(self._paths.run, self._handover, self._clock.monotonic)
            self._issuing = IssuerDesk(
                self._paths,
                self._page,
                desk.keyring,
                desk.state,
                publisher,
                Telling(desk.acts(ISSUER), desk.outbox, "user"),
                proofs,
                replays,
                self._clock,
            )
            desk.client_changed = self._client_changed
            desk.session_killed = self._say_farewell
            self._issuing.refresh = self._refresh_issuer
            self._issuing.ended = self._session_ended
            self._issuing.signals = desk.streams
        self._issuing.configure(self._config.issuer, compile_issuers(self._config, self._known))

    def _configure_signals(self) -> None:
        """Begin or change what is told to others, and taken from them."""
        desk, config = self._desk, self._config
        wanted = config.issuer is not None and config.issuer.signals is not None
        if self._signals is None:
            if not wanted and not any(issuer.signals is not None for issuer in config.identity.issuers):
                with suppress(OSError):
                    write_signals(self._paths.run, None)
                return
            self._signals = SignalsJob(
                self._paths,
                desk.state,
                self._clock,
                self._log,
                config=lambda: self._config,
                streams=desk.streams,
                desk=desk.revocations,
                signer=lambda: None if (issuer := self._issuer()) is None else issuer.keys.signer,
                key=lambda: factor_key(desk.keyring),
                refresh=self._refresh_issuer,
                acts=lambda: desk.acts(NODE),
            )
            desk.outbox.filled = self._signals.look
            self._issuer_server.receive = self._signals.push
        self._signals.configure()

    def _refresh_issuer(self, issuer: str) -> None:
        """From any thread: somebody came with a key of an outside issuer that is not known."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._watch.refresh, issuer)

    def _session_ended(self, sid: str, why: str) -> None:
        """Others are told: the session's clients, and who is told of signals, on disk before anything is sent."""
        try:
            self._desk.outbox.ended(sid, why)
        finally:
            self._say_farewell(sid, why)

    def _say_farewell(self, sid: str, _why: str) -> None:
        """From whatever thread: tell the clients of a session that it is over."""
        if self._issuing is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._farewells.send, self._issuing.farewells(sid))

    def _client_changed(self, client: Client) -> None:
        if self._issuing is not None:
            self._issuing.client_changed(client)

    def _tend_issuer(self) -> None:
        """Have its keys follow each other, and begin what could not be begun."""
        if self._config.issuer is None:
            return
        if self._issuer() is None:
            self._configure_issuer()
        if self._issuing is None or self._issuer() is None:
            return
        try:
            self._issuing.tend()
            self._issuer_problem = ""
        except InterlockError as problem:
            self._issuer_problem = f"its keys cannot be looked after: {problem}"
            raise
        finally:
            self._tell_issuer()
        self._bring_issuer()

    def _bring_issuer(self) -> None:
        """What it publishes, and its clients' certificates, to the workers."""
        self._tell_issuer()
        if self._issuer() is not None and self._builder.behind():
            self._builder.rebuild()
            wait_for_workers(self._builder)

    def _tell_issuer(self) -> None:
        """For `status`."""
        status = self._issuing.status(self._issuer_problem) if self._issuing is not None else None
        if status is None and self._config.issuer is not None:
            status = IssuerStatus(self._config.issuer.url, False, self._issuer_problem)
        if status != self._issuer_told:
            try:
                write_issuer(self._paths.run, status)
                self._issuer_told = status
            except OSError as problem:
                self._log.error("how the issuer does cannot be told", problem=str(problem))

    # -- the background

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
            if self._issuing is not None:
                self._tallies.bring(self._issuing.notes.totals())
            await asyncio.sleep(BEAT)

    async def _keys_changed(self) -> None:
        await self._change(lambda: self._builder.rebuild(self._known))
        await self._change(lambda: wait_for_workers(self._builder))
        if self._issuing is not None:
            self._issuing.renew(compile_issuers(self._config, self._known))

    async def _keep_house(self) -> None:
        """Take changes into a new snapshot before they become many; renew the certificate before it expires."""
        while True:
            try:
                await self._change(self._clean)
            except InterlockError as problem:
                self._log.error("housekeeping failed", problem=str(problem))
            await asyncio.sleep(HOUSEKEEPING)

    async def _keep_issuer(self) -> None:
        """Apart from the rest, whose faults must not keep a key from being published in time."""
        while True:
            await asyncio.sleep(ISSUING)
            try:
                await self._change(self._tend_issuer)
            except Exception as problem:  # whatever it was, the next key MUST be published in time
                self._log.error("the issuer cannot be looked after", problem=repr(problem))

    async def _keep_subjects(self) -> None:
        """Take in who ended segments name, and go through with erasures: their keys are turned from here."""
        while True:
            try:
                await self._change(lambda: self._desk.subjects.go_on(self._desk.acts(NODE)))
            except InterlockError as problem:
                self._log.error("subjects of the record could not be taken in or erased", problem=str(problem))
            await asyncio.sleep(SUBJECTS)

    def _clean(self) -> None:
        renewed = False
        if uses_own_authority(self._config):
            acts = self._desk.acts(NODE)
            renewed = ensure_certificate(self._config, self._paths, self._desk.keyring, acts, self._clock)
            if renewed:
                self._log.info("the server certificate was renewed")
        if len(self._jwks["keys"]) > 1:
            self._jwks = jwks(self._desk.keyring)  # the overlap may be over
        if renewed:
            hand_over(self._handover, self._desk.keyring, self._config)
        if renewed or self._builder.overlay() > OVERLAY:
            self._builder.rebuild()
            wait_for_workers(self._builder)
        self._guard_recipient()
        self._days = self._days or RecordDays(self._desk.keyring, self._clock)
        for found in self._days.tend(self._config.retention_class):
            self._tell_exchanged(found)

    async def _keep_refusals(self) -> None:
        """Record those who were refused the record again and again, counted."""
        while True:
            await asyncio.sleep(COUNTING)
            await self._reader_desk.tend()

    async def _keep_retention(self) -> None:
        """Once a day, what was kept for long enough."""
        while True:
            await asyncio.sleep(PRUNING if self._pruned else HOUSEKEEPING)
            if self._config.record.retention is None:
                continue
            try:
                done = await self._prune(NODE)
                self._pruned = True
                if done["segments"]:
                    self._log.info("pruned", segments=len(done["segments"]), bytes=done["bytes"], keys=done["keys"])
            except InterlockError as problem:
                self._pruned = False
                self._log.error("what was kept for long enough could not be pruned", problem=str(problem))

    async def _keep_revocations(self) -> None:
        """Once in an hour, forget what nothing alive could match any more, and bring that to the workers."""
        while True:
            await asyncio.sleep(EXPIRING)
            try:
                await self._change(self._expire_revocations)
            except InterlockError as problem:
                self._log.error("revocations that are over could not be dropped", problem=str(problem))

    def _expire_revocations(self) -> None:
        dropped = self._desk.revocations.drop(self._desk.acts(NODE)) + Risks(self._desk.state).drop(self._clock.wall())
        if dropped:
            self._log.info("revocations that are over were dropped", count=dropped)
            self._builder.rebuild()
            wait_for_workers(self._builder)

    async def _prune(self, actor: Principal, *, dry_run: bool = False) -> dict[str, Any]:
        """The plan may take long, and must not keep anybody from revoking a key."""
        plan = await asyncio.get_running_loop().run_in_executor(self._questions, self._desk.plan_prune)
        return await self._change(lambda: self._desk.prune(plan, actor, dry_run=dry_run))

    def _guard_recipient(self) -> None:
        found = self._desk.keyring.guard_recipient()
        if found is not None:
            self._tell_exchanged(found)

    def _tell_exchanged(self, found: str) -> None:
        self._log.error("the record's public key was exchanged, and was put back", found=found)
        self._desk.acts(NODE).act(Event.KEYRING_ALTERED, {"key": "record", "found": found})

    def _keys_turned(self) -> None:
        """What upstreams verify with first; then what workers sign with."""
        self._jwks = jwks(self._desk.keyring)
        hand_over(self._handover, self._desk.keyring, self._config)
        if self._issuing is not None:
            self._issuing.keys_turned()
            self._tell_issuer()
        self._builder.rebuild()
        wait_for_workers(self._builder)

    async def _serve_admin(self) -> None:
        """Last, since loading it takes a while; nothing else waits for it."""
        try:
            self._admin = await asyncio.to_thread(self._make_admin)
            await self._admin.start()
            gc.freeze()  # what is here by now stays: it need not be looked through again and again
        except Exception as problem:
            self._log.error("the admin listener does not serve", problem=repr(problem))

    def _make_admin(self) -> AdminServer:
        from interlock.control.admin import AdminServer, make_app

        self._jwks = jwks(self._desk.keyring)
        app = make_app(self._paths, lambda: self._jwks, self._extra)
        return AdminServer(app, self._admin_socket)

    def _extra(self) -> dict[str, Any]:
        return {"issuers": self._watch.status()}

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


NODE = Principal("service", "interlock", "control")
ISSUER = Principal("service", "interlock", "issuer")


def run(file: Path, data_dir: Path, admin: socket.socket, log: Log, handover_key: bytes) -> None:
    """The life of the control process, after the fork."""

    async def main() -> None:
        await Control(file, Paths(data_dir), admin, log, handover_key).run()

    uvloop.run(main())
