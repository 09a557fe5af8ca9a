"""Trying again: later and later, never all at once, and never later than a minute."""

from __future__ import annotations

import random
from collections.abc import Callable

from interlock.clock import SECOND, Clock
from interlock.control.publishing.status import PartyStatus

FIRST = 0.5  # seconds
LONGEST = 60.0


class Attempts:
    """Counts for one party, in its status. For the thread that tries; others may look."""

    def __init__(self, status: PartyStatus, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self.status = status
        self._clock = clock
        self._chance = chance
        self._in_a_row = 0
        self._not_before = 0  # monotonic

    @property
    def waiting(self) -> float:
        """Seconds until it may be tried again; 0: now."""
        return max(0.0, (self._not_before - self._clock.monotonic()) / SECOND)

    def succeeded(self, size: int) -> None:
        """It confirmed a checkpoint of that size."""
        self._in_a_row = self._not_before = 0
        status = self.status
        status.size, status.done_ns = size, self._clock.wall()
        status.error, status.failing_ns, status.retry_ns = "", 0, 0

    def failed(self, why: str) -> None:
        """Wait between half and all of 0.5 s doubled with each failure, up to a minute."""
        self._in_a_row += 1
        most = min(LONGEST, FIRST * 2.0 ** min(self._in_a_row - 1, 30))
        wait = int(most * (0.5 + self._chance() / 2) * SECOND)
        self._not_before = self._clock.monotonic() + wait
        now, status = self._clock.wall(), self.status
        status.failures += 1
        status.error = why
        status.failing_ns = status.failing_ns or now
        status.retry_ns = now + wait
