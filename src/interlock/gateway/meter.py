"""Counts what passes: plain integers, which control exposes from shared memory.

What calls and connections count as they pass is brought there once a second, as are totals that are kept elsewhere.
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

    __slots__ = ("_counts",)

    def __init__(self, row: memoryview) -> None:
        super().__init__(row)
        self._counts = [0] * len(row)  # not in the row yet

    def settle(self) -> None:
        """Bring what was counted to the row."""
        row, counts = self._row, self._counts
        for word, count in enumerate(counts):
            if count:
                row[word] += count
                counts[word] = 0

    def ended(self, status: int, reason: Reason | None, duration: int, bytes_in: int, bytes_out: int) -> None:
        """A call whose intent was recorded has ended; `duration` in ns."""
        counts = self._counts
        counts[CALLS] += 1
        counts[STATUS + status // 100] += 1
        counts[BYTES_IN] += bytes_in
        counts[BYTES_OUT] += bytes_out
        counts[DURATION] += duration
        counts[duration_word(duration)] += 1
        if reason is not None:
            counts[REFUSED_WORD[reason]] += 1

    def refused(self, reason: Reason, counted: bool) -> None:
        """A call was refused; `counted`: without a record of its own."""
        counts = self._counts
        counts[CALLS] += 1
        counts[STATUS + reason.status // 100] += 1
        counts[REFUSED_WORD[reason]] += 1
        if counted:
            counts[REFUSALS_COUNTED] += 1

    def connected(self) -> None:
        self._counts[CONNECTIONS] += 1

    def shaken(self) -> None:
        """A TLS handshake succeeded."""
        self._counts[HANDSHAKES] += 1

    def connection_refused(self, reason: Reason, counted: bool) -> None:
        """A connection ended before it carried a call; `counted` as above."""
        counts = self._counts
        counts[REFUSED_WORD[reason]] += 1
        if counted:
            counts[REFUSALS_COUNTED] += 1
