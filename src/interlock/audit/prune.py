"""Pruning: segments that were kept for as long as their class asks are deleted, in the open.

Control asks, in a file; the recorder decides by the journal's own dates and classes, and does it. A request
MUST NOT make it delete what is not old enough. Each step is on disk before the next begins, and a crash between
any two leads to the same end:

 1. the act `record:prune`, whose frame refers to the segment, is sealed like every record;
 2. the entry `prune` in the journal names segment, file, class, retention, and that act;
 3. the file is deleted. It may come back after a power cut: it is then deleted again, and never read again.

Leaves and tiles stay, so every proof of another record still holds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from interlock.audit.files import Files, read_all, write_aside
from interlock.audit.journal import Ended, Pruned, State
from interlock.audit.journal_writer import JournalWriter
from interlock.audit.segment import FILE_NAME, RecordId
from interlock.audit.voice import Voice
from interlock.clock import SECOND, Clock
from interlock.errors import RecordError
from interlock.model import Event
from interlock.model.retention import DAY, Retention, class_name, kept_for

VERSION = 1
REQUESTS = "prune"  # the file in run/
_LARGEST = 16 * 1024 * 1024
_AT_ONCE = 500  # files taken up in one look
_SHOWN = 10  # refusals told by name
_EVERY = SECOND

RetentionOf = Callable[[], Retention | None]  # None: nothing is ever pruned


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What control asks for: file names of segments."""

    version: int
    files: list[str]


def write_request(path: Path, names: list[str], files: Files | None = None) -> None:
    """Ask for these, in place of what was asked before. `OSError`."""
    write_aside(files or Files(), path, msgspec.json.encode(Request(VERSION, names)))


def ends_ns(name: str, ended: Ended) -> int:
    """From when on a closed segment's retention counts: by the journal, and not before the day in its name is over."""
    opened = datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    day = (int(opened.timestamp()) * SECOND // DAY + 1) * DAY
    return max(day, ended.ended_ns)


def refusal(state: State, name: str, retention: Retention | None, now: int) -> str:
    """Why a segment MUST NOT be pruned now; empty if it may be."""
    ended = state.closed.get(name)
    if not FILE_NAME.fullmatch(name) or ended is None:
        return "is no closed segment of this record"
    if not ended.segment:
        return "is of a journal that does not say its class"
    if retention is None:
        return "is kept: no retention is configured"
    try:
        due = ends_ns(name, ended) + kept_for(retention, ended.class_)
    except ValueError:
        return "has no date in its name"
    if now < due:
        until = datetime.fromtimestamp(due // SECOND, UTC).strftime("%Y-%m-%d")
        return f"is kept until {until} ({class_name(ended.class_)})"
    return ""


class Pruner:
    """The recorder's part. For its thread; errors of the disk are told by nobody and the step is tried again."""

    def __init__(
        self,
        segments: Path,
        request: Path,
        retention: RetentionOf,
        journal: JournalWriter,
        voice: Voice,
        has: Callable[[str], bool],
        *,
        files: Files,
        clock: Clock,
    ) -> None:
        """`has`: whether the file of a segment is there, by its name."""
        self.pruned = 0  # files deleted
        self._segments = segments
        self._request = request
        self._retention = retention
        self._journal = journal
        self._voice = voice
        self._has = has
        self._files = files
        self._clock = clock
        self._acts: dict[str, RecordId | None] = {}  # by file name; None: not written yet
        self._entered: set[str] = set()  # their entry is queued
        self._doomed: set[str] = set()  # pruned by the journal, and perhaps still there
        self._refused: set[str] = set()
        self._look_at = 0
        self._started = False

    def prepare(self) -> bool:
        """Before the queue goes to disk: look for requests, and enter what is due. Says whether there was any."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + _EVERY
            self._look()
        self._enter()
        return bool(self._acts or self._entered)

    def finish(self) -> None:
        """After the queue is on disk: delete what the journal calls pruned."""
        pruned = self._journal.state.pruned
        done = {name for name in self._entered if name in pruned}
        self._entered -= done
        self._doomed |= done
        if not self._started:
            self._started = True
            self._doomed |= self._present(pruned)
        if self._doomed:
            self._delete()
        if done and not self._acts and not self._entered:
            self._look_at = 0  # whether that was all

    def _look(self) -> None:
        try:
            fd = self._files.open(self._request)
        except OSError:
            return
        try:
            data = read_all(self._files, fd, _LARGEST, 0)
        except OSError:
            return
        finally:
            self._files.close(fd)
        self._doomed |= self._present(self._journal.state.pruned)
        try:
            request = msgspec.json.decode(data, type=Request)
        except ValueError:
            self._refuse({"": "the request cannot be read"})
            self._settle()
            return
        state, retention, now = self._journal.state, self._configured(), self._clock.wall()
        refused: dict[str, str] = {}
        waiting = 0
        for name in dict.fromkeys(request.files):
            if name in state.pruned or name in self._refused:
                continue
            waiting += 1
            if name in self._acts or name in self._entered or waiting > _AT_ONCE:
                continue
            why = refusal(state, name, retention, now) or ("" if self._has(name) else "is not there")
            if why:
                refused[name] = why
            else:
                self._announce(name, state.closed[name], retention)
        if refused:
            self._refuse(refused)
        if not waiting:
            self._settle()

    def _configured(self) -> Retention | None:
        try:
            return self._retention()
        except Exception:  # whatever keeps the configuration from being read: then nothing is pruned
            return None

    def _announce(self, name: str, ended: Ended, retention: Retention | None) -> None:
        assert retention is not None
        self._acts[name] = None
        details = {
            "file": name,
            "segment": ended.segment.hex(),
            "class": class_name(ended.class_),
            "records": ended.frames,
            "kept_days": kept_for(retention, ended.class_) // DAY,
        }

        def written(record: RecordId) -> None:
            self._acts[name] = record

        self._voice.act(Event.RECORD_PRUNE, details, (ended.segment, 0), written)

    def _enter(self) -> None:
        """Queue the entry of each whose act is sealed, on disk."""
        state, now = self._journal.state, self._clock.wall()
        written = {name: act for name, act in self._acts.items() if act is not None}
        ready = {name: sealed for name, act in written.items() if (sealed := _sealed(state, act)) is not None}
        retention = self._configured() if ready else None
        for name, sealed in ready.items():
            act = written[name]
            del self._acts[name]
            if not sealed or retention is None or not self._has(name) or refusal(state, name, retention, now):
                continue  # it was lost, or something has changed since: it is judged again
            ended = state.closed[name]
            kept = kept_for(retention, ended.class_)
            self._journal.add(Pruned(ended.segment, name, ended.class_, kept, act[0], act[1], now))
            self._entered.add(name)

    def _refuse(self, refused: dict[str, str]) -> None:
        """Say so once: whoever asks for what is not old enough is worth a look."""
        shown = {name[:100]: why for name, why in list(refused.items())[:_SHOWN]}
        self._voice.act(Event.RECORD_PRUNE_REFUSED, {"count": len(refused), "files": shown})
        self._refused |= set(refused)

    def _settle(self) -> None:
        """Everything asked for is done, or refused."""
        try:
            self._files.unlink(self._request)
        except OSError:
            return
        self._refused.clear()

    def _present(self, names: set[str]) -> set[str]:
        if not names:
            return set()
        try:
            return names.intersection(self._files.list(self._segments))
        except OSError:
            return set()

    def _delete(self) -> None:
        for name in sorted(self._doomed):
            try:
                self._files.unlink(self._segments / name)
                self.pruned += 1
            except FileNotFoundError:
                pass
            except OSError:
                continue
            self._doomed.discard(name)
        try:
            self._files.sync_folder(self._segments)
        except OSError:
            self._started = False  # looked at again, with the next tick


def _sealed(state: State, act: RecordId) -> bool | None:
    """Whether a record is sealed; None while that may still come."""
    segment, sequence = act
    known = state.known.get(segment)
    if known is not None:
        return True if known.count > sequence else None
    for ended in state.closed.values():
        if ended.segment == segment:
            return ended.frames > sequence
    return None


def request_of(path: Path, files: Files | None = None) -> list[str]:
    """What is asked for and not settled yet. `RecordError`."""
    files = files or Files()
    try:
        fd = files.open(path)
    except OSError:
        return []
    try:
        return msgspec.json.decode(read_all(files, fd, _LARGEST, 0), type=Request).files
    except (OSError, ValueError) as error:
        raise RecordError("what is asked to be pruned cannot be read") from error
    finally:
        files.close(fd)
