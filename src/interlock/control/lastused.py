"""When each API key was last used, as the record has it: by a reader, at no cost to any call.

Only intents count, calls that passed. The newest segments come first, and nothing older is opened once
every key was found in something newer; so keys in use cost little, and one that was never used costs the
whole record, up to `BUDGET`. What could not be read or was not come to is said, never guessed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from interlock.audit import Intent, OpenKey
from interlock.audit.entries import decode
from interlock.audit.reader import SegmentReader, frame_reader, segment_files
from interlock.audit.subjects_reading import Names, SegmentNames
from interlock.errors import RecordError
from interlock.model import Event

BUDGET = 5.0  # seconds
_STEP = 1024  # frames between two looks at the clock


class LastUsed(NamedTuple):
    """Wall ns by the id of a key. Not `complete`: a key may have been used later than this, or at all."""

    times: dict[str, int]
    complete: bool


def last_used(
    record: Path,
    open_key: OpenKey,
    keys: Iterable[str],
    *,
    names: Names | None = None,
    budget: float = BUDGET,
    monotonic: Callable[[], float] = time.monotonic,
) -> LastUsed:
    """Look for the last use of each of `keys`, for at most `budget` seconds or so."""
    times = dict.fromkeys(keys, 0)
    end = monotonic() + budget
    complete = True
    for written, path in _newest_first(record):
        if all(found >= written for found in times.values()):
            break
        try:
            for number, (time_ns, intent) in enumerate(_intents(path, open_key, names)):
                if all(found >= time_ns for found in times.values()):
                    break
                credential = str(intent.credential)
                known = times.get(credential)
                if known is not None and known < time_ns and "api_key" in intent.methods:
                    times[credential] = time_ns
                if number % _STEP == 0 and monotonic() > end:
                    complete = False
                    break
        except (OSError, RecordError):
            complete = False
        if monotonic() > end:
            complete = False
            break
    return LastUsed({key: found for key, found in times.items() if found}, complete)


def _newest_first(record: Path) -> Iterator[tuple[int, Path]]:
    """Segments by when they were last written to, which no frame of theirs is later than."""
    found = []
    for path in segment_files(record):
        try:
            found.append((os.stat(path, follow_symlinks=False).st_mtime_ns, path))
        except FileNotFoundError:
            continue
    yield from sorted(found, reverse=True)


def _intents(path: Path, open_key: OpenKey, names: Names | None) -> Iterator[tuple[int, Intent]]:
    """A segment's intents, the last one first."""
    with SegmentReader(path) as reader:
        intents, subjects = list[tuple[int, bytes]](), list[tuple[int, bytes]]()
        for frame in reader.frames():
            if frame.event == Event.CALL_INTENT.code:
                intents.append((frame.time_ns, frame.data))
            elif frame.event == Event.RECORD_SUBJECT.code:
                subjects.append((frame.sequence, frame.data))
        damaged = reader.problem
        if intents:
            opener = frame_reader(reader.header, open_key)
            named = SegmentNames(reader.header.id, hidden=True) if names is None else names.of(reader.header)
            for sequence, data in subjects:
                named.seen(sequence, opener.open(data))
            for time_ns, data in reversed(intents):
                entry = decode(Event.CALL_INTENT, opener.open(data))
                if isinstance(entry, Intent):
                    if isinstance(entry.credential, int):
                        entry.credential = named.name(entry.credential, _raise).more
                    yield time_ns, entry
        if damaged:
            raise RecordError(f"{path.name}: {damaged}")


def _raise(error: RecordError) -> None:
    raise error
