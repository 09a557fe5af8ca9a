"""What is counted together, and that no count is lost."""

from __future__ import annotations

from interlock.gateway.floods import EVERYBODY, OWN_RECORDS, SOURCES, Floods


def refuse(floods: Floods, source: str, times: int = 1, *, anonymous: bool = True, tight: bool = False) -> int:
    """How many of so many refusals got a record of their own."""
    return sum(floods.own_record(source, "no-route", 7, anonymous=anonymous, tight=tight) for _ in range(times))


def counts(floods: Floods) -> dict[str, int]:
    return {source: flood.count for source, flood in floods.sweep()}


def test_a_source_has_a_few_records_of_its_own() -> None:
    floods = Floods()
    assert refuse(floods, "10.0.0.1", 30) == OWN_RECORDS
    assert refuse(floods, "10.0.0.2") == 1
    assert counts(floods) == {"10.0.0.1": 30 - OWN_RECORDS}
    assert counts(floods) == {}
    assert refuse(floods, "10.0.0.1") == 1


def test_addresses_of_one_network_are_one_source() -> None:
    floods = Floods()
    own = sum(refuse(floods, f"2001:db8:0:1::{number:x}") for number in range(100))
    assert own == OWN_RECORDS
    assert refuse(floods, "2001:db8:0:2::1") == 1
    assert counts(floods) == {"2001:db8:0:1::/64": 100 - OWN_RECORDS}
    assert refuse(floods, "::ffff:10.0.0.1", OWN_RECORDS + 1) == OWN_RECORDS
    assert counts(floods) == {"10.0.0.1": 1}


def test_on_the_reserve_all_that_is_anonymous_is_one_record() -> None:
    floods = Floods()
    assert sum(refuse(floods, f"10.0.{number // 250}.{number % 250}", tight=True) for number in range(6000)) == 0
    assert counts(floods) == {EVERYBODY: 6000}


def test_on_the_reserve_principals_keep_their_own_records() -> None:
    floods = Floods()
    assert refuse(floods, "user:iss/a:b", 20, anonymous=False, tight=True) == OWN_RECORDS
    assert counts(floods) == {"user:iss/a:b": 20 - OWN_RECORDS}


def test_counts_that_could_not_be_written_are_counted_on() -> None:
    floods = Floods()
    refuse(floods, "10.0.0.1", 15)
    (taken,) = floods.sweep()
    refuse(floods, "10.0.0.1", 12)
    floods.take_back(*taken)
    ((source, flood),) = floods.sweep()
    assert (source, flood.count, flood.reasons, flood.since) == ("10.0.0.1", 7, {"no-route": 7}, 7)


def test_the_number_of_sources_is_bounded() -> None:
    floods = Floods()
    for number in range(SOURCES + 500):
        refuse(floods, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 2, tight=False)
    before = list(floods.sweep())
    assert len(before) <= SOURCES + 1
    for source, flood in before:
        floods.take_back(source, flood)
        floods.take_back(f"other {source}", flood)
    assert len(list(floods.sweep())) <= SOURCES + 1
