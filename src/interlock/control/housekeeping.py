"""What a running node does by itself, now and then.

No timer waits for another, and none ends because its work failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from interlock.clock import Clock
from interlock.control.acts import NODE
from interlock.control.build import SnapshotBuilder
from interlock.control.certificates import ensure_certificate
from interlock.control.compile import uses_own_authority
from interlock.control.desks import Desks
from interlock.control.given_keys import GivenKeys
from interlock.control.issuer_host import IssuerHost
from interlock.control.lanes import Lanes
from interlock.control.log import Log
from interlock.control.reader_desk import ReaderDesk
from interlock.control.reload import wait_for_workers
from interlock.errors import InterlockError
from interlock.keys import RecordDays
from interlock.model import Event, Principal
from interlock.store.risks import Risks

# Seconds between two times.
HOUSEKEEPING: Final = 60.0
ISSUING: Final = 10.0
SUBJECTS: Final = 30.0
PRUNING: Final = 86_400.0
STARTED: Final = 10.0  # a node has begun by then
COUNTING: Final = 5.0
EXPIRING: Final = 3600.0

OVERLAY: Final = 1024 * 1024  # bytes of changes after which a new snapshot takes them in


class Housekeeping:
    """For the event loop, which must run each of `timers()`."""

    def __init__(
        self,
        desks: Desks,
        builder: SnapshotBuilder,
        keys: GivenKeys,
        issuer: IssuerHost,
        readers: ReaderDesk,
        lanes: Lanes,
        log: Log,
        clock: Clock,
    ) -> None:
        self._desks = desks
        self._builder = builder
        self._keys = keys
        self._issuer = issuer
        self._readers = readers
        self._lanes = lanes
        self._log = log
        self._clock = clock
        self._days: RecordDays | None = None  # once the keyring can be opened
        self._pruned = False  # lately

    def timers(self) -> list[Coroutine[Any, Any, None]]:
        """Each goes on until it is cancelled."""
        return [
            self._keep_house(),
            self._keep_issuer(),
            self._keep_subjects(),
            self._keep_retention(),
            self._keep_refusals(),
            self._keep_revocations(),
        ]

    async def prune(self, actor: Principal, *, dry_run: bool = False) -> dict[str, Any]:
        """The plan may take long, and must not keep anybody from revoking a key."""
        plan = await self._lanes.ask(self._desks.plan_prune)
        return await self._lanes.change(lambda: self._desks.prune(plan, actor, dry_run=dry_run))

    async def _keep_house(self) -> None:
        """Take changes into a new snapshot before they become many; renew the certificate before it expires."""
        while True:
            try:
                await self._lanes.change(self._clean)
            except InterlockError as problem:
                self._log.error("housekeeping failed", problem=str(problem))
            await asyncio.sleep(HOUSEKEEPING)

    async def _keep_issuer(self) -> None:
        """Apart from the rest, whose faults must not keep a key from being published in time."""
        while True:
            await asyncio.sleep(ISSUING)
            try:
                await self._lanes.change(self._issuer.tend)
            except Exception as problem:  # whatever it was, the next key MUST be published in time
                self._log.error("the issuer cannot be looked after", problem=repr(problem))

    async def _keep_subjects(self) -> None:
        """Take in who ended segments name, and go through with erasures: their keys are turned from here."""
        while True:
            try:
                await self._lanes.change(lambda: self._desks.subjects.go_on(self._desks.acts(NODE)))
            except InterlockError as problem:
                self._log.error("subjects of the record could not be taken in or erased", problem=str(problem))
            await asyncio.sleep(SUBJECTS)

    async def _keep_refusals(self) -> None:
        """Record those who were refused the record again and again, counted."""
        while True:
            await asyncio.sleep(COUNTING)
            await self._readers.tend()

    async def _keep_retention(self) -> None:
        """Once a day, what was kept for long enough."""
        first = True
        while True:
            await asyncio.sleep(PRUNING if self._pruned else STARTED if first else HOUSEKEEPING)
            first = False
            if self._desks.config.record.retention is None:
                continue
            try:
                done = await self.prune(NODE)
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
                await self._lanes.change(self._expire_revocations)
            except InterlockError as problem:
                self._log.error("revocations that are over could not be dropped", problem=str(problem))

    # -- in the thread that changes things

    def _clean(self) -> None:
        config, renewed = self._desks.config, False
        if uses_own_authority(config):
            acts = self._desks.acts(NODE)
            renewed = ensure_certificate(config, self._desks.paths, self._desks.keyring, acts, self._clock)
            if renewed:
                self._log.info("the server certificate was renewed")
        self._keys.drop_former()
        if renewed:
            self._keys.hand_over()
        if renewed or self._builder.overlay() > OVERLAY:
            self._builder.rebuild()
            wait_for_workers(self._builder)
        self._guard_recipients()

    def _guard_recipients(self) -> None:
        """Of the record: whoever exchanged the public key that it is sealed to could read it."""
        found = self._desks.keyring.guard_recipient()
        if found is not None:
            self._tell_exchanged(found)
        self._days = self._days or RecordDays(self._desks.keyring, self._clock)
        for found in self._days.tend(self._desks.config.retention_class):
            self._tell_exchanged(found)

    def _tell_exchanged(self, found: str) -> None:
        self._log.error("the record's public key was exchanged, and was put back", found=found)
        self._desks.acts(NODE).act(Event.KEYRING_ALTERED, {"key": "record", "found": found})

    def _expire_revocations(self) -> None:
        desks = self._desks
        dropped = desks.revocations.drop(desks.acts(NODE)) + Risks(desks.state).drop(self._clock.wall())
        if dropped:
            self._log.info("revocations that are over were dropped", count=dropped)
            self._builder.rebuild()
            wait_for_workers(self._builder)
