"""Risks over an opened state: the last word on each handle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from interlock.errors import StateError
from interlock.store.model import RiskRow
from interlock.store.schema import RISKS
from interlock.store.state import State

_BATCH = 5000


class Risks:
    """The table of risks."""

    def __init__(self, state: State) -> None:
        self._state = state

    def put(self, row: RiskRow) -> None:
        """Keep a risk in place of the one there was; one of 0 is none."""
        if len(row.handle) != 32 or not 0 <= row.value <= 100:
            raise StateError("a risk names a handle of 32 bytes, and is a number from 0 to 100")
        with self._state.writing() as connection:
            if not row.value:
                connection.execute(delete(RISKS).where(RISKS.c.handle == row.handle))
                return
            values = asdict(row)
            kept = {name: value for name, value in values.items() if name != "handle"}
            connection.execute(upsert(RISKS).on_conflict_do_update(index_elements=[RISKS.c.handle], set_=kept), values)

    def live(self, now: int) -> Iterator[RiskRow]:
        """Those that still count, sorted by handle. Streamed, as of one moment."""
        query = select(RISKS).where(or_(RISKS.c.expires == 0, RISKS.c.expires > now)).order_by(RISKS.c.handle)
        with self._state.reading() as connection:
            for row in connection.execution_options(yield_per=_BATCH).execute(query):
                columns: dict[str, Any] = dict(row._mapping)
                yield RiskRow(**columns)

    def drop(self, now: int) -> int:
        """Delete what is over; gives how many rows."""
        with self._state.writing() as connection:
            over = (RISKS.c.expires != 0) & (RISKS.c.expires <= now)
            return int(connection.execute(delete(RISKS).where(over)).rowcount)
