"""Sizes, durations, rates and shares as people write them.

Pure text to numbers: bytes, nanoseconds, `Rate`. A number without its unit is refused where it could be
read in two ways. Errors are `ValueError` with a sentence for the person who wrote the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from interlock.clock import SECOND

_SIZE = re.compile(r"([0-9]{1,15}) ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_SIZES = {
    None: 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_DURATION = re.compile(r"([0-9]{1,12}) ?(ms|s|m|h|d)")
_DURATIONS = {
    "ms": SECOND // 1000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": 86400 * SECOND,
}
_RATE = re.compile(r"([0-9]{1,12})/(s|m|h|d)(?: +burst +([0-9]{1,12}))?(?: +per +([a-z]+))?")
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")

PER = ("principal", "key", "address", "route")  # whom a limit counts


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` calls in `period_ns`, of which `burst` may come at once, counted for each `per`."""

    count: int
    period_ns: int
    burst: int
    per: str

    @property
    def emission_ns(self) -> int:
        """Nanoseconds between two calls at the steady rate (the T of GCRA)."""
        return self.period_ns // self.count

    def __str__(self) -> str:
        unit = next(unit for unit, length in _DURATIONS.items() if length == self.period_ns)
        burst = "" if self.burst == self.count else f" burst {self.burst}"
        return f"{self.count}/{unit}{burst} per {self.per}"


def parse_size(value: object) -> int:
    """`10MiB`, `64KiB`, `10MB`, `1024` to bytes."""
    match = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise ValueError("is not a size; write it as in 10MiB, 64KiB, 10MB or 1024 (bytes)")
    return int(match[1]) * _SIZES[match[2]]


def parse_duration(value: object) -> int:
    """`100ms`, `30s`, `5m`, `1h`, `90d` to nanoseconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError(f"is a duration without its unit; write {value}s for seconds")
        raise ValueError("is not a duration; write it as in 100ms, 30s, 5m, 1h or 90d")
    return int(match[1]) * _DURATIONS[match[2]]


def parse_rate(value: object, per: str = "") -> Rate:
    """`50/s burst 100 per principal`, `1000/m per route`. Without `burst`, all of the count may come at once.

    `per` is whom it counts when the text does not say; empty: the text MUST say it.
    """
    match = _RATE.fullmatch(" ".join(value.split())) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a rate; write it as in `50/s burst 100 per principal` or `1000/m per route`")
    count, burst = int(match[1]), int(match[3] or match[1])
    if count < 1 or burst < 1:
        raise ValueError("lets nothing pass; a rate and its burst are at least 1")
    period = _DURATIONS[match[2]]
    if count > period:
        raise ValueError("is more than one call a nanosecond; write `none` for no limit")
    if burst > 1_000_000_000:
        raise ValueError("has a burst of more than 1000000000; write `none` for no limit")
    whom = match[4] or per
    if not whom:
        raise ValueError(f"does not say whom it counts; end it with {', '.join(f'`per {word}`' for word in PER)}")
    if whom not in PER:
        raise ValueError(f"counts per {whom}, which is not one of {', '.join(PER)}")
    return Rate(count, period, burst, whom)


def parse_percentage(value: object) -> float:
    """`99.95%` to 99.95."""
    match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 <= float(match[1]) <= 100:
        raise ValueError("is not a share; write it as in 99.95%")
    return float(match[1])


def show_duration(nanoseconds: int) -> str:
    """The shortest way to write it."""
    for unit in ("d", "h", "m", "s", "ms"):
        if nanoseconds and nanoseconds % _DURATIONS[unit] == 0:
            return f"{nanoseconds // _DURATIONS[unit]}{unit}"
    return "0s" if not nanoseconds else f"{nanoseconds}ns"


def show_size(size: int) -> str:
    """The shortest way to write it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return str(size)
