"""Reads the whole journal, file after file, into what it says of each segment. Reads only.

1. The chain of files is found from the last one back: each `begin` names the file before it.
2. Each file is read forward up to where the next one says that it ends; what lies beyond must be what the
   next one hashed. The running hash goes through all of them.
3. What each `begin` carries must be what the entries before it amount to.
4. The place remembered in `head`, and one kept elsewhere, must be on the chain.
 5. The leaves that it names are those of the tree that was signed (`tree_check.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from interlock.audit.files import Files
from interlock.audit.journal import (
    VERSION,
    Begin,
    Carried,
    Closed,
    Entry,
    Opened,
    Pruned,
    Scan,
    Sealed,
    Signed,
    State,
    journal_path,
    numbers,
    read_head,
    tail_hash,
)
from interlock.audit.report import Report
from interlock.audit.tree_check import TreeCheck
from interlock.errors import RecordError
from interlock.tlog import START

_IN_FLIGHT = 0.3  # seconds after which a half-written entry is not one that is being written


class Ledger:
    """What the journal says of one segment."""

    __slots__ = (
        "class_",
        "closed",
        "count",
        "digest",
        "file",
        "header_hash",
        "leaves",
        "offset",
        "opened_ns",
        "partial",
        "pruned",
        "segment",
    )

    def __init__(self, opened: Opened | Carried) -> None:
        self.segment = opened.segment
        self.file = opened.file
        self.header_hash = opened.header_hash
        self.count = opened.count if isinstance(opened, Carried) else 0
        self.leaves = sha256()  # over all leaf hashes in order
        self.offset = opened.offset if isinstance(opened, Carried) else opened.header_size
        self.digest = opened.digest if isinstance(opened, Carried) else b""  # SHA-256 of the file up to there
        self.partial = isinstance(opened, Carried)  # some of its seals could not be read
        self.closed: Closed | None = None
        self.class_ = opened.class_
        self.opened_ns = opened.opened_ns if isinstance(opened, Carried) else max(opened.opened_ns, opened.time_ns)
        self.pruned: Pruned | None = None

    def fingerprint(self) -> bytes:
        """SHA-256 over all of it."""
        closed = msgspec.msgpack.encode(self.closed)
        parts = (self.segment, self.file.encode(), self.header_hash, self.digest, self.leaves.digest(), closed)
        return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


class Chain:
    """The journal of one record."""

    def __init__(self, record: Path, report: Report, files: Files, tree: TreeCheck) -> None:
        self.ledgers: dict[bytes, Ledger] = {}
        self.running = START
        self.stopped = False
        self.found = False  # at least one file of a journal is there
        self._record = record
        self._report = report
        self._files = files
        self._tree = tree
        self._leaves = 0  # sealed so far
        self._ends: list[tuple[int, int | None]] = []  # (file number, where it ends) in order

    def read(self, known_head: str | None = None) -> None:
        """Read everything; faults go to the report."""
        wanted = set()
        head = None
        try:
            head = read_head(self._record)
        except RecordError as error:
            self._report.problem("head", str(error))
        if head is not None:
            wanted.add((head.journal, head.offset, head.running))
        found = numbers(self._files, self._record) if self._record.is_dir() else []
        self.found = bool(found)
        headless = self.found and head is None and not self._report.problems
        entries = 0
        self._find_files(found)
        kept = known_head is None or known_head == START.hex()
        state = State()
        for at, (number, end) in enumerate(self._ends):
            scan = Scan(self._files, journal_path(self._record, number), end)
            name = journal_path(self._record, number).name
            try:
                for entry in scan:
                    if isinstance(entry, Begin):
                        self._check_begin(name, entry, state, number)
                    state.apply(entry)
                    self._note(name, entry)
                    entries += 1
                    self.running = scan.running
                    self._tree.passed(self.running)
                    wanted.discard((number, scan.offset, self.running.hex()))
                    kept = kept or self.running.hex() == known_head
            except RecordError as error:
                self._report.problem(name, str(error), scan.offset)
            except OSError as error:
                self._report.problem(name, f"cannot be read: {error.strerror}")
            else:
                self._check_end(scan, name, at)
                continue
            self._tree.lose()
        self._tree.finish()
        self.stopped = state.stopped
        if headless and (entries > 1 or len(found) > 1):  # a journal has its head before its second entry
            self._report.problem("head", "is missing")
        for journal, offset, _ in wanted:
            self._report.problem(f"journal-{journal:05d}", "was shortened or rewritten: `head` remembers more", offset)
        if not kept:
            self._report.problem("journal", "the head that was kept elsewhere is not part of it")
        self._report.head = self.running.hex()

    def seals(self, segment: bytes) -> Iterator[Sealed]:
        """All seals of one segment, read again."""
        for number, end in self._ends:
            for entry in Scan(self._files, journal_path(self._record, number), end):
                if isinstance(entry, Sealed) and entry.segment == segment:
                    yield entry

    def _find_files(self, found: list[int]) -> None:
        begins: dict[int, Begin] = {}
        for number in found:
            try:
                first = next(iter(Scan(self._files, journal_path(self._record, number))), None)
            except OSError:
                first = None
            if isinstance(first, Begin) and first.number == number:
                begins[number] = first
            else:
                self._report.problem(f"journal-{number:05d}", "its beginning is damaged", 0)
        if not begins:
            return
        number, end = max(begins), None
        while True:
            self._ends.insert(0, (number, end))
            begin = begins.pop(number)
            if begin.previous == 0:
                break
            if begin.previous not in begins:
                if begin.previous not in found:
                    self._report.problem(f"journal-{begin.previous:05d}", "is missing")
                break
            number, end = begin.previous, begin.previous_offset
        for number in begins:
            scan = Scan(self._files, journal_path(self._record, number))
            if len(list(scan)) > 1 or scan.ending != "whole":
                self._report.problem(f"journal-{number:05d}", "is not part of the chain")
            else:
                self._report.notices.append(f"journal-{number:05d} was begun and never used")

    def _check_begin(self, name: str, begin: Begin, state: State, number: int) -> None:
        if begin.version != VERSION:
            self._report.problem(name, f"is of unknown version {begin.version}")
        if (begin.number, begin.previous_running) != (number, self.running):
            self._report.problem(name, "does not go on from the file before it")
        known = {item.segment: item for item in begin.known}
        before = {segment: item.carried() for segment, item in state.known.items()}
        same = known == before and set(begin.closed) == set(state.closed) and set(begin.pruned) == state.pruned
        if same and begin.ended:  # not of the first version
            same = begin.ended == [state.closed[name] for name in begin.closed]
        if not same:
            self._report.problem(name, "carries over other segments than the file before it holds")
        if (begin.size, begin.signed_size, begin.signed_root) != (state.size, state.signed_size, state.signed_root):
            self._report.problem(name, "counts other leaves than the file before it holds")

    def _check_end(self, scan: Scan, name: str, at: int) -> None:
        end = self._ends[at][1]
        if end is None:
            if scan.ending == "torn":
                time.sleep(_IN_FLIGHT)
                again = Scan(self._files, journal_path(self._record, self._ends[at][0]))
                if sum(1 for _ in again) and again.offset > scan.offset:
                    return
            if scan.ending != "whole":
                self._report.problem(name, f"its end is {scan.ending}", scan.offset)
            return
        if scan.offset != end:
            self._report.problem(name, "is damaged", scan.offset)
            return
        path = journal_path(self._record, self._ends[at + 1][0])
        begin = next(iter(Scan(self._files, path)))
        assert isinstance(begin, Begin)
        try:
            length, digest = tail_hash(self._files, journal_path(self._record, self._ends[at][0]), end)
        except OSError as error:
            self._report.problem(name, f"cannot be read: {error.strerror}", end)
            return
        if begin.tail_length >= 0 and (length, digest if length else b"") != (begin.tail_length, begin.tail_hash):
            self._report.problem(name, "what follows its end was altered", end)
        elif length:
            self._report.notices.append(f"{name}: {length} bytes after its end were never part of the chain")

    def _note(self, name: str, entry: Entry) -> None:
        match entry:
            case Begin():
                if entry.size != self._leaves:
                    self._tree.lose()
                self._leaves = entry.size
                for carried in entry.known:  # the same as before, unless the chain is damaged
                    ledger = self.ledgers.get(carried.segment)
                    if ledger is None or ledger.count != carried.count:
                        self.ledgers[carried.segment] = Ledger(carried)
            case Opened():
                if entry.segment in self.ledgers:
                    self._report.problem(entry.file, "came back after it was closed")
                self.ledgers[entry.segment] = Ledger(entry)
            case Sealed():
                ledger = self.ledgers[entry.segment]
                self._leaves += entry.count
                self._tree.add(entry.leaves)
                ledger.leaves.update(entry.leaves)
                ledger.count += entry.count
                ledger.offset, ledger.digest = entry.offset, entry.digest
            case Closed():
                self.ledgers[entry.segment].closed = entry
            case Pruned():
                pruned = self.ledgers.get(entry.segment)
                if pruned is None or pruned.file != entry.file:
                    self._report.problem(entry.file, "was pruned under the id of another segment")
                else:
                    pruned.pruned = entry
            case Signed():
                self._tree.signed(name, entry)
            case _:
                pass
