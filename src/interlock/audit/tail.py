"""One segment as the recorder follows it: read as far as its writer vouches for, checked, hashed.

Nothing is taken from a file before the bytes are known to be those its writer hashed in its own memory;
what does not agree raises `Altered` and MUST NOT be sealed.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from interlock.audit.attest import Attested
from interlock.audit.files import Files, read_all
from interlock.audit.header import MAX_HEADER, decode_header
from interlock.audit.journal import Carried
from interlock.audit.leaves import ALL, Walk
from interlock.errors import RecordError


class Altered(RecordError):
    """The file is not what its writer wrote."""


class Tail:
    """A segment that is not closed yet.

    `offset`, `count` and `digest` say how far it was read; `leaves` are the leaf hashes not yet journaled,
    from sequence `first`. `open` holds the intents that wait for an outcome, `elsewhere` those in other segments that
    have theirs here.
    """

    def __init__(self, files: Files, path: Path) -> None:
        """Open the file and read its header; `OSError`, or `RecordError` if it is no segment."""
        self._files = files
        self.path = path
        self.fd = files.open(path)
        try:
            self.inode = files.fstat(self.fd).st_ino
            head = read_all(files, self.fd, MAX_HEADER + 64, 0)
            self.header, self.header_size = decode_header(head)
        except BaseException:
            files.close(self.fd)
            raise
        head = head[: self.header_size]
        self.id = self.header.id
        self.header_hash = sha256(head).digest()
        self.offset = self.header_size
        self.count = 0
        self.digest = sha256(head)
        self.first = 0
        self.sealed_offset = self.header_size
        self._walk = walk = Walk()
        self.leaves, self.open, self.elsewhere = walk.leaves, walk.open, walk.elsewhere
        self.early: set[int] = set()  # intents whose outcome was read, in another segment, before them
        self.settles: dict[bytes, set[int]] = {}  # the same, once they were noted there
        self.ended = False  # its last frame says so
        self.how = ""  # why nothing more will be read
        self.answered = False  # its open intents were given an outcome by the recorder
        self.slotless_since: int | None = None
        self.late = False  # found after this recorder's first look

    def close(self) -> None:
        self._files.close(self.fd)

    def catch_up(self, known: Carried) -> None:
        """Read again what an earlier recorder sealed, and compare."""
        if self.header_hash != known.header_hash:
            raise Altered(f"the header of {self.path.name} was altered")
        self.early.update(known.settled)  # where they have their outcome is not read again
        if known.offset > self.offset:
            self.read(Attested(known.offset, known.count, known.digest))
        if (self.count, self.offset) != (known.count, known.offset):
            raise Altered(f"{self.path.name} does not hold the frames that were sealed")
        self.leaves.clear()
        self.first = self.count
        self.sealed_offset = self.offset

    def in_place(self) -> None:
        """Raise `Altered` if the name no longer leads to this file."""
        try:
            found = self._files.stat(self.path).st_ino
        except FileNotFoundError:
            raise Altered(f"{self.path.name} was removed") from None
        if found != self.inode:
            raise Altered(f"{self.path.name} was replaced")

    def read(self, attested: Attested) -> bool:
        """Read up to what the writer vouches for; says whether there was anything new."""
        size = attested.offset - self.offset
        if size <= 0:
            return False
        data = read_all(self._files, self.fd, size, self.offset)
        if len(data) < size:
            raise Altered(f"{self.path.name} was cut to {self.offset + len(data)} of {attested.offset} bytes")
        digest = self.digest.copy()
        digest.update(data)
        if digest.digest() != attested.digest:
            raise Altered(f"{self.path.name} was altered between offsets {self.offset} and {attested.offset}")
        if (taken := self._take(data)) != size:
            raise Altered(f"{self.path.name} holds no frame at offset {self.offset + taken}")
        self.digest = digest
        self.offset = attested.offset
        return True

    def beyond(self) -> int:
        """Bytes in the file that were not read; fewer than there were at the last look is `Altered`."""
        size = self._files.fstat(self.fd).st_size
        if size < self.offset:
            raise Altered(f"{self.path.name} was cut to {size} of {self.offset} bytes")
        return size - self.offset

    def read_to_end(self) -> None:
        """Read all whole frames there are beyond what a dead writer attested; what follows them is torn."""
        data = read_all(self._files, self.fd, self.beyond(), self.offset)
        taken = self._take(data)
        self.digest.update(data[:taken])
        self.offset += taken

    def rest(self) -> tuple[int, bytes]:
        """Length and hash of the bytes after the last frame."""
        data = read_all(self._files, self.fd, self.beyond(), self.offset)
        return len(data), sha256(data).digest() if data else b""

    def _take(self, data: bytes) -> int:
        """Hash the whole frames at the start of `data`, note what they open and settle; gives the bytes they fill."""
        walk = self._walk
        walk.early = self.early
        taken = walk.over(data, ALL, ALL, False)
        walk.rare.clear()
        self.count, self.ended = walk.count, walk.ended
        return taken
