"""Administration: every act on a node, done the same way by the control process and by offline commands.

Each act is put on the record before it takes place; what cannot be recorded is not done. The state
database comes next, and the running workers last, so that a snapshot made meanwhile holds it or the change
log does. What can be asked is in `operations`.
"""

from __future__ import annotations

from typing import Any

from interlock.control.desks import Desks
from interlock.control.operations import OPERATIONS, READS, Asker
from interlock.control.wire import Peer, Row
from interlock.errors import NotAllowed, UsageError
from interlock.model import Event, Principal


class Administration(Desks):
    """Does what is asked, at the desk whose it is, for who may have it."""

    def perform(
        self, op: str, arguments: dict[str, Any], actor: Principal, row: Row, peer: Peer | None = None
    ) -> dict[str, Any]:
        """Do one act, or answer one question; `row` is given what comes piece by piece. Raises `InterlockError`.

        `peer`: the user of the operating system that `actor` is; without one, nothing of a record is shown that has
        a list of readers.
        """
        operation = OPERATIONS.get(op)
        if operation is None:
            raise UsageError(f"there is no operation {op!r}")
        if operation.shows_records and not self.readers.allow(peer):
            raise self.refuse_reading(op, actor)
        return operation.perform(self, arguments, Asker(actor, peer), row)

    def refuse_reading(self, op: str, actor: Principal, count: int = 1) -> NotAllowed:
        """Record that somebody was not shown the record, and give the error."""
        known = op if op in READS else "other"
        self.acts(actor).act(Event.RECORD_READ_REFUSED, {"op": known, **({"count": count} if count > 1 else {})})
        return NotAllowed(f"{actor} may not read the record: `record: {{readers: ...}}` names who may")
