"""Injected time.

Everything that decides by time is handed a `Clock`, so that a test can tell a story without sleeping.
Wall time is for what outlives the process (expiry, records); monotonic time is for durations.
"""

from __future__ import annotations

import time
from typing import Protocol

SECOND = 1_000_000_000  # nanoseconds


class Clock(Protocol):
    """Two clocks, both in integer nanoseconds."""

    def wall(self) -> int:
        """Nanoseconds since the Unix epoch; may step."""
        ...

    def monotonic(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic_ns)


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, wall: int = 1_700_000_000 * SECOND, monotonic: int = 0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> int:
        return self._wall

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self._wall += int(seconds * SECOND)
        self._monotonic += int(seconds * SECOND)

    def step(self, seconds: float) -> None:
        """Step the wall clock alone, as an operator or NTP would."""
        self._wall += int(seconds * SECOND)
