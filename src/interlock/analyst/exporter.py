"""One export: reads on from where it is, sends, and remembers how far the receiver has confirmed.

    read a batch -> send it, again and again until it is taken -> confirmed -> the place on disk

What is not confirmed is never forgotten: a batch that is refused is kept and tried again, and after a broken
connection everything since the last confirmed place is read again. So each record arrives at least once. A
crash between confirmation and the place on disk repeats; nothing MUST come the other way round.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from interlock.analyst.backoff import delay
from interlock.analyst.place import Place
from interlock.analyst.sink import Message, Sink, SinkError
from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.export import Form, form
from interlock.audit.feed import Feed
from interlock.audit.filters import Filters
from interlock.audit.joined import Joiner
from interlock.audit.naming import MakeNames
from interlock.audit.reader import OpenKey
from interlock.audit.segment import format_id
from interlock.audit.subjects_reading import Tell
from interlock.clock import SECOND, Clock
from interlock.config import Export
from interlock.errors import InterlockError
from interlock.snapshot.exports import ExportStatus

POLL = 0.2  # seconds between looks for what is new
CONFIRM_EVERY = 2 * SECOND  # at least, while unconfirmed batches follow each other
CONFIRM_AT = 20  # batches
KEEP_EVERY = 5 * SECOND  # for a place that moved on past records nobody wants
LARGEST = 4 * 1024 * 1024  # bytes of a batch, if it has more than one record


class Exporter:
    """For one thread. `status` may be looked at by others."""

    def __init__(
        self,
        export: Export,
        record: Path,
        open_key: OpenKey,
        folder: Path,
        *,
        make_sink: Callable[[Export], Sink],
        clock: Clock,
        host: str,
        chance: Callable[[], float] = random.random,
        names: MakeNames | None = None,
        tell: Tell = lambda _: None,
        failures: int = 0,
        log: str = "",
    ) -> None:
        """`log`: the name of the node's log, which marks its record apart from others."""
        self.export = export
        self.status = ExportStatus(export.name, export.format, str(export.to), failures=failures)
        self._record = record
        self._open_key = open_key
        self._names = names
        self._tell = tell
        self._place = Place(folder, export.name, log=log)
        self._make_sink = make_sink
        self._clock = clock
        self._chance = chance
        self._form: Form = form(export.format, host, framed=export.to.scheme in ("tls", "tcp"))
        only = export.only
        self._kinds = frozenset(only.kinds)
        self._wanted = Filters(
            principal=only.principal,
            decision=only.decision,
            reason=only.reason,
            route=only.route,
            service=only.service,
            source=only.source,
            method=only.method,
            status=only.status,
        ).compile()
        self._sink: Sink | None = None
        self._feed: Feed | None = None
        self._joiner: Joiner | None = None
        self._confirmed = BEGINNING
        self._kept_at = 0  # monotonic
        self._batch: list[Message] = []
        self._oldest = 0  # wall ns of the oldest record that was read and is not confirmed
        self._size = export.batch
        self._unconfirmed = 0  # records sent and not confirmed
        self._batches = 0  # the same
        self._unconfirmed_at = 0  # monotonic, when the first of them was sent
        self._in_a_row = 0

    def step(self) -> float:
        """Do what is to be done now; gives the seconds to wait before the next step."""
        try:
            return self._step()
        except (InterlockError, OSError) as error:
            return self._failed(error)

    def close(self, *, politely: bool = True) -> None:
        """Let go; `politely`: confirm and keep what was sent before, if the receiver is quick about it."""
        try:
            if politely and self._unconfirmed and not self.status.error:
                self._confirm()
        except (InterlockError, OSError) as error:
            self.status.error = str(error)
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def _step(self) -> float:
        if self._feed is None:
            self._begin()
        if not self._batch:
            self._read()
        if self._batch:
            self._send()
            return 0.0
        now = self._clock.monotonic()
        if self._unconfirmed:
            if now - self._unconfirmed_at >= CONFIRM_EVERY:
                self._confirm()
        elif self._cursor != self._confirmed and now - self._kept_at >= KEEP_EVERY:
            self._keep()
        self.status.state = "sending" if self._unconfirmed else "idle"
        self._look_at_lag()
        return POLL

    @property
    def _cursor(self) -> Cursor:
        assert self._feed is not None
        return self._feed.cursor

    def _begin(self) -> None:
        kept = self._place.read()
        if kept is not None:
            self._confirmed, self.status.records = kept
        self._feed = Feed(self._record, self._open_key, self._confirmed)
        self._joiner = Joiner(self._feed, self._names, self._tell)
        if kept is None:
            if self.export.start == "now":
                self._feed.go_to_end()
            self._keep()

    def _read(self) -> None:
        """Gather the next batch."""
        assert self._feed is not None
        assert self._joiner is not None
        length = 0
        while len(self._batch) < self._size and length < LARGEST:
            frames = self._feed.read(self._size - len(self._batch))
            if not frames:
                return
            for fed in frames:
                joined = self._joiner.add(fed)
                if joined is None or joined.kind not in self._kinds or not self._wanted(joined.row):
                    continue
                self._oldest = self._oldest or joined.ended_ns
                data = self._form(joined)
                length += len(data)
                self._batch.append(Message(format_id(joined.records[-1]), data))

    def _send(self) -> None:
        if self._sink is None:
            self._sink = self._make_sink(self.export)
        self.status.state = "sending"
        self._look_at_lag()
        while self._batch:  # in one piece, unless the receiver wants smaller ones
            some = self._batch[: self._size]
            confirmed = self._sink.send(some)
            self._batch = self._batch[len(some) :]
            if confirmed:
                self.status.records += len(some)
            else:
                if not self._unconfirmed:
                    self._unconfirmed_at = self._clock.monotonic()
                self._unconfirmed += len(some)
        if not self._unconfirmed:
            self._went_well()
            return
        self._batches += 1
        due = self._clock.monotonic() - self._unconfirmed_at >= CONFIRM_EVERY
        if due or self._batches >= CONFIRM_AT:
            self._confirm()

    def _confirm(self) -> None:
        if self._sink is None:
            raise SinkError("the connection broke before what was sent was confirmed")
        self._sink.confirm()
        self.status.records += self._unconfirmed
        self._unconfirmed = self._batches = 0
        self._went_well()

    def _went_well(self) -> None:
        self._keep()
        self._in_a_row = 0
        self._size = min(self.export.batch, 2 * self._size)
        status = self.status
        status.confirmed_ns = self._clock.wall()
        status.error, status.failing_ns, status.retry_ns = "", 0, 0
        self._oldest = 0
        self._look_at_lag()

    def _keep(self) -> None:
        self._place.keep(self._cursor, self.status.records, self._clock.wall())
        self._confirmed = self._cursor
        self._kept_at = self._clock.monotonic()

    def _failed(self, error: Exception) -> float:
        """Say why, go back to what is confirmed, and wait."""
        self._in_a_row += 1
        now, status = self._clock.wall(), self.status
        status.failures += 1
        status.state = "retrying"
        status.error = str(error) or type(error).__name__
        status.failing_ns = status.failing_ns or now
        asked = None
        if isinstance(error, SinkError):
            asked = error.retry_after
            if error.smaller:
                self._size = max(1, min(self._size, len(self._batch) or self._size) // 2)
        self._look_at_lag()
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        if self._unconfirmed or not isinstance(error, SinkError):
            self._go_back()
        wait = delay(self._in_a_row, self._chance(), asked)
        status.retry_ns = now + int(wait * SECOND)
        return wait

    def _go_back(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        self._batch = []
        self._unconfirmed = self._batches = 0

    def _look_at_lag(self) -> None:
        if self._oldest:
            self.status.lag_seconds = round(max(0, self._clock.wall() - self._oldest) / SECOND, 3)
        elif not self.status.error:
            self.status.lag_seconds = 0.0
