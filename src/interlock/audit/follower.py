"""Follows all segments that are not closed: finds them, reads them, and learns how they came to their end.

It reads and judges; sealing is the recorder's. A writer lives as long as it holds one of its segments, so a
segment that is held is never let go, and a death is believed only after another look for new segments.
"""

from __future__ import annotations

from pathlib import Path

from interlock.audit import journal as jn
from interlock.audit.attest import DAMAGED, LIVE, UNSYNCED, AttestPage
from interlock.audit.files import Files
from interlock.audit.journal import Carried, Closed, Lost, Opened
from interlock.audit.journal_writer import JournalWriter
from interlock.audit.segment import FILE_NAME
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
        self, folder: Path, journal: JournalWriter, voice: Voice, *, attest: AttestPage, files: Files, clock: Clock
    ) -> None:
        self.tails: dict[bytes, Tail] = {}
        self._folder = folder
        self._journal = journal
        self._voice = voice
        self._attest = attest
        self._files = files
        self._clock = clock
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
        for known in list(state.known.values()):
            self._names.add(known.file)
            self._resume(known.carried())
        ended = {name[-12:-4] for name in state.closed}
        for segment, slot in self._attest.slots().items():
            if segment.hex()[:8] in ended:  # the last recorder died before it gave the place back
                self._attest.free(slot, segment)
        self._clear_leftovers()

    def close(self) -> None:
        for tail in self.tails.values():
            tail.close()
        self.tails.clear()

    def discover(self, anyway: bool = False) -> bool:
        """Find new segments and miss those that are gone; says whether there was a new one."""
        found = self._files.stat(self._folder)
        now = self._clock.wall()
        seen = (found.st_mtime_ns, found.st_ino)
        if not anyway and seen == self._listed and now >= seen[0] + _SETTLED and now < self._list_at:
            return False
        names = {name for name in self._files.list(self._folder) if FILE_NAME.fullmatch(name)}
        new = sorted(names - self._names)
        if new:
            self._files.sync_folder(self._folder)
        for name in new:
            self._adopt(name)
        followed = {tail.path.name for tail in self.tails.values()}
        for name in sorted(self._names - names - followed):  # those followed are looked at in each tick
            self._names.discard(name)
            if name in self._journal.state.closed:
                if name not in self._missed:
                    self._voice.alarm(f"{name} was removed")
                self._journal.add(Lost(name, now))
        self._listed = seen
        self._list_at = now + _LIST_ANYWAY
        return bool(new)

    def read(self) -> tuple[bool, str]:
        """Read every segment as far as its writer attests, or to its end if its writer is dead.

        Says whether there was anything new, and why the record cannot be called sealed, if so.
        """
        if self._attest.changes != self._slots_at:
            self._slots_at = self._attest.changes
            self._slots = self._attest.slots()
        self._seek_strays()
        lives: dict[str, list[Tail]] = {}
        moved: set[str] = set()
        for tail in self.tails.values():
            try:
                if tail.how != jn.ALTERED:
                    tail.in_place()
                new = not tail.how and self._advance(tail)
            except Altered as error:
                self.alter(tail, error)
                continue
            if new:
                moved.add(tail.header.instance)
            lives.setdefault(tail.header.instance, []).append(tail)
        for tail in self.tails.values():
            self._settle_elsewhere(tail)
        trouble, died = "", False
        for instance, tails in lives.items():
            if instance in moved or all(tail.answered or (tail.how and not tail.open) for tail in tails):
                continue
            if any(self._files.is_held(tail.fd) for tail in tails):
                trouble = self._slotless(tails) or trouble
            elif not self._moved_on(instance, tails):
                self._bury(tails)
                died = True
        return bool(moved) or died, trouble

    def finished(self) -> list[Tail]:
        """Segments of which nothing more will come, with all intents answered and all leaves journaled."""
        return [
            tail
            for tail in self.tails.values()
            if tail.how and not tail.open and not tail.leaves and not self._files.is_held(tail.fd)
        ]

    def let_go(self, tail: Tail) -> None:
        """Its close is on disk: nobody attests it any more."""
        if (slot := self._slots.get(tail.id)) is not None:
            self._attest.free(slot, tail.id)
        tail.close()

    def condemn(self, tail: Tail) -> None:
        """The segment cannot be put on disk: what was not sealed stays unsealed, the writer must move on."""
        tail.how = jn.UNSYNCED
        tail.leaves.clear()
        self._mark(tail)
        details = {"file": tail.path.name, "why": "a sync failed", "sealed": tail.first}
        self._voice.act(Event.RECORD_DAMAGED, details)

    def alter(self, tail: Tail, error: Altered) -> None:
        """The segment is not what its writer wrote: nothing more of it is sealed, the writer must move on."""
        tail.how = jn.ALTERED
        tail.leaves.clear()
        self._missed.add(tail.path.name)
        self._mark(tail)
        self._voice.alarm(str(error))

    def _mark(self, tail: Tail) -> None:
        if (slot := self._slots.get(tail.id)) is not None:
            self._attest.condemn(slot)

    def _resume(self, known: Carried) -> None:
        """Follow again a segment that an earlier recorder followed."""
        try:
            tail = Tail(self._files, self._folder / known.file)
        except (FileNotFoundError, RecordError) as error:
            what = "was removed" if isinstance(error, FileNotFoundError) else str(error)
            self._voice.alarm(f"{known.file}: {what}")
            self._missed.add(known.file)
            now = self._clock.wall()
            self._journal.add(Closed(known.segment, known.count, jn.ALTERED, known.offset, -1, b"", now))
            return
        tail.id = known.segment
        tail.early = self._early.pop(tail.id, tail.early)
        self.tails[tail.id] = tail
        try:
            tail.catch_up(known)
        except Altered as altered:
            self.alter(tail, altered)
            tail.first, tail.sealed_offset = known.count, known.offset
        self._settle_elsewhere(tail)

    def _clear_leftovers(self) -> None:
        """Remove segments that died before they had a name."""
        for name in self._files.list(self._folder):
            if not (name.startswith(".") and name.endswith(".new")):
                continue
            path = self._folder / name
            try:
                fd = self._files.open(path)
            except FileNotFoundError:  # it got its name just now
                continue
            try:
                if not self._files.is_held(fd):
                    self._files.unlink(path)
            finally:
                self._files.close(fd)

    def _adopt(self, name: str) -> None:
        """Begin to follow a new segment."""
        try:
            tail = Tail(self._files, self._folder / name)
        except FileNotFoundError:
            return
        except RecordError as error:
            self._names.add(name)
            self._voice.alarm(f"{name}: {error}")
            return
        self._names.add(name)
        if tail.id in self.tails:
            tail.close()
            self._voice.alarm(f"{name} is a copy of {self.tails[tail.id].path.name}")
            return
        tail.early = self._early.pop(tail.id, tail.early)
        self.tails[tail.id] = tail
        now = self._clock.wall()
        self._journal.add(Opened(tail.id, name, tail.header_hash, tail.header.writer, tail.header_size, now))

    def _advance(self, tail: Tail) -> bool:
        slot = self._slots.get(tail.id)
        if slot is None:
            return False
        state = self._attest.state(slot)  # before the statement: it is the last one if the state says so
        new = tail.read(self._attest.read(slot))
        if tail.ended:
            tail.how = jn.CLEAN
        elif state == DAMAGED:
            tail.how = jn.DAMAGED
        elif state == UNSYNCED:
            self.condemn(tail)
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

    def _moved_on(self, instance: str, tails: list[Tail]) -> bool:
        """A writer holds its next segment before it lets go of the last one: is there one now?"""
        self.discover(anyway=True)
        return any(tail.header.instance == instance and tail not in tails for tail in self.tails.values())

    def _bury(self, tails: list[Tail]) -> None:
        """All segments of a writer that died: read what is left, answer for its calls."""
        for tail in tails:
            try:
                if not tail.how:
                    self._advance(tail)
                if not tail.how:
                    tail.read_to_end()
                    tail.how = jn.CLEAN if tail.ended else jn.GONE
                    if torn := tail.rest()[0]:
                        self._voice.act(Event.RECORD_DAMAGED, {"file": tail.path.name, "torn": torn})
            except Altered as error:
                self.alter(tail, error)
        for tail in tails:
            self._settle_elsewhere(tail)
        for tail in tails:
            if tail.open and not tail.answered:
                tail.answered = True
                self._voice.answer((tail.id, sequence) for sequence in sorted(tail.open))

    def _seek_strays(self) -> None:
        """A place on the attest page whose segment has no file: removed before it was sealed."""
        now = self._clock.monotonic()
        for segment, slot in self._slots.items():
            if segment in self.tails:
                self._strays.pop(segment, None)
                continue
            since = self._strays.setdefault(segment, now)
            if now - since > _PATIENCE and self._attest.state(slot) == LIVE and not self._attest.condemned(slot):
                self._attest.condemn(slot)  # the place is not given back: its writer may live
                self._voice.alarm(f"segment {segment.hex()} was removed before it was sealed")

    def _settle_elsewhere(self, tail: Tail) -> None:
        """Outcomes found here of intents in other segments."""
        for segment, sequence in tail.elsewhere:
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
