"""Names for what records refer to, for a reader that follows: it may begin in the middle of a segment.

Subject frames are remembered as they come, and read again by their number when they came before. What the
state database says of erasures is asked anew every `REFRESH` seconds, so that a reader that runs for weeks
does not go on naming whom it knew at its start.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeVar

from interlock.audit.entries import Act, Entry, HandshakeRefused, Intent, Refusals, Refused
from interlock.audit.feed import Fed, Feed
from interlock.audit.subjects_reading import Names, SegmentNames, Tell, resolve
from interlock.model import Event

REFRESH = 30.0  # seconds
_SEGMENTS = 64
_PAYLOADS = 50_000  # subject frames of one segment that are remembered
MakeNames = Callable[[], Names]
E = TypeVar("E", bound=Entry)


class _Known:
    """One segment's subjects."""

    __slots__ = ("given", "made", "names", "payloads")

    def __init__(self) -> None:
        self.payloads: dict[int, bytes] = {}
        self.names: SegmentNames | None = None
        self.given: set[int] = set()  # what `names` has seen
        self.made = 0.0


class Naming:
    """For one feed, in its thread."""

    def __init__(
        self,
        feed: Feed,
        make: MakeNames | None,
        tell: Tell,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._make = make
        self._tell = tell
        self._monotonic = monotonic
        self._names: Names | None = None
        self._made = 0.0
        self._segments: OrderedDict[bytes, _Known] = OrderedDict()

    def seen(self, fed: Fed) -> None:
        """Remember a subject frame; anything else is none."""
        if fed.event is Event.RECORD_SUBJECT:
            payloads = self._known(fed.record[0]).payloads
            if len(payloads) >= _PAYLOADS:
                payloads.clear()
            payloads[fed.record[1]] = fed.payload

    def named(self, segment: bytes, entry: E) -> E:
        """The entry with text in place of numbers. Raises `StateError`, `RecordError`."""
        references = list(_references(entry))
        if not references:
            return entry
        known = self._known(segment)
        names = self._names_of(segment, known)
        for sequence in references:
            if sequence in known.given:
                continue
            payload = known.payloads.get(sequence)
            if payload is None:
                found = self._feed.look_up((segment, sequence))
                if found is not None and found[0].event == Event.RECORD_SUBJECT.code:
                    payload = found[1]
            if payload is not None:
                names.seen(sequence, payload)
                known.given.add(sequence)
        resolved, _ = resolve(entry, names, self._tell)
        assert isinstance(resolved, type(entry))
        return resolved

    def _known(self, segment: bytes) -> _Known:
        known = self._segments.get(segment)
        if known is None:
            known = self._segments[segment] = _Known()
            if len(self._segments) > _SEGMENTS:
                self._segments.popitem(last=False)
        return known

    def _names_of(self, segment: bytes, known: _Known) -> SegmentNames:
        now = self._monotonic()
        if known.names is None or now - known.made > REFRESH:
            known.names, known.given, known.made = self._ask(segment, now), set(), now
        return known.names

    def _ask(self, segment: bytes, now: float) -> SegmentNames:
        header = self._feed.header(segment)
        if self._make is None or header is None:
            return SegmentNames(segment, hidden=True)
        if self._names is None or now - self._made > REFRESH:
            self._names, self._made = self._make(), now
        return self._names.of(header)


def _references(entry: Entry) -> Iterator[int]:
    """The numbers of the subject frames that an entry refers to."""
    match entry:
        case Intent() | Refused():
            values = [entry.principal, entry.source, entry.credential]
            if not isinstance(entry.resource, str):
                values += entry.resource
        case Refusals() | HandshakeRefused():
            values = [entry.source]
        case Act():
            values = [entry.actor, *entry.subjects.values()]
        case _:
            return
    for value in values:
        if isinstance(value, int):
            yield value
