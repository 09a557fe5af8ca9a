"""GCRA, the generic cell rate algorithm (ITU-T I.371; as in boulder's `ratelimits/gcra.go`), pure.

A cell holds one number, the theoretical arrival time (TAT): when all that was spent will have been earned
back. A call is allowed if, after it, the TAT lies no more than `tolerance` ahead of now:

    tat' = max(tat, now) + emission        allowed: tat' - now <= tolerance

`emission` is the time in which one call is earned, `tolerance` = burst * emission. All in nanoseconds.
`CounterTable.spend` does the same in place, under a lock; a test holds the two together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from interlock.snapshot import LimitSpec

LONGEST: Final = 100 * 365 * 86_400 * 1_000_000_000  # a tolerance beyond a century is a mistake, and would overflow


class Rate(NamedTuple):
    """A limit in the algorithm's own terms."""

    emission: int
    tolerance: int
    burst: int

    @classmethod
    def of(cls, spec: LimitSpec) -> Rate:
        """`ValueError` for a limit that lets nothing through or cannot be counted."""
        if spec.count < 1 or spec.period_ns < 1 or spec.burst < 0:
            raise ValueError("a limit needs a count and a period of at least one")
        emission = -(-spec.period_ns // spec.count)  # rounded up: never more than was asked for
        burst = spec.burst or spec.count
        if emission * burst > LONGEST:
            raise ValueError("a limit's burst takes over a century to earn back")
        return cls(emission, emission * burst, burst)


def decide(tat: int, rate: Rate, now: int) -> tuple[bool, int]:
    """(whether one more call is allowed, the TAT after it)."""
    tat = max(tat, now)
    if tat + rate.emission > now + rate.tolerance:
        return False, tat
    return True, tat + rate.emission


def remaining(tat: int, rate: Rate, now: int) -> int:
    """How many calls are left at once."""
    return max(0, (now + rate.tolerance - max(tat, now)) // rate.emission)


def retry_after(tat: int, rate: Rate, now: int) -> int:
    """Nanoseconds until one call is allowed; 0 if one is allowed now."""
    return max(0, max(tat, now) + rate.emission - rate.tolerance - now)


def reset_after(tat: int, now: int) -> int:
    """Nanoseconds until nothing is spent any more."""
    return max(0, tat - now)
