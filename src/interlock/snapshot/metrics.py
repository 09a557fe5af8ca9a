"""Metrics: plain integers in shared memory, one row per process.

A row has one writer, the process in that slot, so `row[CALLS] += 1` needs no lock. Rows outlive their
process: a counter goes on where its predecessor left off. What is counted elsewhere anyway is brought here
once a second, by `Tallies`.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Final

from interlock.model.reason import CODES
from interlock.snapshot.shared import attach, make, memory_of

MAGIC: Final = int.from_bytes(b"ILKMETR2", "little")
_HEADER: Final = 8
_WIDTH: Final = 256  # words in a row

# Upper bounds of the duration buckets, in microseconds; one more bucket holds the rest.
DURATIONS_US: Final[tuple[int, ...]] = (
    *(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000),
)


class Counter(IntEnum):
    """Words of a row; `exposition` says which process writes which, and what each means.

    Bind one to a local name on a hot path; a member is an index as it is.
    """

    CALLS = 0
    STATUS_1XX = 1
    STATUS_2XX = 2
    STATUS_3XX = 3
    STATUS_4XX = 4
    STATUS_5XX = 5
    BYTES_IN = 6
    BYTES_OUT = 7
    DURATION_NS = 8  # sum
    REFUSALS_COUNTED = 9
    CONNECTIONS = 10
    HANDSHAKES = 11
    UPSTREAM_CONNECTIONS = 12
    UPSTREAM_RETRIES = 13
    TOKENS_VERIFIED = 14
    SNAPSHOTS_TAKEN = 15
    LATE_SWEEPS = 16
    RECORD_FRAMES = 17
    RECORD_BYTES = 18
    RECORD_FLUSHES = 19
    RECORD_SYNCS = 20
    RECORD_FAILURES = 21
    RECORD_SEALED = 22
    RECORD_SEALS = 23
    SNAPSHOTS_BUILT = 24
    KEY_FETCHES = 25
    KEY_FETCHES_FAILED = 26
    TOKENS_ISSUED = 27
    # Gauges: what is so now. Set to nothing when a new process takes the row.
    OPEN_CONNECTIONS = 40
    OPEN_HANDSHAKES = 41
    OPEN_CALLS = 42
    OPEN_UPSTREAM = 43


GAUGES: Final = tuple(counter for counter in Counter if counter >= Counter.OPEN_CONNECTIONS)
DURATION_BUCKETS: Final = 48  # first word of the histogram
REFUSED: Final = 80  # first word of the refusals, one per reason in the order of `CODES`
REFUSED_WORD: Final = {reason: REFUSED + number for number, reason in enumerate(CODES)}
# What the authorization server refuses with; the last one stands for all others.
OAUTH_ERRORS: Final[tuple[str, ...]] = (
    *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
    *("invalid_scope", "invalid_target", "invalid_dpop_proof", "use_dpop_nonce", "access_denied", "login_required"),
    *("invalid_request_uri", "invalid_authorization_details", "temporarily_unavailable", "other"),
)
OAUTH_REFUSED: Final = 208  # first word of these, one per error
OAUTH_WORD: Final = {error: OAUTH_REFUSED + number for number, error in enumerate(OAUTH_ERRORS)}
assert DURATION_BUCKETS + len(DURATIONS_US) < REFUSED
assert REFUSED + len(CODES) <= OAUTH_REFUSED
assert OAUTH_REFUSED + len(OAUTH_ERRORS) <= _WIDTH


def duration_word(duration_ns: int) -> int:
    """The histogram's word for a duration."""
    return DURATION_BUCKETS + bisect_left(DURATIONS_US, duration_ns // 1000)


class MetricsPage:
    """All rows of the node."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self.rows: int = self._words[1]

    @classmethod
    def create(cls, path: Path, rows: int) -> MetricsPage:
        """A fresh page with one row per process slot."""
        return cls(memory_of(make(path, _words(rows), {0: MAGIC, 1: rows})))

    @classmethod
    def open(cls, path: Path) -> MetricsPage:
        """Map the page of a running node."""
        return cls(memory_of(attach(path, "a metrics page", MAGIC, _HEADER, lambda begins: _words(begins[1]))))

    def row(self, slot: int) -> memoryview:
        """A process's row, to be written by that process only."""
        if not 0 <= slot < self.rows:
            raise IndexError(f"the metrics page has {self.rows} rows, not a row {slot}")
        start = _HEADER + slot * _WIDTH
        return self._words[start : start + _WIDTH]

    def take_row(self, slot: int) -> memoryview:
        """A row for a process that begins: counters go on, gauges start at nothing."""
        row = self.row(slot)
        for gauge in GAUGES:
            row[gauge] = 0
        return row

    def read_row(self, slot: int) -> list[int]:
        """A copy of a row, for whoever shows it."""
        with self.row(slot) as row:
            return row.tolist()

    def close(self) -> None:
        """Rows that were handed out MUST be released before."""
        self._words.release()
        self._memory.close()


class Tallies:
    """Brings totals that a process keeps for itself into its row.

    They begin at nothing with each process and the row does not, so it is their growth that is added. What
    was counted since the last time is lost with a process that is killed.
    """

    __slots__ = ("_brought", "_row")

    def __init__(self, row: memoryview) -> None:
        self._row = row
        self._brought: dict[int, int] = {}

    def bring(self, totals: Mapping[int, int]) -> None:
        """Counters by their totals since this process began, gauges by what they are now."""
        row, brought = self._row, self._brought
        for counter, total in totals.items():
            if counter in GAUGES:
                row[counter] = total
            else:
                row[counter] += total - brought.get(counter, 0)
                brought[counter] = total


def _words(rows: int) -> int:
    return _HEADER + rows * _WIDTH
