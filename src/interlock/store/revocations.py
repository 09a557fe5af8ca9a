"""Revocations and marks over an opened state: kept together, asked for one by one, dropped when they are over.

What is refused is named by handles (`interlock.identity.handles`); `expires` says when nothing that a handle could
match is alive any more. From then on no snapshot has it; the row stays for another day, so that a clock that ran ahead
and is set right again brings nothing back to life.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, case, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from interlock.clock import SECOND
from interlock.errors import StateError
from interlock.store.model import ApiKeyRow, Mark, Revocation
from interlock.store.schema import MARKS, REVOCATIONS
from interlock.store.state import State, put_revocations, revoke_keys

KEPT = 86_400 * SECOND  # ns for which a row outlives what it refuses
_BATCH = 5000


class Revocations:
    """The tables of revocations and marks."""

    def __init__(self, state: State) -> None:
        self._state = state

    def keep(
        self,
        *,
        now: int,
        act: str,
        revocations: Sequence[Revocation] = (),
        marks: Sequence[Mark] = (),
        keys_of: str = "",
    ) -> list[ApiKeyRow]:
        """Keep all of it and revoke the API keys of the principal `keys_of`, or none of it; gives those keys."""
        with self._state.writing() as connection:
            if revocations:
                put_revocations(connection, list(revocations))
            if marks:
                connection.execute(_later(), [_values(one) for one in marks])
            return revoke_keys(connection, keys_of, now, act) if keys_of else []

    def revocations(self, now: int) -> Iterator[Revocation]:
        """Those that still matter, sorted by handle. Streamed."""
        return self._state.revocations(now)

    def marks(self, now: int) -> Iterator[Mark]:
        """Those that still matter, sorted by handle. Streamed, as of one moment."""
        query = select(MARKS).where(or_(MARKS.c.expires == 0, MARKS.c.expires > now)).order_by(MARKS.c.handle)
        with self._state.reading() as connection:
            for row in connection.execution_options(yield_per=_BATCH).execute(query):
                yield _mark(row)

    def is_revoked(self, handle: bytes) -> bool:
        """Whether a handle was revoked."""
        query = select(REVOCATIONS.c.handle).where(REVOCATIONS.c.handle == handle)
        with self._state.reading() as connection:
            return connection.execute(query).one_or_none() is not None

    def not_before(self, handle: bytes) -> int:
        """The second before which nothing of a handle may have been issued; 0: there is no mark."""
        query = select(MARKS.c.since).where(MARKS.c.handle == handle)
        with self._state.reading() as connection:
            return int(connection.execute(query).scalar_one_or_none() or 0)

    def drop(self, now: int) -> int:
        """Delete what has been over for a day; gives how many rows."""
        dropped = 0
        with self._state.writing() as connection:
            for table in (REVOCATIONS, MARKS):
                over = (table.c.expires != 0) & (table.c.expires <= now - KEPT)
                dropped += connection.execute(delete(table).where(over)).rowcount
        return dropped


def _later() -> Any:
    """A mark of the same handle is only ever moved forward, and never kept for less long."""
    statement = upsert(MARKS)
    new, old = statement.excluded, MARKS.c
    newer = new.since > old.since
    return statement.on_conflict_do_update(
        index_elements=[old.handle],
        set_={
            "since": func.max(old.since, new.since),
            "expires": case((or_(old.expires == 0, new.expires == 0), 0), else_=func.max(old.expires, new.expires)),
            **{name: case((newer, new[name]), else_=old[name]) for name in ("what", "revoked", "act")},
        },
    )


def _values(one: Mark) -> dict[str, Any]:
    if len(one.handle) != 32:
        raise StateError("a mark names a handle of 32 bytes")
    return asdict(one)


def _mark(row: Row[Any]) -> Mark:
    columns: dict[str, Any] = dict(row._mapping)
    return Mark(**columns)
