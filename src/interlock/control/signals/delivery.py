"""Pushes what waits to those who asked for it (RFC 8935): in its order, at least once, later and later if it fails.

One event of a stream is on its way at a time, and the next goes when it was confirmed. What the receiver does not take
as it is (`invalid_request` and the like) is tried a few times and then set aside, on the record, so that one event
does not keep all others; what it says of keys, issuers and rights is about all of them, and waits. A stream whose
first event has waited for a day is paused: it is kept, and somebody has to look.

An answer's text is for nobody: a receiver that chose the URL MUST NOT learn from us what is found there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol

from interlock.clock import SECOND, Clock
from interlock.config import OwnIssuer
from interlock.control.publishing.attempts import Attempts
from interlock.control.publishing.status import PartyStatus
from interlock.control.signals.http import Http
from interlock.control.signals.outbox import entry
from interlock.control.signals.status import StreamStatus
from interlock.control.signals.streams import about
from interlock.errors import InterlockError, KeyMaterialError, NodeError, NotFound
from interlock.issuer.signals import events
from interlock.issuer.signals.events import opaque
from interlock.issuer.signals.sets import MEDIA, sign
from interlock.issuer.signals.stream import is_allowed
from interlock.jose import Malformed, decode_json_object
from interlock.jose.signing import Signer
from interlock.keys import FactorKey
from interlock.model import Event, Recorder
from interlock.store import State
from interlock.store.signals import ENABLED, PAUSED, Backlog, Signals, Stream, Waiting

TICK: Final = 1.0  # seconds between two looks when nobody says that there is something
AT_ONCE: Final = 16  # streams
IN_A_ROW: Final = 50  # events of one stream, before others have their turn
TIMEOUT: Final = 10.0
LARGEST: Final = 16 * 1024  # bytes of an answer
TRIES: Final = 5  # of one event that is not taken
DEAD: Final = 86_400 * SECOND
KEPT: Final = 14 * 86_400 * SECOND  # nobody would believe what is older
# What says that this event is not taken, and others might be (RFC 8935 section 2.4, SSF 1.0 section 8.1.4.1).
OF_EVENT: Final = frozenset({"invalid_request", "invalid_state"})
PATIENCE: Final = 2.0


class Log(Protocol):
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class NotTaken(NodeError):
    """The receiver answered that it does not take an event."""

    def __init__(self, code: str) -> None:
        super().__init__(f"it does not take it: {code}")
        self.code = code


class Delivery:
    """The thread that looks, and those that send."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        log: Log,
        *,
        issuer: Callable[[], OwnIssuer | None],
        signer: Callable[[], Signer | None],
        key: Callable[[], FactorKey],
        acts: Callable[[], Recorder],
        http: Callable[[OwnIssuer], Http] | None = None,
    ) -> None:
        self._kept = Signals(state)
        self._clock = clock
        self._log = log
        self._issuer = issuer
        self._signer = signer
        self._key = key
        self._acts = acts
        self._http = http or _http
        self._wake = threading.Condition()
        self._stopping = False
        self._looked = 0  # how often somebody said that there is something
        self._tries: dict[str, Attempts] = {}
        self._delivered: dict[str, int] = {}
        self._busy: set[str] = set()
        self._senders = ThreadPoolExecutor(AT_ONCE, "signals")
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Something is in a queue, or a stream has changed."""
        with self._wake:
            self._looked += 1
            self._wake.notify_all()

    def close(self) -> None:
        """End; what was not confirmed goes when it begins again."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._senders.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def status(self) -> list[StreamStatus]:
        """How each stream is doing. Raises `StateError`."""
        backlogs = self._kept.backlogs()
        found = []
        for stream in self._kept.streams():
            backlog = backlogs.get(stream.id, Backlog())
            tries = self._tries.get(stream.id)
            party = tries.status if tries is not None else PartyStatus(stream.id, stream.url)
            found.append(
                StreamStatus(
                    stream.id,
                    stream.client_id,
                    stream.method,
                    stream.url,
                    stream.status,
                    stream.reason,
                    stream.paused_by,
                    backlog.count,
                    backlog.oldest,
                    stream.lost,
                    self._delivered.get(stream.id, 0),
                    party.failures,
                    party.error,
                    party.failing_ns,
                    party.retry_ns,
                )
            )
        return found

    # -- the thread that looks

    def _run(self) -> None:
        seen = -1
        while True:
            with self._wake:
                if not self._stopping and self._looked == seen:
                    self._wake.wait(self._pause())
                if self._stopping:
                    return
                seen = self._looked
            try:
                self.tick()
            except InterlockError as problem:
                self._log.error("signals cannot be delivered", problem=str(problem))
                time.sleep(TICK)
            except Exception as fault:  # a fault of ours must not end it for good
                self._log.error("signals cannot be delivered", problem=repr(fault))
                time.sleep(TICK)

    def _pause(self) -> float:
        waits = [tries.waiting for tries in list(self._tries.values()) if tries.waiting]
        return min([TICK, *waits])

    def tick(self) -> None:
        """Have sent what can be sent now."""
        issuer = self._issuer()
        if issuer is None or issuer.signals is None or self._signer() is None:
            return
        self._expire()
        backlogs = self._kept.backlogs()
        if not backlogs:
            return
        for stream in self._kept.streams():
            backlog = backlogs.get(stream.id)
            if backlog is None or stream.status != ENABLED:
                continue
            if self._clock.wall() - backlog.oldest > DEAD:
                self.stall(stream, "nothing was confirmed for a day")
            elif stream.method == "push" and self._may(stream.id):
                self._send_soon(stream)

    def _may(self, stream_id: str) -> bool:
        tries = self._tries.get(stream_id)
        return stream_id not in self._busy and (tries is None or not tries.waiting)

    def _send_soon(self, stream: Stream) -> None:
        self._busy.add(stream.id)

        def send() -> None:
            try:
                self.send(stream)
            finally:
                self._busy.discard(stream.id)
                self.look()

        try:
            self._senders.submit(send)
        except RuntimeError:  # closed meanwhile
            self._busy.discard(stream.id)

    def _expire(self) -> None:
        for stream_id, count in self._kept.expire(self._clock.wall() - KEPT).items():
            self._acts().act(Event.SIGNAL_STALLED, {"stream": stream_id, "expired": count})
            self._log.warning("signals have become too old to be told", stream=stream_id, count=count)
            with suppress(NotFound):
                stream = self._kept.stream(stream_id)
                self._kept.change_stream(stream_id, lost=stream.lost + count)

    def stall(self, stream: Stream, why: str) -> None:
        """Pause a stream that does not get there. Its receiver is told, as far as it will ever hear from us again."""
        issuer = self._issuer()
        self._acts().act(Event.SIGNAL_STALLED, {"stream": stream.id, "client": stream.client_id, "why": why})
        self._log.warning("signals are paused", stream=stream.id, client=stream.client_id, why=why)
        changed = self._kept.change_stream(stream.id, status=PAUSED, reason=why, paused_by="node")
        if issuer is not None:
            now = self._clock.wall()
            payload = {"status": PAUSED, "reason": why}
            told = entry(issuer.url, changed, opaque(stream.id), events.STREAM_UPDATED, payload, now)
            self._kept.enqueue([told], now, most=1 << 62)

    # -- those that send

    def send(self, stream: Stream) -> None:
        """Push what waits for one stream, until there is nothing, it fails, or others have waited for long enough."""
        issuer, signer = self._issuer(), self._signer()
        if issuer is None or issuer.signals is None or signer is None:
            return
        tries = self._tries.get(stream.id)
        if tries is None:
            tries = self._tries[stream.id] = Attempts(PartyStatus(stream.id, stream.url), self._clock)
        before = tries.status.error
        http: Http | None = None
        try:
            if not stream.operator and not is_allowed(stream.url, issuer.signals.push_to):
                self.stall(stream, "its URL is no longer among those that may be pushed to")
                return
            headers = self._headers(stream)
            http = self._http(issuer)
            for one in self._kept.waiting(stream.id, IN_A_ROW):
                if self._stopping or self._kept.stream(stream.id) != stream:
                    return
                self._push(http, stream, one, sign(signer, one.claims), headers)
                self._told(stream, one)
                tries.succeeded(0)
        except NotFound:
            return
        except InterlockError as problem:
            tries.failed(str(problem))
        except Exception as fault:  # a fault of ours in one must not end the others
            tries.failed(repr(fault))
        else:
            if before:
                self._log.info("signals get there again", stream=stream.id, client=stream.client_id)
            return
        finally:
            if http is not None:
                http.close()
        if tries.status.error != before:
            self._log.warning("signals do not get there", stream=stream.id, problem=tries.status.error)

    def _headers(self, stream: Stream) -> dict[str, str]:
        headers = {"content-type": MEDIA, "accept": "application/json"}
        if stream.authorization:
            try:
                headers["authorization"] = self._key().unwrap(stream.authorization, about(stream.id)).decode("ascii")
            except KeyMaterialError as problem:
                raise NodeError(f"what it is pushed with cannot be opened: {problem}") from None
        return headers

    def _push(self, http: Http, stream: Stream, one: Waiting, token: str, headers: dict[str, str]) -> None:
        status, body = http.post(stream.url, token.encode("ascii"), headers)
        if 200 <= status < 300:  # 202 it should be
            return
        code = _code(body) if status == 400 else ""
        if code in OF_EVENT:
            self._kept.refuse(one.number)
            if one.refused + 1 >= TRIES:
                self._set_aside(stream, one, code)
                return
        if code:
            raise NotTaken(code)
        raise NodeError(f"it answered {status}")

    def _told(self, stream: Stream, one: Waiting) -> None:
        for jti, event in self._kept.confirm(stream.id, [one.jti]):
            self._acts().act(Event.SIGNAL_SEND, {"stream": stream.id, "jti": jti, "event": event})
            self._delivered[stream.id] = self._delivered.get(stream.id, 0) + 1

    def _set_aside(self, stream: Stream, one: Waiting, code: str) -> None:
        told: dict[str, Any] = {"stream": stream.id, "jti": one.jti, "event": one.event, "error": code}
        self._acts().act(Event.SIGNAL_REFUSED, {**told, "by": "receiver"})
        self._log.warning("a signal was not taken", stream=stream.id, jti=one.jti, error=code)
        self._kept.confirm(stream.id, [one.jti])


def _code(body: bytes) -> str:
    """`err` of RFC 8935 section 2.3, if it is one that could be."""
    try:
        code = decode_json_object(body).get("err")
    except Malformed:
        return ""
    fits = isinstance(code, str) and 0 < len(code) <= 64 and code.isascii() and code.replace("_", "").isalnum()
    return str(code) if fits else ""


def _http(issuer: OwnIssuer) -> Http:
    return Http(issuer.signals.ca if issuer.signals is not None else None, TIMEOUT, LARGEST)
