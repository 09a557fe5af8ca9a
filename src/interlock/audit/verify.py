"""Checks the whole record with nothing but its files: no key is needed, and nothing is changed.

 1. The journal is one chain (`chain.py`), and its leaves are those of the tree that was signed (`tree_check.py`).
 2. Every segment that it names is there, with the header that it had.
 3. Every frame that was sealed is there, in order, and hashes to the leaf that was sealed.
 4. A closed segment ends where the journal says, and as it says.
 5. Every intent in a closed segment has an outcome somewhere.
 6. What is not sealed yet is whole frames, and what living writers attest is what their files hold.
 7. Alarms of the recorder, and possible gaps, are shown until someone acknowledged them; only what is sealed
    acknowledges anything.
 8. Only what was pruned is absent: it was old enough for its class by the journal's dates, and a sealed record
    says so.
 9. Where there is no journal at all, every record is attested by the running node: it has just started.

Without a checkpoint kept elsewhere this proves nothing against someone who holds the signing key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from interlock.audit import journal as jn
from interlock.audit.attest import AttestPage
from interlock.audit.chain import Chain, Ledger
from interlock.audit.files import Files
from interlock.audit.journal import numbers, tail_hash
from interlock.audit.leaves import ALL, END, Walk
from interlock.audit.prune_check import check_pruned
from interlock.audit.reader import SegmentReader, segment_files
from interlock.audit.report import Report
from interlock.audit.resume import Done, Resume
from interlock.audit.segment import ELSEWHERE, NOTHING, RecordId, format_id
from interlock.audit.signing import LogVerifier
from interlock.audit.tree_check import TreeCheck
from interlock.clock import SystemClock
from interlock.errors import RecordError
from interlock.model import Event
from interlock.tlog import LEAF_PREFIX

Progress = Callable[[int, int], None]  # bytes read, bytes in all

_ACKNOWLEDGED = Event.RECORD_GAP_ACKNOWLEDGED.code
_NOTABLE = frozenset({Event.RECORD_GAP_POSSIBLE.code, Event.RECORD_ALTERED.code, Event.RECORD_DAMAGED.code})
_CHUNK = 4 * 1024 * 1024


def verify(
    record: Path,
    *,
    attest: Path | None = None,
    log: LogVerifier | None = None,
    kept: Sequence[tuple[str, bytes]] = (),
    known_head: str | None = None,
    quick: bool = False,
    resume: Path | None = None,
    progress: Progress | None = None,
    files: Files | None = None,
    now: int | None = None,
) -> Report:
    """Verify the record in `record`.

    `attest` is the attest page of the running node, when there is one; `log` verifies checkpoints, of which
    `kept` are some that were kept elsewhere, by name, and `known_head` is a `Report.head` that was: this record
    must go on from all of them. `quick` compares each segment as a whole with the digest of its last seal, and looks
    at no single record. `resume` is a file that remembers closed segments that were found good. `now`: wall ns.
    """
    verification = _Verification(record, attest, log, progress, files or Files(), quick=quick, resume=resume, now=now)
    try:
        return verification.run(known_head, kept)
    finally:
        verification.close()


class _Verification:
    def __init__(
        self,
        record: Path,
        attest: Path | None,
        log: LogVerifier | None,
        progress: Progress | None,
        files: Files,
        *,
        quick: bool,
        resume: Path | None,
        now: int | None,
    ) -> None:
        self._now = SystemClock().wall() if now is None else now
        self._quick = quick
        self._resume = Resume(resume) if resume is not None and not quick else None
        self._record = record
        self._attest = attest
        self._progress = progress
        self._files = files
        self._report = Report()
        self._tree = TreeCheck(record, self._report, files, log, quick=quick)
        self._chain = Chain(record, self._report, files, self._tree)
        self._open: dict[bytes, set[int]] = {}  # intents without outcome in their own segment
        self._elsewhere: list[RecordId] = []  # intents that have their outcome in another segment
        self._notable: dict[RecordId, int] = {}
        self._acknowledged: set[RecordId] = set()
        self._unsealed = 0
        self._unknown: set[str] = set()  # segments with records that the journal does not name
        self._attested: set[str] = set()  # file names' endings
        self._done = 0
        self._total = 0

    def close(self) -> None:
        if self._resume is not None:
            self._resume.close()

    def run(self, known_head: str | None, kept: Sequence[tuple[str, bytes]]) -> Report:
        report = self._report
        self._tree.begin(kept)
        self._chain.read(known_head)
        present = {path.name: path for path in segment_files(self._record, self._files)}
        self._total = sum(self._size(path) for path in present.values())
        for ledger in self._chain.ledgers.values():
            path = present.pop(ledger.file, None)
            if path is not None and ledger.pruned is None:
                self._guarded(path, ledger)
            elif path is not None:
                report.notices.append(f"{ledger.file}: was pruned and is still there; the recorder deletes it")
            elif ledger.pruned is None:
                self._miss(ledger)
        for path in present.values():
            self._guarded(path, None)
        self._check_pruned()
        self._check_outcomes()
        if self._attest is not None and self._attest.exists():
            self._check_attested(self._attest)
        if not self._chain.found:
            self._miss_journal()
        self._show_notable()
        if self._quick:
            report.notices.append("quick: no single record was looked at, nor whether each call has its outcome")
        if self._unsealed:
            report.notices.append(f"{self._unsealed} records are not sealed yet")
        if report.head and self._chain.ledgers:
            report.notices.append("keep the head elsewhere: it proves nothing against who can rewrite all files")
        return report

    def _miss(self, ledger: Ledger) -> None:
        try:
            since = jn.read_state(self._record, self._files).pruned
        except (OSError, RecordError):
            since = set()  # told by the chain
        if ledger.file in since:
            self._report.notices.append(f"{ledger.file}: was pruned while this was read: verify again")
        else:
            self._report.problem(ledger.file, "is missing")

    def _check_pruned(self) -> None:
        check_pruned(self._record, self._chain.ledgers, self._report, self._files, self._now)
        pruned = [ledger for ledger in self._chain.ledgers.values() if ledger.pruned is not None]
        if pruned:
            count = sum(ledger.count for ledger in pruned)
            self._report.notices.append(f"{len(pruned)} segments with {count} records were pruned: their time was over")

    def _size(self, path: Path) -> int:
        try:
            return self._files.stat(path).st_size
        except OSError:
            return 0  # it is told where it is read

    def _miss_journal(self) -> None:
        """A node that has just started has none yet, and attests all that there is."""
        unattested = [name for name in self._unknown if name[-12:-4] not in self._attested]
        if unattested and numbers(self._files, self._record):
            self._report.notices.append("the journal was begun while this was read: verify again")
        elif unattested:
            what = f"the journal is missing: {len(unattested)} segments hold records that nobody vouches for"
            self._report.problem("journal", what)

    def _guarded(self, path: Path, ledger: Ledger | None) -> None:
        self._report.segments += 1
        try:
            with SegmentReader(path, self._files) as reader:
                if self._quick and ledger is not None:
                    self._whole(reader, ledger)
                elif self._resume is not None and ledger is not None and ledger.closed is not None:
                    self._resumed(self._resume, reader, ledger)
                else:
                    self._segment(reader, ledger)
        except RecordError as error:
            self._report.problem(path.name, str(error), 0)
        except OSError as error:
            if ledger is not None and isinstance(error, FileNotFoundError):
                self._miss(ledger)
            else:
                self._report.problem(path.name, f"cannot be read: {error.strerror}")

    def _segment(self, reader: SegmentReader, ledger: Ledger | None) -> None:
        report, name, header = self._report, reader.path.name, reader.header
        if ledger is None:
            if header.id in self._chain.ledgers:
                report.problem(name, "is a copy of another segment", 0)
                return
        elif sha256(reader.head).digest() != ledger.header_hash:
            report.problem(name, "its header was altered", 0)
            return
        sealed = ledger.count if ledger is not None else 0
        closed = ledger.closed if ledger is not None else None
        segment = header.id
        digest, walk = sha256(), Walk()
        confirmed = closed is not None and closed.how not in (jn.UNSYNCED, jn.ALTERED)

        def step() -> None:
            digest.update(b"".join(walk.leaves))
            walk.leaves.clear()
            self._rare(walk, segment, sealed)
            self._tell(reader.offset)

        reader.walk(walk, sealed if confirmed else ALL, sealed, step)
        report.records += walk.count
        self._elsewhere += walk.elsewhere
        waiting, last = walk.open, walk.last
        if reader.count < sealed:
            why = reader.problem or "the file ends here"
            report.problem(name, f"{sealed - reader.count} sealed records are missing: {why}", reader.offset)
        elif ledger is not None and not ledger.partial and digest.digest() != ledger.leaves.digest():
            self._locate(reader.path, ledger)
        elif closed is not None and ledger is not None:
            self._closed(reader, ledger, closed, last)
        else:
            self._unsealed += reader.count - sealed
            if reader.problem:
                report.problem(name, reader.problem, reader.offset, reader.count)
            elif reader.rest:
                report.notices.append(f"{name}: {reader.rest} bytes of an unfinished record at its end")
        if ledger is None and reader.count:
            self._unknown.add(name)
        report.sealed += min(sealed, reader.count)
        if waiting:
            self._open[segment] = waiting
        self._done += reader.offset
        self._tell(0)

    def _whole(self, reader: SegmentReader, ledger: Ledger) -> None:
        """The file up to its last seal is what was sealed, and ends as it was closed; no record is looked at."""
        name, report, closed = reader.path.name, self._report, ledger.closed
        digest, at = sha256(), 0
        while at < ledger.offset and (data := self._files.read(reader.fd, min(_CHUNK, ledger.offset - at), at)):
            digest.update(data)
            at += len(data)
            self._tell(at)
        self._done += at
        if sha256(reader.head).digest() != ledger.header_hash:
            report.problem(name, "its header was altered", 0)
        elif at < ledger.offset:
            report.problem(name, "sealed records are missing: the file ends here", at)
        elif ledger.count and digest.digest() != ledger.digest:
            report.problem(name, "was altered after it was sealed: a full verification says where")
        elif closed is not None and closed.how == jn.ALTERED:
            report.problem(name, "the recorder found it altered while it was being written", closed.offset)
        elif closed is not None and closed.how != jn.UNSYNCED:
            length, rest = tail_hash(self._files, reader.path, closed.offset)
            end = (ledger.offset, length, rest if length else b"")
            if end != (closed.offset, closed.tail_length, closed.tail_hash):
                report.problem(name, "was changed after its end", closed.offset)
        report.records += ledger.count
        report.sealed += ledger.count

    def _resumed(self, resume: Resume, reader: SegmentReader, ledger: Ledger) -> None:
        """A closed segment, unless it was found good before and nothing has changed since."""
        report, segment = self._report, reader.header.id
        found = self._files.fstat(reader.fd)
        place = (found.st_ino, found.st_size, found.st_mtime_ns)
        done = resume.known(ledger.file, ledger.fingerprint(), *place)
        if done is not None:
            report.records += done.records
            report.sealed += done.sealed
            report.notices += done.notices
            if done.open:
                self._open[segment] = set(done.open)
            self._elsewhere += done.elsewhere
            self._notable |= {(segment, sequence): event for sequence, event in done.notable}
            self._acknowledged |= set(done.acknowledged)
            self._done += found.st_size
            self._tell(0)
            return
        records, sealed, problems = report.records, report.sealed, len(report.problems)
        notices, elsewhere = len(report.notices), len(self._elsewhere)
        before, self._acknowledged = self._acknowledged, set()
        self._segment(reader, ledger)
        if len(report.problems) == problems:
            done = Done(
                ledger.file,
                ledger.fingerprint(),
                *place,
                records=report.records - records,
                sealed=report.sealed - sealed,
                open=sorted(self._open.get(segment, ())),
                elsewhere=self._elsewhere[elsewhere:],
                notable=[(at[1], event) for at, event in self._notable.items() if at[0] == segment],
                acknowledged=sorted(self._acknowledged),
                notices=report.notices[notices:],
            )
            resume.add(done)
        self._acknowledged |= before

    def _rare(self, walk: Walk, segment: bytes, sealed: int) -> None:
        """Take what is neither an intent nor an outcome."""
        for event, sequence, flags, refers, place in walk.rare:
            if event == END:
                self._report.records -= 1
            elif event in _NOTABLE:
                self._notable[(segment, sequence)] = event
            elif event == _ACKNOWLEDGED and refers != NOTHING and sequence < sealed:
                self._acknowledged.add((place if flags & ELSEWHERE else segment, refers))
        walk.rare.clear()

    def _closed(self, reader: SegmentReader, ledger: Ledger, closed: jn.Closed, last: int) -> None:
        name, report = reader.path.name, self._report
        if closed.how == jn.ALTERED:
            report.problem(name, "the recorder found it altered while it was being written", closed.offset)
            return
        if closed.how == jn.UNSYNCED:
            if reader.count > ledger.count:
                left = reader.count - ledger.count
                report.notices.append(f"{name}: {left} records were never confirmed to be on disk")
            return
        if reader.offset != closed.offset:
            report.problem(name, "does not end where it was closed", reader.offset)
            return
        if closed.how == jn.CLEAN and last != END:
            report.problem(name, "has no end", reader.offset)
        length, digest = tail_hash(self._files, reader.path, closed.offset)
        if (length, digest if length else b"") != (closed.tail_length, closed.tail_hash):
            report.problem(name, "was changed after its end", closed.offset)
        elif length:
            report.notices.append(f"{name}: {length} bytes of an unfinished record at its end ({closed.how})")

    def _locate(self, path: Path, ledger: Ledger) -> None:
        """Which record is not what was sealed?"""
        leaves = (
            entry.leaves[at : at + 32]
            for entry in self._chain.seals(ledger.segment)
            for at in range(0, len(entry.leaves), 32)
        )
        with SegmentReader(path, self._files) as reader:
            for frame, leaf in zip(reader.frames(), leaves, strict=False):
                if sha256(LEAF_PREFIX + frame.data).digest() != leaf:
                    self._report.problem(path.name, "was altered after it was sealed", frame.offset, frame.sequence)
                    return
        self._report.problem(path.name, "does not hold what was sealed")

    def _check_outcomes(self) -> None:
        for segment, sequence in self._elsewhere:
            if (waiting := self._open.get(segment)) is not None:
                waiting.discard(sequence)
        closes = [ledger.closed for ledger in self._chain.ledgers.values() if ledger.closed is not None]
        ledgers = self._chain.ledgers.values()
        pruned = [
            ledger.closed.time_ns for ledger in ledgers if ledger.pruned is not None and ledger.closed is not None
        ]
        lossy = any(closed.how in (jn.UNSYNCED, jn.ALTERED) for closed in closes)
        for segment, waiting in self._open.items():
            ledger = self._chain.ledgers.get(segment)
            if waiting and ledger is not None and ledger.closed is not None:
                what = f"{len(waiting)} intents have no outcome"
                if pruned and max(pruned) >= ledger.opened_ns:
                    self._report.notices.append(f"{ledger.file}: {what} that is still there; it may have been pruned")
                elif lossy:
                    self._report.notices.append(f"{ledger.file}: {what}; it may have been lost by the disk")
                else:
                    self._report.problem(ledger.file, what, None, min(waiting))

    def _check_attested(self, path: Path) -> None:
        try:
            page = AttestPage.look(path)
        except (OSError, RecordError) as error:
            self._report.notices.append(f"the attest page cannot be read: {error}")
            return
        if page is None:
            return
        try:
            slots = page.slots()  # before the files: a segment has its file before its place
            names = {path.name[-12:-4]: path for path in segment_files(self._record, self._files)}
            self._attested = {segment.hex()[:8] for segment in slots}
            for segment, slot in slots.items():
                attested = page.read(slot)
                file = names.get(segment.hex()[:8])
                if file is None:
                    if attested.frames and page.slots().get(segment) == slot:
                        self._report.problem(segment.hex(), "a segment in use is missing")
                elif (wrong := self._differs(file, attested.offset, attested.digest)) and page.slots().get(
                    segment
                ) == slot:
                    self._report.problem(file.name, wrong, attested.offset)
        finally:
            page.close()

    def _differs(self, path: Path, size: int, digest: bytes) -> str:
        """Why the first `size` bytes of the file are not those attested; empty if they are."""
        found, at = sha256(), 0
        try:
            fd = self._files.open(path)
            try:
                while at < size and (data := self._files.read(fd, min(size - at, 1 << 22), at)):
                    found.update(data)
                    at += len(data)
            finally:
                self._files.close(fd)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if at < size:
            return "is shorter than its writer attests"
        return "" if found.digest() == digest else "is not what its writer attests"

    def _show_notable(self) -> None:
        for record, event in sorted(self._notable.items()):
            if record in self._acknowledged:
                continue
            if event == Event.RECORD_ALTERED.code:
                self._report.problem(format_id(record), "the recorder raised an alarm; nobody acknowledged it")
            elif event == Event.RECORD_GAP_POSSIBLE.code:
                self._report.notices.append(f"{format_id(record)}: a gap is possible here; nobody acknowledged it")
            else:
                self._report.notices.append(f"{format_id(record)}: a segment was damaged")

    def _tell(self, offset: int) -> None:
        if self._progress is not None:
            self._progress(min(self._done + offset, self._total), self._total)
