"""Shared signals in the life of a node: begun once the file wants any, and following the file from then on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from interlock.clock import Clock
from interlock.control.acts import NODE
from interlock.control.log import Log
from interlock.control.service import Administration
from interlock.control.signals.job import SignalsJob
from interlock.control.signals.status import write_signals
from interlock.issuer.http import Request, Response
from interlock.jose.signing import Signer
from interlock.keys import factor_key

if TYPE_CHECKING:
    from interlock.config import Config


class SignalsHost:
    """For the thread that changes things."""

    def __init__(
        self,
        desk: Administration,
        log: Log,
        clock: Clock,
        *,
        signer: Callable[[], Signer | None],
        refresh: Callable[[str], None],
        take: Callable[[Callable[[Request], Response]], None],
    ) -> None:
        """`signer`, `refresh`: as for `SignalsJob`; `take` is given what answers who sends us signals, once."""
        self._desk = desk
        self._log = log
        self._clock = clock
        self._signer = signer
        self._refresh = refresh
        self._take = take
        self._job: SignalsJob | None = None

    def configure(self) -> None:
        """Begin or change what is told to others, and taken from them."""
        if self._job is None:
            if not _wanted(self._desk.config):
                with suppress(OSError):
                    write_signals(self._desk.paths.run, None)
                return
            self._job = self._begin()
        self._job.configure()

    def close(self) -> None:
        if self._job is not None:
            self._job.close()

    def _begin(self) -> SignalsJob:
        desk = self._desk
        job = SignalsJob(
            desk.paths,
            desk.state,
            self._clock,
            self._log,
            config=lambda: desk.config,
            streams=desk.streams,
            desk=desk.revocations,
            signer=self._signer,
            key=lambda: factor_key(desk.keyring),
            refresh=self._refresh,
            acts=lambda: desk.acts(NODE),
        )
        desk.outbox.filled = job.look
        self._take(job.push)
        return job


def _wanted(config: Config) -> bool:
    own = config.issuer is not None and config.issuer.signals is not None
    return own or any(issuer.signals is not None for issuer in config.identity.issuers)
