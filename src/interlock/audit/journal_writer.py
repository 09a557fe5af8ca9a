"""Writes the journal: entries wait in a queue until a commit put them on disk, in order, exactly once.

A commit that fails leaves the queue as it was and gives the file up; the next commit begins another file at
the last place known to be on disk. Nothing MUST be believed sealed before its commit returned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from interlock.audit.files import FULL, NO_FILE, Files, write_all, write_aside
from interlock.audit.journal import (
    MAGIC,
    VERSION,
    Begin,
    Entry,
    Head,
    Resumed,
    Scan,
    Sealed,
    State,
    Stopped,
    encode_head,
    frame,
    journal_path,
    numbers,
    read_head,
    tail_hash,
)
from interlock.audit.reserve import Reserve
from interlock.audit.watch import Watch
from interlock.clock import SECOND, Clock
from interlock.errors import RecordError
from interlock.tlog import START

FILE_SIZE = 64 * 1024 * 1024
_HEAD_EVERY = 5 * SECOND


class JournalWriter:
    """The one writer of the journal in `record`; whoever makes it holds the data directory's lock."""

    def __init__(
        self,
        record: Path,
        *,
        files: Files,
        clock: Clock,
        boot_id: str,
        reserve: Reserve,
        watch: Watch,
        size_limit: int = FILE_SIZE,
    ) -> None:
        self._record = record
        self._files = files
        self._clock = clock
        self._boot = boot_id
        self._reserve = reserve
        self._watch = watch
        self._size_limit = size_limit
        self._queue: list[Entry] = []
        self._fd = -1
        self._number = 0  # of the file written, or of the last one that is part of the chain
        self._offset = 0  # in that file, after the last entry known to be on disk
        self._running = START
        self._head_at: int | None = None
        self._head_of = b""
        self._headed = False  # `head` remembers a place of this journal
        self._bare = False  # nothing was found but the very first entry
        self._unsure = False  # bytes after `_offset` may not be on disk
        self._sealed: list[Sealed] = []  # on disk, not taken yet
        self.state = State()

    @property
    def place(self) -> tuple[int, int]:
        """The number of the file that the chain ends with, and the offset after its last entry on disk."""
        return self._number, self._offset

    @property
    def running(self) -> bytes:
        return self._running

    @property
    def is_new(self) -> bool:
        """Nothing of a journal was found."""
        return self._number == 0

    @property
    def waiting(self) -> int:
        """Entries not yet on disk."""
        return len(self._queue)

    def start(self) -> list[str]:
        """Read where the chain ends and get ready to go on; gives what is wrong with what was found.

        Afterwards `state.stopped` tells whether the last recorder stopped in good order.
        """
        problems: list[str] = []
        head: Head | None = None
        unreadable = False
        try:
            head = read_head(self._record)
        except RecordError as error:
            problems.append(str(error))
            unreadable = True
        self._headed = head is not None
        found = numbers(self._files, self._record)
        for number in found:
            self._watch.note(journal_path(self._record, number))
        for number in reversed(found):
            if self._take_over(number, head, problems):
                break
        if head is not None and head.journal > (found[-1] if found else 0):
            problems.append(f"journal-{head.journal:05d} is missing")
        if head is None and not unreadable and self._number and not self._bare:
            problems.append("the record's head is missing")  # it is there before the first entry after `begin`
        if self.state.stopped and not problems:
            self.add(Resumed(self._clock.wall(), self._boot))
        return problems

    def add(self, entry: Entry) -> None:
        self._queue.append(entry)

    def take_sealed(self) -> list[Sealed]:
        """The seals that were put on disk since this was last asked."""
        sealed, self._sealed = self._sealed, []
        return sealed

    def commit(self) -> None:
        """Put the queue on disk or raise `OSError`; what is queued stays queued until it is."""
        if self._queue:
            if self._fd < 0 and not (self._number and self.state.stopped and self._reopen()):
                self._begin()
            if not self._headed:
                self.remember()
            self._write()
            if self._offset >= self._size_limit:
                self._give_up()
        now = self._clock.monotonic()
        if self._number and self._head_of != self._running and (self._head_at is None or now >= self._head_at):
            self.remember()

    def stop(self) -> None:
        """Say that everything is sealed, as the last entry."""
        self.add(Stopped(self._clock.wall()))
        self.commit()
        self.remember()
        self._give_up()

    def close(self) -> None:
        """Let go without a word, as a crash would."""
        self._give_up()

    def remember(self) -> None:
        """Note the place outside of the chain."""
        head = encode_head(self._number, self._offset, self._running, self._clock.wall())
        try:
            write_aside(self._files, self._record / "head", head)
        finally:
            self._watch.note(self._record / "head")
        self._head_at = self._clock.monotonic() + _HEAD_EVERY
        self._head_of = self._running
        self._headed = True

    def _take_over(self, number: int, head: Head | None, problems: list[str]) -> bool:
        """Make this file the one the chain ends with, if it holds anything."""
        path = journal_path(self._record, number)
        scan, state = Scan(self._files, path), State()
        remembered = head is not None and head.journal == number
        good, bare = 0, True
        try:
            for entry in scan:
                if isinstance(entry, Begin) and entry.number != number:
                    problems.append(f"{path.name} holds another file")
                    return False
                bare = isinstance(entry, Begin) and entry.previous == 0
                state.apply(entry)
                good, self._running = scan.offset, scan.running
                if remembered and head is not None and good == head.offset and scan.running.hex() == head.running:
                    remembered = False
        except RecordError as error:
            problems.append(f"{path.name}: {error}")
        except OSError as error:
            if good or error.errno not in NO_FILE:
                raise
            problems.append(f"{path.name} cannot be read: {error.strerror}")
            return False
        if scan.ending == "broken":
            problems.append(f"{path.name} is damaged at offset {scan.offset}")
        if remembered:
            problems.append(f"{path.name} was shortened or rewritten")
        if not good:
            return False
        self._number, self._offset, self.state, self._bare = number, good, state, bare
        if scan.ending != "whole":
            state.stopped = False
        fd = self._files.open(path)
        try:  # the last one may have died before its sync
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        self._files.sync_folder(self._record)
        return True

    def _reopen(self) -> bool:
        """Go on in a file that was stopped in good order."""
        if not isinstance(self._queue[0], Resumed):
            return False
        self._fd = self._files.reopen(journal_path(self._record, self._number))
        return True

    def _begin(self) -> None:
        """Begin the next file: it appears under its name whole and on disk."""
        length, tail = 0, b""
        if self._unsure:
            length = -1  # a power cut may take it away
        elif self._number:
            try:
                length, tail = tail_hash(self._files, journal_path(self._record, self._number), self._offset)
            except OSError:
                length = -1
        number = max([self._number, *numbers(self._files, self._record)]) + 1
        begin = Begin(
            version=VERSION,
            number=number,
            previous=self._number,
            previous_offset=self._offset,
            previous_running=self._running,
            tail_length=length,
            tail_hash=tail if length > 0 else b"",
            time_ns=self._clock.wall(),
            boot_id=self._boot,
            known=[known.carried() for known in self.state.known.values()],
            closed=sorted(self.state.closed),
            size=self.state.size,
            signed_size=self.state.signed_size,
            signed_root=self.state.signed_root,
            ended=[self.state.closed[name] for name in sorted(self.state.closed)],
            pruned=sorted(self.state.pruned),
        )
        data, running = frame(self._running, begin)
        path = journal_path(self._record, number)
        try:
            self._with_reserve(lambda: write_aside(self._files, path, MAGIC + data))
            fd = self._files.reopen(path)
        except OSError:
            try:
                self._files.unlink(path)  # it may be there all the same
            except OSError:
                pass
            raise
        self._fd, self._number, self._offset, self._running = fd, number, len(MAGIC) + len(data), running
        self._unsure = False
        self._watch.note(path)
        self.state.stopped = False
        if isinstance(self._queue[0], Resumed):
            del self._queue[0]

    def _write(self) -> None:
        parts, running = [], self._running
        for entry in self._queue:
            data, running = frame(running, entry)
            parts.append(data)
        data = b"".join(parts)
        try:
            self._with_reserve(lambda: write_all(self._files, self._fd, data, self._offset))
            self._files.fdatasync(self._fd)
        except OSError:
            self._give_up()
            self._unsure = True
            self.state.stopped = False  # not to be opened again
            raise
        finally:
            self._watch.note_grown(journal_path(self._record, self._number))
        self._offset += len(data)
        self._running = running
        queue, self._queue = self._queue, []
        for entry in queue:
            self.state.apply(entry)
            if isinstance(entry, Sealed):
                self._sealed.append(entry)

    def _with_reserve(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._reserve.release()
            write()

    def _give_up(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._files.close(fd)
