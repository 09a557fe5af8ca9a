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

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from interlock.audit import log_verifier
from interlock.audit.files import Files, read_all, write_aside
from interlock.audit.signing import LogVerifier
from interlock.audit.tiles import Tiles
from interlock.audit.tree import CHECKPOINT, LARGEST_CHECKPOINT, PUBLISHED
from interlock.clock import SECOND, Clock, SystemClock
from interlock.config import Publish, Record, WitnessAt
from interlock.control.paths import Paths
from interlock.control.publishing.attempts import Attempts
from interlock.control.publishing.http import Http
from interlock.control.publishing.places import Place, Published, make_place
from interlock.control.publishing.status import PartyStatus, PublishingStatus, write_publishing
from interlock.control.publishing.witness import Candidate, Reply, WitnessClient
from interlock.errors import InterlockError, LogError, RecordError
from interlock.tlog import (
    ADD_CHECKPOINT,
    Note,
    Signature,
    TiledTree,
    consistency_proof,
    format_note,
    parse_note,
    verify_consistency,
)

TICK = 0.25  # seconds
GRACE = 2 * SECOND  # for those that have not answered, once enough have
LONGEST = 60 * SECOND  # of a round that has not enough
SAME = 3600 * SECOND  # a checkpoint that covers nothing new goes to a place this often
PATIENCE = 2.0  # seconds for all threads to end


class Log(Protocol):
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


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
                write_publishing(self._paths.run, None)

    def close(self) -> None:
        """End; what is not published yet is, when it begins again."""
        if self._running is not None:
            self._running.stop()
            self._running = None


class _Publisher:
    """One configuration's threads: this one, and one for each witness and place."""

    def __init__(self, paths: Paths, wanted: Record, log: Log, clock: Clock) -> None:
        self.changed = threading.Condition()  # guards all that follows, and says when it changed
        self.stopping = False
        self.round = 0
        self.candidate: Candidate | None = None
        self.cosignatures: dict[str, Signature] = {}  # of the candidate's text, by witness
        self.published: Published | None = None

        self._paths = paths
        self._wanted = wanted
        self._log = log
        self._clock = clock
        self._files = Files()
        self._record = RecordLog(paths, self._files)
        witnesses = wanted.witnesses
        self._witnesses = [_Witness(one, wanted, self, log, clock) for one in (witnesses.of if witnesses else ())]
        self._places = [_PlaceThread(one, make_place(one), self, log, clock) for one in wanted.publish]
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
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
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
            with self.changed:
                if self.stopping or self.changed.wait_for(lambda: self.stopping, TICK):
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
                write_publishing(self._paths.run, self._status)
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
        ready = any(one.name not in self.cosignatures and not one.attempts.waiting for one in self._witnesses)
        if not any(seen) or (seen == self._seen and not ready and not self._status.problem):
            return
        self._began = now
        candidate = self._record.candidate()
        self._record.must_go_on(candidate)
        with self.changed:
            if self.candidate is None or self.candidate.note != candidate.note:
                self.cosignatures = {}  # also when it was only signed anew: so that the witnesses, too, say when
            self.candidate = candidate
            self.round += 1
            for one in self._witnesses:
                if one.name in self.cosignatures:
                    one.done = self.round
            self.changed.notify_all()
        self._seen = seen
        self._open = True
        self._enough_since = 0
        self._status.problem = ""
        self._look_at_round(now)

    def _look_at_round(self, now: int) -> None:
        with self.changed:
            have = dict(self.cosignatures)
            candidate, waiting = self.candidate, any(one.is_asked(self.round) for one in self._witnesses)
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
        with self.changed:
            self.published = published
            self.changed.notify_all()


class RecordLog:
    """The record's log as publishing sees it: read, but for `log/published`, which is its own."""

    def __init__(self, paths: Paths, files: Files) -> None:
        self._paths = paths
        self._files = files
        self._log = paths.record / "log"

    def stamp(self) -> tuple[int, int]:
        """Changes with the newest checkpoint; (0, 0) if there is none."""
        try:
            found = os.stat(self._log / CHECKPOINT)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def candidate(self) -> Candidate:
        """The newest checkpoint, verified. `RecordError`, `LogError`, `OSError`."""
        data = self._read(CHECKPOINT)
        if data is None:
            raise RecordError("there is no checkpoint yet")
        verifier = self._verifier()
        signed = verifier.open_signed(data)
        tree = self._tree(signed.checkpoint.size)
        checkpoint = signed.checkpoint

        def prove(old: int) -> Sequence[bytes]:
            proof = consistency_proof(tree, old)
            verify_consistency(old, checkpoint.size, proof, tree.root(old), checkpoint.root)  # or a tile is damaged
            return proof

        return Candidate(data, signed.opened.text, checkpoint, verifier.time_of(signed) * SECOND, prove)

    def published(self) -> Published | None:
        """What was published last, if this log signed it."""
        data = self._read(PUBLISHED)
        if data is None:
            return None
        verifier = self._verifier()
        signed = verifier.open_signed(data)
        checkpoint = signed.checkpoint
        return Published(checkpoint.origin, checkpoint.size, verifier.time_of(signed) * SECOND, data)

    def must_go_on(self, candidate: Candidate) -> None:
        """Raise `RecordError` unless the checkpoint goes on from what is published, which stays as the evidence."""
        data = self._read(PUBLISHED)
        if data is None:
            return
        try:
            before = self._verifier().open(data)
        except LogError:
            return  # verify says so; the next one replaces it
        size = candidate.checkpoint.size
        if before.size > size:
            raise RecordError(
                f"the published checkpoint covers {before.size} records, the record {size}: it was set back"
            )
        tree = self._tree(size)
        if tree.root() != candidate.checkpoint.root:
            raise RecordError("the tree's tiles do not lead to the newest checkpoint: run `interlock audit verify`")
        if tree.root(before.size) != before.root:
            raise RecordError(f"the published checkpoint of {before.size} records is of another history")

    def publish(self, candidate: Candidate, cosignatures: Sequence[Signature]) -> bytes:
        """Put it on disk; gives the note with all its signatures."""
        note = parse_note(candidate.note)
        data = format_note(Note(note.text, (*note.signatures, *cosignatures)))
        write_aside(self._files, self._log / PUBLISHED, data)
        return data

    def _verifier(self) -> LogVerifier:
        return log_verifier(self._paths.keys)  # read each time: the log's key may have turned

    def _tree(self, size: int) -> TiledTree:
        return TiledTree(Tiles(self._log, self._files), size)

    def _read(self, name: str) -> bytes | None:
        try:
            fd = self._files.open(self._log / name)
        except FileNotFoundError:
            return None
        try:
            return read_all(self._files, fd, LARGEST_CHECKPOINT, 0)
        finally:
            self._files.close(fd)


class _Witness:
    """Asks one witness, in its own thread."""

    def __init__(self, at: WitnessAt, wanted: Record, publisher: _Publisher, log: Log, clock: Clock) -> None:
        assert wanted.witnesses is not None
        self.name = at.name
        self.status = PartyStatus(at.name, at.url)
        self.attempts = Attempts(self.status, clock)
        self._at = at
        self._timeout = wanted.witnesses.timeout / SECOND
        self._publisher = publisher
        self._log = log
        self._client = WitnessClient(at.key, self._post, clock)
        self._http: Http | None = None
        self.done = 0  # the newest round that it was asked in and is through with
        self._busy = False

    def is_asked(self, number: int) -> bool:
        """Whether there is still to come what it says in that round. Under `changed`."""
        return self._busy or (self.done < number and not self.attempts.waiting)

    def run(self) -> None:
        publisher, changed = self._publisher, self._publisher.changed
        while True:
            with changed:
                while not publisher.stopping and (self.done >= publisher.round or self.attempts.waiting):
                    changed.wait(self.attempts.waiting or None)
                if publisher.stopping:
                    break
                number, candidate = publisher.round, publisher.candidate
                self._busy = True
            assert candidate is not None
            signature = self._ask(candidate)
            with changed:
                self._busy = False
                self.done = max(number, self.done)
                now = publisher.candidate
                if signature is not None and now is not None and now.text == candidate.text:
                    publisher.cosignatures[self.name] = signature
                changed.notify_all()
        if self._http is not None:
            self._http.close()

    def _ask(self, candidate: Candidate) -> Signature | None:
        before = self.status.error
        try:
            signature = self._client.cosign(candidate)
        except (InterlockError, OSError, ValueError) as problem:
            self._failed(str(problem))
        except Exception as fault:  # a fault of ours in one must not end the others
            self._failed(repr(fault))
        else:
            self.attempts.succeeded(candidate.checkpoint.size)
            if before:
                self._log.info("a witness cosigns again", witness=self.name)
            return signature
        if self.status.error != before:
            self._log.warning("a witness does not cosign", witness=self.name, problem=self.status.error)
        return None

    def _failed(self, why: str) -> None:
        self.attempts.failed(why)
        if self._http is not None:
            self._http.close()
            self._http = None

    def _post(self, body: bytes) -> Reply:
        if self._http is None:
            self._http = Http(f"{self._at.url.rstrip('/')}/{ADD_CHECKPOINT}", self._at.ca, self._timeout)
        return Reply(*self._http.send("POST", body))


class _PlaceThread:
    """Brings the newest published checkpoint to one place, again and again until it is there."""

    def __init__(self, publish: Publish, place: Place, publisher: _Publisher, log: Log, clock: Clock) -> None:
        self.status = PartyStatus(str(publish.to), str(publish.to))
        self.attempts = Attempts(self.status, clock)
        self._every = publish.every
        self._place = place
        self._publisher = publisher
        self._log = log
        self._clock = clock
        self._there: Published | None = None
        self._at = 0  # monotonic, when that got there

    def run(self) -> None:
        publisher, changed = self._publisher, self._publisher.changed
        while True:
            with changed:
                while not publisher.stopping and not self._is_due(publisher.published):
                    changed.wait(1.0)
                if publisher.stopping:
                    return
                published = publisher.published
            assert published is not None
            self._bring(published)

    def _is_due(self, published: Published | None) -> bool:
        if published is None or self.attempts.waiting or published == self._there:
            return False
        if self._there is None:
            return True
        wait = self._every if published.size != self._there.size else max(SAME, self._every)
        return self._clock.monotonic() - self._at >= wait

    def _bring(self, published: Published) -> None:
        before = self.status.error
        try:
            self._place.keep(published)
        except (InterlockError, OSError, ValueError) as problem:
            self.attempts.failed(str(problem))
        except Exception as fault:  # a fault of ours in one must not end the others
            self.attempts.failed(repr(fault))
        else:
            self._there, self._at = published, self._clock.monotonic()
            self.attempts.succeeded(published.size)
            if before:
                self._log.info("checkpoints get there again", place=self.status.name)
            return
        if self.status.error != before:
            self._log.warning("checkpoints do not get there", place=self.status.name, problem=self.status.error)
