"""What every place to export to can do, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from interlock.errors import InterlockError


class SinkError(InterlockError):
    """Not delivered, as far as is known. `smaller`: it would take fewer at once; `retry_after`: seconds."""

    def __init__(self, message: str, *, smaller: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.smaller = smaller
        self.retry_after = retry_after


class Message(NamedTuple):
    """One record as it is sent."""

    id: str  # of the frame that completed it: the same whenever it is sent again, and no other message's
    data: bytes  # with the delimiter of a stream


class Sink(Protocol):
    """One place. Methods may wait, at most as long as the export's timeout, and raise `SinkError`."""

    def send(self, batch: Sequence[Message]) -> bool:
        """Hand a batch over; True: it is confirmed, False: only `confirm` tells."""
        ...

    def confirm(self) -> None:
        """Return when everything that was handed over is confirmed; after an error nothing since then is."""
        ...

    def close(self) -> None:
        """Let go of files and connections without a word."""
        ...
