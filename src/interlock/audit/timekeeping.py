"""Watches the time: steps of the wall clock, and whether the system keeps it synchronised (PCI DSS 4.0.1, 10.6).

The wall clock is what records are dated with; the monotonic one cannot be set. Between two looks both MUST have
gone on by the same. What differs by more than `STEP` is a step: somebody set the clock, the machine slept, or
time synchronisation gave up slewing. Sequences do not depend on it.

The kernel says whether the clock is synchronised (adjtimex(2), read only: no privilege is needed), whoever
synchronises it: chrony, systemd-timesyncd, ntpd.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from interlock.clock import SECOND, Clock
from interlock.model import Event

STEP = SECOND // 2  # what both clocks may differ by between two looks
EVERY = SECOND
_MICROSECOND = 1000
_HASTE = SECOND // 20  # both clocks are read within this, or not compared: we were not running meanwhile

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5

Tell = Callable[[Event, Mapping[str, Any]], None]


class Sync(NamedTuple):
    """What the kernel says of its clock."""

    synchronised: bool
    estimated_error_ns: int  # by who synchronises it
    maximum_error_ns: int


class Step(NamedTuple):
    """The wall clock went on by `size_ns` more than it should have; negative: it was set back."""

    before_ns: int  # wall time at the last look, and what has passed since
    after_ns: int
    size_ns: int


class _Timex(ctypes.Structure):
    """`struct timex` of Linux, with room for what later kernels add."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def kernel_sync() -> Sync | None:
    """What adjtimex(2) says; None where there is no such thing or it may not be asked."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = _Timex(modes=0)
    code = adjtimex(ctypes.byref(state))
    if code < 0:
        return None
    synchronised = code != _TIME_ERROR and not state.status & _STA_UNSYNC
    return Sync(synchronised, state.esterror * _MICROSECOND, state.maxerror * _MICROSECOND)


class Timekeeper:
    """For one thread; `tend` is called as often as one likes. What it finds goes to `tell`.

    `steps` counts, `last` is the newest one; `sync` is the kernel's last word, None: unknown; `unsynchronised_since`
    is a monotonic time, 0 while it is synchronised or unknown.
    """

    def __init__(self, clock: Clock, tell: Tell, ask: Callable[[], Sync | None] = kernel_sync) -> None:
        self.steps = 0
        self.last: Step | None = None
        self.sync: Sync | None = None
        self.unsynchronised_since = 0
        self._clock = clock
        self._tell = tell
        self._ask = ask
        self._wall = 0
        self._monotonic = -1  # nothing was looked at
        self._due = 0
        self._said: bool | None = None
        self._asked = False

    def tend(self) -> None:
        """Once a second: look at both clocks, and at what the kernel says."""
        monotonic = self._clock.monotonic()
        if self._monotonic >= 0 and monotonic < self._due:
            return
        self._due = monotonic + EVERY
        wall = self._clock.wall()
        if self._clock.monotonic() - monotonic > _HASTE:
            return
        if self._monotonic >= 0:
            expected = self._wall + monotonic - self._monotonic
            if abs(wall - expected) > STEP:
                self._stepped(Step(expected, wall, wall - expected))
        self._wall, self._monotonic = wall, monotonic
        self._look_at_sync(monotonic)

    def _stepped(self, step: Step) -> None:
        self.steps += 1
        self.last = step
        self._tell(
            Event.TIME_STEP,
            {
                "before": _rfc3339(step.before_ns),
                "after": _rfc3339(step.after_ns),
                "seconds": round(step.size_ns / SECOND, 6),
            },
        )

    def _look_at_sync(self, monotonic: int) -> None:
        self.sync = sync = self._ask()
        said = None if sync is None else sync.synchronised
        if said is not False:
            self.unsynchronised_since = 0
        elif not self.unsynchronised_since:
            self.unsynchronised_since = max(1, monotonic)
        if self._asked and said == self._said:
            return
        self._asked, self._said = True, said
        details: dict[str, Any] = {"synchronised": said}
        if sync is not None:
            details["estimated_error_ms"] = round(sync.estimated_error_ns / 1_000_000, 3)
            details["maximum_error_ms"] = round(sync.maximum_error_ns / 1_000_000, 3)
        self._tell(Event.TIME_SYNC, details)


def _rfc3339(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
