"""One writer of the record: a segment, then the next one, never the same one twice.

Frames gather in memory with `append`, reach the kernel together with `flush` and the disk with `sync`.
What `flush` returned from survives the death of this process; what `sync` returned from survives the
machine's. A frame MUST NOT be acted upon before. When either raises `RecordUnavailable`, none of the frames
appended since the last good `flush` are on the record, and the segment is given up: its sequence has holes
that only a new data key makes harmless.

Identifying values do not go into records: `settle` decides which segment the next record goes to, `refer`
gives the sequence of that segment's subject frame for a value, and `append` follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from interlock.audit import attest as attesting
from interlock.audit.attest import AttestPage
from interlock.audit.entries import Act, SegmentEnd, encode
from interlock.audit.files import FULL, Files, boot_id, write_all
from interlock.audit.reserve import Reserve
from interlock.audit.segment import MAX_PLAINTEXT, NOTHING, Recipient, RecordId, Segment
from interlock.audit.subjects import Subject
from interlock.clock import SECOND, Clock, SystemClock
from interlock.errors import InterlockError, RecordError, RecordUnavailable
from interlock.model import Event

SEGMENT_SIZE: Final = 64 * 1024 * 1024
DAY: Final = 86_400 * SECOND
_PAUSE: Final = SECOND // 10  # after a failure to begin a segment, before the next try
_LOOK_FOR_RESERVE = SECOND
KNOWN: Final = 50_000  # subjects of a segment that are remembered; then remembering begins anew
SUBJECT: Final = Event.RECORD_SUBJECT.code

IntakeOf = Callable[[], Recipient]  # to whom the subjects of a new segment are sealed


class _Open:
    """One segment file of ours."""

    __slots__ = ("digest", "ends_ns", "failed_sync", "fd", "frames", "known", "offset", "path", "segment", "slot")

    def __init__(self, segment: Segment, fd: int, path: Path, slot: int) -> None:
        self.segment = segment
        self.fd = fd
        self.path = path
        self.slot = slot
        self.offset = len(segment.head)
        self.frames = 0  # written
        self.known: dict[tuple[str, str, str], int] = {}  # kind, value, more: the sequence of its subject frame
        self.digest = sha256(segment.head)
        self.failed_sync = False
        self.ends_ns = (segment.header.opened_ns // DAY + 1) * DAY


class SyncTicket:
    """A sync to be run, in whatever thread: covers all that was flushed as durable before it was made."""

    __slots__ = ("_attest", "_files", "_parts")

    def __init__(self, files: Files, parts: list[tuple[_Open, int]], attest: AttestPage | None) -> None:
        self._files = files
        self._parts = parts
        self._attest = attest

    def run(self) -> None:
        """Put it on disk, or raise `RecordUnavailable`; a failed segment is never written or synced again."""
        failed: OSError | None = None
        parts, self._parts = self._parts, []
        for file, fd in parts:
            try:
                if file.failed_sync or self._condemned(file):
                    raise OSError("an earlier sync of this segment failed")  # noqa: TRY301 - one way out
                self._files.fdatasync(fd)
            except OSError as error:
                file.failed_sync = True
                failed = error
                if self._attest is not None:
                    self._attest.set_state(file.slot, file.segment.id, attesting.UNSYNCED)
            finally:
                self._files.close(fd)
        if failed is not None:
            raise RecordUnavailable(f"the record cannot be put on disk: {failed}") from failed

    def _condemned(self, file: _Open) -> bool:
        return self._attest is not None and self._attest.condemned(file.slot, file.segment.id) != 0


class SegmentWriter:
    """Writes one process's part of the record into `record`/segments. For one thread."""

    def __init__(
        self,
        record: Path,
        writer: str,
        recipient: Recipient,
        *,
        clock: Clock | None = None,
        attest: AttestPage | None = None,
        files: Files | None = None,
        size_limit: int = SEGMENT_SIZE,
        class_: int | None = None,
        boot: str | None = None,
        intake: IntakeOf | None = None,
    ) -> None:
        """Without an `intake`, which is asked for each segment, identifying values stand in the clear."""
        self.folder = record / "segments"
        self.writer = writer
        self.instance = os.urandom(8).hex()
        self.flushes = 0  # writes that held
        self.failures = 0  # segments given up, or not begun
        self.tight = False  # the disk was full and the reserve is spent: record less
        self._recipient = recipient
        self._intake = intake
        self._settled = 0  # the time of the next record, whose segment is decided
        self._clock: Clock = clock or SystemClock()
        self._wall = self._clock.wall
        self._attest = attest
        self._files = files or Files()
        self._reserve = Reserve(record, self._files)
        self._size_limit = size_limit
        self._class = class_
        self._boot = boot_id() if boot is None else boot
        self._file: _Open | None = None
        self._past = (0, 0)  # frames and bytes of the segments before this one
        self._held: list[_Open] = []  # given up, but their locks say that this writer still lives
        self._dirty: list[_Open] = []  # flushed as durable, and not synced
        self._durable = False  # a frame not flushed asks for a sync
        self._damage: list[dict[str, object]] = []  # to be told in the next segment
        self._retry_at = 0
        self._look_at = 0

    @property
    def pending(self) -> int:
        """Frames appended and not flushed."""
        return 0 if self._file is None else self._file.segment.waiting

    @property
    def frames(self) -> int:
        """Frames handed to the kernel by this writer."""
        return self._past[0] + (self._file.frames if self._file is not None else 0)

    @property
    def written(self) -> int:
        """Bytes likewise."""
        return self._past[1] + (self._file.offset if self._file is not None else 0)

    def settle(self) -> None:
        """Decide which segment the next record goes to; begins one where needed, or raises `RecordUnavailable`."""
        file = self._file
        now = self._wall()
        if file is None or (now >= file.ends_ns and not file.segment.waiting):
            self._turn(now)
        self._settled = now

    def refer(self, kind: str, value: str, more: str = "") -> str | int:
        """What stands for an identifying value in the next record: the sequence of its subject frame.

        Call it after `settle`. It is the value itself if this writer hides none.
        """
        file = self._file
        assert file is not None
        known = file.known.get((kind, value, more))
        if known is not None:
            return known
        return self._introduce(file, Subject(kind, value, more))

    def renew(self) -> None:
        """End the segment if another intake key is in force by now. To be called now and then."""
        file = self._file
        if file is None or not self._superseded(file):
            return
        if file.segment.waiting:
            file.ends_ns = 0  # with the next record after them
        else:
            self._finish(file)

    def append(self, event: int, payload: bytes, refers: RecordId | None = None, durable: bool = False) -> RecordId:
        """Add one record to the next flush; gives its name.

        `event` is the event's code, `refers` the record that this one completes. Begins a segment when there
        is none, and may then raise `RecordUnavailable`.
        """
        file = self._file
        now = self._settled
        if now:
            self._settled = 0
        else:
            now = self._wall()
        if file is None or (now >= file.ends_ns and not file.segment.waiting):
            file = self._turn(now)
        if len(payload) > MAX_PLAINTEXT:
            raise RecordError(f"a record of {len(payload)} bytes is too large")
        segment = file.segment
        if refers is None:
            sequence = segment.add(event, payload, now, NOTHING, b"")
        elif refers[0] == segment.id:
            sequence = segment.add(event, payload, now, refers[1], b"")
        else:
            sequence = segment.add(event, payload, now, refers[1], refers[0])
        if durable:
            self._durable = True
        return segment.id, sequence

    def flush(self) -> None:
        """Hand all appended frames to the kernel, or raise `RecordUnavailable` and forget them."""
        self._settled = 0
        file = self._file
        if file is None or not file.segment.waiting:
            return
        durable, self._durable = self._durable, False
        if self._spoiled(file):
            self._give_up(file, "a sync failed")
            raise RecordUnavailable("the segment could not be put on disk; the next one will be tried")
        try:
            self._write(file, file.segment.take())
        except RecordUnavailable:
            raise
        except BaseException:  # a fault of ours: nobody may take what waited for written
            if self._file is file:
                self._give_up(file, "a fault while it was written")
            raise
        if durable and file not in self._dirty:
            self._dirty.append(file)
        if self.tight:
            self._loosen()
        if file.offset >= self._size_limit:
            self._finish(file)

    def sync_ticket(self) -> SyncTicket:
        """What `sync` would do, to be run elsewhere. Make it right after the `flush` that it is for."""
        dirty, self._dirty = self._dirty, []
        parts: list[tuple[_Open, int]] = []
        failed: OSError | None = None
        for file in dirty:
            try:
                parts.append((file, self._files.duplicate(file.fd)))
            except OSError as error:
                file.failed_sync = True
                failed = error
        self._let_go()
        if failed is not None:
            for _, fd in parts:
                self._files.close(fd)
            raise RecordUnavailable(f"the record cannot be put on disk: {failed}") from failed
        return SyncTicket(self._files, parts, self._attest)

    def sync(self) -> None:
        """Put everything flushed as durable on disk, or raise `RecordUnavailable`."""
        if self._dirty:
            self.sync_ticket().run()

    def close(self) -> None:
        """Flush, end the segment in good order and let go of it; after an error it is let go of all the same."""
        try:
            self.flush()
            if self._file is not None:
                self._finish(self._file)
        finally:
            if self._file is not None:
                self._give_up(self._file, "closed after an error")
            held, self._held = [*self._held, *self._dirty], []
            self._dirty = []
            for file in {id(file): file for file in held}.values():
                self._files.close(file.fd)

    def _write(self, file: _Open, data: bytes) -> None:
        try:
            try:
                write_all(self._files, file.fd, data, file.offset)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._spend_reserve()
                self._files.truncate(file.fd, file.offset)
                write_all(self._files, file.fd, data, file.offset)  # the same bytes under the same nonces
        except OSError as error:
            self._give_up(file, str(error))
            raise RecordUnavailable(f"the record cannot be written: {error}") from error
        file.offset += len(data)
        file.digest.update(data)
        file.frames = file.segment.count
        self.flushes += 1
        if self._attest is not None:
            self._attest.publish(file.slot, file.offset, file.frames, file.digest.digest())

    def _introduce(self, file: _Open, subject: Subject) -> str | int:
        segment = file.segment
        if segment.subjects is None:
            return subject.value
        payload = segment.subjects.seal(segment.count, subject)
        sequence = segment.add(SUBJECT, payload, self._settled or self._wall(), NOTHING, b"")
        if len(file.known) >= KNOWN:
            file.known.clear()
        file.known[subject.kind, subject.value, subject.more] = sequence
        return sequence

    def _superseded(self, file: _Open) -> bool:
        """Whether subjects are to be sealed to another key than this segment's."""
        if self._intake is None:
            return False
        try:
            return self._intake().id != file.segment.header.intake
        except InterlockError:
            return False

    def _turn(self, now: int) -> _Open:
        """The segment to append to, from now on."""
        if self._file is not None:
            self._finish(self._file)
        if self._clock.monotonic() < self._retry_at:
            raise RecordUnavailable("the record could not be written a moment ago")
        try:
            file = self._begin(now)
            if self._superseded(file):  # who turned the key saw no segment of the old one coming, and must not wait
                self._file = file
                self._finish(file)
                file = self._begin(now)
        except (OSError, InterlockError) as error:
            self._retry_at = self._clock.monotonic() + _PAUSE
            self.failures += 1
            raise RecordUnavailable(f"no segment of the record can be begun: {error}") from error
        self._file = file
        self._let_go()
        damage, self._damage = self._damage, []
        for details in damage:
            act = encode(Act(f"process:{self.writer}", details))
            file.segment.add(Event.RECORD_DAMAGED.code, act, now, NOTHING, b"")
        return file

    def _begin(self, now: int) -> _Open:
        if self._attest is not None and not self._attest.has_room():
            raise RecordUnavailable("the recorder does not keep up")
        self._files.make_folder(self.folder)
        segment = Segment.create(
            self.writer,
            self._recipient,
            now,
            instance=self.instance,
            boot_id=self._boot,
            class_=self._class,
            intake=None if self._intake is None else self._intake(),
        )
        path = self.folder / segment.file_name
        fd = self._put(path, segment.head)
        try:
            digest = sha256(segment.head).digest()
            slot = -1 if self._attest is None else self._attest.claim(segment.id, len(segment.head), digest)
        except BaseException:
            self._files.close(fd)
            raise
        return _Open(segment, fd, path, slot)

    def _put(self, path: Path, head: bytes) -> int:
        """A segment file appears under its name whole, on disk and already held by us."""
        aside = path.with_name(f".{path.name}.new")
        again = True  # a recorder that starts may take it for a leftover, in the moment before we hold it
        while True:
            fd = -1
            try:
                fd = self._files.create(aside)
                self._files.lock(fd)
                write_all(self._files, fd, head, 0)
                self._files.fdatasync(fd)
                self._files.rename(aside, path)
                self._files.sync_folder(path.parent)
                return fd
            except OSError as error:
                if fd >= 0:
                    self._files.close(fd)
                try:
                    self._files.unlink(aside)
                except OSError:
                    pass
                if again and isinstance(error, (BlockingIOError, FileNotFoundError)):
                    again = False
                elif error.errno not in FULL or not self._spend_reserve():
                    raise

    def _finish(self, file: _Open) -> None:
        """End the segment in good order, or give it up; what it holds is on the record either way.

        It stays held, as a sign of life, until the next one is.
        """
        if self._spoiled(file):
            self._give_up(file, "a sync failed")
            return
        end = encode(SegmentEnd(file.segment.count))
        try:
            self._write(file, file.segment.frame(Event.SEGMENT_END.code, end, self._wall())[1])
        except RecordUnavailable:
            return
        self._leave(file)
        self._held.append(file)

    def _leave(self, file: _Open) -> None:
        self._file = None
        self._past = (self._past[0] + file.frames, self._past[1] + file.offset)

    def _spoiled(self, file: _Open) -> bool:
        return file.failed_sync or (self._attest is not None and self._attest.condemned(file.slot) != 0)

    def _give_up(self, file: _Open, why: str) -> None:
        try:
            self._files.truncate(file.fd, file.offset)
        except OSError:
            pass  # whoever reads stops at the attested offset
        if self._attest is not None:
            verdict = self._attest.condemned(file.slot)
            unsynced = file.failed_sync or verdict == attesting.NOT_ON_DISK
            state = attesting.UNSYNCED if unsynced else attesting.DAMAGED
            self._attest.set_state(file.slot, file.segment.id, state)
            if verdict:
                file.failed_sync = True  # what waits in `_dirty` will not be confirmed by another sync
        self._damage.append({"file": file.path.name, "offset": file.offset, "count": file.segment.count, "why": why})
        self._leave(file)
        self.failures += 1
        self._durable = False
        self._held.append(file)  # and it stays in `_dirty`: the next ticket MUST fail for what was flushed into it

    def _let_go(self) -> None:
        """Close what was given up, once another segment shows that we live and no sync needs it."""
        if self._file is None:
            return
        for file in [file for file in self._held if file not in self._dirty]:
            self._held.remove(file)
            self._files.close(file.fd)

    def _spend_reserve(self) -> bool:
        """Free the reserve; says whether it is worth trying again."""
        first, self.tight = not self.tight, True
        self._look_at = self._clock.monotonic() + _LOOK_FOR_RESERVE
        was_there = self._reserve.present()
        self._reserve.release()
        return first or was_there

    def _loosen(self) -> None:
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_FOR_RESERVE
            self.tight = not self._reserve.present()
