"""What is handed out for a moment and used once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.addresses import SITE, block
from interlock.clock import SECOND
from interlock.issuer.codes import Codes, Full, Once

NOW = 1_000 * SECOND


def test_a_value_is_taken_once() -> None:
    once: Once[str] = Once("ilc_")
    name = once.put("a", NOW + SECOND, NOW)
    assert name.startswith("ilc_")
    assert len(name) == 4 + 43
    assert once.get(name, NOW) == "a"
    assert not once.was_taken(name)
    assert once.take(name, NOW) == "a"
    assert once.take(name, NOW) is None
    assert once.get(name, NOW) is None
    assert once.was_taken(name)


def test_it_is_good_until_its_time_and_not_then() -> None:
    once: Once[str] = Once()
    name = once.put("a", NOW + SECOND, NOW)
    assert once.get(name, NOW + SECOND - 1) == "a"
    assert once.get(name, NOW + SECOND) is None
    assert once.take(name, NOW + SECOND) is None
    assert not once.was_taken(name)


def test_a_name_is_nobody_s_guess() -> None:
    once: Once[str] = Once()
    names = {once.put("a", NOW + SECOND, NOW) for _ in range(1000)}
    assert len(names) == 1000
    assert once.take("", NOW) is None
    assert once.take("x" * 100_000, NOW) is None
    assert once.take("\ud7ff\0", NOW) is None
    for name in names:
        assert name not in repr(once.__dict__), "the memory holds hashes"


def test_another_value_stands_under_the_same_name_until_the_same_time() -> None:
    once: Once[str] = Once()
    name = once.put("a", NOW + SECOND, NOW)
    assert once.replace(name, lambda found: "b" if found == "a" else None)
    assert not once.replace(name, lambda found: "c" if found == "a" else None)
    assert once.get(name, NOW) == "b"
    assert once.get(name, NOW + SECOND) is None
    assert once.take(name, NOW) == "b"
    assert not once.replace(name, lambda _: "c")
    assert not once.replace("unknown", lambda _: "c")


def test_whoever_speaks_first_of_what_came_of_it_is_heard() -> None:
    once: Once[str] = Once()
    name = once.put("a", NOW + SECOND, NOW)
    assert once.settle(name, "early") is None
    assert once.outcome(name) is None, "it was not taken yet"
    once.take(name, NOW)
    assert once.outcome(name) is None
    assert once.settle(name, "first") is None
    assert once.settle(name, "second") == "first"
    assert once.outcome(name) == "first"
    assert once.settle("unknown", "x") is None


def test_it_is_full_and_has_room_again() -> None:
    once: Once[int] = Once(kept=3)
    names = [once.put(number, NOW + (number + 1) * SECOND, NOW) for number in range(3)]
    with pytest.raises(Full):
        once.put(9, NOW + SECOND, NOW)
    assert once.take(names[2], NOW) == 2
    once.put(3, NOW + 9 * SECOND, NOW)
    with pytest.raises(Full):
        once.put(9, NOW + SECOND, NOW + SECOND - 1)
    assert once.put(4, NOW + 9 * SECOND, NOW + SECOND), "the first one's time is over"
    assert once.get(names[0], NOW + SECOND) is None


def test_who_fills_it_pushes_out_what_is_their_own() -> None:
    once: Once[str] = Once(kept=40)
    alice = once.put("alice", NOW + SECOND, NOW, place=block("192.0.2.7", SITE))
    names = [once.put("flood", NOW + SECOND, NOW, place=block("198.51.100.1", SITE)) for _ in range(500)]
    bob = once.put("bob", NOW + SECOND, NOW, place=block("192.0.2.8", SITE))
    assert once.get(alice, NOW) == "alice"
    assert once.get(bob, NOW) == "bob"
    assert len(once._values) <= 40
    assert once.get(names[0], NOW) is None
    assert once.get(names[-1], NOW) == "flood"
    for _ in range(500):
        once.put("flood", NOW + SECOND, NOW, place=block(f"2001:db8:7::{_:x}", SITE))
    assert once.get(alice, NOW) == "alice"
    once.put("later", NOW + 9 * SECOND, NOW + 2 * SECOND, place="x")
    assert list(once._places) == ["x"], "nothing of what is over is left"
    assert len(once._place_of) == 1


def test_what_comes_from_nowhere_is_never_pushed_out() -> None:
    once: Once[int] = Once(kept=2)
    kept = [once.put(number, NOW + SECOND, NOW) for number in range(2)]
    with pytest.raises(Full):
        once.put(3, NOW + SECOND, NOW, place="192.0.2.7")
    assert [once.get(name, NOW) for name in kept] == [0, 1]


def test_what_is_dropped_leaves_nothing() -> None:
    once: Once[int] = Once()
    name = once.put(1, NOW + SECOND, NOW, place="192.0.2.7")
    once.drop(name)
    once.drop(name)
    assert once.take(name, NOW) is None
    assert once._values == once._taken == once._places == once._place_of == {}


def test_a_clock_that_is_set_back_keeps_nothing_for_ever() -> None:
    once: Once[int] = Once(kept=2)
    once.put(1, NOW + SECOND, NOW)
    once.put(2, NOW - 3599 * SECOND, NOW - 3600 * SECOND)
    assert once.put(3, NOW, NOW - 3599 * SECOND)


def test_of_many_threads_one_takes_it() -> None:
    once: Once[int] = Once()
    names = [once.put(number, NOW + SECOND, NOW) for number in range(200)]
    begin = threading.Barrier(8)

    def take(_: int) -> list[int]:
        begin.wait()
        return [found for name in names if (found := once.take(name, NOW)) is not None]

    with ThreadPoolExecutor(8) as threads:
        taken = [number for found in threads.map(take, range(8)) for number in found]
    assert sorted(taken) == list(range(200))


def test_of_many_threads_that_settle_one_is_first() -> None:
    once: Once[int] = Once()
    for _ in range(200):
        name = once.put(1, NOW + SECOND, NOW)
        once.take(name, NOW)
        with ThreadPoolExecutor(4) as threads:
            said = list(threads.map(lambda number, name=name: once.settle(name, number + 1), range(4)))
        assert said.count(None) == 1
        assert {one for one in said if one is not None} == {once.outcome(name)}


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "pass"]), st.integers(0, 5)), max_size=60))
def test_it_never_holds_more_than_it_may_nor_gives_anything_twice(steps: list[tuple[str, int]]) -> None:
    once: Once[int] = Once(kept=4)
    now, names, given_out = NOW, [], []
    for number, (step, value) in enumerate(steps):
        if step == "put":
            try:
                names.append(once.put(number, now + value * SECOND, now))
            except Full:
                pass
        elif step == "take" and names:
            found = once.take(names[value % len(names)], now)
            if found is not None:
                given_out.append(found)
        else:
            now += value * SECOND
        assert len(once._values) <= 4
    assert len(given_out) == len(set(given_out))


def test_each_kind_is_apart() -> None:
    codes = Codes()
    name = codes.authorization.put("a", NOW + SECOND, NOW)
    assert codes.pushed.take(name, NOW) is None
    assert codes.pushed.put("b", NOW + SECOND, NOW).startswith("urn:ietf:params:oauth:request_uri:")
