"""Answers questions from the record: reads segments, opens frames, joins intents with their outcomes.

Derived, and only as good as the record: `verify` says whether it is whole. A frame that cannot be opened
raises `RecordError` unless the caller takes problems itself; it MUST NOT be left out in silence.

Who a call is about is sealed apart (`subjects.py`); it is shown as far as `names` can tell.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from interlock.audit.entries import (
    Act,
    HandshakeRefused,
    Intent,
    Named,
    Outcome,
    Refusals,
    Refused,
    decode,
)
from interlock.audit.reader import Frame, OpenKey, SegmentReader, frame_reader, segment_files
from interlock.audit.segment import RecordId, format_id
from interlock.audit.subjects_reading import Names, SegmentNames, resolve
from interlock.clock import SECOND
from interlock.errors import RecordError
from interlock.model import Event
from interlock.model.events import BY_CODE

_LONGEST = 25 * 3600 * SECOND  # a segment ends with the day in which it was opened

Row = dict[str, Any]


def query(
    record: Path,
    open_key: OpenKey,
    *,
    kind: str = "calls",
    since: int | None = None,
    until: int | None = None,
    principal: str | None = None,
    decision: str | None = None,
    reason: str | None = None,
    route: str | None = None,
    limit: int | None = None,
    on_problem: Callable[[RecordError], None] | None = None,
    names: Names | None = None,
    subject: str | None = None,
    matches: Callable[[Row], bool] | None = None,
) -> Iterator[Row]:
    """One row per call (`kind="calls"`) or act (`kind="acts"`), in the order in which they ended.

    `since` and `until` are wall nanoseconds of the intent; `principal` may hold `*`; `decision` is `allow`
    or `deny`. With `limit`, the newest so many rows, in the order in which they began: a call under way for
    long does not stand in for a newer one. A call still under way, or whose outcome is not known, comes with
    `outcome` saying so and without a status. `subject`: only what names this one, by its id. `matches`: a
    further test of the row (`filters.py`). Without `names`
    nobody is named: `hidden:SEQUENCE` stands in their place.
    """

    def wanted(row: Row, time_ns: int) -> bool:
        return (
            (since is None or time_ns >= since)
            and (until is None or time_ns < until)
            and (principal is None or _named(row.get("principal") or row.get("actor", ""), principal))
            and (decision is None or row.get("decision") == decision)
            and (reason is None or row.get("reason") == reason)
            and (route is None or row.get("route") == route)
            and (matches is None or matches(row))
        )

    rows = _acts if kind == "acts" else _calls
    frames = _frames(record, _Opener(open_key, on_problem, names, subject), since, until)
    found = ((time_ns, row) for row, time_ns in rows(frames) if wanted(row, time_ns))
    if limit is None:
        return (row for _, row in found)
    numbered = ((time_ns, number, row) for number, (time_ns, row) in enumerate(found))
    newest = heapq.nlargest(max(0, limit), numbered, key=lambda item: item[:2])
    return (row for _, _, row in reversed(newest))


def _named(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern) if "*" in pattern else text == pattern


def _frames(record: Path, opener: _Opener, since: int | None, until: int | None) -> Iterator[tuple[bytes, Frame, Any]]:
    """All frames, opened, of all segments, merged by time; a segment is opened when its time has come."""
    waiting: deque[tuple[int, Path]] = deque()
    for path in segment_files(record):
        try:
            with SegmentReader(path) as reader:
                opened = reader.header.opened_ns
        except (OSError, RecordError) as error:
            opener.tell(RecordError(f"{path.name}: {error}"))
            continue
        if since is None or opened + _LONGEST >= since:
            waiting.append((opened, path))
    waiting = deque(sorted(waiting))
    heap: list[tuple[int, int, tuple[bytes, Frame, Any], Iterator[tuple[bytes, Frame, Any]]]] = []
    order = 0
    while heap or waiting:
        while waiting and (not heap or waiting[0][0] <= heap[0][0]):
            opened, path = waiting.popleft()
            if until is not None and opened >= until + _LONGEST:
                continue
            source = opener.segment(path)
            if (item := next(source, None)) is not None:
                order += 1
                heapq.heappush(heap, (item[1].time_ns, order, item, source))
        if heap:
            _, number, item, source = heap[0]
            yield item
            following = next(source, None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following[1].time_ns, number, following, source))


class _Opener:
    """Opens segments for one question."""

    def __init__(
        self,
        open_key: OpenKey,
        on_problem: Callable[[RecordError], None] | None,
        names: Names | None,
        subject: str | None,
    ) -> None:
        self._open_key = open_key
        self._on_problem = on_problem
        self._names = names
        self._subject = subject

    def segment(self, path: Path) -> Iterator[tuple[bytes, Frame, Any]]:
        with SegmentReader(path) as reader:
            try:
                opener = frame_reader(reader.header, self._open_key)
            except RecordError as error:
                self.tell(error)
                return
            segment = reader.header.id
            names = SegmentNames(segment, hidden=True) if self._names is None else self._names.of(reader.header)
            for frame in reader.frames():
                event = BY_CODE.get(frame.event)
                if event is None:  # written by a later version
                    continue
                try:
                    payload = opener.open(frame.data)
                    if event is Event.RECORD_SUBJECT:
                        names.seen(frame.sequence, payload)
                        continue
                    entry = decode(event, payload)
                except RecordError as error:
                    self.tell(RecordError(f"{path.name}: {error}"))
                    continue
                if not isinstance(entry, Outcome):
                    entry, named = resolve(entry, names, self.tell)
                    if self._subject is not None and self._subject not in named:
                        continue
                yield segment, frame, entry
            if reader.problem:
                self.tell(RecordError(f"{path.name}, offset {reader.offset}: {reader.problem}"))

    def tell(self, error: RecordError) -> None:
        if self._on_problem is None:
            raise error
        self._on_problem(error)


def _calls(frames: Iterator[tuple[bytes, Frame, Any]]) -> Iterator[tuple[Row, int]]:
    waiting: dict[RecordId, tuple[Intent, int]] = {}
    early: dict[RecordId, Outcome] = {}  # clocks of two processes may disagree about the order
    for segment, frame, entry in frames:
        match entry:
            case Intent():
                record = (segment, frame.sequence)
                outcome = early.pop(record, None)
                if outcome is not None:
                    yield _call(record, frame.time_ns, entry, outcome), frame.time_ns
                else:
                    waiting[record] = (entry, frame.time_ns)
            case Outcome():
                if frame.refers is None:
                    continue
                found = waiting.pop(frame.refers, None)
                if found is not None:
                    yield _call(frame.refers, found[1], found[0], entry), found[1]
                elif len(early) < 100_000:
                    early[frame.refers] = entry
            case Refused():
                yield _refused((segment, frame.sequence), frame.time_ns, entry), frame.time_ns
            case Refusals():
                yield _refusals((segment, frame.sequence), frame.time_ns, entry), frame.time_ns
            case HandshakeRefused():
                yield _handshake((segment, frame.sequence), frame.time_ns, entry), frame.time_ns
            case _:
                pass
    for record, (intent, time_ns) in waiting.items():
        yield _call(record, time_ns, intent, None), time_ns


def _acts(frames: Iterator[tuple[bytes, Frame, Any]]) -> Iterator[tuple[Row, int]]:
    for segment, frame, entry in frames:
        if isinstance(entry, Act):
            row = {
                "id": format_id((segment, frame.sequence)),
                "time": _time(frame.time_ns),
                "event": str(BY_CODE[frame.event]),
                "actor": entry.actor,
                "details": entry.details,
            }
            if frame.refers is not None:
                row["refers"] = format_id(frame.refers)
            yield row, frame.time_ns


def _call(record: RecordId, time_ns: int, intent: Intent, outcome: Outcome | None) -> Row:
    unknown = outcome is not None and outcome.status == 0 and outcome.reason == "unknown"
    known = outcome is not None and not unknown
    row = _row(Event.CALL_INTENT, record, time_ns, intent)
    row |= {
        "service": intent.service,
        "decision": "allow",
        "outcome": "done" if known else "unknown" if unknown else "open",
        "reason": outcome.reason if outcome is not None else "",
        "status": outcome.status if outcome is not None and known else None,
        "duration_ms": _milliseconds(outcome.duration_ns) if outcome is not None and known else None,
        "bytes": outcome.bytes_in + outcome.bytes_out if outcome is not None else 0,
        "bytes_in": outcome.bytes_in if outcome is not None else 0,
        "bytes_out": outcome.bytes_out if outcome is not None else 0,
        "upstream": outcome.upstream if outcome is not None else "",
        "mode": intent.mode,
    }
    if outcome is not None and outcome.note:
        row["note"] = outcome.note
    return row


def _refused(record: RecordId, time_ns: int, refused: Refused) -> Row:
    row = _row(Event.CALL_REFUSED, record, time_ns, refused)
    row |= {
        "service": refused.service,
        "decision": "deny",
        "outcome": "refused",
        "reason": refused.reason,
        "status": refused.status,
        "duration_ms": _milliseconds(refused.duration_ns),
        "bytes": refused.bytes_out,
        "bytes_in": 0,
        "bytes_out": refused.bytes_out,
    }
    if refused.note:
        row["note"] = refused.note
    return row


def _refusals(record: RecordId, time_ns: int, flood: Refusals) -> Row:
    row = _empty(Event.CALL_REFUSALS, record, time_ns, flood.source)
    reason = max(flood.reasons, key=lambda code: flood.reasons[code], default="")
    row |= {"reason": reason, "count": flood.count, "reasons": flood.reasons, "since": _time(flood.since_ns)}
    return row


def _handshake(record: RecordId, time_ns: int, refused: HandshakeRefused) -> Row:
    row = _empty(Event.TLS_REFUSED, record, time_ns, refused.source)
    row |= {"reason": refused.reason, "host": refused.server_name, "note": refused.note}
    return row


def _row(event: Event, record: RecordId, time_ns: int, call: Intent | Refused) -> Row:
    return {
        "id": format_id(record),
        "time": _time(time_ns),
        "event": str(event),
        "principal": call.principal,
        "methods": list(call.methods),
        "action": call.action,
        "host": call.host,
        "route": call.route,
        "resource": call.resource,
        "source": call.source,
        "credential": call.credential,
        "trace_id": call.trace,
    }


def _empty(event: Event, record: RecordId, time_ns: int, source: Named) -> Row:
    nobody = Refused("", (), "", "", "", "", source, "", 0)
    row = _row(event, record, time_ns, nobody)
    row |= {"decision": "deny", "outcome": "refused", "reason": "", "status": None, "duration_ms": None, "bytes": 0}
    return row


def _time(time_ns: int) -> str:
    """RFC 3339, UTC, microseconds."""
    seconds, rest = divmod(time_ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1_000_000, 3)
