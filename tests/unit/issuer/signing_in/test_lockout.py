"""Lockout: ten tries and no more, however they are spread, spelled or timed; and never for ever."""

from __future__ import annotations

import threading

import pytest

from interlock.issuer import lockout
from interlock.issuer.devices import known, make
from interlock.issuer.lockout import ACCOUNT, ADDRESS, DEVICE, LIMIT, NAME, WINDOW, Attempt, Lockout
from interlock.issuer.names import spelling
from interlock.keys import FactorKey
from interlock.store import State
from interlock.store.accounts import Account
from interlock.store.signins import SignIns
from tests.unit.issuer.signing_in.conftest import MINUTE, NOW, SECOND


@pytest.fixture
def guard(signins: SignIns, key: FactorKey) -> Lockout:
    return Lockout(signins, key)


def fail(guard: Lockout, count: int = 1, *, now: int = NOW, **where: str) -> list[Attempt]:
    """So many wrong passwords, from addresses that are never used twice unless one is said."""
    given = {"account": "a1", "name": "alice", **where}
    found = []
    for number in range(count):
        source = where.get("source", f"192.0.2.{number}")
        found.append(guard.attempt(account=given["account"], name=given["name"], source=source, now=now))
    return found


def test_ten_are_tried_and_no_more(guard: Lockout) -> None:
    attempts = fail(guard, 15)
    assert [attempt.allowed for attempt in attempts] == [True] * LIMIT + [False] * 5
    assert attempts[LIMIT - 1].reached == {ACCOUNT}
    assert attempts[LIMIT].locked == {ACCOUNT}
    assert LIMIT <= 10
    assert WINDOW >= 30 * MINUTE


def test_an_unknown_name_is_locked_at_the_same_moment(guard: Lockout) -> None:
    attempts = fail(guard, 12, account="", name="nobody")
    assert [attempt.allowed for attempt in attempts] == [True] * LIMIT + [False] * 2
    assert attempts[LIMIT - 1].reached == {NAME}


def test_other_spellings_are_the_same_name(guard: Lockout) -> None:
    spelled = ["nobody", "NOBODY", " Nobody ", "\uff2eobody", "nobod\uff39"]
    attempts = [
        guard.attempt(account="", name=spelling(spelled[number % 5]), source=f"192.0.2.{number}", now=NOW)
        for number in range(LIMIT + 1)
    ]
    assert not attempts[-1].allowed


def test_rotating_addresses_does_not_help_against_one_account(guard: Lockout) -> None:
    attempts = [
        guard.attempt(account="a1", name="alice", source=f"2001:db8:{number:x}::1", now=NOW) for number in range(50)
    ]
    assert sum(attempt.allowed for attempt in attempts) == LIMIT


def test_trying_many_accounts_from_one_place_is_stopped(guard: Lockout) -> None:
    attempts = [
        guard.attempt(account=f"a{number}", name="", source=f"2001:db8:0:1:{number:x}::{number:x}", now=NOW)
        for number in range(50)
    ]
    assert sum(attempt.allowed for attempt in attempts) == LIMIT  # one /64
    assert guard.address_locked("2001:db8:0:1:ffff::1", NOW)
    assert not guard.address_locked("2001:db8:0:2::1", NOW)


def test_ones_own_successes_do_not_clear_an_address(guard: Lockout) -> None:
    tried = 0
    for number in range(40):
        attempt = guard.attempt(account=f"a{number}", name="", source="192.0.2.1", now=NOW)
        tried += attempt.allowed
        own = guard.attempt(account="own", name="", source="192.0.2.1", now=NOW)
        if own.allowed:
            guard.took_back(own, NOW)
            guard.clear("own")
    assert tried == LIMIT


def test_a_lock_ends_by_itself_and_is_not_prolonged(guard: Lockout) -> None:
    fail(guard, LIMIT)
    until = guard.locked_until("a1", NOW)
    assert until == NOW + WINDOW
    for minute in range(1, 30):
        (attempt,) = fail(guard, now=NOW + minute * MINUTE, source=f"198.51.100.{minute}")  # an attacker who goes on
        assert attempt.locked == {ACCOUNT}
    assert guard.locked_until("a1", NOW + 29 * MINUTE) == until
    assert fail(guard, now=until)[0].allowed


def test_what_was_counted_is_over_with_its_window(guard: Lockout) -> None:
    fail(guard, LIMIT - 1)
    attempts = fail(guard, LIMIT, now=NOW + WINDOW)
    assert all(attempt.allowed for attempt in attempts)


def test_a_success_is_not_counted_and_what_was_before_it_is(guard: Lockout) -> None:
    fail(guard, LIMIT - 1)
    last = guard.attempt(account="a1", name="alice", source="192.0.2.99", now=NOW)
    assert (last.allowed, last.reached) == (True, {ACCOUNT})
    guard.took_back(last, NOW)
    assert guard.locked_until("a1", NOW) == 0
    assert fail(guard)[0].reached == {ACCOUNT}
    # The first factor alone clears nothing: a known password would give ten more codes each time.
    assert not fail(guard)[0].allowed


def test_signing_in_clears_the_account(guard: Lockout) -> None:
    fail(guard, LIMIT - 1)
    guard.clear("a1")
    assert all(attempt.allowed for attempt in fail(guard, LIMIT))


def test_many_at_once_are_not_more(guard: Lockout) -> None:
    barrier, allowed = threading.Barrier(16), []

    def run(number: int) -> None:
        barrier.wait()
        allowed.append(guard.attempt(account="a1", name="", source=f"192.0.2.{number}", now=NOW).allowed)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == LIMIT


def test_a_restart_forgets_nothing(guard: Lockout, state: State, key: FactorKey) -> None:
    fail(guard, LIMIT)
    with State.open(state.path) as again:
        assert not fail(Lockout(SignIns(again), key))[0].allowed


def test_an_operator_ends_a_lock(guard: Lockout) -> None:
    fail(guard, LIMIT)
    guard.clear("a1")
    assert fail(guard)[0].allowed


def test_nobody_is_pushed_out_and_the_table_has_an_end(
    guard: Lockout, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    monkeypatch.setattr(lockout, "PLACES", 8)
    fail(guard, LIMIT)
    for number in range(400):  # names and addresses that are made up
        guard.attempt(account="", name=f"made-up-{number}", source=f"198.51.{number // 250}.{number % 250}", now=NOW)
    assert guard.locked_until("a1", NOW)
    with state.reading() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM failures").scalar_one()
    assert rows <= 8 + 8 + 1


@pytest.mark.parametrize("seconds", [-3600, -5, 0, 5])
def test_a_stepped_clock_neither_drops_a_fresh_lock_nor_keeps_one_for_ever(guard: Lockout, seconds: int) -> None:
    fail(guard, LIMIT)
    stepped = NOW + seconds * SECOND
    locked = guard.locked_until("a1", stepped) != 0
    assert locked is (seconds > -3600)


# -- browsers that are known


def test_strangers_cannot_lock_somebody_out_of_a_known_browser(guard: Lockout, key: FactorKey, alice: Account) -> None:
    cookie = make(key, alice)
    device = known(key, alice, cookie)
    assert device
    for number in range(30):
        guard.attempt(account=alice.id, name="", source=f"192.0.2.{number}", now=NOW)
    fail(guard, LIMIT, account="other", source="192.0.2.1")
    mine = guard.attempt(account=alice.id, name="", source="192.0.2.1", now=NOW, device=device)
    assert mine.allowed
    # Nor is a stolen one good for more than ten.
    more = [guard.attempt(account=alice.id, name="", source="192.0.2.1", now=NOW, device=device) for _ in range(20)]
    assert sum(attempt.allowed for attempt in more) == LIMIT - 1
    assert more[-1].locked == {DEVICE}


def test_a_device_is_of_one_account_and_one_password(key: FactorKey, alice: Account) -> None:
    from dataclasses import replace

    cookie = make(key, alice)
    assert known(key, alice, cookie)
    assert not known(key, replace(alice, id="acc-bob"), cookie)
    assert not known(key, replace(alice, changed=NOW + 1), cookie)
    assert not known(FactorKey(b"o" * 32), alice, cookie)
    assert make(key, alice) != cookie
    for wrong in ("", "A", "AAAA", cookie[:-2], cookie + "AAAA", "A" * len(cookie), cookie[:10] + "B" + cookie[11:]):
        assert known(key, alice, wrong) == b"" or wrong == cookie
    assert alice.id not in cookie


def test_addresses_are_one_kind_and_accounts_another(guard: Lockout) -> None:
    (attempt,) = fail(guard)
    assert set(attempt.keys.values()) == {ACCOUNT, ADDRESS}
    (attempt,) = fail(guard, account="")
    assert set(attempt.keys.values()) == {NAME, ADDRESS}
