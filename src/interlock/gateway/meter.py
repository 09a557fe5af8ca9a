"""Counts what passes: plain integers in shared memory, summed and exposed by control."""

from __future__ import annotations

from interlock.model import Reason
from interlock.snapshot.metrics import REFUSED_WORD, Counter, duration_word

CALLS = int(Counter.CALLS)
STATUS = int(Counter.STATUS_1XX) - 1
BYTES_IN = int(Counter.BYTES_IN)
BYTES_OUT = int(Counter.BYTES_OUT)
DURATION = int(Counter.DURATION_NS)
CONNECTIONS = int(Counter.CONNECTIONS)
CONNECTIONS_REFUSED = int(Counter.CONNECTIONS_REFUSED)
HANDSHAKES_FAILED = int(Counter.HANDSHAKES_FAILED)
REFUSALS_COUNTED = int(Counter.REFUSALS_COUNTED)
UPSTREAM_FAILURES = int(Counter.UPSTREAM_FAILURES)
OPEN_CONNECTIONS = int(Counter.OPEN_CONNECTIONS)
UPSTREAM = frozenset(reason for reason in Reason if reason.startswith("upstream-"))
TLS = frozenset(reason for reason in Reason if reason.startswith("tls-"))


class Meter:
    """One process's row; written by this process only."""

    __slots__ = ("_row",)

    def __init__(self, row: memoryview) -> None:
        self._row = row

    def ended(self, status: int, reason: Reason | None, duration: int, bytes_in: int, bytes_out: int) -> None:
        """A call whose intent was recorded has ended; `duration` in ns."""
        row = self._row
        row[CALLS] += 1
        row[STATUS + status // 100] += 1
        row[BYTES_IN] += bytes_in
        row[BYTES_OUT] += bytes_out
        row[DURATION] += duration
        row[duration_word(duration)] += 1
        if reason in UPSTREAM:
            row[UPSTREAM_FAILURES] += 1

    def refused(self, reason: Reason, counted: bool) -> None:
        """A call or a connection was refused; `counted`: without a record of its own."""
        row = self._row
        row[REFUSED_WORD[reason]] += 1
        if counted:
            row[REFUSALS_COUNTED] += 1
        if reason.status:
            row[CALLS] += 1
            row[STATUS + reason.status // 100] += 1
        elif reason in TLS:
            row[HANDSHAKES_FAILED] += 1

    def connected(self) -> None:
        self._row[CONNECTIONS] += 1

    def connection_refused(self) -> None:
        self._row[CONNECTIONS_REFUSED] += 1

    def gauge(self, connections: int) -> None:
        """Once a second."""
        self._row[OPEN_CONNECTIONS] = connections
