"""Persons on the record, in the state database: who has which pseudonym, and what opens their subject frames.

Nothing here can be read without a store key, and nothing here opens one: values come wrapped and go wrapped.
An erasure leaves the places (segment, sequence) with the pseudonym, so that readers can say that something
was erased; a hash of the id MUST NOT stay, since whoever holds the key could try guesses on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from interlock.errors import NotFound
from interlock.store.model import Erasure, Hold, Person, SubjectRow, TakenIn
from interlock.store.schema import ERASED, ERASURES, HOLDS, PERSONS, SUBJECTS, TAKEN_IN
from interlock.store.state import State

BATCH = 2000


class Persons:
    """Over an opened `State`; every change is one transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    # -- taking in

    def taken_in(self) -> dict[str, TakenIn]:
        """By file name."""
        with self._state.reading() as connection:
            rows = connection.execute(select(TAKEN_IN)).mappings()
            return {row["file"]: TakenIn(**{**row, "ended": bool(row["ended"])}) for row in rows}

    def find(self, hashes: Sequence[bytes]) -> list[Person]:
        """Whom these hashes of ids name."""
        found = []
        with self._state.reading() as connection:
            for at in range(0, len(hashes), 500):
                query = select(PERSONS).where(PERSONS.c.hash.in_(hashes[at : at + 500]))
                found += [Person(**row) for row in connection.execute(query).mappings()]
        return found

    def take_in(self, place: TakenIn, persons: Iterable[Person], subjects: Sequence[SubjectRow]) -> None:
        """Keep what was found up to `place`. What is there stays as it is; what was erased does not come back."""
        with self._state.writing() as connection:
            if new := [asdict(person) for person in persons]:
                connection.execute(insert(PERSONS), new)
            if subjects:
                gone = set(
                    connection.execute(
                        select(ERASED.c.sequence).where(ERASED.c.segment == subjects[0].segment)
                    ).scalars()
                )
                rows = [asdict(row) for row in subjects if row.sequence not in gone]
                if rows:
                    connection.execute(upsert(SUBJECTS).on_conflict_do_nothing(), rows)
            values = {**asdict(place), "ended": int(place.ended)}
            connection.execute(upsert(TAKEN_IN).on_conflict_do_update(index_elements=["file"], set_=values), values)

    # -- reading

    def of_segment(self, segment: bytes) -> list[SubjectRow]:
        with self._state.reading() as connection:
            rows = connection.execute(select(SUBJECTS).where(SUBJECTS.c.segment == segment)).mappings()
            return [SubjectRow(**row) for row in rows]

    def erased(self, segment: bytes) -> dict[int, str]:
        """Sequence to pseudonym."""
        query = select(ERASED.c.sequence, ERASED.c.pseudonym).where(ERASED.c.segment == segment)
        with self._state.reading() as connection:
            return {row.sequence: row.pseudonym for row in connection.execute(query)}

    def places(self, pseudonym: str) -> list[tuple[bytes, int, int]]:
        """Segment, sequence and time of each subject frame."""
        query = select(SUBJECTS.c.segment, SUBJECTS.c.sequence, SUBJECTS.c.time)
        with self._state.reading() as connection:
            return [tuple(row) for row in connection.execute(query.where(SUBJECTS.c.pseudonym == pseudonym))]

    # -- erasing

    def erasures(self) -> list[Erasure]:
        with self._state.reading() as connection:
            rows = connection.execute(select(ERASURES).order_by(ERASURES.c.requested)).mappings()
            return [Erasure(**row) for row in rows]

    def begin_erasure(self, erasure: Erasure) -> None:
        """From now on it will be gone through with, whatever happens."""
        statement = upsert(ERASURES).on_conflict_do_nothing()
        with self._state.writing() as connection:
            connection.execute(statement, asdict(erasure))

    def mark(self, pseudonyms: Iterable[str], **values: Any) -> None:
        """Note how far these erasures went."""
        with self._state.writing() as connection:
            for pseudonym in pseudonyms:
                connection.execute(update(ERASURES).where(ERASURES.c.pseudonym == pseudonym).values(values))

    def erase(self, pseudonym: str, now: int) -> None:
        """Delete all that leads from a pseudonym to somebody, and leave where that was; all or nothing."""
        mine = SUBJECTS.c.pseudonym == pseudonym
        places = select(SUBJECTS.c.segment, SUBJECTS.c.sequence, SUBJECTS.c.pseudonym).where(mine)
        with self._state.writing() as connection:
            connection.execute(insert(ERASED).from_select(["segment", "sequence", "pseudonym"], places))
            connection.execute(delete(SUBJECTS).where(mine))
            connection.execute(delete(PERSONS).where(PERSONS.c.pseudonym == pseudonym))
            connection.execute(update(ERASURES).where(ERASURES.c.pseudonym == pseudonym).values(erased=now))

    def scrub(self) -> bool:
        """As `State.scrub`."""
        return self._state.scrub()

    # -- pruning

    def forget(self, segments: Sequence[bytes]) -> None:
        """Delete what is known of these segments' subjects, and whom no other segment names; all or nothing."""
        with self._state.writing() as connection:
            for at in range(0, len(segments), 500):
                some = segments[at : at + 500]
                connection.execute(delete(SUBJECTS).where(SUBJECTS.c.segment.in_(some)))
                connection.execute(delete(ERASED).where(ERASED.c.segment.in_(some)))
            connection.execute(delete(PERSONS).where(PERSONS.c.pseudonym.not_in(select(SUBJECTS.c.pseudonym))))

    # -- turning the store key

    def persons_under(self, keys: Sequence[str]) -> list[Person]:
        with self._state.reading() as connection:
            rows = connection.execute(select(PERSONS).where(PERSONS.c.key.in_(keys)).limit(BATCH)).mappings()
            return [Person(**row) for row in rows]

    def subjects_under(self, keys: Sequence[str]) -> list[SubjectRow]:
        with self._state.reading() as connection:
            rows = connection.execute(select(SUBJECTS).where(SUBJECTS.c.key.in_(keys)).limit(BATCH)).mappings()
            return [SubjectRow(**row) for row in rows]

    def rewrap(self, persons: Iterable[Person] = (), subjects: Iterable[SubjectRow] = ()) -> None:
        """The same persons and subjects under another store key."""
        with self._state.writing() as connection:
            for person in persons:
                connection.execute(
                    update(PERSONS)
                    .where(PERSONS.c.pseudonym == person.pseudonym)
                    .values(hash=person.hash, key=person.key, sealed=person.sealed)
                )
            for row in subjects:
                connection.execute(
                    update(SUBJECTS)
                    .where(SUBJECTS.c.segment == row.segment, SUBJECTS.c.sequence == row.sequence)
                    .values(key=row.key, wrapped=row.wrapped)
                )

    def rewrap_hold(self, hold: Hold) -> None:
        with self._state.writing() as connection:
            connection.execute(update(HOLDS).where(HOLDS.c.id == hold.id).values(key=hold.key, sealed=hold.sealed))

    def under(self, key: str) -> int:
        """How much is still wrapped under a store key."""
        with self._state.reading() as connection:
            return sum(connection.execute(_count(table, key)).scalar_one() for table in (PERSONS, SUBJECTS, HOLDS))

    # -- holds

    def holds(self) -> list[Hold]:
        with self._state.reading() as connection:
            return [Hold(**row) for row in connection.execute(select(HOLDS).order_by(HOLDS.c.added)).mappings()]

    def add_hold(self, hold: Hold) -> None:
        with self._state.writing() as connection:
            connection.execute(insert(HOLDS), asdict(hold))

    def release_hold(self, hold_id: str) -> None:
        """`NotFound`."""
        with self._state.writing() as connection:
            if not connection.execute(delete(HOLDS).where(HOLDS.c.id == hold_id)).rowcount:
                raise NotFound(f"there is no hold {hold_id!r}")


def _count(table: Table, key: str) -> Any:
    return select(func.count()).select_from(table).where(table.c.key == key)
