"""The recorder: reads what the writers wrote, puts it on disk, and only then says so in the journal.

Each `tick` goes this way, and a crash between any two steps leads the next recorder to the same journal:

 1. find new segments, and miss those that are gone;
 2. read each segment as far as its writer attests, and compare the hashes: a difference is an alarm;
 3. sync each segment that has something new, and queue its seal; one that cannot be synced is condemned;
 4. queue a close for each segment that has ended and whose intents all have outcomes;
 5. put the queue on disk; what it calls pruned is deleted (`prune.py`);
 6. take what was sealed into the tree, and once a second sign a checkpoint of it (`tree.py`);
 7. look once a second whether a file of the record was touched by somebody else (`watch.py`);
 8. look once a second at the clocks (`timekeeping.py`);
 9. write own records: alarms, and `unknown` outcomes for the intents of writers that died;
10. publish the time: everything attested before this tick is sealed.

It holds the key that signs checkpoints and the recipient's public one, so it cannot read the record. It MUST NOT
seal what is not on disk or not what the writer hashed, MUST NOT publish a tick that failed, and never changes
another's file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from interlock.audit.attest import AttestPage
from interlock.audit.files import Files, boot_id
from interlock.audit.follower import Follower
from interlock.audit.journal import Closed, Sealed
from interlock.audit.journal_writer import FILE_SIZE, JournalWriter
from interlock.audit.prune import Pruner, RetentionOf
from interlock.audit.reserve import RESERVE_SIZE, Reserve
from interlock.audit.segment import Recipient
from interlock.audit.timekeeping import Sync, Timekeeper
from interlock.audit.tree import RecordTree, Signer
from interlock.audit.voice import Page, Voice
from interlock.audit.watch import Watch
from interlock.audit.writer import SegmentWriter
from interlock.clock import SECOND, Clock, SystemClock
from interlock.errors import RecordError
from interlock.model import Event

_RESERVE_EVERY = 5 * SECOND


class Recorder:
    """The recorder's logic; whoever runs it holds the data directory's lock. For one thread."""

    def __init__(
        self,
        record: Path,
        recipient: Recipient,
        signer: Signer | None,
        page: Page,
        attest: AttestPage,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        boot: str | None = None,
        journal_size: int = FILE_SIZE,
        reserve_size: int = RESERVE_SIZE,
        ask_time: Callable[[], Sync | None] | None = None,
        prune: tuple[Path, RetentionOf] | None = None,
    ) -> None:
        """With `ask_time`, which says what keeps the clock, time is watched too.

        `prune`: where requests to prune come, and how long what is kept; without it nothing is deleted.
        """
        self.trouble = ""  # why the last tick was not published
        self.seals = 0
        self.sealed = 0  # frames
        self._record = record
        self._page = page
        self._attest = attest
        self._clock: Clock = clock or SystemClock()
        self._files = files or Files()
        self._boot = boot_id() if boot is None else boot
        self._journal_size = journal_size
        self._reserve = Reserve(record, self._files, reserve_size)
        self._reserve_at = 0
        self._look_at = 0
        self._files.make_folder(record / "segments")
        self._own = SegmentWriter(
            record, "recorder", recipient, clock=self._clock, attest=attest, files=self._files, boot=self._boot
        )
        self._voice = Voice(self._own, page)
        self.time = None if ask_time is None else Timekeeper(self._clock, self._voice.act, ask_time)
        self._signer = signer
        self._prune = prune
        self._journal, self._follower, self._tree = self._make()
        self._started = False

    @property
    def running(self) -> bytes:
        """The journal's running hash, of what is on disk."""
        return self._journal.running

    @property
    def own(self) -> SegmentWriter:
        """What writes the recorder's own records."""
        return self._own

    @property
    def checkpoints(self) -> int:
        """How many were signed."""
        return self._tree.signed

    @property
    def alarms(self) -> int:
        return self._voice.alarms

    def tick(self) -> bool:
        """One round; says whether there was something to do. Errors of the disk end up in `trouble`."""
        now = self._clock.wall()
        busy, trouble = False, ""
        try:
            if not self._started:
                self._start()
            busy = self._follower.discover()
            if self._journal.is_new:
                self._journal.commit()  # before the first segment is synced: one on disk tells that there was a journal
            new, trouble = self._follower.read()
            self._seal()
            self._close_finished()
            busy = busy or new or bool(self._follower.leaving)
            if self._pruner is not None:
                busy = self._pruner.prepare() or busy
            self._journal.commit()
            self._follower.committed()
            if self._pruner is not None:
                self._pruner.finish()
            self._tree.add(self._journal.take_sealed())
            self._tree.tend()
        except (OSError, RecordError) as error:
            trouble = str(error)
        self._look_around()
        if self.time is not None and self._started:  # after a gap, which is the first thing said
            self.time.tend()
        if self._voice.waiting:
            busy = True
            trouble = self._voice.speak() or trouble
        self.trouble = trouble
        if not trouble:
            self._page.published(now)
        self._look_after_reserve()
        return busy

    def stop(self, rounds: int = 200) -> bool:
        """Seal everything and stop in good order; says whether that was possible.

        Otherwise the next recorder begins with `record:gap-possible`, as after a crash.
        """
        self._settle(rounds)
        try:
            self._voice.close()
            self._settle(rounds)
            if not self.trouble and not self._voice.waiting:
                self._tree.tend(at_once=True)
                self._journal.stop()
        except (RecordError, OSError) as error:
            self.trouble = str(error)
        good = not self.trouble and not self._voice.waiting
        self.close()
        return good

    def close(self) -> None:
        """Let go of everything without a word, as a crash would."""
        self._journal.close()
        self._follower.close()

    def _settle(self, rounds: int) -> None:
        for _ in range(rounds):
            if not self.tick() and not self.trouble:
                return

    def _make(self) -> tuple[JournalWriter, Follower, RecordTree]:
        files, clock = self._files, self._clock
        self._watch = Watch(self._record, files)
        journal = JournalWriter(
            self._record,
            files=files,
            clock=clock,
            boot_id=self._boot,
            reserve=self._reserve,
            watch=self._watch,
            size_limit=self._journal_size,
        )
        segments = self._record / "segments"
        follower = Follower(
            segments, journal, self._voice, attest=self._attest, files=files, clock=clock, boot=self._boot
        )
        self._pruner = None
        if self._prune is not None:
            request, retention = self._prune
            self._pruner = Pruner(
                segments, request, retention, journal, self._voice, follower.has, files=files, clock=clock
            )
        tree = RecordTree(self._record, journal, self._signer, files=files, clock=clock, watch=self._watch)
        return journal, follower, tree

    def _start(self) -> None:
        """Go on where the last recorder ended; after an error, as if it had not been tried."""
        try:
            problems = self._journal.start()
            problems += self._tree.start()
            state = self._journal.state
            begun = bool(state.known or state.closed or state.pruned or problems)
            if begun and (not state.stopped or problems):
                last = [
                    {"writer": known.writer, "segment": known.segment.hex(), "sequence": known.count - 1}
                    for known in state.known.values()
                ]
                self._voice.act(Event.RECORD_GAP_POSSIBLE, {"writers": last})
            for problem in problems:
                self._voice.alarm(problem)
            self._follower.start()
        except (OSError, RecordError):
            self.close()
            self._voice.hush()
            self._journal, self._follower, self._tree = self._make()
            raise
        self._started = True

    def _seal(self) -> None:
        for tail in self._follower.tails.values():
            if not tail.leaves:
                continue
            try:
                self._files.fdatasync(tail.fd)
            except OSError:
                self._follower.condemn(tail)
                continue
            leaves = b"".join(tail.leaves)
            count = len(tail.leaves)
            self._journal.add(Sealed(tail.id, tail.first, count, leaves, tail.offset, tail.digest.digest()))
            self.seals += 1
            self.sealed += count
            tail.first += count
            tail.sealed_offset = tail.offset
            tail.leaves.clear()

    def _close_finished(self) -> None:
        for tail in self._follower.finished():
            length, rest = self._follower.rest(tail)
            now = self._clock.wall()
            closed = Closed(tail.id, tail.first, tail.how, tail.sealed_offset, length, rest, now)
            self._follower.leave(tail, closed)

    def _look_around(self) -> None:
        """Once a second: is everything still there?"""
        now = self._clock.monotonic()
        if self._started and now >= self._look_at:
            self._look_at = now + SECOND
            for what in self._watch.look():
                self._voice.alarm(what)

    def _look_after_reserve(self) -> None:
        now = self._clock.monotonic()
        if now >= self._reserve_at:
            self._reserve_at = now + _RESERVE_EVERY
            self._reserve.restore()
