"""What a verification found."""

from __future__ import annotations

import msgspec

from interlock.tlog import Checkpoint


class Problem(msgspec.Struct, frozen=True):
    """One thing that is amiss: in which file, where, and what."""

    file: str
    message: str
    offset: int | None = None
    sequence: int | None = None

    def __str__(self) -> str:
        place = self.file
        if self.offset is not None:
            place += f", offset {self.offset}"
        if self.sequence is not None:
            place += f", record {self.sequence}"
        return f"{place}: {self.message}"


class Report(msgspec.Struct):
    """The result of `verify`. `notices` are worth knowing and no fault of the record."""

    records: int = 0  # found, sealed or not, without the ends of segments
    sealed: int = 0  # frames the journal vouches for
    segments: int = 0
    problems: list[Problem] = []
    notices: list[str] = []
    checkpoint: Checkpoint | None = None  # the newest signed one; keep it elsewhere, as it was signed
    checkpoint_time: int = 0  # when it was signed, in seconds since 1970, by the log's clock
    head: str = ""  # the journal's running hash; keep it elsewhere to prove a later record goes on from it

    @property
    def ok(self) -> bool:
        return not self.problems

    def problem(self, file: str, message: str, offset: int | None = None, sequence: int | None = None) -> None:
        self.problems.append(Problem(file, message, offset, sequence))
