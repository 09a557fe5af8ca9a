"""What arrived is not a message that may be acted on."""

from __future__ import annotations

from interlock.errors import InterlockError
from interlock.model import Reason


class Malformed(InterlockError):
    """Raised by the parsers only. `note` is for the record; the peer learns the reason's title."""

    def __init__(self, reason: Reason, note: str = "") -> None:
        self.reason = reason
        self.note = note
        super().__init__(f"{reason.value}: {note}" if note else reason.value)
