"""Counts what passes: plain integers in shared memory, exposed by control.

Here is what calls and connections count as they pass; totals that are kept elsewhere come once a second.
"""

from __future__ import annotations

from typing import Final

from interlock.model import Reason
from interlock.snapshot.metrics import REFUSED_WORD, Counter, Tallies, duration_word

CALLS: Final = int(Counter.CALLS)
STATUS: Final = int(Counter.STATUS_1XX) - 1
BYTES_IN: Final = int(Counter.BYTES_IN)
BYTES_OUT: Final = int(Counter.BYTES_OUT)
DURATION: Final = int(Counter.DURATION_NS)
CONNECTIONS: Final = int(Counter.CONNECTIONS)
HANDSHAKES: Final = int(Counter.HANDSHAKES)
REFUSALS_COUNTED: Final = int(Counter.REFUSALS_COUNTED)


class Meter(Tallies):
    """One worker's row; written by this process only."""

    __slots__ = ()

    def ended(self, status: int, reason: Reason | None, duration: int, bytes_in: int, bytes_out: int) -> None:
        """A call whose intent was recorded has ended; `duration` in ns."""
        row = self._row
        row[CALLS] += 1
        row[STATUS + status // 100] += 1
        row[BYTES_IN] += bytes_in
        row[BYTES_OUT] += bytes_out
        row[DURATION] += duration
        row[duration_word(duration)] += 1
        if reason is not None:
            row[REFUSED_WORD[reason]] += 1

    def refused(self, reason: Reason, counted: bool) -> None:
        """A call was refused; `counted`: without a record of its own."""
        row = self._row
        row[CALLS] += 1
        row[STATUS + reason.status // 100] += 1
        row[REFUSED_WORD[reason]] += 1
        if counted:
            row[REFUSALS_COUNTED] += 1

    def connected(self) -> None:
        self._row[CONNECTIONS] += 1

    def shaken(self) -> None:
        """A TLS handshake succeeded."""
        self._row[HANDSHAKES] += 1

    def connection_refused(self, reason: Reason, counted: bool) -> None:
        """A connection ended before it carried a call; `counted` as above."""
        row = self._row
        row[REFUSED_WORD[reason]] += 1
        if counted:
            row[REFUSALS_COUNTED] += 1
