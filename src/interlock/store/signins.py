"""Who is signed in, who failed to, and what was used once.

A session is known by the keyed hash of its cookie and, to others, by its `sid`, from which the cookie cannot be
told. Times are wall nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from interlock.errors import NotAllowed, NotFound, StateError
from interlock.store.accounts import ACTIVE
from interlock.store.schema import ACCOUNTS, FAILURES, SESSIONS, SPENT
from interlock.store.state import State

_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One sign-in of somebody."""

    hash: bytes = field(repr=False)  # keyed, of the cookie
    sid: str
    account: str
    created: int
    seen: int
    expires: int  # in any case
    auth_time: int
    amr: tuple[str, ...]
    acr: str
    key: str  # the factor key of `source`
    source: bytes = field(default=b"", repr=False)  # sealed address
    revoked: int = 0
    changed: int = 0  # when the password was that it stands on; it ends with that


@dataclass(frozen=True, slots=True)
class Failures:
    """What is counted of one account, name or address."""

    key: bytes = field(repr=False)
    since: int
    count: int
    until: int = 0  # nothing is tried before then


class SignIns:
    """Over an opened `State`; every change is one transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    # -- sessions

    def session(self, cookie: bytes) -> SessionRow | None:
        """By the keyed hash of its cookie."""
        with self._state.reading() as connection:
            row = connection.execute(select(SESSIONS).where(SESSIONS.c.hash == cookie)).one_or_none()
            return None if row is None else _session(row)

    def session_of(self, sid: str) -> SessionRow | None:
        with self._state.reading() as connection:
            row = connection.execute(select(SESSIONS).where(SESSIONS.c.sid == sid)).one_or_none()
            return None if row is None else _session(row)

    def sessions(self, now: int, *, account: str | None = None) -> list[SessionRow]:
        """Those that are neither revoked nor over, the oldest first."""
        query = select(SESSIONS).where(SESSIONS.c.revoked == 0, SESSIONS.c.expires > now)
        if account is not None:
            query = query.where(SESSIONS.c.account == account)
        with self._state.reading() as connection:
            return [_session(row) for row in connection.execute(query.order_by(SESSIONS.c.created, SESSIONS.c.sid))]

    def left_behind(self) -> dict[str, str]:
        """Sessions that were not ended with the password that they stand on, each `sid` with its account."""
        query = (
            select(SESSIONS.c.sid, SESSIONS.c.account)
            .join(ACCOUNTS, ACCOUNTS.c.id == SESSIONS.c.account)
            .where(SESSIONS.c.revoked == 0, SESSIONS.c.changed != ACCOUNTS.c.changed)
        )
        with self._state.reading() as connection:
            return {row.sid: row.account for row in connection.execute(query)}

    def begin(self, row: SessionRow, *, former: bytes = b"", most: int) -> list[str]:
        """Keep a new session; gives the sids of those that are to end with it: another one of the cookie `former`, and
        the oldest beyond `most`.

        A new row of the same `sid` goes on with the session under another cookie. Raises `NotFound` if that was ended
        meanwhile: who has its cookie MUST NOT bring it back. Raises `NotAllowed` for an account that may not sign in,
        since a row of it would come to life when the account does, and for one whose password was changed meanwhile.
        """
        living = (SESSIONS.c.account == row.account) & (SESSIONS.c.revoked == 0) & (SESSIONS.c.expires > row.created)
        ended: list[str] = []
        with self._state.writing() as connection:
            entitled = select(ACCOUNTS.c.id).where(
                ACCOUNTS.c.id == row.account, ACCOUNTS.c.state == ACTIVE, ACCOUNTS.c.changed == row.changed
            )
            if connection.execute(entitled).first() is None:
                raise NotAllowed("the account may not sign in, or not with what was proved")
            over = select(SESSIONS.c.sid).where(SESSIONS.c.sid == row.sid, SESSIONS.c.revoked != 0)
            if connection.execute(over).first() is not None:
                raise NotFound("the session was ended meanwhile")
            if former:
                found = connection.execute(
                    select(SESSIONS.c.sid).where(SESSIONS.c.hash == former, SESSIONS.c.revoked == 0)
                ).scalar_one_or_none()
                if found is not None and found != row.sid:
                    ended.append(found)
                else:
                    connection.execute(delete(SESSIONS).where(SESSIONS.c.hash == former))
            connection.execute(insert(SESSIONS), [_session_values(row)])
            order = (SESSIONS.c.seen.desc(), SESSIONS.c.created.desc())
            sids = connection.execute(select(SESSIONS.c.sid).where(living).order_by(*order)).scalars().all()
            excess = [sid for sid in sids if sid != row.sid and sid not in ended][most - 1 :]
        return ended + excess

    def touch(self, cookie: bytes, now: int) -> None:
        """A sign of life."""
        with self._state.writing() as connection:
            connection.execute(
                update(SESSIONS).where(SESSIONS.c.hash == cookie, SESSIONS.c.seen < now).values(seen=now)
            )

    def revoke(self, now: int, *, sid: str = "", account: str = "") -> list[SessionRow]:
        """End one session, or all of an account; gives those that were not over."""
        if bool(sid) == bool(account):
            raise StateError("either one session is ended, or all of an account")
        which: ColumnElement[bool] = SESSIONS.c.sid == sid if sid else SESSIONS.c.account == account
        living = which & (SESSIONS.c.revoked == 0) & (SESSIONS.c.expires > now)
        with self._state.writing() as connection:
            rows = [_session(row) for row in connection.execute(select(SESSIONS).where(living))]
            connection.execute(update(SESSIONS).where(living).values(revoked=now))
            return rows

    # -- failures

    def count(
        self, keys: Sequence[bytes], change: Callable[[Mapping[bytes, Failures]], Sequence[Failures]]
    ) -> Sequence[Failures]:
        """Change what is counted under these keys: `change` is given what there is and gives what is to be there.

        One whose count is zero is not kept. Nobody else counts meanwhile.
        """
        with self._state.writing() as connection:
            rows = connection.execute(select(FAILURES).where(FAILURES.c.key.in_(list(keys))))
            wanted = change({row.key: Failures(**row._mapping) for row in rows})
            for one in wanted:
                if one.count <= 0:
                    connection.execute(delete(FAILURES).where(FAILURES.c.key == one.key))
                    continue
                values = asdict(one)
                connection.execute(upsert(FAILURES).on_conflict_do_update(index_elements=["key"], set_=values), values)
            return wanted

    def failures(self, key: bytes) -> Failures | None:
        with self._state.reading() as connection:
            row = connection.execute(select(FAILURES).where(FAILURES.c.key == key)).one_or_none()
            return None if row is None else Failures(**row._mapping)

    # -- what is good once

    def spend(self, one: bytes, expires: int) -> bool:
        """Use something up, by its keyed hash; False if it was."""
        statement = upsert(SPENT).on_conflict_do_nothing()
        with self._state.writing() as connection:
            return bool(connection.execute(statement, {"hash": one, "expires": expires}).rowcount)

    # -- housekeeping

    def sweep(self, now: int, *, window: int, kept: int) -> None:
        """Drop what is over: failures after `window` ns, sessions `kept` ns after their end."""
        with self._state.writing() as connection:
            connection.execute(delete(FAILURES).where(FAILURES.c.since < now - window, FAILURES.c.until <= now))
            connection.execute(delete(SPENT).where(SPENT.c.expires <= now))
            connection.execute(delete(SESSIONS).where(SESSIONS.c.expires <= now - kept))


def _session(row: Row[Any]) -> SessionRow:
    columns: dict[str, Any] = dict(row._mapping)
    try:
        columns["amr"] = _texts(columns["amr"])
    except msgspec.MsgspecError as error:
        raise StateError(f"session {columns['sid']!r} is damaged: {error}") from error
    return SessionRow(**columns)


def _session_values(row: SessionRow) -> dict[str, Any]:
    return {**asdict(row), "amr": _encode(row.amr).decode()}
