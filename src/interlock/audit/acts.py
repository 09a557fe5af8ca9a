"""Puts acts on the record: what operators and our own processes do, as opposed to calls.

An act is on disk before `act` returns; if it cannot be, `RecordUnavailable` is raised and the act MUST NOT
take place. What is noted is in the kernel, and on disk with the next act or seal: for what happens often and ends by
itself, as issuing tokens does. Whoever does much of that at once has it written once, by `hold` and `release`, and
MUST NOT act upon any of it before.

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
from interlock.errors import RecordUnavailable
from interlock.model import Event

NAMING = ("principal", "subject")  # details that name somebody; there may be several, `subject1` and on
RENEW = 1.0  # seconds in which a key that was turned is followed, as workers do
NOBODY = ("process:", "service:interlock/control", "service:interlock/issuer")  # actors that are no persons


class _Shared:
    """What the recorders of one writer have in common."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.looked = 0.0  # when the keys were looked at for a note
        self.holder = 0  # the thread whose notes wait to be written
        self.held = 0  # of them
        self.failures = 0  # of the writer, when the first of them came


class ActRecorder:
    """A `model.Recorder` over one segment writer; may be shared by threads."""

    def __init__(self, writer: SegmentWriter, actor: str, _shared: _Shared | None = None) -> None:
        self._writer = writer
        self._actor = actor
        self._shared = _shared or _Shared()

    def by(self, actor: str) -> ActRecorder:
        """The same recorder, for what `actor` does."""
        return ActRecorder(self._writer, actor, self._shared)

    def act(self, event: Event, details: Mapping[str, Any], refers: RecordId | None = None) -> str:
        """Put an act on the record and on disk; gives its id. `refers` names the record it is about."""
        with self._shared.lock:
            self._writer.renew()
            record = self._add(event, details, refers, durable=True)
            self._writer.flush()
            self._writer.sync()
        return format_id(record)

    def note(self, event: Event, details: Mapping[str, Any], *, at_once: bool = False) -> str:
        """Put something on the record, written but not yet on disk; gives its id.

        Between `hold` and `release` it waits to be written, unless it is to be `at_once`.
        """
        shared = self._shared
        with shared.lock:
            waits = not at_once and shared.holder == threading.get_ident()
            if waits:
                if not shared.held:
                    shared.failures = self._writer.failures
                shared.held += 1  # before it can fail: then it is not on the record, either
            now = time.monotonic()
            if now >= shared.looked + RENEW:  # looking takes as long as all the rest
                shared.looked = now
                self._writer.renew()
            record = self._add(event, details, None, durable=False)
            if not waits:
                self._writer.flush()
        return format_id(record)

    def hold(self) -> None:
        """What this thread notes from now on, by whatever recorder of this writer, waits for `release`.

        One thread at a time may do so; what others note meanwhile is written as ever.
        """
        self._shared.held, self._shared.holder = 0, threading.get_ident()

    @property
    def held(self) -> int:
        """How many notes have come to wait since `hold`."""
        return self._shared.held

    def release(self) -> None:
        """Write what waits; `RecordUnavailable`: some of it is not on the record."""
        shared = self._shared
        shared.holder = 0
        if not shared.held:
            return
        with shared.lock:
            self._writer.flush()
            if self._writer.failures != shared.failures:  # another thread wrote it, in vain
                raise RecordUnavailable("the segment was given up")

    def _add(self, event: Event, details: Mapping[str, Any], refers: RecordId | None, *, durable: bool) -> RecordId:
        self._writer.settle()
        return self._writer.append(event.code, encode(self._entry(details)), refers, durable=durable)

    def renew(self) -> None:
        """Begin another segment if the intake key was turned."""
        with self._shared.lock:
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
        with self._shared.lock:
            self._writer.close()


def _subject(text: str) -> Subject:
    try:
        return Subject.named(text)
    except ValueError:
        return Subject(PRINCIPAL, text)
