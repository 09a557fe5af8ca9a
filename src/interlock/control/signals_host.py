"""Shared signals in the life of a node: begun once the file wants any, and following the file from then on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from interlock.clock import Clock
from interlock.control.acts import NODE
from interlock.control.desks import Desks
from interlock.control.log import Log
from interlock.control.signals.job import SignalsJob
from interlock.control.signals.status import SIGNALS_REPORT
from interlock.issuer.http import Request, Response
from interlock.jose.signing import Signer
from interlock.keys import factor_key

if TYPE_CHECKING:
    from interlock.config import Config


class SignalsHost:
    """For the thread that changes things."""

    def __init__(
        self,
        desks: Desks,
        log: Log,
        clock: Clock,
        *,
        signer: Callable[[], Signer | None],
        refresh: Callable[[str], None],
        take: Callable[[Callable[[Request], Response]], None],
    ) -> None:
        """`signer`, `refresh`: as for `SignalsJob`; `take` is given what answers who sends us signals, once."""
        self._desks = desks
        self._log = log
        self._clock = clock
        self._signer = signer
        self._refresh = refresh
        self._take = take
        self._job: SignalsJob | None = None

    def configure(self) -> None:
        """Begin or change what is told to others, and taken from them."""
        if self._job is None:
            if not _wanted(self._desks.config):
                with suppress(OSError):
                    SIGNALS_REPORT.write(self._desks.paths.run, None)
                return
            self._job = self._begin()
        self._job.configure()

    def close(self) -> None:
        if self._job is not None:
            self._job.close()

    def _begin(self) -> SignalsJob:
        desks = self._desks
        job = SignalsJob(
            desks.paths,
            desks.state,
            self._clock,
            self._log,
            config=lambda: desks.config,
            streams=desks.streams,
            desk=desks.revocations,
            signer=self._signer,
            key=lambda: factor_key(desks.keyring),
            refresh=self._refresh,
            acts=lambda: desks.acts(NODE),
        )
        desks.outbox.filled = job.look
        self._take(job.push)
        return job


def _wanted(config: Config) -> bool:
    own = config.issuer is not None and config.issuer.signals is not None
    return own or any(issuer.signals is not None for issuer in config.identity.issuers)
