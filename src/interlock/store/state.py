"""The state database: SQLite in WAL mode, on disk before a change returns.

Read and written by the control process and by commands, never by a worker. It holds no secret: keys are
hashes, persons are wrapped (`persons.py`). Everything a worker needs of it is compiled into a snapshot, so
with the database gone calls go on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, Select, create_engine, event, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from interlock.errors import NotFound, StateError, UsageError
from interlock.store.client_rows import ClientRows
from interlock.store.model import ApiKeyRow, Revocation
from interlock.store.schema import API_KEYS, MARKS, REVOCATIONS, RISKS, migrate

_BATCH = 5000
_WAIT_MS = 15_000  # for another writer; a control process that hangs with the lock is killed after ten seconds

_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode


class State:
    """One opened database. Every change is one transaction; `StateError` if it cannot be made."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self._engine = engine
        self.client_rows = ClientRows(path)  # opened when it is first asked

    @classmethod
    def open(cls, path: Path) -> State:
        """Open the database and bring it to the present version; made, mode 0600, if it is not there."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from error
        state = cls(path, _engine(path))
        with state.writing() as connection:
            migrate(connection)
        return state

    def close(self) -> None:
        self.client_rows.close()
        self._engine.dispose()

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- API keys

    def keys(self, *, principal: str | None = None) -> list[ApiKeyRow]:
        """All API keys, revoked ones too, the oldest first."""
        query = select(API_KEYS).order_by(API_KEYS.c.created, API_KEYS.c.id)
        if principal is not None:
            query = query.where(API_KEYS.c.principal == principal)
        return [_key(row) for row in self._stream(query)]

    def key(self, key_id: str) -> ApiKeyRow:
        """One API key; `NotFound`."""
        with self.reading() as connection:
            return _find(connection, key_id)

    def usable_keys(self, now: int) -> Iterator[ApiKeyRow]:
        """Keys that are neither revoked nor expired, sorted by hash: what goes into a snapshot.

        Streamed, as of one moment: what is changed meanwhile is not seen, and belongs into the change log.
        """
        query = (
            select(API_KEYS)
            .where(API_KEYS.c.revoked == 0, or_(API_KEYS.c.expires == 0, API_KEYS.c.expires > now))
            .order_by(API_KEYS.c.hash)
        )
        return map(_key, self._stream(query))

    def add_key(self, row: ApiKeyRow) -> None:
        """Keep a new key; `UsageError` if its id is taken."""
        self.add_keys([row])

    def add_keys(self, rows: Iterable[ApiKeyRow]) -> int:
        """Keep many, all or none; gives their number."""
        source, count = iter(rows), 0
        with self.writing() as connection:
            while batch := [_key_values(row) for row in islice(source, _BATCH)]:
                connection.execute(insert(API_KEYS), batch)
                count += len(batch)
        return count

    def rotate(self, key_id: str, successor: ApiKeyRow, *, until: int, act: str = "") -> ApiKeyRow:
        """Keep a key's successor; the old key expires at `until`, or earlier if it would have. Gives the old key.

        `NotFound`, or `UsageError` if it is revoked, expired or was replaced before.
        """
        with self.writing() as connection:
            old = _find(connection, key_id)
            if old.revoked:
                raise UsageError(f"key {key_id} is revoked and cannot be rotated")
            if old.replaced_by:
                raise UsageError(f"key {key_id} was replaced by {old.replaced_by} already")
            if not old.usable(successor.created):
                raise UsageError(f"key {key_id} has expired and cannot be rotated")
            expires = min(old.expires or until, until)
            old = replace(old, expires=expires, replaced_by=successor.id, acts=_with(old.acts, act))
            connection.execute(insert(API_KEYS), [_key_values(successor)])
            _store(connection, old)
            return old

    def revoke(self, key_id: str, *, now: int, act: str = "") -> ApiKeyRow:
        """Mark a key revoked; gives it. One that was revoked stays as it was. `NotFound`."""
        with self.writing() as connection:
            row = _find(connection, key_id)
            if not row.revoked:
                row = replace(row, revoked=now, acts=_with(row.acts, act))
                _store(connection, row)
            return row

    def forget(self, principal: str, name: str, now: int) -> None:
        """Put `name` in the place of a principal's in keys that nobody can use any more, and where it was revoked."""
        with self.writing() as connection:
            connection.execute(
                update(API_KEYS)
                .where(
                    API_KEYS.c.principal == principal,
                    (API_KEYS.c.revoked != 0) | ((API_KEYS.c.expires != 0) & (API_KEYS.c.expires <= now)),
                )
                .values(principal=name, name=name)
            )
            for table in (MARKS, RISKS):
                connection.execute(
                    update(table).where(table.c.what == f"principal {principal}").values(what=f"principal {name}")
                )

    # -- revocations of what is not kept here: tokens, certificates, principals

    def add_revocation(self, revocation: Revocation) -> None:
        """Remember a revocation; one of the same handle is kept for the longer of the two."""
        self.add_revocations([revocation])

    def add_revocations(self, revocations: Iterable[Revocation]) -> None:
        source = iter(revocations)
        with self.writing() as connection:
            while batch := list(islice(source, _BATCH)):
                put_revocations(connection, batch)

    def revocations(self, now: int) -> Iterator[Revocation]:
        """Revocations that still matter, sorted by handle: what goes into a snapshot. Streamed."""
        query = (
            select(REVOCATIONS)
            .where(or_(REVOCATIONS.c.expires == 0, REVOCATIONS.c.expires > now))
            .order_by(REVOCATIONS.c.handle)
        )
        return map(_revocation, self._stream(query))

    def scrub(self) -> bool:
        """Leave nothing of what was deleted in the files; False if somebody else's reading was in the way."""
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("VACUUM")
                blocked: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                return not blocked
        except SQLAlchemyError:
            return False

    # -- transactions

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """For the modules of this package."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StateError(f"{self.path}: {_reason(error)}") from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, for the modules of this package."""
        try:
            with self._engine.connect() as connection:
                # IMMEDIATE: a transaction that will write takes its place at once, so it cannot fail half-way
                # on somebody else's. Leaving the block by an exception closes the connection, which undoes all.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                connection.exec_driver_sql("COMMIT")
        except IntegrityError as error:
            raise UsageError(f"it exists already ({_reason(error)})") from error
        except SQLAlchemyError as error:
            raise StateError(f"{self.path}: {_reason(error)}") from error

    def _stream(self, query: Select[Any]) -> Iterator[Row[Any]]:
        with self.reading() as connection:
            yield from connection.execution_options(yield_per=_BATCH).execute(query)


def put_revocations(connection: Connection, revocations: list[Revocation]) -> None:
    """Keep revocations, for the modules of this package."""
    statement = upsert(REVOCATIONS)
    new, old = statement.excluded.expires, REVOCATIONS.c.expires
    statement = statement.on_conflict_do_update(
        index_elements=[REVOCATIONS.c.handle],
        set_={"expires": new},
        where=(old != 0) & or_(new == 0, new > old),
    )
    connection.execute(statement, [_revocation_values(one) for one in revocations])


def revoke_keys(connection: Connection, principal: str, now: int, act: str) -> list[ApiKeyRow]:
    """Revoke all of a principal's keys that could still be used and give them, for the modules of this package."""
    query = select(API_KEYS).where(API_KEYS.c.principal == principal, API_KEYS.c.revoked == 0).order_by(API_KEYS.c.id)
    rows = [_key(row) for row in connection.execute(query)]
    revoked = [replace(row, revoked=now, acts=_with(row.acts, act)) for row in rows if row.usable(now)]
    for row in revoked:
        _store(connection, row)
    return revoked


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun and ended by us, in so many words
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA trusted_schema = OFF")
        cursor.execute("PRAGMA secure_delete = ON")  # what is erased is not left in free pages
        cursor.close()

    return engine


def _reason(error: SQLAlchemyError) -> str:
    """What the database said, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__)


def _find(connection: Connection, key_id: str) -> ApiKeyRow:
    row = connection.execute(select(API_KEYS).where(API_KEYS.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no API key {key_id!r}")
    return _key(row)


def _store(connection: Connection, row: ApiKeyRow) -> None:
    connection.execute(update(API_KEYS).where(API_KEYS.c.id == row.id).values(_key_values(row)))


def _with(acts: tuple[str, ...], act: str) -> tuple[str, ...]:
    return (*acts, act) if act else acts


def _key(row: Row[Any]) -> ApiKeyRow:
    columns: dict[str, Any] = dict(row._mapping)
    try:
        for name in ("roles", "networks", "acts"):
            columns[name] = _texts(columns[name])
    except msgspec.MsgspecError as error:
        raise StateError(f"API key {columns['id']!r} is damaged: {error}") from error
    return ApiKeyRow(**columns)


def _revocation(row: Row[Any]) -> Revocation:
    columns: dict[str, Any] = dict(row._mapping)
    return Revocation(**columns)


def _key_values(row: ApiKeyRow) -> dict[str, Any]:
    if len(row.hash) != 32:
        raise StateError("an API key is kept by a hash of 32 bytes")
    return {
        "id": row.id,
        "name": row.name,
        "principal": row.principal,
        "hash": row.hash,
        "roles": _encode(row.roles).decode(),
        "networks": _encode(row.networks).decode(),
        "created": row.created,
        "not_before": row.not_before,
        "expires": row.expires,
        "revoked": row.revoked,
        "replaced_by": row.replaced_by,
        "acts": _encode(row.acts).decode(),
    }


def _revocation_values(one: Revocation) -> dict[str, Any]:
    if len(one.handle) != 32:
        raise StateError("a revocation names a handle of 32 bytes")
    return {
        "handle": one.handle,
        "what": one.what,
        "revoked": one.revoked,
        "expires": one.expires,
        "act": one.act,
    }
