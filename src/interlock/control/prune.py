"""Pruning, control's part: what is due, what holds forbid, destroying the keys, and asking the recorder to delete.

The unit is a record key: all segments that are sealed to it, mostly those of one day and class. It is due when
each of them is old enough, under no hold, and no writer may seal to it any more. Then, each step on disk before
the next, and done again by the next run after a crash:

 1. the act that says which key goes;
 2. its private half is destroyed: nobody can read these segments any more, from whatever copy;
 3. what the state database knows of their subjects is deleted, and what was derived from the record;
 4. the recorder is asked to delete the files (`audit/prune.py`), which it decides for itself.

A hold is looked at before anything is destroyed; what cannot be looked at counts as held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from interlock.audit.files import Files
from interlock.audit.journal import Ended, State, read_state
from interlock.audit.prune import REQUESTS, ends_ns, refusal, request_of, write_request
from interlock.audit.reader import SegmentReader, segment_files
from interlock.clock import Clock
from interlock.control.paths import Paths
from interlock.control.status import rfc3339
from interlock.errors import KeyMaterialError, NotFound, RecordError, RecordUnavailable
from interlock.keys import RECORD, Keyring, recipient
from interlock.keys.record_keys import destroy, in_use, open_private, read_days
from interlock.model import Event, Recorder
from interlock.model.retention import DAY, Retention, class_name, kept_for

if TYPE_CHECKING:
    from interlock.audit.subjects_register import Register
    from interlock.store import Persons

SLACK = DAY  # a hold of a time also protects what is dated a day beside it


class Prune(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False


class Holds(Protocol):
    """What must be kept, however old it is."""

    def reason(self, name: str, ended: Ended, since_ns: int, until_ns: int) -> str:
        """Why this segment, with records from one time to the other, is kept; empty if nothing forbids it."""
        ...


class StateHolds:
    """The legal holds in the state database. Made anew for each run."""

    def __init__(self, register: Register, persons: Persons) -> None:
        self._holds = register.holds()
        self._taken = persons.taken_in() if any(subject for _, subject in self._holds) else {}
        self._segments: dict[str, set[bytes]] = {}
        for hold, subject in self._holds:
            if subject:
                try:
                    places = persons.places(register.find(subject).pseudonym)
                except NotFound:
                    places = []
                self._segments[hold.id] = {segment for segment, _, _ in places}

    def reason(self, name: str, ended: Ended, since_ns: int, until_ns: int) -> str:
        for hold, subject in self._holds:
            if hold.until and since_ns - SLACK < hold.until and until_ns + SLACK > hold.since:
                return f"hold {hold.id}: {hold.reason}"
            if not subject:
                continue
            place = self._taken.get(name)
            if place is None or not place.ended:
                return f"hold {hold.id}: whom it names is not known yet"
            if ended.segment in self._segments[hold.id]:
                return f"hold {hold.id}: {hold.reason}"
        return ""


class Segment(NamedTuple):
    """A segment file that is there."""

    name: str
    key: str  # the record key that it is sealed to
    opened_ns: int
    size: int
    ended: Ended | None


class Group(NamedTuple):
    """All segments of one record key."""

    key: str
    segments: list[Segment]
    kept: str  # why they are; empty: they are due


class Plan(NamedTuple):
    """What is due, and what is kept though it is old enough."""

    due: list[Group]
    kept: list[Group]


class PruneDesk:
    """`plan` only reads, takes its time, and may run beside other things; `carry_out` is for the thread that changes
    things.
    """

    def __init__(
        self, paths: Paths, keyring: Keyring, clock: Clock, forget: Callable[[list[bytes]], None] = lambda _: None
    ) -> None:
        """`forget` is told whose segments' keys were destroyed, to destroy what else is known of them."""
        self._forget = forget
        self._paths = paths
        self._keyring = keyring
        self._clock = clock
        self._files = Files()

    def plan(self, retention: Retention, holds: Holds) -> Plan:
        groups = list(self._groups(self._state(), retention, holds))
        kept = [group for group in groups if group.kept and self._old(group, retention)]
        return Plan([group for group in groups if not group.kept], kept)

    def carry_out(self, plan: Plan, holds: Holds, acts: Recorder, *, dry_run: bool = False) -> dict[str, Any]:
        """Prune what the plan calls due, but for what was put under a hold meanwhile."""
        due, kept = list[Group](), list(plan.kept)
        for group in plan.due:
            why = "" if dry_run else self._held(group.segments, holds)
            if why:
                kept.append(group._replace(kept=why))
            else:
                due.append(group)
        if not dry_run:
            for group in due:
                self._destroy(group.key, acts)
            if due:
                self._forget([segment.ended.segment for group in due for segment in group.segments if segment.ended])
            self._ask([segment.name for group in due for segment in group.segments])
        return {
            "dry_run": dry_run,
            "keys": [group.key for group in due],
            "segments": [_row(segment) for group in due for segment in group.segments],
            "bytes": sum(segment.size for group in due for segment in group.segments),
            "kept": [{"key": group.key, "segments": len(group.segments), "why": group.kept} for group in kept],
        }

    def _state(self) -> State:
        try:
            return read_state(self._paths.record, self._files)
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise RecordUnavailable(f"the journal cannot be read: {error.strerror}") from error

    def _groups(self, state: State, retention: Retention, holds: Holds) -> Iterator[Group]:
        by_key: dict[str, list[Segment]] = {}
        unread: dict[str, str] = {}
        for path in segment_files(self._paths.record, self._files):
            if path.name in state.pruned:
                continue  # the recorder deletes it
            try:
                with SegmentReader(path, self._files) as reader:
                    header, size = reader.header, self._files.fstat(reader.fd).st_size
            except FileNotFoundError:
                continue
            except (OSError, RecordError) as error:
                unread[path.name] = str(error)
                continue
            ended = state.closed.get(path.name)
            by_key.setdefault(header.recipient, []).append(
                Segment(path.name, header.recipient, header.opened_ns, size, ended)
            )
        for key, segments in sorted(by_key.items(), key=lambda item: item[1][0].name):
            yield Group(key, segments, self._why_kept(key, segments, state, retention, holds, unread))

    def _why_kept(
        self,
        key: str,
        segments: list[Segment],
        state: State,
        retention: Retention,
        holds: Holds,
        unread: dict[str, str],
    ) -> str:
        now = self._clock.wall()
        for segment in segments:
            if why := refusal(state, segment.name, retention, now):
                return f"{segment.name} {why}"
        if why := self._held(segments, holds):
            return why
        if unread:  # which may be sealed to it
            return f"{next(iter(unread))} cannot be read: {next(iter(unread.values()))}"
        try:
            days = read_days(self._keyring.folder)
        except KeyMaterialError as error:
            return str(error)
        if days is not None and key in {one.id for one in days.keys}:
            return "its key is in use"
        return ""

    def _held(self, segments: list[Segment], holds: Holds) -> str:
        for segment in segments:
            assert segment.ended is not None  # else it is not due
            since, until = segment.opened_ns, ends_ns(segment.name, segment.ended)
            if why := holds.reason(segment.name, segment.ended, since, until):
                return why
        return ""

    def _destroy(self, key: str, acts: Recorder) -> None:
        keyring = self._keyring
        if open_private(keyring, key) is None:
            return  # by a run that broke off
        if key == recipient(keyring.folder).id:  # days have keys of their own, and this is what writers fall back on
            keyring.rotate_record_key(
                lambda new: acts.act(Event.KEYRING_ROTATE, {"key": RECORD, "former": key, "new": new})
            )
        if key in in_use(keyring.folder):
            raise KeyMaterialError(f"record key {key} is in use")
        acts.act(Event.KEYRING_DESTROYED, {"key": RECORD, "id": key})
        destroy(keyring, key)

    def _ask(self, names: list[str]) -> None:
        path = self._paths.run / REQUESTS
        try:
            before = request_of(path)
        except RecordError:
            before = []
        if names:
            try:
                write_request(path, list(dict.fromkeys([*before, *names])), self._files)
            except OSError as error:
                raise RecordUnavailable(f"the recorder cannot be asked: {error.strerror}") from error

    def _old(self, group: Group, retention: Retention) -> bool:
        """Whether something other than its age keeps it: that is worth telling."""
        now = self._clock.wall()
        return any(
            segment.ended is not None
            and now >= ends_ns(segment.name, segment.ended) + kept_for(retention, segment.ended.class_)
            for segment in group.segments
        )


def _row(segment: Segment) -> dict[str, Any]:
    assert segment.ended is not None
    return {
        "file": segment.name,
        "class": class_name(segment.ended.class_),
        "ended": rfc3339(segment.ended.ended_ns),
        "records": segment.ended.frames,
        "bytes": segment.size,
    }
