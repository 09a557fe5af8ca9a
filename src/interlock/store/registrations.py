"""Initial access tokens (RFC 7591 section 1.2): with which clients register themselves, so many times and so long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import delete, insert, select, update

from interlock.store.schema import INITIAL_TOKENS
from interlock.store.state import State


@dataclass(frozen=True, slots=True)
class InitialToken:
    """One token. Itself it is not here, only its keyed hash. Times are wall nanoseconds."""

    id: str
    uses: int  # left
    created: int
    expires: int
    hash: bytes = field(repr=False)  # 32 bytes
    act: str = ""


class Registrations:
    """The table of them, over an opened state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, token: InitialToken) -> None:
        with self._state.writing() as connection:
            connection.execute(insert(INITIAL_TOKENS), [asdict(token)])

    def find(self, hashed: bytes, now: int) -> InitialToken | None:
        """One that can still be used."""
        query = select(INITIAL_TOKENS).where(_usable(hashed, now))
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else InitialToken(**row._mapping)

    def use(self, hashed: bytes, now: int) -> bool:
        """Take one use of it; False if there is none left."""
        statement = update(INITIAL_TOKENS).where(_usable(hashed, now)).values(uses=INITIAL_TOKENS.c.uses - 1)
        with self._state.writing() as connection:
            return bool(connection.execute(statement).rowcount)

    def give_back(self, hashed: bytes) -> None:
        """What it was taken for did not come about."""
        statement = update(INITIAL_TOKENS).where(INITIAL_TOKENS.c.hash == hashed)
        with self._state.writing() as connection:
            connection.execute(statement.values(uses=INITIAL_TOKENS.c.uses + 1))

    def all(self, now: int) -> Sequence[InitialToken]:
        """Those that can still be used, the oldest first."""
        query = (
            select(INITIAL_TOKENS)
            .where(INITIAL_TOKENS.c.uses > 0, INITIAL_TOKENS.c.expires > now)
            .order_by(INITIAL_TOKENS.c.created, INITIAL_TOKENS.c.id)
        )
        with self._state.reading() as connection:
            return [InitialToken(**row._mapping) for row in connection.execute(query)]

    def withdraw(self, token_id: str) -> bool:
        """Nobody uses it any more; False if there is none of this id."""
        with self._state.writing() as connection:
            return bool(connection.execute(delete(INITIAL_TOKENS).where(INITIAL_TOKENS.c.id == token_id)).rowcount)

    def sweep(self, now: int) -> None:
        """Forget what is over."""
        over = (INITIAL_TOKENS.c.expires <= now) | (INITIAL_TOKENS.c.uses <= 0)
        with self._state.writing() as connection:
            connection.execute(delete(INITIAL_TOKENS).where(over))


def _usable(hashed: bytes, now: int) -> Any:
    table = INITIAL_TOKENS.c
    return (table.hash == hashed) & (table.uses > 0) & (table.expires > now)
