"""Where a verification was broken off, so that the next one need not read everything again.

One JSON line for each closed segment that was found good: what the journal said of it, what the file looked like,
and what its records mean for others. A line counts only while all of that is still so. What was changed meanwhile
so that inode, size and time of change stay the same is not seen, and whoever may write this file can have a segment
passed over: it MUST lie where only the one who verifies may write. An audit begins anew, without such a file.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from interlock.audit.segment import RecordId


class Done(msgspec.Struct, array_like=True):
    """One segment that was read to its end without a problem."""

    file: str
    ledger: bytes  # SHA-256 over all that the journal says of it
    inode: int
    size: int
    changed: int  # ns
    records: int
    sealed: int
    open: list[int]  # intents without outcome in it
    elsewhere: list[RecordId]  # intents that have their outcome in it
    notable: list[tuple[int, int]]  # sequence and event
    acknowledged: list[RecordId]
    notices: list[str] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Done).decode


class Resume:
    """The file of one verification; made if it is not there."""

    def __init__(self, path: Path) -> None:
        self._done: dict[str, Done] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    done = _decode(line)
                except ValueError:
                    continue  # the line at which it was broken off
                self._done[done.file] = done
        self._file = path.open("ab")
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")

    def close(self) -> None:
        self._file.close()

    def known(self, file: str, ledger: bytes, inode: int, size: int, changed: int) -> Done | None:
        """What was found of a segment of which nothing has changed since."""
        done = self._done.get(file)
        if done is None or (done.ledger, done.inode, done.size, done.changed) != (ledger, inode, size, changed):
            return None
        return done

    def add(self, done: Done) -> None:
        self._file.write(_encode(done) + b"\n")
        self._file.flush()
