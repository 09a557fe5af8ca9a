"""Signing keys that follow each other: published before they sign, and for as long as what they signed is alive."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import KeyMaterialError
from interlock.keys.issuer_keys import IssuerKey, Schedule, current, keep, load, plan

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LIFE = HOUR  # of the longest token
OVERLAP = 2 * HOUR
MOST = 3


class MemoryBox:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def exists(self, name: str) -> bool:
        return name in self.kept

    def open(self, name: str) -> bytes:
        return self.kept[name]

    def seal(self, name: str, secret: bytes) -> None:
        self.kept[name] = secret


def schedule(algorithm: str = "ES256", days: int = 90) -> Schedule:
    every = days * DAY
    return Schedule(algorithm, every, min(DAY, every // 2), OVERLAP)


class Life:
    """One node's keys through time, as whoever verifies sees them. `make` gives each key a name of its own."""

    def __init__(self) -> None:
        self.keys: list[IssuerKey] = []
        self.now = 1_000_000 * DAY
        self.numbers = count()
        self.seen: dict[bytes, int] = {}  # since when it is published
        self.signs: bytes | None = None
        self.signed: list[tuple[int, bytes]] = []  # until when what was signed last is alive

    def make(self, algorithm: str) -> bytes:
        return b"%b %d" % (algorithm.encode(), next(self.numbers))

    def step(self, wanted: Schedule, *, turn: bool = False) -> IssuerKey:
        self.keys = plan(self.keys, wanted, self.now, self.make, turn=turn)
        for key in self.keys:
            self.seen.setdefault(key.pem, self.now)
        return current(self.keys, self.now)

    @property
    def published(self) -> set[bytes]:
        return {key.pem for key in self.keys}


SETTINGS = st.tuples(st.sampled_from(["ES256", "EdDSA"]), st.sampled_from([1, 2, 7, 90, 400]))
FORWARD = st.one_of(st.integers(0, HOUR), st.integers(0, 3 * DAY), st.integers(0, 500 * DAY))
# Often enough that no two looks are further apart than what a key outlives its last signature by.
TENDED = st.integers(1, OVERLAP - LIFE)


@given(st.lists(st.tuples(FORWARD, SETTINGS, st.sampled_from([False] * 9 + [True])), max_size=60))
def test_a_key_was_published_ahead_of_the_time_it_signs(steps: list[tuple[int, tuple[str, int], bool]]) -> None:
    """But for the first one, and one that somebody who fears for the others had made."""
    life = Life()
    for passed, (algorithm, days), turn in [(0, ("ES256", 90), True), *steps]:
        life.now += passed
        wanted = schedule(algorithm, days)
        signing = life.step(wanted, turn=turn)
        if turn:
            assert life.published == {signing.pem}
            assert signing.algorithm == algorithm
        elif signing.pem != life.signs:
            published = life.now - life.seen[signing.pem]
            assert published >= DAY // 2, f"it signs {published} s after it was published"
        life.signs = signing.pem
        assert len(life.keys) <= MOST
        assert sum(key.begins > life.now for key in life.keys) <= 1


@given(st.lists(st.tuples(TENDED, st.sampled_from([0] * 20 + [-3 * DAY, -HOUR, -5, 2 * DAY]), SETTINGS), max_size=120))
def test_whatever_is_alive_can_be_verified(steps: list[tuple[int, int, tuple[str, int]]]) -> None:
    """Also when the clock is stepped, in both directions: a token is alive by the clock that there is."""
    life = Life()
    signing = life.step(schedule())
    for passed, stepped, (algorithm, days) in steps:
        life.now += passed
        life.signed.append((life.now + LIFE, signing.pem))  # just before the next look
        life.now += stepped
        signing = life.step(schedule(algorithm, days))
        alive = {pem for until, pem in life.signed if until - LIFE <= life.now < until}
        if stepped <= 0:
            assert alive <= life.published
        assert signing.pem in life.published


def test_keys_follow_each_other_through_a_year() -> None:
    life = Life()
    begun = life.now
    signers = []
    while life.now < begun + 400 * DAY:
        signing = life.step(schedule())
        if not signers or signers[-1] != signing:
            signers.append(signing)
        life.now += 10 * MINUTE
    assert [(key.begins - begun) // DAY for key in signers] == [0, 90, 180, 270, 360]
    assert {key.begins - key.made for key in signers[1:]} == {DAY}


def test_the_former_key_is_published_until_what_it_signed_is_over_and_no_longer() -> None:
    life = Life()
    first = life.step(schedule())
    life.now += 89 * DAY
    life.step(schedule())
    life.now = first.begins + 90 * DAY
    second = life.step(schedule())
    assert second != first
    assert life.published == {first.pem, second.pem}
    life.now += OVERLAP - 1
    life.step(schedule())
    assert first.pem in life.published
    life.now += 1
    life.step(schedule())
    assert life.published == {second.pem}


def test_another_algorithm_signs_once_its_key_was_published_for_a_day() -> None:
    life = Life()
    first = life.step(schedule("ES256"))
    life.now += DAY
    assert life.step(schedule("EdDSA")) == first
    assert [key.algorithm for key in life.keys] == ["ES256", "EdDSA"]
    life.now += DAY
    assert life.step(schedule("EdDSA")).algorithm == "EdDSA"


def test_a_change_of_mind_leaves_no_key_behind() -> None:
    life = Life()
    first = life.step(schedule("ES256"))
    for algorithm in ["EdDSA", "ES256"] * 20:
        life.now += HOUR
        assert life.step(schedule(algorithm)) == first
    assert life.published == {first.pem}


def test_a_clock_that_is_set_back_keeps_the_key_that_signed() -> None:
    life = Life()
    first = life.step(schedule())
    life.now -= 5
    assert life.step(schedule()).pem == first.pem
    life.now -= 400 * DAY
    assert life.step(schedule()).pem == first.pem
    life.now += 90 * DAY
    life.step(schedule())
    assert len(life.published) == 2, "it is rotated by the clock that there is"


def test_a_node_that_was_away_publishes_before_it_signs() -> None:
    life = Life()
    first = life.step(schedule())
    life.now += 1000 * DAY
    assert life.step(schedule()) == first
    assert len(life.published) == 2
    life.now += DAY
    assert life.step(schedule()) != first


def test_what_is_kept_is_what_is_loaded() -> None:
    box, life = MemoryBox(), Life()
    assert load(box) == []
    life.step(schedule())
    keep(box, life.keys)
    assert load(box) == life.keys
    box.kept["issuer"] = b"nonsense"
    with pytest.raises(KeyMaterialError):
        load(box)


def test_a_key_shows_nothing_of_itself() -> None:
    assert "secret" not in repr(IssuerKey("ES256", b"secret", 1, 2))
