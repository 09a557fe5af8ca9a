"""Sessions: never fixed before, never longer than allowed, never brought back, and on the record first."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.errors import NotAllowed, RecordUnavailable
from interlock.issuer.cookies import SESSION, Cookies
from interlock.issuer.http import Request
from interlock.issuer.levels import ACR, ONE, TWO
from interlock.issuer.sessions import MOST, Session, Sessions
from interlock.keys import FactorKey
from interlock.model import Event
from interlock.store import State
from interlock.store.accounts import ACTIVE, DISABLED, Account, Accounts
from interlock.store.signins import SessionRow, SignIns
from tests.unit.issuer.signing_in.conftest import HOUR, MINUTE, NOW, SECOND, Record

COOKIES = Cookies(secure=True)
NAME = COOKIES.name(SESSION)


@pytest.fixture
def ended() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def sessions(
    accounts: Accounts, signins: SignIns, key: FactorKey, record: Record, ended: list[tuple[str, str]]
) -> Sessions:
    return Sessions(
        accounts,
        signins,
        key,
        record,
        COOKIES,
        idle=15 * MINUTE,
        absolute=12 * HOUR,
        ended=lambda sid, why: ended.append((sid, why)),
    )


def request(cookie: str = "", now: int = NOW) -> Request:
    headers = {"cookie": f"{NAME}={cookie}"} if cookie else {}
    return Request("GET", "/oauth/authorize", headers=headers, source="192.0.2.7", now=now)


def signed_in(sessions: Sessions, account: Account, *, proved: tuple[str, ...] = ("pwd",), **more: object) -> Session:
    session, field = sessions.begin(request(**more), account, proved)  # type: ignore[arg-type]
    assert field[1].startswith(f"{NAME}={session.cookie};")
    return session


def test_somebody_signs_in_and_is_known(sessions: Sessions, alice: Account, record: Record) -> None:
    begun = signed_in(sessions, alice, proved=("pwd", "otp"))
    found = sessions.present(request(begun.cookie))
    assert found == begun
    assert (found.acr, found.amr) == (ACR[TWO], ("pwd", "otp", "mfa"))
    assert found.auth_time == NOW // SECOND
    assert found.principal == "user:interlock/alice"
    (told,) = record.of(Event.SESSION_BEGIN)
    assert told["principal"] == "user:interlock/alice"
    assert told["subject"] == "source:192.0.2.7"
    assert begun.cookie not in str(record.acts)


def test_the_cookie_is_nowhere_and_the_sid_is_not_it(
    sessions: Sessions, alice: Account, tmp_path: Path, ended: list[tuple[str, str]]
) -> None:
    begun = signed_in(sessions, alice)
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert begun.sid.encode() in data
    assert begun.cookie.encode() not in data
    assert b"192.0.2.7" not in data
    assert begun.sid not in begun.cookie
    assert sessions.present(request(begun.sid)) is None
    assert begun.cookie not in repr(begun)


@pytest.mark.parametrize("changed", ["{}x", "x{}", "{0}", "{1}"])
def test_a_cookie_that_was_tampered_with_is_nobodys(sessions: Sessions, alice: Account, changed: str) -> None:
    cookie = signed_in(sessions, alice).cookie
    altered = changed.format(cookie[:-1] + ("A" if cookie[-1] != "A" else "B"), cookie.swapcase())
    assert sessions.present(request(altered)) is None


def test_nobody_fixes_a_session(sessions: Sessions, alice: Account, accounts: Accounts, key: FactorKey) -> None:
    """An attacker's cookie, known to the attacker, is never that of who signs in with it in the browser."""
    mallory = Account("acc-mallory", "mallory", (), NOW, key.id)
    accounts.add(mallory)
    planted = signed_in(sessions, mallory)
    begun = signed_in(sessions, alice, cookie=planted.cookie)
    assert begun.cookie != planted.cookie
    assert begun.sid != planted.sid
    assert sessions.present(request(planted.cookie)) is None
    invented = signed_in(sessions, alice, cookie="x" * 43)
    assert invented.cookie != "x" * 43
    assert sessions.present(request("x" * 43)) is None


def test_signing_in_again_changes_the_cookie_and_keeps_the_session(
    sessions: Sessions, alice: Account, ended: list[tuple[str, str]]
) -> None:
    first = signed_in(sessions, alice)
    assert first.acr == ACR[ONE]
    second = signed_in(sessions, alice, proved=("pwd", "otp"), cookie=first.cookie, now=NOW + 5 * MINUTE)
    assert second.sid == first.sid
    assert second.cookie != first.cookie
    assert second.acr == ACR[TWO]
    assert second.auth_time > first.auth_time
    assert sessions.present(request(first.cookie, NOW + 6 * MINUTE)) is None
    assert sessions.present(request(second.cookie, NOW + 6 * MINUTE)) is not None
    assert ended == []


def test_what_was_over_does_not_go_on(sessions: Sessions, alice: Account) -> None:
    first = signed_in(sessions, alice)
    later = signed_in(sessions, alice, cookie=first.cookie, now=NOW + 16 * MINUTE)
    assert later.sid != first.sid


def test_idle(sessions: Sessions, alice: Account) -> None:
    cookie = signed_in(sessions, alice).cookie
    assert sessions.present(request(cookie, NOW + 15 * MINUTE)) is None
    for minute in range(10, 60, 10):  # who goes on is not idle
        assert sessions.present(request(cookie, NOW + minute * MINUTE)) is not None
    assert sessions.present(request(cookie, NOW + 65 * MINUTE)) is None


def test_absolutely(sessions: Sessions, alice: Account) -> None:
    cookie = signed_in(sessions, alice).cookie
    for minute in range(10, 12 * 60, 10):
        assert sessions.present(request(cookie, NOW + minute * MINUTE)) is not None
    assert sessions.present(request(cookie, NOW + 12 * HOUR)) is None


def test_a_shorter_time_in_the_file_holds_for_those_who_are_signed_in(sessions: Sessions, alice: Account) -> None:
    cookie = signed_in(sessions, alice).cookie
    sessions.absolute, sessions.idle = 5 * MINUTE, 5 * MINUTE
    assert sessions.present(request(cookie, NOW + 5 * MINUTE)) is None


def test_a_session_of_the_future_is_none(sessions: Sessions, alice: Account) -> None:
    cookie = signed_in(sessions, alice).cookie
    assert sessions.present(request(cookie, NOW - HOUR)) is None


def test_signing_out(sessions: Sessions, alice: Account, record: Record, ended: list[tuple[str, str]]) -> None:
    begun = signed_in(sessions, alice)
    _, value = sessions.end(request(begun.cookie))
    assert "Max-Age=0" in value
    assert sessions.present(request(begun.cookie)) is None
    assert ended == [(begun.sid, "signed out")]
    assert record.events == ["session:begin", "session:end"]
    sessions.end(request(begun.cookie))  # again: nothing more happens
    sessions.end(request())
    assert len(record.acts) == 2


def test_revoking(sessions: Sessions, alice: Account, accounts: Accounts, key: FactorKey) -> None:
    accounts.add(bob := Account("acc-bob", "bob", (), NOW, key.id))
    one, two, other = signed_in(sessions, alice), signed_in(sessions, alice), signed_in(sessions, bob)
    assert sorted(row.sid for row in sessions.living(NOW, account=alice.id)) == sorted([one.sid, two.sid])
    assert sessions.source(sessions.living(NOW)[0]) == "192.0.2.7"
    assert sessions.revoke_session(one.sid, "an operator", NOW)
    assert not sessions.revoke_session(one.sid, "an operator", NOW)
    assert sessions.present(request(one.cookie)) is None
    three = signed_in(sessions, alice)
    assert sessions.revoke_account(alice.id, "a new password", NOW, but=three.sid) == [two.sid]
    assert sessions.present(request(three.cookie)) is not None
    assert sessions.revoke_account(alice.id, "disabled", NOW) == [three.sid]
    assert sessions.present(request(other.cookie)) is not None


def test_a_session_that_is_ended_in_the_moment_of_its_renewal_stays_over(
    sessions: Sessions, signins: SignIns, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another cookie, or by signing in again: neither brings back what an operator ended."""
    begin = signins.begin

    def late(row: SessionRow, **more: object) -> list[str]:
        sessions.revoke_session(stolen.sid, "an operator", NOW)
        return begin(row, **more)  # type: ignore[arg-type]

    stolen = signed_in(sessions, alice)
    monkeypatch.setattr(signins, "begin", late)
    _, field = sessions.renew(request(stolen.cookie), stolen)
    assert "Max-Age=0" in field
    assert sessions.living(NOW) == []
    monkeypatch.setattr(signins, "begin", begin)
    stolen = signed_in(sessions, alice)
    monkeypatch.setattr(signins, "begin", late)
    again = signed_in(sessions, alice, cookie=stolen.cookie)
    assert again.sid != stolen.sid
    assert [row.sid for row in sessions.living(NOW)] == [again.sid]


def test_who_is_disabled_is_not_signed_in(sessions: Sessions, alice: Account, accounts: Accounts) -> None:
    cookie = signed_in(sessions, alice).cookie
    accounts.change(alice.id, state=DISABLED)
    assert sessions.present(request(cookie)) is None


def test_who_is_disabled_in_the_moment_of_signing_in_is_not_signed_in_when_enabled(
    sessions: Sessions, alice: Account, accounts: Accounts, record: Record
) -> None:
    accounts.change(alice.id, state=DISABLED)
    with pytest.raises(NotAllowed):
        sessions.begin(request(), alice, ("pwd",))  # as it was when the password was looked at
    assert record.events == ["session:begin", "session:end"], "which did not come about"
    accounts.change(alice.id, state=ACTIVE)
    assert sessions.living(NOW) == []
    begun = signed_in(sessions, alice)
    accounts.change(alice.id, state=DISABLED)
    _, field = sessions.renew(request(begun.cookie), begun)
    assert "Max-Age=0" in field


def test_roles_are_those_of_now(sessions: Sessions, alice: Account, accounts: Accounts) -> None:
    cookie = signed_in(sessions, alice).cookie
    accounts.change(alice.id, roles=("auditor",))
    found = sessions.present(request(cookie))
    assert found is not None
    assert found.account.roles == ("auditor",)


def test_what_cannot_be_recorded_is_not_done(
    sessions: Sessions, alice: Account, record: Record, signins: SignIns
) -> None:
    begun = signed_in(sessions, alice)
    record.broken = True
    with pytest.raises(RecordUnavailable):
        sessions.begin(request(), alice, ("pwd",))
    with pytest.raises(RecordUnavailable):
        sessions.end(request(begun.cookie))
    assert [row.sid for row in signins.sessions(NOW)] == [begun.sid]


def test_there_are_not_more_than_so_many(sessions: Sessions, alice: Account, ended: list[tuple[str, str]]) -> None:
    first = signed_in(sessions, alice)
    for minute in range(MOST):
        signed_in(sessions, alice, now=NOW + minute * SECOND + SECOND)
    assert sessions.present(request(first.cookie, NOW + MINUTE)) is None
    assert ended == [(first.sid, "replaced")]


def test_what_hangs_on_a_session_keeps_it_in_use(sessions: Sessions, alice: Account) -> None:
    begun = signed_in(sessions, alice)
    for minute in range(5, 60, 5):
        assert sessions.in_use(begun.sid, NOW + minute * MINUTE)
    assert not sessions.in_use(begun.sid, NOW + 12 * HOUR)
    assert not sessions.in_use("other", NOW)
    sessions.revoke_session(begun.sid, "an operator", NOW)
    assert not sessions.in_use(begun.sid, NOW)


def test_what_nobody_used_ends(
    sessions: Sessions, alice: Account, record: Record, ended: list[tuple[str, str]], state: State
) -> None:
    old = signed_in(sessions, alice)
    signed_in(sessions, alice, now=NOW + 10 * MINUTE)
    assert sessions.end_what_is_over(NOW + 16 * MINUTE) == 1
    assert ended == [(old.sid, "idle")]
    assert record.of(Event.SESSION_END) == [{"session": old.sid, "why": "idle", "principal": "user:interlock/alice"}]
    assert sessions.end_what_is_over(NOW + 16 * MINUTE) == 0
    assert sessions.end_what_is_over(NOW + 20 * HOUR) == 1
    assert ended[-1][1] == "expired"


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("how", ["signed out", "revoked", "idle", "replaced"])
def test_an_end_that_broke_off_is_gone_through_with(
    sessions: Sessions, alice: Account, ended: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What hangs on a session is told before it is called over: killed between the two, it can be asked for again."""
    session = signed_in(sessions, alice)
    later = NOW + 16 * MINUTE if how == "idle" else NOW

    def end() -> None:
        if how == "signed out":
            sessions.end(request(session.cookie))
        elif how == "revoked":
            sessions.revoke_session(session.sid, "revoked", NOW)
        elif how == "idle":
            sessions.end_what_is_over(later)
        else:
            for _ in range(MOST):  # the longest unused ends
                sessions.begin(request(now=NOW + SECOND), alice, ("pwd",))

    def killed(_sid: str, _why: str) -> None:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(sessions, "_ended", killed)
        with pytest.raises(Killed):
            end()
    assert ended == []
    end()
    assert session.sid in {sid for sid, _ in ended}
    assert sessions.present(request(session.cookie, later)) is None
