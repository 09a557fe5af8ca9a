"""The recorder: reads what the writers wrote, puts it on disk, and only then says so in the journal.

Each `tick` goes this way, and a crash between any two steps leads the next recorder to the same journal:

 1. find new segments, and miss those that are gone;
 2. read each segment as far as its writer attests, and compare the hashes: a difference is an alarm;
 3. sync each segment that has something new; one that cannot be synced is condemned;
 4. queue seals, and a close for each segment that has ended and whose intents all have outcomes;
 5. put the queue on disk;
 6. write own records: alarms, and `unknown` outcomes for the intents of writers that died;
 7. publish the time: everything attested before this tick is sealed.

It holds no key but the recipient's public one, so it cannot read the record. It MUST NOT seal what is not on
disk or not what the writer hashed, MUST NOT publish a tick that failed, and never changes another's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from interlock.audit import journal as jn
from interlock.audit.attest import DAMAGED, LIVE, UNSYNCED, AttestPage
from interlock.audit.entries import UNKNOWN, Act, Outcome, encode
from interlock.audit.files import Files, boot_id
from interlock.audit.journal import Closed, Known, Lost, Opened, Sealed
from interlock.audit.journal_writer import FILE_SIZE, JournalWriter
from interlock.audit.reserve import RESERVE_SIZE, Reserve
from interlock.audit.segment import FILE_NAME, Recipient, RecordId
from interlock.audit.tail import Altered, Tail
from interlock.audit.writer import SegmentWriter
from interlock.clock import SECOND, Clock, SystemClock
from interlock.errors import RecordError, RecordUnavailable
from interlock.model import Event

_ACTOR = "process:recorder"
_SETTLED = SECOND  # a folder untouched for this long needs no listing
_LIST_ANYWAY = 30 * SECOND
_PATIENCE = 5 * SECOND  # for a segment without its place on the attest page, and the other way round
_RESERVE_EVERY = 5 * SECOND


class Page(Protocol):
    """Where the node learns how the record is doing."""

    def published(self, sealed_ns: int) -> None: ...

    def alarm(self) -> None: ...


class Recorder:
    """The recorder's logic; whoever runs it holds the data directory's lock. For one thread."""

    def __init__(
        self,
        record: Path,
        recipient: Recipient,
        page: Page,
        attest: AttestPage,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        boot: str | None = None,
        journal_size: int = FILE_SIZE,
        reserve_size: int = RESERVE_SIZE,
    ) -> None:
        self.trouble = ""  # why the last tick was not published
        self.alarms = 0
        self._folder = record / "segments"
        self._page = page
        self._attest = attest
        self._clock: Clock = clock or SystemClock()
        self._files = files or Files()
        self._boot = boot_id() if boot is None else boot
        self._reserve = Reserve(record, self._files, reserve_size)
        self._files.make_folder(self._folder)
        self._record = record
        self._journal_size = journal_size
        self._journal = self._new_journal()
        self._own = SegmentWriter(
            record, "recorder", recipient, clock=self._clock, attest=attest, files=self._files, boot=self._boot
        )
        self._say: list[tuple[Event, bytes, RecordId | None]] = []  # own records that wait to be written
        self._tails: dict[bytes, Tail] = {}
        self._finished: list[Tail] = []  # whose close is not on disk yet
        self._names: set[str] = set()  # all segment files accounted for
        self._missed: set[str] = set()  # of them, those whose loss was said already
        self._early: dict[bytes, set[int]] = {}
        self._slots: dict[bytes, int] = {}
        self._slots_at = -1
        self._strays: dict[bytes, int] = {}  # places without a file, since when
        self._listed: tuple[int, int] = (0, 0)
        self._list_at = 0
        self._reserve_at = 0
        self._busy = False
        self._started = False

    @property
    def running(self) -> bytes:
        """The journal's running hash, of what is on disk."""
        return self._journal.running

    def tick(self) -> bool:
        """One round; says whether there was something to do. Errors of the disk end up in `trouble`."""
        now = self._clock.wall()
        self._busy = False
        trouble = ""
        try:
            if not self._started:
                self._begin()
            self._discover()
            trouble = self._follow()
            self._seal()
            self._finish()
            self._journal.commit()
            self._let_go()
        except (OSError, RecordError) as error:
            trouble = str(error)
        if self._say:
            trouble = self._speak() or trouble
        self.trouble = trouble
        if not trouble:
            self._page.published(now)
        self._look_after_reserve()
        return self._busy

    def stop(self, rounds: int = 200) -> bool:
        """Seal everything and stop in good order; says whether that was possible.

        Otherwise the next recorder begins with `record:gap-possible`, as after a crash.
        """
        for _ in range(rounds):
            if not self.tick() and not self.trouble and not self._say:
                break
        try:
            self._own.close()
        except RecordUnavailable:
            self.close()
            return False
        for _ in range(rounds):
            if not self.tick() and not self.trouble:
                break
        settled = not self.trouble and not self._say
        if settled:
            try:
                self._journal.stop()
            except OSError as error:
                self.trouble = str(error)
                settled = False
        self.close()
        return settled

    def close(self) -> None:
        """Let go of everything without a word, as a crash would."""
        self._journal.close()
        for tail in [*self._tails.values(), *self._finished]:
            tail.close()
        self._tails.clear()
        self._finished.clear()

    # -- starting

    def _new_journal(self) -> JournalWriter:
        return JournalWriter(
            self._record,
            files=self._files,
            clock=self._clock,
            boot_id=self._boot,
            reserve=self._reserve,
            size_limit=self._journal_size,
        )

    def _begin(self) -> None:
        """Go on where the last recorder ended; after an error, as if it had not been tried."""
        try:
            self._start()
        except (OSError, RecordError):
            self.close()
            self._say.clear()
            self._journal = self._new_journal()
            raise
        self._started = True

    def _start(self) -> None:
        problems = self._journal.start()
        state = self._journal.state
        known = list(state.known.values())
        if (known or state.closed or problems) and (not state.stopped or problems):
            self._say_act(Event.RECORD_GAP_POSSIBLE, {"writers": [_last_known(item) for item in known]})
        for problem in problems:
            self._alarm(problem)
        self._names = set(state.closed)
        self._clear_leftovers()
        for item in known:
            self._names.add(item.file)
            self._resume(item)
        ended = {name[-12:-4] for name in state.closed}
        for segment, slot in self._attest.slots().items():
            if segment.hex()[:8] in ended:
                self._attest.free(slot, segment)

    def _resume(self, item: Known) -> None:
        """Follow again a segment that an earlier recorder followed."""
        try:
            tail = Tail(self._files, self._folder / item.file)
        except FileNotFoundError:
            self._alarm(f"{item.file} was removed")
            self._missed.add(item.file)
            self._journal.add(self._closing(item.segment, item.count, jn.ALTERED, item.offset))
            return
        except RecordError as error:
            self._alarm(f"{item.file}: {error}")
            self._journal.add(self._closing(item.segment, item.count, jn.ALTERED, item.offset))
            return
        tail.id = item.segment
        tail.early = self._early.pop(tail.id, tail.early)
        self._tails[tail.id] = tail
        try:
            tail.catch_up(item.carried())
        except Altered as error:
            self._alter(tail, error)
            tail.first, tail.sealed_offset = item.count, item.offset
        self._settle_elsewhere(tail)

    def _clear_leftovers(self) -> None:
        """Remove segments that died before they had a name."""
        for name in self._files.list(self._folder):
            if name.startswith(".") and name.endswith(".new"):
                path = self._folder / name
                fd = self._files.open(path)
                try:
                    if not self._files.is_held(fd):
                        self._files.unlink(path)
                finally:
                    self._files.close(fd)

    # -- 1. find

    def _discover(self, anyway: bool = False) -> None:
        found = self._files.stat(self._folder)
        now = self._clock.wall()
        seen = (found.st_mtime_ns, found.st_ino)
        if not anyway and seen == self._listed and now >= seen[0] + _SETTLED and now < self._list_at:
            return
        names = {name for name in self._files.list(self._folder) if FILE_NAME.fullmatch(name)}
        new = sorted(names - self._names)
        if new:
            self._files.sync_folder(self._folder)
        for name in new:
            self._adopt(name)
        followed = {tail.path.name for tail in self._tails.values()}
        for name in sorted(self._names - names - followed):  # those followed are looked at in each tick
            self._names.discard(name)
            if name in self._journal.state.closed:
                if name not in self._missed:
                    self._alarm(f"{name} was removed")
                self._journal.add(Lost(name, now))
        self._listed = seen
        self._list_at = now + _LIST_ANYWAY

    def _adopt(self, name: str) -> None:
        """Begin to follow a new segment."""
        try:
            tail = Tail(self._files, self._folder / name)
        except FileNotFoundError:
            return
        except RecordError as error:
            self._names.add(name)
            self._alarm(f"{name}: {error}")
            return
        self._names.add(name)
        if tail.id in self._tails:
            tail.close()
            self._alarm(f"{name} is a copy of {self._tails[tail.id].path.name}")
            return
        tail.early = self._early.pop(tail.id, tail.early)
        self._tails[tail.id] = tail
        self._journal.add(
            Opened(tail.id, name, tail.header_hash, tail.header.writer, tail.header_size, self._clock.wall())
        )
        self._busy = True

    # -- 2. read

    def _follow(self) -> str:
        """Read every segment; gives why the tick cannot be published, if so."""
        if self._attest.changes != self._slots_at:
            self._slots_at = self._attest.changes
            self._slots = self._attest.slots()
        trouble = self._seek_strays()
        idle: dict[str, list[Tail]] = {}
        moved: set[str] = set()
        for tail in self._tails.values():
            try:
                if tail.how != jn.ALTERED:
                    tail.in_place()
                new = not tail.how and self._advance(tail)
            except Altered as error:
                self._alter(tail, error)
                continue
            if new:
                self._busy = True
                moved.add(tail.header.instance)
            idle.setdefault(tail.header.instance, []).append(tail)
        for tail in self._tails.values():
            self._settle_elsewhere(tail)
        for instance, tails in idle.items():
            if instance not in moved:
                trouble = self._check_alive(tails) or trouble
        return trouble

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
            self._condemn(tail)
        return new

    def _check_alive(self, tails: list[Tail]) -> str:
        """Of one life of one writer, with nothing new: has it died?"""
        if all(tail.answered or (tail.how and not tail.open) for tail in tails):
            return ""
        if any(self._files.is_held(tail.fd) for tail in tails):
            return self._slotless(tails)
        instance = tails[0].header.instance
        self._discover(anyway=True)
        if any(tail.header.instance == instance and tail not in tails for tail in self._tails.values()):
            return ""  # it has just moved on to a new segment
        for tail in tails:
            if not tail.how:
                try:
                    self._advance(tail)
                    if not tail.how:
                        tail.read_to_end()
                        tail.how = jn.CLEAN if tail.ended else jn.GONE
                        if torn := tail.rest()[0]:
                            self._say_act(Event.RECORD_DAMAGED, {"file": tail.path.name, "torn": torn})
                except Altered as error:
                    self._alter(tail, error)
                self._busy = True
        for tail in tails:
            self._settle_elsewhere(tail)
        for tail in tails:
            if tail.open and not tail.answered:
                tail.answered = True
                for sequence in sorted(tail.open):
                    self._say.append((Event.CALL_OUTCOME, encode(Outcome(0, UNKNOWN)), (tail.id, sequence)))
        return ""

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

    def _seek_strays(self) -> str:
        """A place on the attest page whose segment has no file: removed before it was sealed."""
        now = self._clock.monotonic()
        for segment, slot in self._slots.items():
            if segment in self._tails:
                self._strays.pop(segment, None)
                continue
            since = self._strays.setdefault(segment, now)
            if now - since > _PATIENCE and self._attest.state(slot) == LIVE and not self._attest.condemned(slot):
                self._attest.condemn(slot)  # the place is not given back: its writer may live
                self._alarm(f"segment {segment.hex()} was removed before it was sealed")
        return ""

    def _settle_elsewhere(self, tail: Tail) -> None:
        """Outcomes found here of intents in other segments."""
        for segment, sequence in tail.elsewhere:
            other = self._tails.get(segment)
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

    # -- 3. and 4. sync, queue

    def _seal(self) -> None:
        for tail in self._tails.values():
            if not tail.leaves:
                continue
            try:
                self._files.fdatasync(tail.fd)
            except OSError:
                self._condemn(tail)
                continue
            leaves = b"".join(tail.leaves)
            count = len(tail.leaves)
            self._journal.add(Sealed(tail.id, tail.first, count, leaves, tail.offset, tail.digest.digest()))
            tail.first += count
            tail.sealed_offset = tail.offset
            tail.leaves.clear()

    def _finish(self) -> None:
        for tail in list(self._tails.values()):
            if not tail.how or tail.open or tail.leaves:
                continue
            if self._files.is_held(tail.fd):
                continue  # the one segment by which a living writer is known to live
            length, rest = (-1, b"") if tail.how in (jn.UNSYNCED, jn.ALTERED) else tail.rest()
            if tail.how == jn.CLEAN and length:
                self._alter(tail, Altered(f"{tail.path.name} goes on after its end"))
                length, rest = -1, b""
            self._journal.add(self._closing(tail.id, tail.first, tail.how, tail.sealed_offset, length, rest))
            del self._tails[tail.id]
            self._finished.append(tail)
            self._busy = True

    def _closing(
        self, segment: bytes, count: int, how: str, offset: int, length: int = -1, rest: bytes = b""
    ) -> Closed:
        return Closed(segment, count, how, offset, length, rest, self._clock.wall())

    def _condemn(self, tail: Tail) -> None:
        """The segment cannot be put on disk: what was not sealed stays unsealed, the writer must move on."""
        tail.how = jn.UNSYNCED
        tail.leaves.clear()
        if (slot := self._slots.get(tail.id)) is not None:
            self._attest.condemn(slot)
        self._say_act(Event.RECORD_DAMAGED, {"file": tail.path.name, "why": "a sync failed", "sealed": tail.first})
        self._busy = True

    def _alter(self, tail: Tail, error: Altered) -> None:
        tail.how = jn.ALTERED
        tail.leaves.clear()
        self._missed.add(tail.path.name)
        if (slot := self._slots.get(tail.id)) is not None:
            self._attest.condemn(slot)
        self._alarm(str(error))

    def _let_go(self) -> None:
        """Of segments whose close is on disk: nobody attests them any more."""
        for tail in self._finished:
            if (slot := self._slots.get(tail.id)) is not None:
                self._attest.free(slot, tail.id)
            tail.close()
        self._finished.clear()

    # -- 6. own records

    def _alarm(self, message: str) -> None:
        self.alarms += 1
        self._page.alarm()
        self._say_act(Event.RECORD_ALTERED, {"what": message})

    def _say_act(self, event: Event, details: Mapping[str, Any]) -> None:
        self._say.append((event, encode(Act(_ACTOR, dict(details))), None))
        self._busy = True

    def _speak(self) -> str:
        """Write what waits to be said; it stays waiting until it is written."""
        try:
            for event, payload, refers in self._say:
                self._own.append(event.code, payload, refers)
            self._own.flush()
        except RecordUnavailable as error:
            return str(error)
        self._say.clear()
        self._busy = True
        return ""

    def _look_after_reserve(self) -> None:
        now = self._clock.monotonic()
        if now >= self._reserve_at:
            self._reserve_at = now + _RESERVE_EVERY
            self._reserve.restore()


def _last_known(item: Known) -> dict[str, Any]:
    return {"writer": item.writer, "segment": item.segment.hex(), "sequence": item.count - 1}
