"""What the threads of one publisher share: the round that they are in."""

from __future__ import annotations

import threading
from typing import Protocol

from interlock.control.publishing.places import Published
from interlock.control.publishing.witness import Candidate
from interlock.tlog import Signature


class Log(Protocol):
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class Round:
    """Read and changed by all of them, under `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # guards all that follows, and says when it changed
        self.stopping = False
        self.number = 0
        self.candidate: Candidate | None = None
        self.cosignatures: dict[str, Signature] = {}  # of the candidate's text, by witness
        self.published: Published | None = None
