"""Signals of a running node, both ways: what is sent, what is taken, and how that is doing. Follows the file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interlock.clock import Clock
from interlock.control.paths import Paths
from interlock.control.signals.delivery import Delivery, Log
from interlock.control.signals.poll import Poller
from interlock.control.signals.receiver import Desk, Receiver
from interlock.control.signals.sources import Sources
from interlock.control.signals.status import SIGNALS_REPORT, SignalsStatus
from interlock.control.signals.streams import StreamDesk
from interlock.errors import InterlockError
from interlock.issuer.http import Request, Response, json_response
from interlock.issuer.outside import Subject
from interlock.jose.signing import Signer
from interlock.keys import FactorKey
from interlock.model import Recorder
from interlock.store import State
from interlock.store.accounts import Accounts

if TYPE_CHECKING:
    from interlock.config import Config

TELL = 1.0  # seconds between two looks at how it is doing


class SignalsJob:
    """What runs now. `configure` and `close` are for one thread, the rest for any."""

    def __init__(
        self,
        paths: Paths,
        state: State,
        clock: Clock,
        log: Log,
        *,
        config: Callable[[], Config],
        streams: StreamDesk,
        desk: Desk,
        signer: Callable[[], Signer | None],
        key: Callable[[], FactorKey],
        refresh: Callable[[str], None],
        acts: Callable[[], Recorder],
    ) -> None:
        """`signer`: the issuer's present key; `refresh`: asks for newer keys of an outside issuer."""
        self._paths = paths
        self._state = state
        self._clock = clock
        self._log = log
        self._config = config
        self._streams = streams
        self._signer = signer
        self._key = key
        self._acts = acts
        self._sources = Sources(paths, config)
        self._accounts = Accounts(state)
        self._receiver = Receiver(
            state,
            clock,
            log,
            desk=desk,
            find=self._sources.find,
            refresh=refresh,
            acts=acts,
            linked=self._linked,
        )
        self._delivery: Delivery | None = None
        self._pollers: dict[str, Poller] = {}
        self._stop = threading.Event()
        self._teller: threading.Thread | None = None
        self._said = b""
        streams.changed = self.look

    def configure(self) -> None:
        """Begin, go on, or end, as the file has it."""
        config = self._config()
        sends = config.issuer is not None and config.issuer.signals is not None
        if sends and self._delivery is None:
            self._delivery = Delivery(
                self._state,
                self._clock,
                self._log,
                issuer=lambda: self._config().issuer,
                signer=self._signer,
                key=self._key,
                acts=self._acts,
            )
            self._delivery.start()
        elif not sends and self._delivery is not None:
            self._delivery.close()
            self._delivery = None
        wanted = {
            one.issuer: one.signals
            for one in config.identity.issuers
            if one.signals is not None and one.signals.poll is not None
        }
        for name, poller in list(self._pollers.items()):
            if wanted.get(name) != poller.settings:
                poller.close()
                del self._pollers[name]
        for name, settings in wanted.items():
            if name not in self._pollers:
                poller = self._pollers[name] = Poller(name, settings, self._receiver, self._clock, self._log)
                poller.start()
        if self._teller is None and (sends or wanted or config.identity.pushing):
            self._teller = threading.Thread(target=self._tell_on, name="signals-status", daemon=True)
            self._teller.start()
        self.look()

    def close(self) -> None:
        """End. What was not confirmed, by others or by us, comes again."""
        self._stop.set()
        for poller in self._pollers.values():
            poller.close()
        if self._delivery is not None:
            self._delivery.close()

    def look(self) -> None:
        """Something is in a queue, or a stream has changed."""
        self._streams.filled()
        if self._delivery is not None:
            self._delivery.look()

    def push(self, request: Request) -> Response:
        """What an outside issuer sends to `receiver.PATH`."""
        if not self._config().identity.pushing:
            return json_response({"error": "not_found"}, 404)
        return self._receiver.push(request)

    def _linked(self, issuer: str, sub: str) -> tuple[str, str] | None:
        """The principal of whoever signs in at our issuer as somebody of an outside provider, and our issuer's URL."""
        own = self._config().issuer
        if own is None or not any(provider.issuer == issuer for provider in own.outside.values()):
            return None
        account = self._accounts.linked(self._key().hash("outside", Subject(issuer, sub, False).key))
        return None if account is None else (account.principal, own.url)

    def status(self) -> SignalsStatus:
        """Raises `StateError`."""
        found = SignalsStatus()
        if self._delivery is not None:
            found.streams = self._delivery.status()
        found.sources = [
            self._receiver.status_of(name) for polled in (False, True) for name in self._sources.names(polled=polled)
        ]
        return found

    def _tell_on(self) -> None:
        while not self._stop.wait(TELL):
            with suppress(InterlockError, OSError):
                self._tell()

    def _tell(self) -> None:
        """Only what is new: a node may be idle for long."""
        found = self.status()
        data = msgspec.json.encode(found)
        if data != self._said:
            SIGNALS_REPORT.write(self._paths.run, found if found.streams or found.sources else None)
            self._said = data
