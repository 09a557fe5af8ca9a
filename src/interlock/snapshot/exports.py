"""How exports are doing: what the analyst writes to `run/exports.json`, and whoever is asked reads.

Here, below the record, because `status` reads it and nothing of the record.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE = "exports.json"
LATE = 60.0  # seconds that an export may lag before it is worth a word


class ExportStatus(msgspec.Struct):
    """One export. Times are wall nanoseconds, 0 for never."""

    name: str
    format: str
    to: str
    state: str = "idle"  # or "sending", "retrying"
    records: int = 0  # confirmed since the export began, restarts included
    failures: int = 0  # attempts that failed since the node started
    lag_seconds: float = 0.0  # age of the oldest sealed record that is not confirmed
    confirmed_ns: int = 0  # when the receiver last confirmed something
    error: str = ""  # why the last attempt failed; empty when it did not
    failing_ns: int = 0  # since when
    retry_ns: int = 0  # when it is tried again

    def problem(self) -> str:
        """What an operator should look at, if anything."""
        if self.error:
            return f"export {self.name} ({self.lag_seconds:.0f} s behind): {self.error}"
        if self.lag_seconds > LATE:
            return f"export {self.name} is {self.lag_seconds:.0f} s behind"
        return ""


def write_statuses(run_dir: Path, statuses: list[ExportStatus]) -> None:
    """Replace the file. Raises `OSError`."""
    aside = run_dir / f".{FILE}.{os.getpid()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, msgspec.json.encode(statuses))
    finally:
        os.close(fd)
    os.replace(aside, run_dir / FILE)


def read_statuses(run_dir: Path) -> list[ExportStatus]:
    """What the analyst said last; nothing if it never did, or of another version."""
    try:
        return msgspec.json.decode((run_dir / FILE).read_bytes(), type=list[ExportStatus])
    except (OSError, msgspec.MsgspecError):
        return []
