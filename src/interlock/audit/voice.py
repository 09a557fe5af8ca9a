"""What the recorder itself puts on the record: alarms, damage, and outcomes for writers that died.

What waits to be said stays waiting until it is written; it MUST NOT be said twice or be lost to a full disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from interlock.audit.entries import UNKNOWN, Act, Outcome, encode
from interlock.audit.segment import RecordId
from interlock.audit.writer import SegmentWriter
from interlock.errors import RecordUnavailable
from interlock.model import Event

_ACTOR = "process:recorder"


class Page(Protocol):
    """Where the node learns how the record is doing."""

    def published(self, sealed_ns: int) -> None: ...

    def alarm(self) -> None: ...


class Voice:
    """The recorder's own records, over its own segment writer."""

    def __init__(self, writer: SegmentWriter, page: Page) -> None:
        self.alarms = 0
        self._writer = writer
        self._page = page
        self._waiting: list[tuple[Event, bytes, RecordId | None, Callable[[RecordId], None] | None]] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def alarm(self, message: str) -> None:
        """The record is not what was written: at once on the page, soon on the record."""
        self.alarms += 1
        self._page.alarm()
        self.act(Event.RECORD_ALTERED, {"what": message})

    def act(
        self,
        event: Event,
        details: Mapping[str, Any],
        refers: RecordId | None = None,
        then: Callable[[RecordId], None] | None = None,
    ) -> None:
        """Say it soon; `then` is told as which record it was written."""
        self._waiting.append((event, encode(Act(_ACTOR, dict(details))), refers, then))

    def answer(self, intents: Iterable[RecordId]) -> None:
        """Nobody will ever know how these calls ended."""
        payload = encode(Outcome(0, UNKNOWN))
        self._waiting += [(Event.CALL_OUTCOME, payload, intent, None) for intent in intents]

    def speak(self) -> str:
        """Write what waits; gives why not, if so."""
        try:
            written = [self._writer.append(event.code, payload, refers) for event, payload, refers, _ in self._waiting]
            self._writer.flush()
        except RecordUnavailable as error:  # an append fails only before the first one
            return str(error)
        told, self._waiting = self._waiting, []
        for record, (*_, then) in zip(written, told, strict=True):
            if then is not None:
                then(record)
        return ""

    def hush(self) -> None:
        """Forget what waits: it will be found again."""
        self._waiting.clear()

    def close(self) -> None:
        """End the own segment in good order."""
        self._writer.close()
