"""GCRA as a pure function: its tests read like a story."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.limits.gcra import Rate, decide, remaining, reset_after, retry_after
from interlock.snapshot import LimitSpec

S = 1_000_000_000
T0 = 1_700_000_000 * S


def test_a_story() -> None:
    rate = Rate.of(LimitSpec(2, S, 3, "principal"))  # 2/s burst 3
    assert rate == (S // 2, 3 * S // 2, 3)
    tat = 0
    for left in (2, 1, 0):
        allowed, tat = decide(tat, rate, T0)
        assert allowed
        assert remaining(tat, rate, T0) == left
    assert decide(tat, rate, T0) == (False, tat)
    assert retry_after(tat, rate, T0) == S // 2
    assert reset_after(tat, T0) == 3 * S // 2
    assert not decide(tat, rate, T0 + S // 2 - 1)[0]
    allowed, tat = decide(tat, rate, T0 + S // 2)
    assert allowed
    assert remaining(tat, rate, T0 + 10 * S) == 3
    assert retry_after(tat, rate, T0 + 10 * S) == 0


def test_without_a_burst_the_count_is_the_burst() -> None:
    assert Rate.of(LimitSpec(1000, 60 * S, 0, "route")).burst == 1000


def test_rounding_never_gives_more_than_was_asked_for() -> None:
    rate = Rate.of(LimitSpec(3, S, 1, "route"))
    assert rate.emission * 3 >= S
    assert Rate.of(LimitSpec(10**12, S, 1, "route")).emission == 1


@pytest.mark.parametrize(
    "spec",
    [
        LimitSpec(0, S, 1, "route"),
        LimitSpec(1, 0, 1, "route"),
        LimitSpec(1, S, -1, "route"),
        LimitSpec(1, 365 * 86400 * S, 101, "route"),
    ],
)
def test_limits_without_sense_are_refused(spec: LimitSpec) -> None:
    with pytest.raises(ValueError):
        Rate.of(spec)


@given(
    st.integers(1, 10**7),
    st.integers(1, 10**13),
    st.integers(1, 50),
    st.lists(st.integers(0, 10**12), min_size=1, max_size=80),
)
def test_never_more_than_burst_and_rate_in_any_window(count: int, period: int, burst: int, gaps: list[int]) -> None:
    """Whatever the arrivals, a window of length w lets through at most burst + w / emission calls."""
    rate = Rate.of(LimitSpec(count, period, burst, "route"))
    now, tat, passed = T0, 0, []
    for gap in gaps:
        now += gap
        allowed, tat = decide(tat, rate, now)
        assert 0 <= remaining(tat, rate, now) <= burst
        if allowed:
            passed.append(now)
        else:
            wait = retry_after(tat, rate, now)
            assert not decide(tat, rate, now + wait - 1)[0]
            assert decide(tat, rate, now + wait)[0]
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - start) // rate.emission
