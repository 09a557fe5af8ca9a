"""When to start a process again: at once the first time, later and later if it keeps dying.

Pure: time goes in, a delay comes out.
"""

from __future__ import annotations

from collections import deque

from interlock.clock import SECOND

STEADY = 10 * SECOND  # a process that lived this long starts with a clean slate
FIRST = SECOND // 10
LONGEST = 5 * SECOND
LOOP_EXITS = 10  # this many ends ...
LOOP_WINDOW = 60 * SECOND  # ... within this time are a crash loop
LOOP_DELAY = 30 * SECOND


class Backoff:
    """The restarts of one process slot."""

    __slots__ = ("_delay", "_exits", "looping")

    def __init__(self) -> None:
        self._delay = 0
        self._exits: deque[int] = deque(maxlen=LOOP_EXITS)
        self.looping = False

    def exited(self, started: int, now: int) -> int:
        """How long to wait, in ns, before the next start; `looping` tells whether it is a crash loop."""
        if now - started >= STEADY:
            self._delay = 0
        delay = self._delay
        self._delay = min(max(FIRST, 2 * delay), LONGEST)
        self._exits.append(now)
        self.looping = len(self._exits) == LOOP_EXITS and now - self._exits[0] < LOOP_WINDOW
        return LOOP_DELAY if self.looping else delay
