"""Has each new checkpoint cosigned, publishes it, and sees that it is kept elsewhere.

A *round* is one checkpoint's way, at most one every few seconds:

 1. The newest checkpoint is read and verified; it must go on from the published one, or nothing is published any more.
 2. Every witness that is not waiting after a failure is asked, each in a thread of its own.
 3. Once enough have cosigned, and the others have answered or had a moment, the checkpoint with all its cosignatures
    becomes `log/published`: written aside, synced, renamed. Who comes later is added.
 4. The places are handed it, each in a thread of its own, as often as each wants one.

A round that has nobody left to wait for, or takes too long, is over; the next one is of the newest checkpoint. So a
witness that is slow or lies delays its own cosignature only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from interlock.audit.files import Files
from interlock.clock import SECOND, Clock, SystemClock
from interlock.config import Record
from interlock.control.paths import Paths
from interlock.control.publishing.parties import PlaceThread, WitnessThread
from interlock.control.publishing.places import Published, make_place
from interlock.control.publishing.record_log import RecordLog
from interlock.control.publishing.round import Log, Round
from interlock.control.publishing.status import PUBLISHING_REPORT, PublishingStatus
from interlock.control.publishing.witness import Candidate
from interlock.errors import InterlockError
from interlock.tlog import Signature

TICK = 0.25  # seconds
GRACE = 2 * SECOND  # for those that have not answered, once enough have
LONGEST = 60 * SECOND  # of a round that has not enough
PATIENCE = 2.0  # seconds for all threads to end


class PublishingJob:
    """What runs now; follows the configuration. For one thread."""

    def __init__(self, paths: Paths, log: Log, clock: Clock | None = None) -> None:
        self._paths = paths
        self._log = log
        self._clock: Clock = clock or SystemClock()
        self._wanted: Record | None = None
        self._running: _Publisher | None = None

    def configure(self, wanted: Record) -> None:
        """Begin, go on, or end."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self.close()
        if wanted.asked:
            self._running = _Publisher(self._paths, wanted, self._log, self._clock)
            self._running.start()
        else:
            with suppress(OSError):
                PUBLISHING_REPORT.write(self._paths.run, None)

    def close(self) -> None:
        """End; what is not published yet is, when it begins again."""
        if self._running is not None:
            self._running.stop()
            self._running = None


class _Publisher:
    """One configuration's threads: this one, and one for each witness and place."""

    def __init__(self, paths: Paths, wanted: Record, log: Log, clock: Clock) -> None:
        self._shared = Round()
        self._paths = paths
        self._wanted = wanted
        self._log = log
        self._clock = clock
        self._files = Files()
        self._record = RecordLog(paths, self._files)
        witnesses = wanted.witnesses
        self._witnesses = [
            WitnessThread(one, wanted, self._shared, log, clock) for one in (witnesses.of if witnesses else ())
        ]
        self._places = [PlaceThread(one, make_place(one), self._shared, log, clock) for one in wanted.publish]
        self._status = PublishingStatus(
            witnesses.require if witnesses else 0,
            wanted.max_age,
            clock.wall(),
            witnesses=[one.status for one in self._witnesses],
            places=[one.status for one in self._places],
        )
        self._began = 0  # monotonic, of the round
        self._open = False  # the round
        self._enough_since = 0  # monotonic
        self._in_published: tuple[bytes, frozenset[str]] = b"", frozenset()  # the note as signed, who cosigned it
        self._told = b""  # the status
        self._seen: tuple[int, int] = 0, 0  # inode and time of the checkpoint that the last round was of
        self._threads = [
            threading.Thread(target=self._run, name="publishing", daemon=True),
            *(threading.Thread(target=one.run, name=f"witness-{one.name}", daemon=True) for one in self._witnesses),
            *(threading.Thread(target=one.run, name="checkpoint-place", daemon=True) for one in self._places),
        ]

    def start(self) -> None:
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        with self._shared.changed:
            self._shared.stopping = True
            self._shared.changed.notify_all()
        until = time.monotonic() + PATIENCE
        for one in self._threads:
            one.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        try:
            self._take_up()
        except Exception as problem:
            self._log.error("what was published cannot be taken up", problem=repr(problem))
        said = 0.0
        while True:
            try:
                self._tick()
            except (InterlockError, OSError) as problem:
                self._says(str(problem))
            except Exception as fault:  # a fault of ours must not end it for good
                self._says(repr(fault))
            if time.monotonic() - said >= 1.0:
                said = time.monotonic()
                self._tell()
            with self._shared.changed:
                if self._shared.stopping or self._shared.changed.wait_for(lambda: self._shared.stopping, TICK):
                    return

    def _says(self, problem: str) -> None:
        if problem and problem != self._status.problem:
            self._log.error("checkpoints are not published", problem=problem)
        self._status.problem = problem

    def _tell(self) -> None:
        """Only what is new: a node may be idle for long."""
        now = msgspec.json.encode(self._status)
        if now != self._told:
            with suppress(OSError):
                PUBLISHING_REPORT.write(self._paths.run, self._status)
                self._told = now

    def _take_up(self) -> None:
        """What was published before goes to the places that have not got it."""
        found = self._record.published()
        if found is not None:
            self._hand_on(found)

    # -- a round

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if self._open:
            self._look_at_round(now)
        if not self._open and (not self._began or now - self._began >= self._wanted.every):
            self._begin(now)

    def _begin(self, now: int) -> None:
        seen = self._record.stamp()
        ready = any(one.name not in self._shared.cosignatures and not one.attempts.waiting for one in self._witnesses)
        if not any(seen) or (seen == self._seen and not ready and not self._status.problem):
            return
        self._began = now
        candidate = self._record.candidate()
        self._record.must_go_on(candidate)
        shared = self._shared
        with shared.changed:
            if shared.candidate is None or shared.candidate.note != candidate.note:
                shared.cosignatures = {}  # also when it was only signed anew: so that the witnesses, too, say when
            shared.candidate = candidate
            shared.number += 1
            for one in self._witnesses:
                if one.name in shared.cosignatures:
                    one.done = shared.number
            shared.changed.notify_all()
        self._seen = seen
        self._open = True
        self._enough_since = 0
        self._status.problem = ""
        self._look_at_round(now)

    def _look_at_round(self, now: int) -> None:
        shared = self._shared
        with shared.changed:
            have, candidate = dict(shared.cosignatures), shared.candidate
            waiting = any(one.is_asked(shared.number) for one in self._witnesses)
        assert candidate is not None
        enough = len(have) >= self._status.require
        if enough:
            self._enough_since = self._enough_since or now
            patient = waiting and now - self._enough_since < GRACE
            if not patient and self._in_published != (candidate.note, frozenset(have)):
                self._publish(candidate, have)
        if not waiting or now - self._began >= (max(GRACE, self._wanted.every) if enough else LONGEST):
            self._open = False

    def _publish(self, candidate: Candidate, have: Mapping[str, Signature]) -> None:
        note = self._record.publish(candidate, [have[one.name] for one in self._witnesses if one.name in have])
        self._in_published = candidate.note, frozenset(have)
        checkpoint = candidate.checkpoint
        self._hand_on(Published(checkpoint.origin, checkpoint.size, candidate.signed_ns, note))
        self._status.cosigned = [one.name for one in self._witnesses if one.name in have]
        self._status.missing = [one.name for one in self._witnesses if one.name not in have]

    def _hand_on(self, published: Published) -> None:
        self._status.size, self._status.signed_ns = published.size, published.signed_ns
        with self._shared.changed:
            self._shared.published = published
            self._shared.changed.notify_all()
