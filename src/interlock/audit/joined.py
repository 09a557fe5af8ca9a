"""Rows from the sealed record as it comes: an intent waits for its outcome, everything else is a row at once.

The rows are those of a query. What a call began with is kept until it ends, up to `WAITING` calls; beyond
that, and after a start in the middle of the record, it is read again by its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from interlock.audit.entries import Act, HandshakeRefused, Intent, Outcome, Refusals, Refused, decode
from interlock.audit.feed import Fed, Feed
from interlock.audit.naming import MakeNames, Naming
from interlock.audit.query import Row, _acts, _call, _handshake, _refusals, _refused
from interlock.audit.segment import RecordId
from interlock.audit.subjects_reading import Tell
from interlock.model import Event

WAITING = 20_000  # calls under way that are remembered


class Joined(NamedTuple):
    """A row, and what it was made of."""

    row: Row
    kind: str  # "calls" or "acts", as queries have it
    time_ns: int  # of its beginning
    ended_ns: int
    records: tuple[RecordId, ...]  # of a call: its intent and its outcome


class Joiner:
    """Makes rows of what a feed gives, in its order; what is not remembered is looked up there."""

    def __init__(self, feed: Feed, names: MakeNames | None = None, tell: Tell = lambda _: None) -> None:
        """`names`: who is named; None: nobody is. `tell` is told of whom nobody can name any more."""
        self._feed = feed
        self._naming = Naming(feed, names, tell)
        self._open: dict[RecordId, tuple[Intent, int]] = {}

    def add(self, fed: Fed) -> Joined | None:
        """The row that this frame completes, if it completes one."""
        entry, time_ns = fed.entry, fed.frame.time_ns
        segment = fed.record[0]
        match entry:
            case Intent():
                if len(self._open) >= WAITING:
                    del self._open[next(iter(self._open))]
                self._open[fed.record] = entry, time_ns
                return None
            case Outcome():
                return self._ended(fed, entry)
            case Refused():
                row = _refused(fed.record, time_ns, self._naming.named(segment, entry))
            case Refusals():
                row = _refusals(fed.record, time_ns, self._naming.named(segment, entry))
            case HandshakeRefused():
                row = _handshake(fed.record, time_ns, self._naming.named(segment, entry))
            case Act():
                ((row, _),) = _acts(iter([(segment, fed.frame, self._naming.named(segment, entry))]))
                return Joined(row, "acts", time_ns, time_ns, (fed.record,))
            case _:
                self._naming.seen(fed)
                return None
        return Joined(row, "calls", time_ns, time_ns, (fed.record,))

    def waiting(self) -> list[RecordId]:
        """Calls that have begun and not ended, by the record of their beginning."""
        return list(self._open)

    def resume(self, records: Iterable[RecordId]) -> None:
        """Remember these calls, which began before the place where the feed goes on."""
        for record in records:
            if (found := self._read_again(record)) is not None:
                self._open[record] = found

    def under_way(self) -> list[Joined]:
        """A row for each call that has begun and not ended."""
        found = []
        for record, (intent, time_ns) in self._open.items():
            row = _call(record, time_ns, self._naming.named(record[0], intent), None)
            found.append(Joined(row, "calls", time_ns, time_ns, (record,)))
        return found

    def _ended(self, fed: Fed, outcome: Outcome) -> Joined | None:
        began = fed.frame.refers
        if began is None:
            return None
        found = self._open.pop(began, None) or self._read_again(began)
        if found is None:  # pruned: what is left of the call
            found = Intent("", (), "", "", "", "", "", ""), fed.frame.time_ns
        row = _call(began, found[1], self._naming.named(began[0], found[0]), outcome)
        return Joined(row, "calls", found[1], fed.frame.time_ns, (began, fed.record))

    def _read_again(self, record: RecordId) -> tuple[Intent, int] | None:
        found = self._feed.look_up(record)
        if found is None or found[0].event != Event.CALL_INTENT.code:
            return None
        entry = decode(Event.CALL_INTENT, found[1])
        return (entry, found[0].time_ns) if isinstance(entry, Intent) else None
