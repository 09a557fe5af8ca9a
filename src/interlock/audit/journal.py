"""The journal: what the recorder sealed, in one chain. Its exact bytes, and how they are read.

    file    journal-NNNNN: magic "ILKJNL1\\n" | entry...
    entry   u32 length of the payload | 32 bytes running | payload: msgpack array [kind, ...]

`running` is SHA-256(running of the entry before | payload), so each entry vouches for all before it. The
first entry of a file is `begin`; it names the file before and where that one ends, so the chain goes through
all files. A file is added to after a clean stop only; after anything else a new one is begun, and bytes of
the old one beyond its stated end are named by length and hash, never cut. Fields are added at the end only.

Beside it lies `head`: a small JSON file, replaced every few seconds, that remembers a place in the chain so
that cutting the journal at the end is noticed too. Reading MUST NOT change anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from interlock.audit.files import Files, read_all
from interlock.errors import RecordError
from interlock.tlog import START, extend

MAGIC = b"ILKJNL1\n"
VERSION = 1
NAME = re.compile(r"journal-(\d{5,})")
MAX_ENTRY = 256 * 1024 * 1024
_PREFIX = 36
_CHUNK = 4 * 1024 * 1024


class Carried(msgspec.Struct, array_like=True):
    """An unclosed segment as a new journal file takes it over."""

    segment: bytes
    file: str
    header_hash: bytes
    writer: str
    count: int
    offset: int
    digest: bytes
    settled: list[int] = []  # intents with their outcome in a segment that was closed since, ascending
    class_: int = 0  # retention class
    opened_ns: int = 0  # by its header


class Ended(NamedTuple):
    """A closed segment as the journal remembers it."""

    segment: bytes
    class_: int
    ended_ns: int  # the later one of when it was begun and when it was closed
    frames: int  # sealed ones


UNKNOWN = Ended(b"", 0, 0, 0)  # of a journal that did not note it


class Begin(msgspec.Struct, array_like=True, tag="begin"):
    """The first entry of each file."""

    version: int
    number: int
    previous: int  # number of the file before; 0: this is the first
    previous_offset: int  # where that file ends
    previous_running: bytes
    tail_length: int  # bytes of that file beyond its end; -1: not known to be on disk, or could not be read
    tail_hash: bytes
    time_ns: int
    boot_id: str
    known: list[Carried]
    closed: list[str]
    size: int = 0  # leaves sealed in the files before
    signed_size: int = 0  # of the newest checkpoint in them
    signed_root: bytes = b""
    ended: list[Ended] = []  # one for each of `closed`, in their order
    pruned: list[str] = []  # file names


class Opened(msgspec.Struct, array_like=True, tag="open"):
    """A segment was found."""

    segment: bytes
    file: str
    header_hash: bytes  # SHA-256 of all bytes before the first frame
    writer: str
    header_size: int
    time_ns: int
    class_: int = 0  # retention class
    opened_ns: int = 0  # by its header


class Sealed(msgspec.Struct, array_like=True, tag="seal"):
    """Frames of a segment, once they were on disk."""

    segment: bytes
    first: int  # sequence
    count: int
    leaves: bytes  # their leaf hashes, 32 bytes each
    offset: int  # in the segment, after the last of them
    digest: bytes  # SHA-256 of the segment up to there


class Settled(msgspec.Struct, array_like=True, tag="settle"):
    """Intents of an unclosed segment have their outcome in the one that is closed next, which is not read again."""

    segment: bytes
    sequences: list[int]


class Closed(msgspec.Struct, array_like=True, tag="close"):
    """Nothing more of a segment will be sealed, and every intent in it has its outcome."""

    segment: bytes
    count: int
    how: str
    offset: int
    tail_length: int  # bytes after `offset`, no part of the record; -1: not vouched for
    tail_hash: bytes
    time_ns: int


class Lost(msgspec.Struct, array_like=True, tag="lost"):
    """A segment's file was missing; said once."""

    file: str
    time_ns: int


class Pruned(msgspec.Struct, array_like=True, tag="prune"):
    """A closed segment was kept for as long as its class asks: its file is deleted next, and may be absent.

    The act names it on the record: a sealed `record:prune` whose frame refers to the segment. Leaves stay.
    """

    segment: bytes
    file: str
    class_: int
    retention_ns: int  # for which its class was kept
    act_segment: bytes
    act_sequence: int
    time_ns: int


class Signed(msgspec.Struct, array_like=True, tag="sign"):
    """The checkpoint over all leaves of the seals before: on disk before it is published."""

    size: int
    root: bytes
    time_ns: int


class Stopped(msgspec.Struct, array_like=True, tag="stop"):
    """The recorder stopped with everything sealed."""

    time_ns: int


class Resumed(msgspec.Struct, array_like=True, tag="resume"):
    """The recorder started again after `stop`."""

    time_ns: int
    boot_id: str


Entry = Begin | Opened | Sealed | Settled | Closed | Lost | Pruned | Signed | Stopped | Resumed

# How a segment came to be closed.
CLEAN = "clean"  # its writer said so, as its last frame
GONE = "gone"  # its writer died
DAMAGED = "damaged"  # its writer could not write it
UNSYNCED = "unsynced"  # it could not be put on disk
ALTERED = "altered"  # it is not what its writer wrote

_decoder = msgspec.msgpack.Decoder(Entry)
_encode = msgspec.msgpack.Encoder().encode


class Head(msgspec.Struct):
    """A place in the chain, remembered outside of it."""

    version: int
    journal: int
    offset: int
    running: str
    time_ns: int
    check: str = ""  # SHA-256 of the file's bytes while this is empty


class Known:
    """What the journal says of one unclosed segment."""

    __slots__ = (
        "class_",
        "count",
        "digest",
        "file",
        "header_hash",
        "offset",
        "opened_ns",
        "segment",
        "settled",
        "writer",
    )

    def __init__(self, carried: Carried) -> None:
        self.segment = carried.segment
        self.file = carried.file
        self.header_hash = carried.header_hash
        self.writer = carried.writer
        self.count = carried.count
        self.offset = carried.offset
        self.digest = carried.digest
        self.settled = set(carried.settled)
        self.class_ = carried.class_
        self.opened_ns = carried.opened_ns

    def carried(self) -> Carried:
        return Carried(
            self.segment,
            self.file,
            self.header_hash,
            self.writer,
            self.count,
            self.offset,
            self.digest,
            sorted(self.settled),
            self.class_,
            self.opened_ns,
        )


class State:
    """What all entries so far amount to."""

    def __init__(self) -> None:
        self.known: dict[bytes, Known] = {}
        self.closed: dict[str, Ended] = {}  # by file name
        self.pruned: set[str] = set()  # file names, for ever: such a file is never taken up again
        self.size = 0  # leaves: the place of the next one in the tree
        self.signed_size = 0  # of the newest checkpoint
        self.signed_root = b""
        self.stopped = False

    def apply(self, entry: Entry) -> None:
        """Go on by one entry; `RecordError` if it does not follow."""
        self.stopped = False
        match entry:
            case Sealed():
                known = self.known.get(entry.segment)
                if known is None or entry.first != known.count or len(entry.leaves) != 32 * entry.count:
                    raise RecordError("a seal does not follow the one before")
                known.count += entry.count
                self.size += entry.count
                known.offset = entry.offset
                known.digest = entry.digest
            case Opened():
                self.known[entry.segment] = Known(
                    Carried(
                        entry.segment,
                        entry.file,
                        entry.header_hash,
                        entry.writer,
                        0,
                        entry.header_size,
                        b"",
                        class_=entry.class_,
                        opened_ns=entry.opened_ns,
                    )
                )
            case Settled():
                if entry.segment not in self.known:
                    raise RecordError("intents of a segment are settled that was not open")
                self.known[entry.segment].settled.update(entry.sequences)
            case Closed():
                closed = self.known.get(entry.segment)
                if closed is None or closed.count != entry.count:
                    raise RecordError("a segment is closed that was not open")
                ended_ns = max(closed.opened_ns, entry.time_ns)
                self.closed[closed.file] = Ended(closed.segment, closed.class_, ended_ns, closed.count)
                del self.known[entry.segment]
            case Begin():
                self.known = {carried.segment: Known(carried) for carried in entry.known}
                ended = entry.ended if len(entry.ended) == len(entry.closed) else [UNKNOWN] * len(entry.closed)
                self.closed = dict(zip(entry.closed, ended, strict=True))
                self.pruned = set(entry.pruned)
                self.size = entry.size
                self.signed_size, self.signed_root = entry.signed_size, entry.signed_root
            case Lost():
                self.closed.pop(entry.file, None)
            case Pruned():
                if self.closed.pop(entry.file, None) is None:
                    raise RecordError(f"{entry.file} was pruned, and is no closed segment")
                self.pruned.add(entry.file)
            case Signed():
                if entry.size != self.size:
                    raise RecordError("a checkpoint covers other leaves than were sealed before it")
                self.signed_size, self.signed_root = entry.size, entry.root
            case Stopped():
                self.stopped = True
            case Resumed():
                pass


def frame(running: bytes, entry: Entry) -> tuple[bytes, bytes]:
    """The bytes of the entry that follows `running`, and the running hash after it."""
    payload = _encode(entry)
    if isinstance(entry, Begin):
        running = entry.previous_running
    after = extend(running, payload)
    return len(payload).to_bytes(4, "big") + after + payload, after


class Scan:
    """Reads one journal file, entry by entry, as far as it is whole.

    After iterating, `offset` and `running` are those after the last good entry, `size` is how far the file
    was read, and `ending` says how it ends: `whole`, `torn` (an incomplete entry, or nothing but zeros: what
    a crash leaves) or `broken` (anything else: no crash does that).
    """

    def __init__(self, files: Files, path: Path, end: int | None = None) -> None:
        self._files = files
        self._path = path
        self._end = end
        self.offset = 0
        self.running = START
        self.size = 0
        self.ending = "broken"

    def __iter__(self) -> Iterator[Entry]:
        fd = self._files.open(self._path)
        try:
            yield from self._entries(fd)
        finally:
            self._files.close(fd)

    def _entries(self, fd: int) -> Iterator[Entry]:
        self.size = size = self._files.fstat(fd).st_size if self._end is None else self._end
        if read_all(self._files, fd, len(MAGIC), 0) != MAGIC:
            return
        self.offset = len(MAGIC)
        buffer, start, at = b"", self.offset, 0  # `buffer` holds the file from `start`; `at` is where we are in it
        while self.offset < size:
            if len(buffer) - at < _PREFIX:
                start, at = self.offset, 0
                buffer = read_all(self._files, fd, min(_CHUNK, size - start), start)
            length = int.from_bytes(buffer[at : at + 4], "big")
            need = _PREFIX + length
            if len(buffer) - at < need:
                start, at = self.offset, 0
                buffer = read_all(self._files, fd, min(max(_CHUNK, need), size - start), start)
            if len(buffer) < at + need or length == 0:
                self.ending = "torn" if length <= MAX_ENTRY and (length or not any(buffer[at:])) else "broken"
                return
            payload = buffer[at + _PREFIX : at + need]
            try:
                entry = _decoder.decode(payload)
            except ValueError:
                return
            before = self.running
            if isinstance(entry, Begin) != (self.offset == len(MAGIC)):
                return  # exactly the first entry is `begin`
            if isinstance(entry, Begin):
                before = entry.previous_running
            after = extend(before, payload)
            if buffer[at + 4 : at + _PREFIX] != after:
                return
            self.running = after
            self.offset += need
            at += need
            yield entry
        self.ending = "whole"


def read_state(record: Path, files: Files) -> State:
    """What the newest journal file amounts to, as far as it is whole; `OSError`, `RecordError`. Nothing is repaired."""
    for number in reversed(numbers(files, record)):
        state, begun = State(), False
        for entry in Scan(files, journal_path(record, number)):
            state.apply(entry)
            begun = True
        if begun:
            return state
    return State()


def tail_hash(files: Files, path: Path, offset: int) -> tuple[int, bytes]:
    """Length and SHA-256 of what a file holds from `offset` on."""
    fd = files.open(path)
    try:
        digest, length = sha256(), 0
        while data := files.read(fd, _CHUNK, offset + length):
            digest.update(data)
            length += len(data)
        return length, digest.digest()
    finally:
        files.close(fd)


def numbers(files: Files, record: Path) -> list[int]:
    """The numbers of the journal files there are, ascending."""
    return sorted(int(found[1]) for name in files.list(record) if (found := NAME.fullmatch(name)))


def journal_path(record: Path, number: int) -> Path:
    return record / f"journal-{number:05d}"


def encode_head(journal: int, offset: int, running: bytes, time_ns: int) -> bytes:
    """The bytes of the file `head`."""
    head = Head(VERSION, journal, offset, running.hex(), time_ns)
    head.check = sha256(msgspec.json.encode(head)).hexdigest()
    return msgspec.json.encode(head)


def _contents(path: Path) -> bytes:
    files = Files()
    fd = files.open(path)
    try:
        return read_all(files, fd, _CHUNK, 0)
    finally:
        files.close(fd)


def read_head(record: Path) -> Head | None:
    """The remembered place; None if there is none, `RecordError` if it cannot be read."""
    try:
        data = _contents(record / "head")
        head = msgspec.json.decode(data, type=Head)
        sound = data == encode_head(head.journal, head.offset, bytes.fromhex(head.running), head.time_ns)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError("the record's head cannot be read") from error
    if not sound:
        raise RecordError("the record's head was altered")
    return head
