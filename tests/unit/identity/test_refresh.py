"""Unknown and stale keys: one refresh, a short wait, and never more."""

from __future__ import annotations

from typing import Any

from interlock.clock import SECOND
from interlock.identity.refresh import INTERVAL, WAIT, WAITING
from interlock.model import Identity, Pending, Reason
from interlock.snapshot import IssuerSpec
from tests.unit.identity.fakes import ISSUER, NOW, Desk, issuer_spec, pending, reason, token
from tests.unit.jose.material import public, rsa

HOUR = 3600 * SECOND


def fetched(**members: Any) -> IssuerSpec:
    return issuer_spec(**{"jwks_ns": NOW, "max_stale_ns": HOUR, **members})


def rotated() -> bytes:
    return token(rsa("new"), exp=NOW // SECOND + 10**6)


def test_a_rotated_key_costs_a_moment() -> None:
    desk = Desk(fetched())
    woken: list[int] = []
    pending(desk.jwt.verify(rotated(), NOW)).wait(lambda: woken.append(1))
    assert desk.asked == [ISSUER]
    assert not woken
    desk.jwt.update(fetched(jwks=public(rsa(), rsa("new"))))
    assert woken == [1]
    assert isinstance(desk.jwt.verify(rotated(), NOW), Identity)


def test_many_unknown_kids_ask_once_in_an_interval() -> None:
    desk = Desk(fetched())
    for number in range(20):
        made_up = token(rsa("new"), header={"kid": f"k{number}"})
        pending(desk.jwt.verify(made_up, NOW))
    assert desk.asked == [ISSUER]
    desk.jwt.update(fetched(jwks_ns=NOW + 1))
    for number in range(20):
        made_up = token(rsa("new"), header={"kid": f"j{number}"})
        assert reason(desk.jwt.verify(made_up, NOW + SECOND)) is Reason.TOKEN_KEY_UNKNOWN
    assert desk.asked == [ISSUER]
    pending(desk.jwt.verify(rotated(), NOW + INTERVAL))
    assert desk.asked == [ISSUER, ISSUER]


def test_whoever_waits_too_long_is_refused() -> None:
    desk = Desk(fetched())
    again: list[Any] = []
    first = pending(desk.jwt.verify(rotated(), NOW))
    first.wait(lambda: again.append(desk.jwt.verify(rotated(), NOW + WAIT)))
    desk.jwt.expire(NOW + WAIT - 1)
    assert not again
    desk.jwt.expire(NOW + WAIT)
    assert reason(again[0]) is Reason.TOKEN_KEY_UNKNOWN


def test_known_keys_never_wait() -> None:
    desk = Desk(fetched())
    pending(desk.jwt.verify(rotated(), NOW))
    assert isinstance(desk.jwt.verify(token(), NOW), Identity)


def test_the_number_who_wait_is_bounded_and_comes_back() -> None:
    desk = Desk(fetched())
    results = [desk.jwt.verify(rotated(), NOW) for _ in range(WAITING + 5)]
    assert sum(isinstance(result, Pending) for result in results) == WAITING
    assert all(reason(result) is Reason.TOKEN_KEY_UNKNOWN for result in results[WAITING:])
    desk.jwt.expire(NOW + WAIT)
    assert isinstance(desk.jwt.verify(rotated(), NOW + INTERVAL), Pending)


def test_keys_from_a_file_are_never_refreshed() -> None:
    desk = Desk(issuer_spec())
    assert reason(desk.jwt.verify(rotated(), NOW)) is Reason.TOKEN_KEY_UNKNOWN
    assert desk.asked == []


def test_keys_that_were_never_had() -> None:
    desk = Desk(issuer_spec(jwks="", jwks_ns=0))
    again: list[Any] = []
    pending(desk.jwt.verify(token(), NOW)).wait(lambda: again.append(desk.jwt.verify(token(), NOW + WAIT)))
    desk.jwt.expire(NOW + WAIT)
    assert reason(again[0]) is Reason.ISSUER_UNAVAILABLE


def test_last_known_keys_serve_until_they_are_stale_and_then_nobody() -> None:
    """Also whoever was verified while they were fresh."""
    desk = Desk(fetched())
    presented = token(exp=NOW // SECOND + 10**6)
    assert isinstance(desk.jwt.verify(presented, NOW), Identity)
    assert isinstance(desk.jwt.verify(presented, NOW + HOUR - 1), Identity)
    pending(desk.jwt.verify(presented, NOW + HOUR))
    desk.jwt.expire(NOW + HOUR + WAIT)
    assert reason(desk.jwt.verify(presented, NOW + HOUR + WAIT)) is Reason.ISSUER_UNAVAILABLE
    desk.jwt.update(fetched(jwks_ns=NOW + HOUR + WAIT))
    assert isinstance(desk.jwt.verify(presented, NOW + HOUR + WAIT), Identity)


def test_a_clock_stepped_back_neither_hangs_nor_floods() -> None:
    desk = Desk(fetched())
    woken: list[int] = []
    pending(desk.jwt.verify(rotated(), NOW)).wait(lambda: woken.append(1))
    back = NOW - HOUR // 2
    for _ in range(5):
        pending(desk.jwt.verify(token(rsa("new"), iat=...), back))
    assert len(desk.asked) == 2
    desk.jwt.expire(back + WAIT)
    assert woken == [1]


def test_a_bad_algorithm_is_told_from_an_unknown_key() -> None:
    desk = Desk(fetched())
    assert reason(desk.jwt.verify(token(header={"alg": "RS512", "kid": "new"}), NOW)) is Reason.TOKEN_ALGORITHM
    assert desk.asked == []
