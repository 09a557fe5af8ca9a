"""Puts acts on the record: what operators and our own processes do, as opposed to calls.

An act is on disk before `act` returns; if it cannot be, `RecordUnavailable` is raised and the act MUST NOT
take place. What is noted is in the kernel, and on disk with the next act or seal: for what happens often and ends by
itself, as issuing tokens does.

Who acted, and the details that name somebody, go into subject frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from interlock.audit.entries import Act, encode
from interlock.audit.segment import RecordId, format_id
from interlock.audit.subjects import PRINCIPAL, Subject
from interlock.audit.writer import SegmentWriter
from interlock.model import Event

NAMING = ("principal", "subject")  # details that name somebody; there may be several, `subject1` and on
RENEW = 1.0  # seconds in which a key that was turned is followed, as workers do
NOBODY = ("process:", "service:interlock/control", "service:interlock/issuer")  # actors that are no persons


class ActRecorder:
    """A `model.Recorder` over one segment writer; may be shared by threads."""

    def __init__(self, writer: SegmentWriter, actor: str, _lock: threading.Lock | None = None) -> None:
        self._writer = writer
        self._actor = actor
        self._lock = _lock or threading.Lock()
        self._looked = 0.0  # when the keys were looked at for a note

    def by(self, actor: str) -> ActRecorder:
        """The same recorder, for what `actor` does."""
        return ActRecorder(self._writer, actor, self._lock)

    def act(self, event: Event, details: Mapping[str, Any], refers: RecordId | None = None) -> str:
        """Put an act on the record and on disk; gives its id. `refers` names the record it is about."""
        with self._lock:
            self._writer.renew()
            record = self._write(event, details, refers, durable=True)
            self._writer.sync()
        return format_id(record)

    def note(self, event: Event, details: Mapping[str, Any]) -> str:
        """Put something on the record, written but not yet on disk; gives its id."""
        with self._lock:
            now = time.monotonic()
            if now >= self._looked + RENEW:  # looking takes as long as all the rest
                self._looked = now
                self._writer.renew()
            return format_id(self._write(event, details, None, durable=False))

    def _write(self, event: Event, details: Mapping[str, Any], refers: RecordId | None, *, durable: bool) -> RecordId:
        self._writer.settle()
        record = self._writer.append(event.code, encode(self._entry(details)), refers, durable=durable)
        self._writer.flush()
        return record

    def renew(self) -> None:
        """Begin another segment if the intake key was turned."""
        with self._lock:
            self._writer.renew()

    def _entry(self, details: Mapping[str, Any]) -> Act:
        refer = self._writer.refer
        actor = self._actor if self._actor.startswith(NOBODY) else refer(PRINCIPAL, self._actor)
        told: dict[str, Any] = {}
        subjects: dict[str, int] = {}
        for name, value in details.items():
            told[name] = value
            if isinstance(value, str) and value and name.rstrip("0123456789") in NAMING:
                reference = refer(*_subject(value))
                if isinstance(reference, int):
                    subjects[name] = reference
                    del told[name]
        return Act(actor, told, subjects)

    def acknowledge(self, gap: RecordId, note: str = "") -> str:
        """An operator has looked at a possible gap, or an alarm, and says so."""
        return self.act(Event.RECORD_GAP_ACKNOWLEDGED, {"record": format_id(gap), "note": note}, gap)

    def close(self) -> None:
        """End the writer's segment in good order."""
        with self._lock:
            self._writer.close()


def _subject(text: str) -> Subject:
    try:
        return Subject.named(text)
    except ValueError:
        return Subject(PRINCIPAL, text)
