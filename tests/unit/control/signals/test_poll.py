"""Polling: what was acted upon is acknowledged, what does not count is said to be so, all else comes again."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from interlock.clock import SECOND
from interlock.control.signals import poll
from interlock.control.signals.http import Http
from interlock.control.signals.poll import TRIES, Poller
from interlock.errors import InterlockError, NodeError, StateError
from interlock.identity import principal_handle
from interlock.issuer.signals.events import SESSION_REVOKED, iss_sub
from tests.unit.control.signals.conftest import IDP, POLLED, Bench
from tests.unit.jose.material import rsa

BOB = iss_sub(POLLED, "bob")
HANDLE = principal_handle("user:polled.example.com/bob")


class FakeTransmitter(Http):
    """Gives what waits until it is acknowledged, as RFC 8936 wants."""

    def __init__(self) -> None:
        self.sets: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.errors: dict[str, Any] = {}
        self.answer: tuple[int, bytes] | None = None
        self.tokens = 0
        self.valid = ""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if url.endswith("/token"):
            self.tokens += 1
            self.valid = f"at-{self.tokens}"
            self.form = (parse_qs(body.decode()), headers["authorization"])
            return 200, json.dumps({"access_token": self.valid, "expires_in": 60}).encode()
        self.headers.append(dict(headers))
        if self.answer is not None:
            return self.answer
        asked = json.loads(body)
        self.asked.append(asked)
        for jti in asked.get("ack", []):
            self.sets.pop(jti, None)
        for jti, said in asked.get("setErrs", {}).items():
            self.sets.pop(jti, None)
            self.errors[jti] = said
        return 200, json.dumps({"sets": self.sets}).encode()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def theirs() -> FakeTransmitter:
    return FakeTransmitter()


def poller(bench: Bench, theirs: FakeTransmitter) -> Poller:
    issuer = next(one for one in bench.config.identity.issuers if one.issuer == POLLED)
    assert issuer.signals is not None
    return Poller(POLLED, issuer.signals, bench.receiver, bench.clock, bench.log, http=lambda: theirs)


def give(bench: Bench, theirs: FakeTransmitter, jti: str, **changes: Any) -> None:
    theirs.sets[jti] = bench.set(SESSION_REVOKED, BOB, iss=POLLED, jti=jti, **changes).decode()


def test_it_is_acted_upon_and_acknowledged_with_the_next_poll(bench: Bench, theirs: FakeTransmitter) -> None:
    give(bench, theirs, "1")
    polls = poller(bench, theirs)
    assert polls.poll() == 1
    assert bench.since(HANDLE)
    assert theirs.asked[0] == {"maxEvents": 50, "returnImmediately": False}
    assert "1" in theirs.sets, "not before it was acted upon"
    assert polls.poll() == 0
    assert theirs.asked[1]["ack"] == ["1"]
    assert theirs.asked[1]["returnImmediately"] is True
    assert theirs.sets == {}
    polls.poll()
    assert "ack" not in theirs.asked[2]
    assert theirs.headers[0]["authorization"] == "Bearer secret-of-the-poll"


def test_killed_before_it_acknowledged_it_is_known_when_it_comes_again(bench: Bench, theirs: FakeTransmitter) -> None:
    give(bench, theirs, "1")
    poller(bench, theirs).poll()
    done = len(bench.acts.done)
    again = poller(bench, theirs)
    assert again.poll() == 1
    assert len(bench.acts.done) == done, "once"
    again.poll()
    assert theirs.sets == {}


def test_an_acknowledgement_that_was_lost_is_made_again(bench: Bench, theirs: FakeTransmitter) -> None:
    give(bench, theirs, "1")
    polls = poller(bench, theirs)
    polls.poll()
    theirs.answer = (503, b"")
    with pytest.raises(NodeError):
        polls.poll()
    theirs.answer = None
    polls.poll()
    assert theirs.sets == {}


def test_what_does_not_count_is_said_so_and_keeps_nothing(bench: Bench, theirs: FakeTransmitter) -> None:
    give(bench, theirs, "foreign", sub_id=iss_sub(IDP, "alice"))
    give(bench, theirs, "theirs", aud="somebody else")
    theirs.sets["nonsense"] = "nonsense"
    theirs.sets["ünicode"] = "ü.ü.ü"
    theirs.sets["other"] = bench.set(SESSION_REVOKED, iss_sub(IDP, "alice")).decode()  # of another issuer, and good
    give(bench, theirs, "good")
    polls = poller(bench, theirs)
    assert polls.poll() == 1
    polls.poll()
    assert theirs.sets == {}
    assert {name: said["err"] for name, said in theirs.errors.items()} == {
        "foreign": "access_denied",
        "theirs": "invalid_audience",
        "nonsense": "invalid_request",
        "ünicode": "invalid_request",
        "other": "invalid_issuer",
    }
    assert bench.since(principal_handle("user:login.example.com/alice")) == 0


def test_a_key_that_is_not_known_yet_comes_again_and_not_for_ever(bench: Bench, theirs: FakeTransmitter) -> None:
    give(bench, theirs, "1", key=rsa("next"))
    give(bench, theirs, "2")
    polls = poller(bench, theirs)
    with pytest.raises(InterlockError, match="invalid_key"):
        polls.poll()
    assert bench.refreshed == [POLLED]
    assert bench.since(HANDLE), "the other one was acted upon"
    bench.publish(POLLED, rsa("polled"), rsa("next"))
    assert polls.poll() == 1
    polls.poll()
    assert theirs.sets == {}

    give(bench, theirs, "3", key=rsa("made up"))
    for _ in range(TRIES - 1):
        with pytest.raises(InterlockError):
            polls.poll()
    polls.poll()
    polls.poll()
    assert theirs.errors["3"]["err"] == "invalid_key"


def test_an_issuer_that_signs_ever_new_tokens_with_unknown_keys_fills_no_memory(
    bench: Bench, theirs: FakeTransmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "PUZZLES", 5)
    polls = poller(bench, theirs)
    key = rsa("made up")
    give(bench, theirs, "old", key=key)
    for number in range(12):
        theirs.sets = {"old": theirs.sets["old"]}
        give(bench, theirs, str(number), key=key)
        theirs.sets[f"{number}" * 10_000] = theirs.sets.pop(str(number))  # it goes by whatever name they say
        with pytest.raises(InterlockError, match="invalid_key"):
            polls.poll()
        assert len(polls._puzzled) == min(number + 2, 5)
        assert all(len(name) == 32 for name in polls._puzzled)
    assert max(polls._puzzled.values()) == 12, "what comes again is counted on, though it was the first"


def test_what_cannot_be_done_now_is_not_acknowledged(
    bench: Bench, theirs: FakeTransmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(bench, theirs, "1")
    polls = poller(bench, theirs)

    def broken(*_: object, **__: object) -> None:
        raise StateError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(bench.desk._kept, "keep", broken)
        with pytest.raises(StateError):
            polls.poll()
    bench.publish(POLLED, rsa("polled"), ago=25 * 3600 * SECOND)
    with pytest.raises(InterlockError, match="too old"):
        polls.poll()
    assert "1" in theirs.sets
    bench.publish(POLLED, rsa("polled"))
    assert polls.poll() == 1
    polls.poll()
    assert theirs.sets == {}


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"[]"),
        (200, b'{"sets": []}'),
        (200, b'{"sets": {"a": 1}}'),
        (200, b"<html>"),
        (401, b""),
        (302, b""),
        (500, b"{}"),
    ],
)
def test_an_answer_that_is_none_is_tried_again(
    bench: Bench, theirs: FakeTransmitter, answer: tuple[int, bytes]
) -> None:
    theirs.answer = answer
    with pytest.raises(NodeError):
        poller(bench, theirs).poll()


def test_an_empty_answer_is_one(bench: Bench, theirs: FakeTransmitter) -> None:
    theirs.answer = (200, b"{}")
    assert poller(bench, theirs).poll() == 0


def test_access_tokens_are_asked_for_and_used_until_they_expire(
    bench: Bench, theirs: FakeTransmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "p:w/ü?")
    bench.configure(
        "identity: {issuers: [{issuer: https://polled.example.com, audience: sp, algorithms: [RS256], "
        "jwks: https://polled.example.com/jwks, signals: {poll: https://polled.example.com/poll, "
        'client: {id: "a:b", secret: "${env:SECRET}", token_endpoint: https://polled.example.com/token}}}]}\n'
    )
    polls = poller(bench, theirs)
    polls.poll()
    polls.poll()
    assert theirs.tokens == 1
    form, authorization = theirs.form
    assert form == {"grant_type": ["client_credentials"], "scope": ["ssf.manage"]}
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"a%3Ab:p%3Aw%2F%C3%BC%3F"
    assert [one["authorization"] for one in theirs.headers] == ["Bearer at-1", "Bearer at-1"]
    bench.clock.advance(51)
    polls.poll()
    assert theirs.headers[-1]["authorization"] == "Bearer at-2"
    theirs.answer = (401, b"")
    with pytest.raises(NodeError):
        polls.poll()
    theirs.answer = None
    polls.poll()
    assert theirs.headers[-1]["authorization"] == "Bearer at-3", "one that is not taken is not kept"
    assert "p:w" not in str(bench.log.lines)
