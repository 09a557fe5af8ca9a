"""Follows all segments that are not closed: finds them, reads them, and learns how they came to their end.

It reads and judges; sealing is the recorder's. A writer lives as long as it holds one of its segments, so a
segment that is held is never let go, and a death is believed only after another look for new segments. No
outcome is made up before all dead writers were read to their end: one of them may be a recorder that did.

One bad file MUST NOT keep the others from being sealed: what is wrong with it ends with it.
"""

from __future__ import annotations

import errno
from pathlib import Path

from interlock.audit import journal as jn
from interlock.audit.attest import DAMAGED, LIVE, NOT_AS_WRITTEN, NOT_ON_DISK, UNSYNCED, AttestPage
from interlock.audit.files import SHORT, Files
from interlock.audit.journal import Carried, Closed, Lost, Opened, Settled
from interlock.audit.journal_writer import JournalWriter
from interlock.audit.segment import FILE_NAME, SMALLEST_FRAME
from interlock.audit.tail import Altered, Tail
from interlock.audit.voice import Voice
from interlock.clock import SECOND, Clock
from interlock.errors import RecordError
from interlock.model import Event

_SETTLED = SECOND  # a folder untouched for this long needs no listing
_LIST_ANYWAY = 30 * SECOND
_PATIENCE = 5 * SECOND  # for a segment without its place on the attest page, and the other way round


class Follower:
    """The segments of one record; what it finds goes to the journal's queue and to the recorder's voice."""

    def __init__(
        self,
        folder: Path,
        journal: JournalWriter,
        voice: Voice,
        *,
        attest: AttestPage,
        files: Files,
        clock: Clock,
        boot: str,
    ) -> None:
        self.tails: dict[bytes, Tail] = {}
        self.leaving: dict[bytes, Tail] = {}  # whose close is queued, and not on disk yet
        self._folder = folder
        self._journal = journal
        self._voice = voice
        self._attest = attest
        self._files = files
        self._clock = clock
        self._boot = boot
        self._names: set[str] = set()  # all segment files accounted for
        self._missed: set[str] = set()  # of them, those whose loss was said already
        self._early: dict[bytes, set[int]] = {}  # intents of segments not found yet, with an outcome
        self._slots: dict[bytes, int] = {}
        self._slots_at = -1
        self._strays: dict[bytes, int] = {}  # places without a file, since when
        self._listed: tuple[int, int] = (0, 0)
        self._list_at = 0

    def start(self) -> None:
        """Take up the segments that the journal knows."""
        state = self._journal.state
        self._names = set(state.closed)
        self._look_at_slots()
        if self._journal.is_new:
            self._miss_the_journal()
        for known in list(state.known.values()):
            self._names.add(known.file)
            self._resume(known.carried())
        ended = {name[-12:-4] for name in state.closed}
        for segment in list(self._slots):
            if segment.hex()[:8] in ended:  # the last recorder died before it gave the place back
                self._free(segment)
        self._clear_leftovers()

    def close(self) -> None:
        for tail in (*self.tails.values(), *self.leaving.values()):
            tail.close()
        self.tails.clear()
        self.leaving.clear()

    def discover(self, anyway: bool = False) -> bool:
        """Find new segments and miss those that are gone; says whether there was a new one."""
        found = self._files.stat(self._folder)
        now = self._clock.wall()
        seen = (found.st_mtime_ns, found.st_ino)
        if not anyway and seen == self._listed and now >= seen[0] + _SETTLED and now < self._list_at:
            return False
        names = {name for name in self._files.list(self._folder) if FILE_NAME.fullmatch(name)}
        new = sorted(names - self._names - self._journal.state.pruned)
        if new:
            self._files.sync_folder(self._folder)
        for name in new:
            self._adopt(name, late=self._list_at > 0)
        followed = {tail.path.name for tail in (*self.tails.values(), *self.leaving.values())}
        for name in sorted(self._names - names - followed):  # those followed are looked at in each tick
            self._names.discard(name)
            if name in self._journal.state.closed:
                if name not in self._missed:
                    self._voice.alarm(f"{name} was removed")
                self._journal.add(Lost(name, now))
        self._listed = seen
        self._list_at = now + _LIST_ANYWAY
        return bool(new)

    def has(self, name: str) -> bool:
        """Whether a segment's file was there at the last look."""
        return name in self._names

    def read(self) -> tuple[bool, str]:
        """Read every segment as far as its writer attests, or to its end if its writer is dead.

        Says whether there was anything new, and why the record cannot be called sealed, if so.
        """
        self._look_at_slots()
        self._seek_strays()
        lives: dict[str, list[Tail]] = {}
        moved: set[str] = set()
        for tail in self.tails.values():
            lives.setdefault(tail.header.instance, []).append(tail)
            try:
                if tail.how != jn.ALTERED:
                    tail.in_place()
                if not tail.how and self._advance(tail):
                    moved.add(tail.header.instance)
            except Altered as altered:
                self.alter(tail, altered)
            except OSError as error:
                self._unreadable(tail, error)
        for tail in self.tails.values():
            self._settle_elsewhere(tail)
        trouble, dead, again = "", list[Tail](), False
        for instance, tails in lives.items():
            if all(tail.answered or (tail.how and not tail.open) for tail in tails):
                continue
            if any(self._files.is_held(tail.fd) for tail in tails):
                if instance not in moved:
                    trouble = self._slotless(tails) or trouble
            else:
                dead += tails
                again = again or instance in moved
        # A writer holds its next segment before it lets go of the last one: is there one now?
        if dead and not again and not self.discover(anyway=True):
            self._bury(dead)
        return bool(moved or dead), trouble

    def finished(self) -> list[Tail]:
        """Segments of which nothing more will come, with all intents answered and all leaves journaled."""
        return [
            tail
            for tail in self.tails.values()
            if tail.how and not tail.open and not tail.leaves and not self._files.is_held(tail.fd)
        ]

    def rest(self, tail: Tail) -> tuple[int, bytes]:
        """Length and hash of what follows the last frame of a finished segment; -1 if it is not vouched for."""
        if tail.how not in (jn.UNSYNCED, jn.ALTERED):
            try:
                length, digest = tail.rest()
                if tail.how != jn.CLEAN or not length:
                    return length, digest
                self.alter(tail, Altered(f"{tail.path.name} goes on after its end"))
            except Altered as altered:
                self.alter(tail, altered)
            except OSError as error:
                self._unreadable(tail, error)
        return -1, b""

    def leave(self, tail: Tail, closed: Closed) -> None:
        """Nothing more comes of it: queue its close, and before it what only it tells of other segments."""
        for segment, sequences in tail.settles.items():
            if segment != tail.id and segment in self.tails:
                self._journal.add(Settled(segment, sorted(sequences)))
        self._journal.add(closed)
        del self.tails[tail.id]
        self.leaving[tail.id] = tail

    def committed(self) -> None:
        """All that was queued is on disk: give back the places of which nothing more is needed.

        A writer publishes nothing after its segment's end, so that place is free even while calls of the
        segment go on. In every other case it may still write to the place until it lets go of the segment.
        """
        for tail in self.leaving.values():
            self._free(tail.id)
            tail.close()
        self.leaving.clear()
        for tail in self.tails.values():
            if tail.how == jn.CLEAN and tail.ended and not tail.leaves and tail.sealed_offset == tail.offset:
                self._free(tail.id)

    def condemn(self, tail: Tail, why: str = "a sync failed") -> None:
        """The segment cannot be put on disk: what was not sealed stays unsealed, the writer must move on."""
        tail.how = jn.UNSYNCED
        tail.leaves.clear()
        self._mark(tail, NOT_ON_DISK)
        details = {"file": tail.path.name, "why": why, "sealed": tail.first}
        self._voice.act(Event.RECORD_DAMAGED, details)

    def alter(self, tail: Tail, error: Altered) -> None:
        """The segment is not what its writer wrote: nothing more of it is sealed, the writer must move on."""
        tail.how = jn.ALTERED
        tail.leaves.clear()
        self._missed.add(tail.path.name)
        self._mark(tail, NOT_AS_WRITTEN)
        self._voice.alarm(str(error))

    def _mark(self, tail: Tail, verdict: int) -> None:
        if (slot := self._slots.get(tail.id)) is not None:
            self._attest.condemn(slot, verdict)

    def _unreadable(self, tail: Tail, error: OSError) -> None:
        if error.errno in SHORT:
            raise error
        if tail.how not in (jn.UNSYNCED, jn.ALTERED):
            self.condemn(tail, f"it cannot be read: {error.strerror}")

    def _look_at_slots(self) -> None:
        if self._attest.changes != self._slots_at:
            self._slots_at = self._attest.changes
            self._slots = self._attest.slots()

    def _free(self, segment: bytes) -> None:
        if (slot := self._slots.pop(segment, None)) is not None:
            self._attest.free(slot, segment)

    def _miss_the_journal(self) -> None:
        """There is no journal. On a new node that is right; else it was removed, and segments show that.

        Those of this boot have their places. Of an earlier one only a power cut within the first seconds of
        a node's life leaves any that hold records.
        """
        names = [name for name in self._files.list(self._folder) if FILE_NAME.fullmatch(name)]
        holding = [name for name in names if self._holds_records(name)]
        self._look_at_slots()  # after them: a writer that has just begun took its place before it wrote a record
        vouched = {segment.hex()[:8] for segment in self._slots}
        orphans = sum(name[-12:-4] not in vouched for name in holding)
        if orphans:
            self._voice.alarm(f"the journal is missing: {orphans} segments hold records that nobody vouches for")

    def _holds_records(self, name: str) -> bool:
        try:
            tail = Tail(self._files, self._folder / name)
        except (OSError, RecordError):
            return False  # that is told when it is taken up
        try:
            return tail.beyond() >= SMALLEST_FRAME
        finally:
            tail.close()

    def _resume(self, known: Carried) -> None:
        """Follow again a segment that an earlier recorder followed."""
        try:
            tail = Tail(self._files, self._folder / known.file)
        except (OSError, RecordError) as error:
            self._voice.alarm(f"{known.file} {_why(error)}")
            self._missed.add(known.file)
            how = jn.UNSYNCED if isinstance(error, OSError) and error.errno == errno.EIO else jn.ALTERED
            now = self._clock.wall()
            self._journal.add(Closed(known.segment, known.count, how, known.offset, -1, b"", now))
            return
        tail.id = known.segment
        tail.early = self._early.pop(tail.id, tail.early)
        self.tails[tail.id] = tail
        try:
            tail.catch_up(known)
            if tail.ended:
                tail.how = jn.CLEAN
        except Altered as altered:
            self.alter(tail, altered)
            tail.first, tail.sealed_offset = known.count, known.offset
        except OSError as error:
            tail.first, tail.sealed_offset = known.count, known.offset
            self._unreadable(tail, error)
        self._settle_elsewhere(tail)

    def _clear_leftovers(self) -> None:
        """Remove segments that died before they had a name."""
        for name in self._files.list(self._folder):
            if not (name.startswith(".") and name.endswith(".new")):
                continue
            path = self._folder / name
            try:
                fd = self._files.open(path)
            except OSError:  # it got its name just now, or is no file
                continue
            try:
                if not self._files.is_held(fd):
                    self._files.unlink(path)
            except FileNotFoundError:
                pass  # it got its name meanwhile
            finally:
                self._files.close(fd)

    def _adopt(self, name: str, *, late: bool) -> None:
        """Begin to follow a new segment."""
        try:
            tail = Tail(self._files, self._folder / name)
        except FileNotFoundError:
            return
        except (OSError, RecordError) as error:
            why = _why(error)
            self._names.add(name)
            self._voice.alarm(f"{name} {why}")
            return
        self._names.add(name)
        tail.late = late
        if tail.id in self.tails:
            tail.close()
            self._voice.alarm(f"{name} is a copy of {self.tails[tail.id].path.name}")
            return
        tail.early = self._early.pop(tail.id, tail.early)
        self.tails[tail.id] = tail
        now, header = self._clock.wall(), tail.header
        self._journal.add(
            Opened(
                tail.id, name, tail.header_hash, header.writer, tail.header_size, now, header.class_, header.opened_ns
            )
        )

    def _advance(self, tail: Tail) -> bool:
        slot = self._slots.get(tail.id)
        if slot is None:
            return False
        state = self._attest.state(slot)  # before the statement: it is the last one if the state says so
        verdict = self._attest.condemned(slot)  # of a recorder that died before it could close the segment
        new = tail.read(self._attest.read(slot))
        if verdict == NOT_AS_WRITTEN:
            raise Altered(f"{tail.path.name} was found altered before")
        if verdict or state == UNSYNCED:
            self.condemn(tail)
        elif tail.ended:
            tail.how = jn.CLEAN
        elif state == DAMAGED:
            tail.how = jn.DAMAGED
        return new

    def _slotless(self, tails: list[Tail]) -> str:
        """A living writer that attests nothing cannot be sealed; for a moment that is normal."""
        now = self._clock.monotonic()
        for tail in tails:
            if tail.how or tail.id in self._slots:
                tail.slotless_since = None
            elif tail.slotless_since is None:
                tail.slotless_since = now
            elif now - tail.slotless_since > _PATIENCE:
                return f"{tail.path.name} is being written without attestation"
        return ""

    def _bury(self, tails: list[Tail]) -> None:
        """All segments of all writers that died: read what is left, then answer for their calls."""
        self._look_at_slots()  # the dead change theirs no more
        for tail in tails:
            try:
                self._exhaust(tail)
            except Altered as altered:
                self.alter(tail, altered)
            except OSError as error:
                self._unreadable(tail, error)
        for tail in self.tails.values():
            self._settle_elsewhere(tail)
        for tail in tails:
            if tail.open and not tail.answered:
                tail.answered = True
                self._voice.answer((tail.id, sequence) for sequence in sorted(tail.open))

    def _exhaust(self, tail: Tail) -> None:
        if not tail.how:
            self._advance(tail)
        if tail.how:
            return
        if tail.id not in self._slots and tail.beyond() >= SMALLEST_FRAME:
            # A writer has its place before its first record, and after a boot nothing old is new.
            if tail.header.boot_id == self._boot:
                raise Altered(f"{tail.path.name} holds records that no writer attested")
            if tail.late:
                raise Altered(f"{tail.path.name} is of an earlier boot, and was not there at the start")
        tail.read_to_end()
        tail.how = jn.CLEAN if tail.ended else jn.GONE
        if torn := tail.rest()[0]:
            self._voice.act(Event.RECORD_DAMAGED, {"file": tail.path.name, "torn": torn})

    def _seek_strays(self) -> None:
        """A place on the attest page whose segment has no file: removed before it was sealed."""
        now = self._clock.monotonic()
        for segment, slot in self._slots.items():
            if segment in self.tails or segment in self.leaving:
                self._strays.pop(segment, None)
                continue
            since = self._strays.setdefault(segment, now)
            if now - since > _PATIENCE and self._attest.state(slot) == LIVE and not self._attest.condemned(slot):
                self._attest.condemn(slot, NOT_AS_WRITTEN)  # the place is not given back: its writer may live
                self._voice.alarm(f"segment {segment.hex()} was removed before it was sealed")

    def _settle_elsewhere(self, tail: Tail) -> None:
        """Outcomes found here of intents in other segments."""
        for segment, sequence in tail.elsewhere:
            tail.settles.setdefault(segment, set()).add(sequence)
            other = self.tails.get(segment)
            if other is None:
                if self._may_come(segment):
                    self._early.setdefault(segment, set()).add(sequence)
            elif sequence < other.count:
                other.open.discard(sequence)
            else:
                other.early.add(sequence)
        tail.elsewhere.clear()

    def _may_come(self, segment: bytes) -> bool:
        ending = f"-{segment.hex()[:8]}.seg"
        return not any(name.endswith(ending) for name in self._journal.state.closed)


def _why(error: OSError | RecordError) -> str:
    """What is wrong with one file, if that is what the error is about; else it is raised again."""
    if isinstance(error, FileNotFoundError):
        return "was removed"
    if isinstance(error, OSError):
        if error.errno in SHORT:
            raise error
        return f"cannot be read: {error.strerror}"
    return f"cannot be read: {error}"
