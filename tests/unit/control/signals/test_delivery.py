"""Pushing: in order, at least once, later and later, and nowhere that nobody allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.config import OwnIssuer
from interlock.control.signals.delivery import DEAD, KEPT, TRIES, Delivery
from interlock.control.signals.http import Http
from interlock.control.signals.status import SignalsStatus, problems_of
from interlock.control.signals.streams import SetStatus, about
from interlock.errors import NodeError
from interlock.issuer.signals.events import STREAM_UPDATED
from interlock.jose.signing import Signer, make_key
from interlock.store.signals import PAUSED, Entry, Stream
from tests.unit.control.signals.conftest import Bench
from tests.unit.issuer.desk import claims_of

URL = "https://receiver.example.com/events"
SIGNER = Signer(make_key("ES256"), "ES256")


class FakeHttp(Http):
    """Remembers what was posted; `answers` are given one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []
        self.answers: list[tuple[int, bytes] | Exception] = [(202, b"")]

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.posted.append((url, body, dict(headers)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Nothing is open."""

    @property
    def jtis(self) -> list[str]:
        return [str(claims_of(body.decode())["jti"]) for _, body, _ in self.posted]


class Push:
    """A delivery that does what it does when it is told to."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.http = FakeHttp()
        make: Callable[[OwnIssuer], Http] = lambda _issuer: self.http  # noqa: E731
        self.delivery = Delivery(
            bench.state,
            bench.clock,
            bench.log,
            issuer=lambda: bench.config.issuer,
            signer=lambda: SIGNER,
            key=lambda: bench.key,
            acts=lambda: bench.acts,
            http=make,
        )
        self.stream = bench.stream("s", method="push", url=URL)

    def put(self, *jtis: str) -> None:
        entries = [Entry("s", jti, "event", {"jti": jti, "iat": 1}) for jti in jtis]
        self.bench.kept.enqueue(entries, self.bench.clock.wall(), most=1000)

    def send(self) -> None:
        self.delivery.send(self.bench.kept.stream("s"))

    @property
    def left(self) -> list[str]:
        return [one.jti for one in self.bench.kept.waiting("s", 100)]

    @property
    def status(self) -> Any:
        return next(one for one in self.delivery.status() if one.id == "s")


@pytest.fixture
def push(bench: Bench) -> Push:
    return Push(bench)


def error(code: str) -> tuple[int, bytes]:
    return 400, json.dumps({"err": code, "description": "d"}).encode()


def test_each_is_posted_signed_and_in_order(push: Push) -> None:
    push.put("1", "2", "3")
    push.send()
    assert push.http.jtis == ["1", "2", "3"]
    url, body, headers = push.http.posted[0]
    assert url == URL
    assert headers == {"content-type": "application/secevent+jwt", "accept": "application/json"}
    assert body.count(b".") == 2
    assert push.left == []
    assert [told["jti"] for told in push.bench.told("signal:send")] == ["1", "2", "3"]
    assert push.status.delivered == 3


def test_what_fails_keeps_the_others_behind_it_and_loses_nothing(push: Push) -> None:
    push.put("1", "2", "3")
    push.http.answers = [(202, b""), NodeError("it is gone"), (202, b"")]
    push.send()
    assert push.http.jtis == ["1", "2"]
    assert push.left == ["2", "3"]
    push.send()
    assert push.http.jtis == ["1", "2", "2", "3"], "at least once, and in order"
    assert push.left == []


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_2xx_confirms(push: Push, status: int) -> None:
    push.put("1")
    push.http.answers = [(status, b"")]
    push.send()
    assert push.left == []


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 413, 429, 500, 503])
def test_anything_else_does_not(push: Push, status: int) -> None:
    push.put("1")
    push.http.answers = [(status, b"secret of somebody inside")]
    push.send()
    assert push.left == ["1"]
    assert push.status.error == f"it answered {status}"
    assert "secret" not in str(push.bench.log.lines) + str(push.bench.acts.done) + str(push.status)


def test_it_waits_longer_and_longer(push: Push) -> None:
    push.put("1")
    push.http.answers = [NodeError("no")]
    waits = []
    for _ in range(9):
        push.send()
        assert not push.delivery._may("s")
        waits.append((push.status.retry_ns - push.bench.clock.wall()) / SECOND)
        push.bench.clock.advance(61)
    assert waits[0] <= 0.5
    assert max(waits) <= 60
    assert waits[-1] >= 30
    assert push.delivery._may("s")
    push.http.answers = [(202, b"")]
    push.send()
    assert push.status.error == ""


@pytest.mark.parametrize("code", ["invalid_request", "invalid_state"])
def test_one_that_is_never_taken_does_not_keep_the_others(push: Push, code: str) -> None:
    push.put("1", "2")
    push.http.answers = [error(code)] * TRIES + [(202, b"")]
    for _ in range(TRIES):
        push.send()
    assert push.http.jtis == ["1"] * TRIES + ["2"]
    assert push.left == []
    (told,) = push.bench.told("signal:refused")
    assert (told["jti"], told["error"], told["by"]) == ("1", code, "receiver")


@pytest.mark.parametrize(
    "code", ["invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed", "access_denied", "other"]
)
def test_what_concerns_all_of_them_waits(push: Push, code: str) -> None:
    push.put("1", "2")
    push.http.answers = [error(code)]
    for _ in range(TRIES + 2):
        push.send()
    assert push.left == ["1", "2"]
    assert code in push.status.error


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"err": 7}', b'{"err": "a b"}', b'{"err": "' + b"x" * 99 + b'"}']
)
def test_a_400_that_says_nothing_is_not_taken_at_its_word(push: Push, body: bytes) -> None:
    push.put("1")
    push.http.answers = [(400, body)]
    for _ in range(TRIES + 1):
        push.send()
    assert push.left == ["1"]
    assert push.status.error == "it answered 400"


def test_the_header_goes_with_it_and_is_sealed_at_rest(push: Push) -> None:
    bench = push.bench
    sealed = bench.key.wrap(b"Bearer of-the-receiver", about("s"))
    bench.kept.change_stream("s", authorization=sealed, key=bench.key.id)
    push.put("1")
    push.send()
    assert push.http.posted[0][2]["authorization"] == "Bearer of-the-receiver"
    assert b"of-the-receiver" not in bench.paths.state.read_bytes()


def test_a_header_that_was_moved_to_another_stream_does_not_open(push: Push) -> None:
    """Whoever can write the database could else have one receiver's credential sent to another."""
    bench = push.bench
    stolen = bench.key.wrap(b"Bearer of-another", about("another"))
    bench.kept.change_stream("s", authorization=stolen, key=bench.key.id)
    push.put("1")
    push.send()
    assert push.http.posted == []
    assert "cannot be opened" in push.status.error


# -- where


def test_a_place_that_is_no_longer_allowed_gets_nothing(push: Push) -> None:
    push.put("1")
    push.bench.configure(
        "issuer: {url: https://id.example.com, signals: {push_to: [https://elsewhere.example.com/]}}\n"
    )
    push.send()
    assert push.http.posted == []
    stream = push.bench.kept.stream("s")
    assert (stream.status, stream.paused_by) == (PAUSED, "node")
    assert "no longer" in stream.reason
    assert push.bench.told("signal:stalled")


def test_one_that_an_operator_made_is_allowed_by_that(push: Push) -> None:
    push.bench.kept.change_stream("s", url="http://127.0.0.1:9999/x", operator=True)
    push.put("1")
    push.send()
    assert push.http.posted[0][0] == "http://127.0.0.1:9999/x"


# -- streams that are gone, paused, dead


def test_nothing_goes_by_a_stream_that_is_paused_or_gone(push: Push) -> None:
    bench = push.bench
    push.put("1")
    stale = bench.kept.stream("s")
    bench.kept.change_stream("s", status=PAUSED)
    push.delivery.send(stale)  # as it was looked up a moment before
    assert push.http.posted == []
    bench.kept.remove_stream("s")
    push.delivery.send(stale)
    assert push.http.posted == []


def test_a_change_of_the_url_in_between_counts(push: Push) -> None:
    push.put("1", "2")
    bench = push.bench

    class Changing(FakeHttp):
        def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
            bench.kept.change_stream("s", url="https://receiver.example.com/other")
            return super().post(url, body, headers)

    push.http = Changing()
    push.send()
    assert len(push.http.posted) == 1, "the second does not go where it is no longer wanted"


def test_a_stream_that_is_dead_for_a_day_is_paused_and_kept(push: Push) -> None:
    bench = push.bench
    push.put("1")
    bench.clock.advance(DEAD / SECOND + 1)
    push.delivery.tick()
    stream: Stream = bench.kept.stream("s")
    assert (stream.status, stream.paused_by) == (PAUSED, "node")
    assert [one.event for one in bench.kept.waiting("s", 10)] == ["event", STREAM_UPDATED], (
        "told of when it hears again"
    )
    assert bench.told("signal:stalled")
    (problem,) = problems_of(SignalsStatus(push.delivery.status()), bench.clock.wall())
    assert "paused" in problem
    assert "shop" in problem
    bench.streams.put_status(SetStatus("s", "enabled"), bench.acts)
    push.send()
    assert push.left == []
    assert push.http.jtis[0] == "1"


def test_what_nobody_would_believe_any_more_is_dropped_and_counted(push: Push) -> None:
    push.put("1", "2")
    push.bench.clock.advance(KEPT / SECOND + 1)
    push.put("3")
    push.bench.kept.change_stream("s", status=PAUSED)
    push.delivery.tick()
    assert push.left == ["3"]
    assert push.bench.kept.stream("s").lost == 2


def test_without_the_section_or_a_key_nothing_goes(push: Push) -> None:
    push.put("1")
    push.bench.configure("issuer: {url: https://id.example.com}\n")
    push.delivery.tick()
    push.send()
    assert push.http.posted == []
    assert push.left == ["1"]


def test_problems_are_told(push: Push) -> None:
    push.put("1")
    push.http.answers = [NodeError("connection refused")]
    push.send()
    (problem,) = problems_of(SignalsStatus(push.delivery.status()), push.bench.clock.wall())
    assert "connection refused" in problem
    push.http.answers = [(202, b"")]
    push.send()
    assert problems_of(SignalsStatus(push.delivery.status()), push.bench.clock.wall()) == []


def test_the_threads_deliver_and_end(push: Push) -> None:
    """The real thing: woken, it sends, and it stops when it is told to."""
    import time

    push.delivery.start()
    try:
        for number in range(60):  # more than goes in a row
            push.put(str(number))
        push.delivery.look()
        end = time.monotonic() + 20
        while push.left and time.monotonic() < end:
            time.sleep(0.01)
        assert push.left == []
        assert push.http.jtis == [str(number) for number in range(60)]
    finally:
        push.delivery.close()
    assert not push.delivery._thread.is_alive()
