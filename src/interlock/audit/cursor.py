"""A place in the sealed record, which can be kept: whatever is sealed after it, reading goes on from there."""

from __future__ import annotations

from typing import NamedTuple

from interlock.errors import RecordError
from interlock.tlog import START

VERSION = 1


class Cursor(NamedTuple):
    """A place in the sealed record. Its text form is durable: it stays good whatever is sealed after it."""

    journal: int  # number of the file; 0: before everything
    offset: int  # of the entry that comes next
    taken: int  # frames of that entry that were taken already
    running: bytes  # the running hash before that entry

    def __str__(self) -> str:
        return f"{VERSION}.{self.journal}.{self.offset}.{self.taken}.{self.running.hex()}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the text form; `RecordError` if it is not one, or of a later version."""
        parts = text.split(".")
        try:
            version, journal, offset, taken = (int(part) for part in parts[:4])
            running = bytes.fromhex(parts[4])
        except (ValueError, IndexError):
            raise RecordError(f"{text[:80]!r} is not a place in the record") from None
        if version != VERSION or len(parts) != 5 or len(running) != 32 or min(journal, offset, taken) < 0:
            raise RecordError(f"{text[:80]!r} is not a place in the record that this version knows")
        return cls(journal, offset, taken, running)


BEGINNING = Cursor(0, 0, 0, START)
