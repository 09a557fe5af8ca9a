"""Puts calls on the record: intents before they pass, refusals before they are answered, outcomes after.

Everything of one turn of the event loop goes to the kernel in one write. Calls of `durable` routes wait
further for the disk: a thread syncs, and what arrives meanwhile shares the next sync. A call goes on only
from here, by `Call.forward`, and MUST NOT before its intent is written as its route asks.

A failed flush loses what was appended since the last good one. Intents and refusals of it are answered
`record-unavailable`; outcomes are kept and appended again, so that every intent gets one, and what was
counted of floods is counted on.

Who calls, from where and about whom stands in subject frames: a record has their sequences. Each record is
settled into a segment first, since a sequence means something in its own segment only.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

import msgspec

from interlock.audit import HandshakeRefused, Progress, Refusals, SegmentWriter, SyncTicket
from interlock.audit import format_id as record_id
from interlock.audit.subjects import PATH, PRINCIPAL, SOURCE
from interlock.errors import RecordError, RecordUnavailable
from interlock.gateway.floods import EVERYBODY
from interlock.model import ANONYMOUS, Event, Identity, Reason, Refusal

if TYPE_CHECKING:
    from interlock.audit import RecordId
    from interlock.gateway.call import Call
    from interlock.gateway.floods import Flood
    from interlock.gateway.paths import Target
    from interlock.gateway.route import Route

OUTCOME_DELAY: Final = 0.02  # seconds an outcome may wait for company
KEPT: Final = 100_000  # outcomes kept while nothing can be written
KEPT_AT_ONCE: Final = 2_000  # of them appended again with one flush, so that the loop is not held up
LONGEST: Final = 4096  # characters of a path, host or note on the record

INTENT: Final = Event.CALL_INTENT.code
OUTCOME: Final = Event.CALL_OUTCOME.code
REFUSED: Final = Event.CALL_REFUSED.code
REFUSALS: Final = Event.CALL_REFUSALS.code
PROGRESS: Final = Event.CALL_PROGRESS.code
TLS_REFUSED: Final = Event.TLS_REFUSED.code
MOVED: Final = Event.CREDENTIAL_MOVED.code
ACTOR: Final = "process:worker"  # of what a worker finds by itself

encode: Final = msgspec.msgpack.Encoder().encode


class CallRecorder:
    """One worker's records of calls, over its segment writer. For the event loop's thread."""

    def __init__(self, writer: SegmentWriter, loop: asyncio.AbstractEventLoop) -> None:
        self._writer = writer
        self._loop = loop
        self._intents: list[Call] = []  # appended, not yet flushed
        self._answers: list[Callable[[bool], None]] = []  # refusals, likewise
        self._outcomes: list[tuple[RecordId, bytes]] = []  # likewise
        self._kept: list[tuple[RecordId, bytes]] = []  # outcomes of flushes that failed, or never appended
        self._counts: list[Callable[[], None]] = []  # what takes a flood's count back, likewise
        self._unsynced: list[Call] = []  # flushed, not yet on disk
        self._ticket: SyncTicket | None = None
        self._syncing: list[Call] = []
        self._syncer = Syncer(loop, self._synced)
        self._soon = False
        self._later = False
        self.syncs = 0
        self.failed_syncs = 0
        self.unsealed = False  # the recorder has not sealed for too long: nothing passes

    @property
    def tight(self) -> bool:
        """The disk's reserve is in use."""
        return self._writer.tight

    # -- what is written

    def intent(self, call: Call) -> None:
        """Write the intent; `call.forward()` or `call.unrecorded()` follows."""
        if self.unsealed:
            call.unrecorded()
            return
        identity = call.identity
        target = call.target
        route = call.route
        assert target is not None
        assert route is not None
        durable = route.durable
        principal: str | int = identity.text
        credential: str | int = identity.credential
        try:
            self._writer.settle()
            if identity is not ANONYMOUS:
                principal = self._writer.refer(PRINCIPAL, identity.text, identity.credential)
                if isinstance(principal, int):
                    credential = principal
            payload = encode(
                (
                    principal,
                    identity.methods,
                    call.method,
                    call.head.hostname,
                    route.id,
                    self._resource(call, route, target) if route.subjects else target.path,
                    self._writer.refer(SOURCE, call.source),
                    route.service,
                    call.trace,
                    "durable" if durable else "written",
                    credential,
                )
            )
            call.intent = self._writer.append(INTENT, payload, None, durable)
        except RecordError:
            call.unrecorded()
            return
        self._intents.append(call)
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._flush)

    def refused(self, call: Call, refusal: Refusal, answer: Callable[[bool], None], duration: int) -> None:
        """Write a refusal; `answer(whether it is written)` is called once that is known."""
        identity = call.identity
        reason = refusal.reason
        route = call.route
        target = call.target
        principal: str | int = identity.text
        credential: str | int = identity.credential
        resource: object
        try:
            self._writer.settle()
            if identity is not ANONYMOUS:
                principal = self._writer.refer(PRINCIPAL, identity.text, identity.credential)
                if isinstance(principal, int):
                    credential = principal
            if target is None:
                resource = call.head.target.decode("latin-1")[:LONGEST]
            elif route is not None and route.subjects:
                resource = self._resource(call, route, target)
            else:
                resource = target.path
            entry = (
                principal,
                identity.methods,
                call.method,
                call.head.hostname[:LONGEST],
                route.id if route is not None else "",
                resource,
                self._writer.refer(SOURCE, call.source),
                reason,
                reason.status,
                refusal.note[:LONGEST],
                duration,
                call.trace,
                route.service if route is not None else "",
                credential,
            )
            call.reference = record_id(self._writer.append(REFUSED, encode(entry)))
        except RecordError:
            answer(False)
            return
        self._answers.append(answer)
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._flush)

    def refused_connection(self, address: str, refusal: Refusal, server_name: str) -> None:
        """A connection that ended before it carried a call."""
        try:
            self._writer.settle()
            source = self._writer.refer(SOURCE, address)
        except RecordError:
            return
        self._add(TLS_REFUSED, encode(HandshakeRefused(source, refusal.reason, "", server_name, refusal.note)))

    def refusals(self, source: str, flood: Flood, until: int, unwritten: Callable[[], None]) -> None:
        """A flood, counted; `unwritten` is called if that cannot be written."""
        named: str | int = source
        try:
            self._writer.settle()
            if source != EVERYBODY:
                named = self._writer.refer(SOURCE if _is_network(source) else PRINCIPAL, source)
        except RecordError:
            unwritten()
            return
        if self._add(REFUSALS, encode(Refusals(named, flood.count, flood.reasons, flood.since, until))):
            self._counts.append(unwritten)
        else:
            unwritten()

    def moved(self, call: Call, identity: Identity, what: str) -> None:
        """A token was used from another network, or by another program, than at first: an act of its own."""
        route = call.route
        assert route is not None
        details: dict[str, object] = {"what": what, "route": route.id, "trace": call.trace}
        subjects: dict[str, int] = {}
        try:
            self._writer.settle()
            principal = self._writer.refer(PRINCIPAL, identity.text, identity.credential)
            source = self._writer.refer(SOURCE, call.source)
        except RecordError:
            return
        for name, reference in (("principal", principal), ("source", source)):
            if isinstance(reference, int):
                subjects[name] = reference
            else:
                details[name] = reference
        self._add(MOVED, encode((ACTOR, details, subjects)))

    def _resource(self, call: Call, route: Route, target: Target) -> list[str | int]:
        """The path in pieces; segments that identify somebody are references, wherever they stand."""
        identifying = route.identifying(target.segments, call.params)
        pieces: list[str | int] = []
        text = ""
        for number, segment in enumerate(target.segments):
            kind = identifying.get(number)
            if kind is None:
                text += "/" + segment
            else:
                pieces += [text + "/", self._writer.refer(PATH, segment, kind)]
                text = ""
        if text:
            pieces.append(text)
        return pieces or ["/"]

    def progress(self, call: Call, duration: int) -> None:
        if call.intent is not None:
            self._add(PROGRESS, encode(Progress(duration, call.bytes_in, call.bytes_out)), call.intent)

    def outcome(self, call: Call, status: int, reason: Reason | None, note: str, duration: int) -> None:
        """Write how a call ended; it may wait for the next batch."""
        assert call.intent is not None
        payload = encode((status, reason or "", duration, call.bytes_in, call.bytes_out, call.upstream, note))
        self._outcome(call.intent, payload)
        if not self._soon and not self._later:
            self._later = True
            self._loop.call_later(OUTCOME_DELAY, self._flush_later)

    def sweep(self) -> None:
        """Once a second: try again what could not be written."""
        if self._kept or self._writer.pending:
            self._flush()

    async def close(self) -> None:
        """Write what is left and end the segment."""
        self._flush()
        while self._syncing or self._unsynced:
            await asyncio.sleep(0.005)
        left = KEPT + 1
        while len(self._kept) < left:  # as long as it helps
            left = len(self._kept)
            self._flush()
        self._syncer.close()
        self._writer.close()

    # -- how it is written

    def _add(self, event: int, payload: bytes, refers: RecordId | None = None) -> bool:
        try:
            self._writer.append(event, payload, refers)
        except RecordError:
            return False
        if not self._later:
            self._later = True
            self._loop.call_later(OUTCOME_DELAY, self._flush_later)
        return True

    def _outcome(self, intent: RecordId, payload: bytes) -> None:
        try:
            self._writer.append(OUTCOME, payload, intent)
        except RecordError:
            self._keep([(intent, payload)])
            return
        self._outcomes.append((intent, payload))

    def _keep(self, outcomes: list[tuple[RecordId, bytes]]) -> None:
        self._kept += outcomes[: KEPT - len(self._kept)]

    def _flush_later(self) -> None:
        self._later = False
        if not self._soon:
            self._flush()

    def _flush(self) -> None:
        """One write for all; then, and only then, calls go on and refusals are answered."""
        self._soon = False
        writer = self._writer
        intents, self._intents = self._intents, []
        answers, self._answers = self._answers, []
        if self._kept:
            self._append_again()
        try:
            writer.flush()
        except RecordUnavailable:
            lost = {call.intent for call in intents}
            outcomes, self._outcomes = self._outcomes, []
            self._keep([entry for entry in outcomes if entry[0] not in lost])
            counts, self._counts = self._counts, []
            for unwritten in counts:
                unwritten()
            for call in intents:
                call.unrecorded()
            for answer in answers:
                answer(False)
            return
        self._outcomes.clear()
        self._counts.clear()
        durable = False
        for call in intents:
            if call.route is not None and call.route.durable:
                self._unsynced.append(call)
                durable = True
            else:
                call.forward()
        for answer in answers:
            answer(True)
        if durable and not self._syncing:
            self._sync()

    def _append_again(self) -> None:
        """After failed flushes: the outcomes that were in them, into the present segment."""
        kept, self._kept = self._kept, []
        done = 0
        for intent, payload in kept[:KEPT_AT_ONCE]:
            try:
                self._writer.append(OUTCOME, payload, intent)
            except RecordError:
                break
            done += 1
        self._outcomes += kept[:done]
        self._kept = kept[done:]
        if done and self._kept and not self._later:
            self._later = True
            self._loop.call_later(OUTCOME_DELAY, self._flush_later)

    def _sync(self) -> None:
        """Have the disk confirm all that was flushed; one sync at a time."""
        self._syncing, self._unsynced = self._unsynced, []
        try:
            ticket = self._writer.sync_ticket()
        except RecordUnavailable:
            self._synced(False)
            return
        self._syncer.submit(ticket)

    def _synced(self, good: bool) -> None:
        calls, self._syncing = self._syncing, []
        self.syncs += 1
        self.failed_syncs += not good
        for call in calls:
            if good:
                call.forward()
            else:
                call.unsynced()
        if self._unsynced:
            self._sync()


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


class Syncer:
    """The thread that waits for the disk, so that the event loop does not."""

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Callable[[bool], None]) -> None:
        self._loop = loop
        self._done = done
        self._tickets: queue.SimpleQueue[SyncTicket | None] = queue.SimpleQueue()
        self._runner: threading.Thread | None = None

    def submit(self, ticket: SyncTicket) -> None:
        """Run the ticket; `done(whether it is on disk)` is called on the loop."""
        if self._runner is None:
            self._runner = threading.Thread(target=self._work, name="syncer", daemon=True)
            self._runner.start()
        self._tickets.put(ticket)

    def close(self) -> None:
        if self._runner is not None:
            self._tickets.put(None)
            self._runner.join(5)

    def _work(self) -> None:
        while (ticket := self._tickets.get()) is not None:
            try:
                ticket.run()
                good = True
            except Exception:
                good = False  # whatever it is, calls wait for the answer
            self._loop.call_soon_threadsafe(self._done, good)
