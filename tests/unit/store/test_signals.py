"""Streams, their subjects and what waits for them, in the state; and what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.clock import SECOND
from interlock.errors import NotFound, UsageError
from interlock.issuer.signals.events import canonical, iss_sub
from interlock.store import State
from interlock.store.signals import DISABLED, PAUSED, Backlog, Entry, Signals, Stream

NOW = 1_700_000_000 * SECOND


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def signals(state: State) -> Signals:
    return Signals(state)


def stream(name: str, client: str = "shop", **fields: object) -> Stream:
    return Stream(id=name, client_id=client, audience=(client,), created=NOW, **fields)  # type: ignore[arg-type]


def add(signals: Signals, *streams: Stream) -> None:
    for one in streams:
        signals.add_stream(one, most=64, most_of_client=8)


def entry(name: str, jti: str) -> Entry:
    return Entry(name, jti, "event", {"jti": jti})


def waiting(signals: Signals, name: str) -> list[str]:
    return [one.jti for one in signals.waiting(name, 100)]


def test_a_stream_is_kept_whole(signals: Signals) -> None:
    made = stream("a", method="push", url="https://x/", authorization=b"\x00\xff", requested=("e",), lost=3)
    add(signals, made, stream("b", "bank"))
    assert signals.stream("a") == made
    assert [one.id for one in signals.streams()] == ["a", "b"]
    assert [one.id for one in signals.streams(client_id="bank")] == ["b"]
    with pytest.raises(NotFound):
        signals.stream("c")
    assert signals.change_stream("a", reason="r").reason == "r"
    assert signals.stream("a").reason == "r"


def test_there_are_only_so_many(signals: Signals) -> None:
    signals.add_stream(stream("a"), most=2, most_of_client=1)
    with pytest.raises(UsageError, match="client shop has 1"):
        signals.add_stream(stream("b"), most=2, most_of_client=1)
    signals.add_stream(stream("b", "bank"), most=2, most_of_client=1)
    with pytest.raises(UsageError, match="2 streams"):
        signals.add_stream(stream("c", "third"), most=2, most_of_client=1)


def test_what_waits_keeps_its_order_for_each(signals: Signals) -> None:
    add(signals, stream("a"), stream("b"))
    assert signals.enqueue([entry("a", "1"), entry("b", "2"), entry("a", "3")], NOW, most=10) == []
    signals.enqueue([entry("a", "0")], NOW - SECOND, most=10)  # the clock was set back
    assert waiting(signals, "a") == ["1", "3", "0"]
    assert waiting(signals, "b") == ["2"]
    assert signals.waiting("a", 1)[0].claims == {"jti": "1"}
    assert signals.backlogs() == {"a": Backlog(3, NOW - SECOND), "b": Backlog(1, NOW)}


def test_what_was_confirmed_goes_and_only_that(signals: Signals) -> None:
    add(signals, stream("a"), stream("b"))
    signals.enqueue([entry("a", "1"), entry("a", "2"), entry("b", "1")], NOW, most=10)
    assert signals.confirm("a", ["1", "never"]) == [("1", "event")]
    assert signals.confirm("a", ["1"]) == []
    assert waiting(signals, "a") == ["2"]
    assert waiting(signals, "b") == ["1"], "of another stream"


def test_numbers_are_never_used_again(signals: Signals) -> None:
    add(signals, stream("a"))
    signals.enqueue([entry("a", "1")], NOW, most=10)
    first = signals.waiting("a", 1)[0].number
    signals.confirm("a", ["1"])
    signals.enqueue([entry("a", "2")], NOW, most=10)
    assert signals.waiting("a", 1)[0].number > first


def test_a_full_queue_takes_nothing_more_and_says_so(signals: Signals) -> None:
    add(signals, stream("a"), stream("b"))
    lost = signals.enqueue([entry("a", "1"), entry("a", "2"), entry("a", "3"), entry("b", "4")], NOW, most=2)
    assert lost == ["a"]
    assert waiting(signals, "a") == ["1", "2"]
    assert waiting(signals, "b") == ["4"]


def test_it_outlives_the_process(signals: Signals, tmp_path: Path) -> None:
    add(signals, stream("a"))
    signals.enqueue([entry("a", "1")], NOW, most=10)
    with State.open(tmp_path / "state.db") as again:
        assert waiting(Signals(again), "a") == ["1"]


def test_a_disabled_stream_holds_nothing_and_a_paused_one_does(signals: Signals) -> None:
    add(signals, stream("a"))
    signals.enqueue([entry("a", "1")], NOW, most=10)
    signals.change_stream("a", status=PAUSED)
    assert waiting(signals, "a") == ["1"]
    signals.change_stream("a", status=DISABLED)
    assert waiting(signals, "a") == []


def test_a_removed_stream_leaves_nothing(signals: Signals) -> None:
    add(signals, stream("a"))
    signals.enqueue([entry("a", "1")], NOW, most=10)
    subject = canonical(iss_sub("https://i", "alice"))
    signals.put_subject("a", subject, added=True, most=10)
    signals.remove_stream("a")
    assert signals.streams() == []
    assert signals.backlogs() == {}
    assert signals.subjects("a", added=True) == []
    with pytest.raises(NotFound):
        signals.remove_stream("a")


def test_subjects_are_added_and_taken_back(signals: Signals) -> None:
    add(signals, stream("a"))
    alice, bob = iss_sub("https://i", "alice"), iss_sub("https://i", "bob")
    signals.put_subject("a", canonical(alice), added=True, most=2)
    signals.put_subject("a", canonical(bob), added=False, most=2)
    assert signals.subjects("a", added=True) == [alice]
    assert signals.subjects("a", added=False) == [bob]
    signals.put_subject("a", canonical(bob), added=True, most=2)
    assert len(signals.subjects("a", added=True)) == 2
    with pytest.raises(UsageError):
        signals.put_subject("a", canonical(iss_sub("https://i", "carol")), added=True, most=2)
    signals.drop_subject("a", canonical(bob))
    assert signals.subjects("a", added=True) == [alice]


def test_what_is_too_old_is_dropped_and_counted(signals: Signals) -> None:
    add(signals, stream("a"))
    signals.enqueue([entry("a", "1")], NOW, most=10)
    signals.enqueue([entry("a", "2")], NOW + 10, most=10)
    assert signals.expire(NOW + 5) == {"a": 1}
    assert waiting(signals, "a") == ["2"]
    assert signals.expire(NOW + 5) == {}


def test_refusals_are_counted(signals: Signals) -> None:
    add(signals, stream("a"))
    signals.enqueue([entry("a", "1")], NOW, most=10)
    one = signals.waiting("a", 1)[0]
    signals.refuse(one.number)
    assert signals.waiting("a", 1)[0].refused == 1


def test_what_came_before_is_known_until_its_age_refuses_it(signals: Signals) -> None:
    assert not signals.seen("https://i", "1")
    signals.remember("https://i", "1", NOW + 5)
    signals.remember("https://i", "1", NOW + 5)
    assert signals.seen("https://i", "1")
    assert not signals.seen("https://j", "1"), "names are an issuer's own"
    assert not signals.seen("https://", "i1"), "and where one ends and the other begins is said"
    signals.forget(NOW)
    assert signals.seen("https://i", "1")
    signals.forget(NOW + 5)
    assert not signals.seen("https://i", "1")
