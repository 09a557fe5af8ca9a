"""Holds what the journal calls pruned against what it says of the segment itself, and against the record. Reads only.

The journal's running hash proves nothing against who writes it. So for each segment called pruned:

1. It had been closed, under that name and class.
2. It had been closed for as long as the entry says that its class is kept, which is never less than `SHORTEST`; and
   the entry is not of the future.
3. The act that the entry names is a sealed `record:prune` whose frame refers to the segment: a leaf of the tree that
   was signed. Where the act's segment was pruned since, that one must have ended late enough to hold it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from interlock.audit.chain import Ledger
from interlock.audit.files import Files
from interlock.audit.journal import Pruned
from interlock.audit.reader import Frame, SegmentReader
from interlock.audit.report import Report
from interlock.errors import RecordError
from interlock.model import Event
from interlock.model.retention import DAY, SHORTEST, class_name

_PRUNE = Event.RECORD_PRUNE.code


def check_pruned(record: Path, ledgers: dict[bytes, Ledger], report: Report, files: Files, now: int) -> None:
    """Problems go to the report. `now`: wall ns."""
    acts: dict[bytes, list[Pruned]] = {}
    for ledger in ledgers.values():
        entry = ledger.pruned
        if entry is None:
            continue
        if wrong := _undue(ledger, entry, now):
            report.problem(ledger.file, wrong)
        else:
            acts.setdefault(entry.act_segment, []).append(entry)
    for segment, entries in acts.items():
        _check_acts(record, ledgers.get(segment), entries, ledgers, report, files)


def due_ns(ledger: Ledger, entry: Pruned) -> int:
    """Not before then may it have been pruned."""
    assert ledger.closed is not None
    return max(ledger.opened_ns, ledger.closed.time_ns) + max(entry.retention_ns, SHORTEST)


def _undue(ledger: Ledger, entry: Pruned, now: int) -> str:
    if ledger.closed is None:  # 1
        return "was pruned, and had not been closed"
    if entry.class_ != ledger.class_:
        return f"was pruned as {class_name(entry.class_)}, and is {class_name(ledger.class_)}"
    if entry.retention_ns < SHORTEST:  # 2
        return f"was pruned as if it were kept for less than {SHORTEST // DAY} days, which nothing is"
    if entry.time_ns < due_ns(ledger, entry):
        return "was pruned before it was old enough"
    if entry.time_ns > now + DAY:
        return "was pruned in the future, by the journal"
    return ""


def _check_acts(
    record: Path,
    holder: Ledger | None,
    entries: Iterable[Pruned],
    ledgers: dict[bytes, Ledger],
    report: Report,
    files: Files,
) -> None:
    """The acts of one segment."""  # 3
    if holder is not None and holder.pruned is not None:
        for entry in entries:
            ledger = ledgers[entry.segment]
            if holder.closed is None or holder.closed.time_ns < due_ns(ledger, entry):
                report.problem(ledger.file, "was pruned, and what is called its act is older than it could be")
            elif entry.act_sequence >= holder.count:
                report.problem(ledger.file, "was pruned, and no sealed record says so")
        return
    found = _frames(record, holder, {entry.act_sequence for entry in entries}, files)
    for entry in entries:
        ledger, act = ledgers[entry.segment], found.get(entry.act_sequence)
        if act is None or act.event != _PRUNE or act.refers is None or act.refers[0] != entry.segment:
            report.problem(ledger.file, "was pruned, and no sealed record says so")
        elif act.time_ns < due_ns(ledger, entry):
            report.problem(ledger.file, "was pruned before it was old enough, by its record")


def _frames(record: Path, holder: Ledger | None, sequences: set[int], files: Files) -> dict[int, Frame]:
    """These frames of a segment, as far as they are sealed. That they are what was sealed is checked elsewhere."""
    if holder is None:
        return {}
    last = min(max(sequences), holder.count - 1)
    found: dict[int, Frame] = {}
    try:
        with SegmentReader(record / "segments" / holder.file, files) as reader:
            for frame in reader.frames():
                if frame.sequence > last:
                    break
                if frame.sequence in sequences:
                    found[frame.sequence] = frame
    except (OSError, RecordError):
        pass  # it is told where the segment is read
    return found
