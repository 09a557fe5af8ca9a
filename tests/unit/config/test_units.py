from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.clock import SECOND
from interlock.config import Rate, parse_duration, parse_rate, parse_size
from interlock.config.units import PER, parse_percentage, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10MiB", 10 << 20),
        ("10MB", 10_000_000),
        ("1024", 1024),
        (1024, 1024),
        ("64 KiB", 65536),
        ("0", 0),
        ("2GiB", 2 << 30),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "10mib", "10M", "-1", "1.5MiB", "MiB", "1e3", True, None, 1.5, -1, "10MiB ", "\uff11"]
)
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("100ms", SECOND // 10),
        ("30s", 30 * SECOND),
        ("5m", 300 * SECOND),
        ("1h", 3600 * SECOND),
        ("90d", 7776000 * SECOND),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds
    assert show_duration(nanoseconds) == text


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1.5s", "1w", "30S", "1h30m", None, True, 1.0])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_a_bare_number_is_no_duration_and_the_message_says_how_to_write_it() -> None:
    with pytest.raises(ValueError, match="write 30s"):
        parse_duration(30)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/s burst 100 per principal", Rate(50, SECOND, 100, "principal")),
        ("1000/m per route", Rate(1000, 60 * SECOND, 1000, "route")),
        ("5/h per address", Rate(5, 3600 * SECOND, 5, "address")),
        ("1000000/s   per key", Rate(1_000_000, SECOND, 1_000_000, "key")),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(str(rate)) == rate


def test_the_steady_interval_of_a_rate() -> None:
    assert parse_rate("50/s per route").emission_ns == SECOND // 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("50/s", "does not say whom"),
        ("50/s per moon", "per moon"),
        ("0/s per route", "at least 1"),
        ("5/s burst 0 per route", "at least 1"),
        ("2000000000/s per route", "nanosecond"),
        ("5/d burst 9999999999 per route", "burst"),
        ("5 per route", "not a rate"),
        ("5/w per route", "not a rate"),
        ("-5/s per route", "not a rate"),
        ("5/s per route per key", "not a rate"),
        ("5/s burst per route", "not a rate"),
        (5, "not a rate"),
        (None, "not a rate"),
    ],
)
def test_what_is_no_rate(text: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rate(text)


@given(st.integers(1, 10**6), st.sampled_from("smhd"), st.integers(1, 10**6), st.sampled_from(PER))
def test_a_rate_reads_back_as_it_is_shown(count: int, unit: str, burst: int, per: str) -> None:
    rate = parse_rate(f"{count}/{unit} burst {burst} per {per}")
    assert parse_rate(str(rate)) == rate
    assert rate.emission_ns >= 1


@given(st.integers(0, 2**40))
def test_a_size_reads_back_as_it_is_shown(size: int) -> None:
    assert parse_size(show_size(size)) == size


def test_percentages() -> None:
    assert parse_percentage("99.95%") == 99.95
    for wrong in ("101%", "99.95", "-1%", 99.95, "%"):
        with pytest.raises(ValueError, match="not a share"):
            parse_percentage(wrong)
