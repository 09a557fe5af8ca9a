"""The one tree of internal errors.

    InterlockError
      ConfigError          the file is wrong: what, where, how to fix it
      UsageError           a command was used wrongly
      StateError           the state database cannot be read or written
      NotFound             the thing named does not exist
      KeyMaterialError     a key is missing, unreadable or cannot be opened
      SnapshotError        a snapshot or change log is damaged or of an unknown version
      RecordError          the record cannot be written or read
        RecordUnavailable  nothing can be recorded now, so nothing may pass
      LogError             a note, tile or proof of the log is malformed or does not verify
      NodeError            the node is not running, already running or did not answer
      NotAllowed           who asks may not do this

Refusals of calls are values (`interlock.model.Refusal`), not errors. Problem documents are made at the
edge only; an error that reaches the edge unforeseen becomes an opaque 500.
"""

from __future__ import annotations


class InterlockError(Exception):
    """Base of every error that Interlock raises on purpose. `str()` is fit for an operator's eyes."""


class ConfigError(InterlockError):
    """One or more faults in the configuration file; nothing was changed."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ConfigProblem:
    """One fault: which file and line, which key, what is wrong and how to mend it."""

    __slots__ = ("file", "hint", "line", "message", "where")

    def __init__(self, file: str, line: int | None, where: str, message: str, hint: str = "") -> None:
        self.file = file
        self.line = line
        self.where = where
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f" {self.where}:" if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}:{where} {self.message}{hint}"


class UsageError(InterlockError):
    """A command was used wrongly; the message says how it is used."""


class StateError(InterlockError):
    """The state database cannot be read or written."""


class NotFound(InterlockError):
    """The thing named does not exist."""


class KeyMaterialError(InterlockError):
    """A key is missing, unreadable or cannot be opened."""


class SnapshotError(InterlockError):
    """A snapshot, change log or shared page is damaged or of an unknown version."""


class RecordError(InterlockError):
    """The record cannot be written or read."""


class RecordUnavailable(RecordError):
    """Nothing can be recorded now, so nothing may pass."""


class LogError(InterlockError):
    """A note, checkpoint, tile or proof of the log is malformed, or does not show what it should."""


class NodeError(InterlockError):
    """The node is not running, already running, or did not answer."""


class NotAllowed(InterlockError):
    """Who asks may not do this."""
