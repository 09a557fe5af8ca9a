"""How exports are doing: what the analyst writes to `run/exports.json`, and whoever is asked reads.

Here, below the record, because `status` reads it and nothing of the record.
"""

from __future__ import annotations

import msgspec

from interlock.snapshot.report import Report

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


EXPORTS_REPORT = Report("exports.json", list[ExportStatus])
