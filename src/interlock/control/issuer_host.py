"""The authorization server in the life of a node: begun, changed, tended and ended as the file has it.

What cannot be begun leaves the node without it, says so in `status`, and is tried again each time it is tended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from interlock.clock import Clock
from interlock.control.acts import ISSUER
from interlock.control.build import SnapshotBuilder
from interlock.control.compile import compile_issuers
from interlock.control.desks import Desks
from interlock.control.farewells import Farewells
from interlock.control.issuer_desk import IssuerDesk
from interlock.control.issuer_proofs import open_shared
from interlock.control.issuer_status import ISSUER_REPORT, IssuerStatus
from interlock.control.issuers import KnownKeys
from interlock.control.issuing import IssuerServer
from interlock.control.log import Log
from interlock.control.publish import Publisher
from interlock.control.reload import wait_for_workers
from interlock.control.signals.telling import Telling
from interlock.errors import InterlockError
from interlock.issuer.http import Request, Response
from interlock.jose.signing import Signer
from interlock.keys import Handover
from interlock.snapshot import NodePage

if TYPE_CHECKING:
    from interlock.issuer.service import Issuer
    from interlock.store.clients import Client

Soon = Callable[..., object]  # as `loop.call_soon_threadsafe`


class IssuerHost:
    """`start` and `close` are for the event loop, the rest for the thread that changes things unless it says more."""

    def __init__(
        self,
        desks: Desks,
        page: NodePage,
        handover: Handover,
        known: KnownKeys,
        builder: SnapshotBuilder,
        log: Log,
        clock: Clock,
        *,
        soon: Soon,
        refresh: Callable[[str], None],
    ) -> None:
        """`soon`: runs something on the event loop, from any thread; `refresh`: asks from any thread for newer keys of
        an outside issuer.
        """
        self._desks = desks
        self._page = page
        self._handover = handover
        self._known = known
        self._builder = builder
        self._log = log
        self._clock = clock
        self._soon = soon
        self._refresh = refresh
        self._issuing: IssuerDesk | None = None  # once the file has named an issuer
        self._problem = ""
        self._told: IssuerStatus | None = None
        self._server = IssuerServer(
            desks.paths.run, lambda: self.issuer, lambda: self._path, lambda: desks.acts(ISSUER)
        )
        self._farewells = Farewells(log)

    async def start(self) -> None:
        """Answer workers, with or without an issuer."""
        await self._server.start()

    async def close(self) -> None:
        """End. Who has asked is answered."""
        await self._server.close()
        await self._farewells.close()
        if self._issuing is not None:
            self._issuing.close()

    # -- what others ask of it, from any thread

    @property
    def issuer(self) -> Issuer | None:
        """The present one; None where the file names none, or it could not be begun."""
        return None if self._issuing is None else self._issuing.issuer

    @property
    def signer(self) -> Signer | None:
        """Of its present key."""
        issuer = self.issuer
        return None if issuer is None else issuer.keys.signer

    def totals(self) -> Mapping[int, int]:
        """What it has counted, by the words of the metrics page."""
        return {} if self._issuing is None else self._issuing.notes.totals()

    def client_changed(self, client: Client) -> None:
        if self._issuing is not None:
            self._issuing.client_changed(client)

    def say_farewell(self, sid: str, _why: str) -> None:
        """Tell the clients of a session that it is over."""
        if self._issuing is not None:
            self._soon(self._farewells.send, self._issuing.farewells(sid))

    def take_signals(self, receive: Callable[[Request], Response]) -> None:
        """From now on `receive` is asked what an outside issuer sends, also without an issuer of ours."""
        self._server.receive = receive

    # -- as the file has it

    def configure(self) -> None:
        """Begin, change or end issuing."""
        try:
            self._put()
            self._problem = ""
        except (InterlockError, OSError) as problem:
            self._problem = f"it could not begin: {problem}"
            self._log.error("the issuer does not serve", problem=str(problem))
            if self._issuing is not None:
                self._issuing.issuer = None
        self._tell()

    def renew(self) -> None:
        """Keys of outside issuers are new."""
        if self._issuing is not None:
            self._issuing.renew(compile_issuers(self._desks.config, self._known))

    def keys_turned(self) -> None:
        """Somebody has changed the keys in the keyring."""
        if self._issuing is not None:
            self._issuing.keys_turned()
            self._tell()

    def tend(self) -> None:
        """Have its keys follow each other, and begin what could not be begun."""
        if self._desks.config.issuer is None:
            return
        if self.issuer is None:
            self.configure()
        if self._issuing is None or self.issuer is None:
            return
        try:
            self._issuing.tend()
            self._problem = ""
        except InterlockError as problem:
            self._problem = f"its keys cannot be looked after: {problem}"
            raise
        finally:
            self._tell()
        self.bring()

    def bring(self) -> None:
        """What it publishes, and its clients' certificates, to the workers."""
        self._tell()
        if self.issuer is not None and self._builder.behind():
            self._builder.rebuild()
            wait_for_workers(self._builder)

    # --

    @property
    def _path(self) -> str:
        return "" if self._issuing is None else self._issuing.path

    def _put(self) -> None:
        if self._issuing is None:
            if self._desks.config.issuer is None:
                return
            self._issuing = self._open()
        self._issuing.configure(self._desks.config.issuer, compile_issuers(self._desks.config, self._known))

    def _open(self) -> IssuerDesk:
        desks = self._desks
        proofs, replays = open_shared(desks.paths.run, self._handover, self._clock.monotonic)
        issuing = IssuerDesk(
            desks.paths,
            self._page,
            desks.keyring,
            desks.state,
            Publisher(desks.paths, self._page),
            Telling(desks.acts(ISSUER), desks.outbox, "user"),
            proofs,
            replays,
            self._clock,
        )
        issuing.refresh = self._refresh
        issuing.ended = self._session_ended
        issuing.signals = desks.streams
        return issuing

    def _session_ended(self, sid: str, why: str) -> None:
        """Others are told: the session's clients, and who is told of signals, on disk before anything is sent."""
        try:
            self._desks.outbox.ended(sid, why)
        finally:
            self.say_farewell(sid, why)

    def _tell(self) -> None:
        """For `status`."""
        own = self._desks.config.issuer
        status = self._issuing.status(self._problem) if self._issuing is not None else None
        if status is None and own is not None:
            status = IssuerStatus(own.url, False, self._problem)
        if status != self._told:
            try:
                ISSUER_REPORT.write(self._desks.paths.run, status)
                self._told = status
            except OSError as problem:
                self._log.error("how the issuer does cannot be told", problem=str(problem))
