"""When to try again: later and later, never all at once, and never later than a minute. Pure."""

from __future__ import annotations

FIRST = 0.5  # seconds
LONGEST = 60.0
LONGEST_ASKED = 300.0  # that a receiver may ask us to wait


def delay(failures: int, chance: float, asked: float | None = None) -> float:
    """Seconds to wait after the `failures`-th failure in a row; `chance` is from 0 to 1, `asked` the receiver's wish.

    Between half and all of 0.5 s doubled with each failure, up to a minute.
    """
    most = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30))
    wait = most * (0.5 + chance / 2)
    return wait if asked is None else max(wait, min(asked, LONGEST_ASKED))
