"""Rates of the file, as workers count them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from interlock.snapshot import LimitSpec

if TYPE_CHECKING:
    from interlock.config import Rate


def limits(rates: Iterable[Rate]) -> list[LimitSpec]:
    """Rates of the file, as workers count them."""
    return [LimitSpec(rate.count, rate.period_ns, rate.burst, rate.per) for rate in rates]
