"""What a receiver's HTTP answer may cost: neither its length nor its time is up to the receiver."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import httpx
import pytest

from interlock.analyst.http_sink import LARGEST, HttpSink
from interlock.analyst.sink import Message, SinkError

PIECE = 16 * 1024
BATCH = [Message("a-0", b"{}\n")]


class Receiver:
    """Answers with as many pieces as are taken, at most a thousand, and counts them."""

    def __init__(self, status: int, piece: bytes = b"A" * PIECE, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.piece = piece
        self.headers = headers or {}
        self.taken = 0
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, headers=self.headers, content=self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for _ in range(1000):
            self.taken += 1
            yield self.piece


def sink(receiver: Receiver, timeout: float = 5.0) -> HttpSink:
    made = HttpSink("http://127.0.0.1:1/", {}, None, timeout)
    made._client._transport = httpx.MockTransport(receiver)
    return made


def test_an_answer_without_end_is_read_as_far_as_it_is_of_use() -> None:
    receiver = Receiver(503, headers={"retry-after": "7"})
    with pytest.raises(SinkError, match=r"it answered 503: A{200}$") as refused:
        sink(receiver).send(BATCH)
    assert receiver.taken == LARGEST // PIECE + 1
    assert refused.value.retry_after == 7
    with pytest.raises(SinkError) as refused:
        sink(Receiver(413)).send(BATCH)
    assert refused.value.smaller


def test_a_batch_that_was_taken_is_taken_however_long_the_receiver_goes_on() -> None:
    receiver = Receiver(200)
    assert sink(receiver).send(BATCH) is True
    assert receiver.taken == LARGEST // PIECE + 1


def test_an_answer_is_not_unpacked() -> None:
    receiver = Receiver(503, gzip.compress(bytes(1 << 20)), {"content-encoding": "gzip"})
    with pytest.raises(SinkError, match="it answered 503"):
        sink(receiver).send(BATCH)
    assert receiver.asked[0].headers["accept-encoding"] == "identity"
    assert receiver.taken == LARGEST // len(receiver.piece) + 1


def test_an_answer_in_drops_has_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes well within the timeout; all of them do not."""
    receiver = Receiver(200, b"A")
    monkeypatch.setattr(time, "monotonic", lambda: float(receiver.taken))
    with pytest.raises(SinkError, match="did not answer in time"):
        sink(receiver).send(BATCH)
    assert receiver.taken == 6


def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver(307, headers={"location": "http://127.0.0.1:2/"})
    with pytest.raises(SinkError, match="it answered 307"):
        sink(receiver).send(BATCH)
    assert len(receiver.asked) == 1
