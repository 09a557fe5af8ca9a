"""Who is signed in: sessions, each known to its browser by a cookie and to others by its `sid`.

The cookie is 256 random bits, of which only a keyed hash is kept; it is another one after each sign-in, so that
nobody has fixed it before, and the former one is nothing then. The `sid` (OpenID Connect Front-Channel Logout 1.0)
is in tokens and tells nothing of the cookie.

A session ends with `idle` time without a request, `absolute`ly, by signing out, and by being revoked: with it goes
whatever hangs on its `sid`, for which `ended` is called. Beginning and ending are on the record first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from interlock.clock import SECOND
from interlock.errors import KeyMaterialError, NotAllowed, NotFound
from interlock.issuer.cookies import SESSION, Cookies, new_secret
from interlock.issuer.http import Request
from interlock.issuer.ids import new_id
from interlock.issuer.levels import acr_of, amr_of
from interlock.keys import FactorKey
from interlock.model import Event, Recorder
from interlock.store.accounts import Account, Accounts
from interlock.store.signins import SessionRow, SignIns

MOST: Final = 30  # of one account at a time; the longest unused ends
STEP: Final = 60 * SECOND  # how exactly a sign of life is kept: the idle time may end by that much earlier
Ended = Callable[[str, str], None]  # told the `sid`, and why


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in, as of one request."""

    sid: str
    account: Account
    created: int  # wall ns, as `expires`
    expires: int
    signed_in: int  # wall ns
    amr: tuple[str, ...]
    acr: str
    cookie: str = field(repr=False)  # what forms of this session are bound to

    @property
    def auth_time(self) -> int:
        """Seconds, as the claim."""
        return self.signed_in // SECOND

    @property
    def principal(self) -> str:
        return self.account.principal


class Sessions:
    """All of one issuer. For many threads."""

    def __init__(
        self,
        accounts: Accounts,
        signins: SignIns,
        key: FactorKey,
        record: Recorder,
        cookies: Cookies,
        *,
        idle: int,
        absolute: int,
        ended: Ended = lambda _sid, _why: None,
    ) -> None:
        """`idle` and `absolute` in ns."""
        self._accounts = accounts
        self._signins = signins
        self._key = key
        self._record = record
        self._cookies = cookies
        self._ended = ended
        self.idle = idle
        self.absolute = absolute

    def present(self, request: Request) -> Session | None:
        """Who sends the request, if somebody signed in does; a sign of life."""
        cookie = self._cookies.get(request, SESSION)
        row = self._row(cookie)
        if row is None or row.revoked or not self._living(row, request.now):
            return None
        try:
            account = self._accounts.get(row.account)
        except NotFound:
            return None
        if not account.active or account.changed != row.changed:
            return None
        self._touch(row, request.now)
        return _session(row, account, cookie)

    def begin(self, request: Request, account: Account, proved: Collection[str]) -> tuple[Session, tuple[str, str]]:
        """Sign somebody in who has proved this much just now; gives the session and the field that sets its cookie.

        If the browser has a session of the same person, it goes on under its `sid`; another's ends. `account`: as it
        was when that was proved. Raises `NotAllowed` for who was disabled in this moment, or has another password.
        """
        now, former = request.now, self._row(self._cookies.get(request, SESSION))
        goes_on = (
            former is not None
            and not former.revoked
            and (former.account, former.changed) == (account.id, account.changed)
            and self._living(former, now)
        )
        cookie = new_secret()
        row = SessionRow(
            hash=self._hash(cookie),
            sid=former.sid if former is not None and goes_on else new_id(),
            account=account.id,
            created=former.created if former is not None and goes_on else now,
            seen=now,
            expires=now + self.absolute,
            auth_time=now,
            amr=amr_of(proved),
            acr=acr_of(proved),
            key=self._key.id,
            source=b"",
            changed=account.changed,
        )
        row = replace(row, source=self._key.wrap(request.source.encode(), _about(row)))
        told = {"principal": account.principal, "session": row.sid, "amr": list(row.amr), "acr": row.acr}
        self._record.act(Event.SESSION_BEGIN, told | from_source(request.source))
        try:
            over = self._signins.begin(row, former=b"" if former is None else former.hash, most=MOST)
        except NotFound:  # it was ended in this moment: whoever signs in has another one
            return self.begin(request, account, proved)
        except NotAllowed:
            told = {"session": row.sid, "why": "disabled, or another password", "principal": account.principal}
            self._record.act(Event.SESSION_END, told)
            raise
        for sid in over:
            self.revoke_session(sid, "replaced", now)
        return _session(row, account, cookie), self._cookies.set(SESSION, cookie)

    def renew(self, request: Request, session: Session) -> tuple[str, str]:
        """Another cookie for the same session, when what it may has changed; gives the field that sets it."""
        row = self._row(session.cookie)
        if row is None or row.revoked:
            return self._cookies.clear(SESSION)
        cookie = new_secret()
        try:
            self._signins.begin(replace(row, hash=self._hash(cookie), seen=request.now), former=row.hash, most=MOST)
        except (NotFound, NotAllowed):
            return self._cookies.clear(SESSION)
        return self._cookies.set(SESSION, cookie)

    def end(self, request: Request, why: str = "signed out") -> tuple[str, str]:
        """Sign out the browser that sends the request; gives the field that takes its cookie away."""
        row = self._row(self._cookies.get(request, SESSION))
        if row is not None and not row.revoked:
            self.revoke_session(row.sid, why, request.now)
        return self._cookies.clear(SESSION)

    # -- for others

    def revoke_session(self, sid: str, why: str, now: int) -> bool:
        """End one session; False if it was over."""
        row = self._signins.session_of(sid)
        self._record.act(Event.SESSION_END, {"session": sid, "why": why} | self._whose(row))
        # In this order: what fails here, or is killed, can be asked for again, since the session is not over yet.
        self._ended(sid, why)
        return bool(self._signins.revoke(now, sid=sid))

    def revoke_account(self, account_id: str, why: str, now: int, *, but: str = "") -> list[str]:
        """End all sessions of an account, but the one of this `sid`; gives their sids."""
        rows = [row for row in self._signins.sessions(now, account=account_id) if row.sid != but]
        for row in rows:
            self.revoke_session(row.sid, why, now)
        return [row.sid for row in rows]

    def in_use(self, sid: str, now: int, *, alive: bool = True) -> bool:
        """Whether a session is not over. `alive`: that what hangs on it asks is a sign of life."""
        row = self._signins.session_of(sid)
        if row is None or row.revoked or not self._living(row, now) or not self._proved(row):
            return False
        if alive:
            self._touch(row, now)
        return True

    def living(self, now: int, *, account: str | None = None) -> list[SessionRow]:
        """Sessions that are not over, the oldest first."""
        rows, left = self._signins.sessions(now, account=account), self._signins.left_behind()
        return [row for row in rows if self._living(row, now) and row.sid not in left]

    def source(self, row: SessionRow) -> str:
        """The address that a session began from."""
        try:
            return self._key.unwrap(row.source, _about(row)).decode()
        except KeyMaterialError:
            return ""

    def left_behind(self) -> list[str]:
        """Accounts of which sessions stand on a former password: whoever changed it did not come to end them."""
        return sorted(set(self._signins.left_behind().values()))

    def end_what_is_over(self, now: int, *, most: int = 200) -> int:
        """Housekeeping: end what nobody used for too long, and what a password change that broke off has left, so that
        what hangs on it ends too; gives how many."""
        left = self._signins.left_behind()
        over = [row for row in self._signins.sessions(0) if row.sid in left or not self._living(row, now)]
        over = sorted(over, key=lambda row: row.sid not in left)[:most]
        for row in over:
            why = "expired" if now >= row.expires else "another password" if row.sid in left else "idle"
            self.revoke_session(row.sid, why, min(now, row.expires - 1))
        return len(over)

    # --

    def _row(self, cookie: str) -> SessionRow | None:
        return self._signins.session(self._hash(cookie)) if cookie else None

    def _living(self, row: SessionRow, now: int) -> bool:
        return row.auth_time <= now + STEP and now < min(
            row.expires, row.auth_time + self.absolute, row.seen + self.idle
        )

    def _touch(self, row: SessionRow, now: int) -> None:
        if now - row.seen >= min(STEP, self.idle // 4):
            self._signins.touch(row.hash, now)

    def _proved(self, row: SessionRow) -> bool:
        """Whether it stands on the password that the account has now."""
        try:
            return self._accounts.get(row.account).changed == row.changed
        except NotFound:
            return False

    def _whose(self, row: SessionRow | None) -> dict[str, str]:
        if row is None:
            return {}
        try:
            return {"principal": self._accounts.get(row.account).principal}
        except NotFound:
            return {}

    def _hash(self, cookie: str) -> bytes:
        return self._key.hash("session", cookie.encode())


def from_source(address: str) -> dict[str, str]:
    """Where something came from, as a detail of an act: sealed there like everything that names somebody."""
    return {"subject": f"source:{address}"} if address else {}


def _session(row: SessionRow, account: Account, cookie: str) -> Session:
    return Session(row.sid, account, row.created, row.expires, row.auth_time, row.amr, row.acr, cookie)


def _about(row: SessionRow) -> str:
    return f"session source\0{row.sid}"
