"""Who is told of what happens to subjects, what waits to be told, and what was told to us (Shared Signals Framework).

What waits is kept in its order, for each stream, until its receiver has confirmed it: at least once, whoever is killed.
It holds names of subjects as our tokens have them, and goes when it was confirmed. Times are wall nanoseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from interlock.errors import NotFound, StateError, UsageError
from interlock.store.schema import SIGNAL_QUEUE, SIGNAL_STREAMS, SIGNAL_SUBJECTS, SIGNALS_SEEN
from interlock.store.state import State

T = TypeVar("T")
ENABLED, PAUSED, DISABLED = "enabled", "paused", "disabled"


class Stream(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who is told, of what, and by which way (SSF 1.0 section 8.1.1)."""

    id: str
    client_id: str  # whose it is: who may change it and poll
    audience: tuple[str, ...]
    created: int
    method: str = "poll"  # or "push"
    url: str = ""  # where it is pushed to
    authorization: bytes = b""  # sealed: the header field to push with
    key: str = ""  # the key that it is sealed under
    requested: tuple[str, ...] | None = None  # event types; None: all there are
    description: str = ""
    status: str = ENABLED
    reason: str = ""
    paused_by: str = ""  # "receiver", "operator" or "node"
    operator: bool = False  # made by an operator, who has allowed its URL by that
    verified: int = 0  # when a verification event was last asked for
    lost: int = 0  # events that were not kept for it, since too many waited

    def __repr__(self) -> str:
        return f"Stream(id={self.id!r}, method={self.method!r}, status={self.status!r})"


class Waiting(msgspec.Struct, frozen=True):
    """One event that is to be told: the claims of its SET, to be signed when it goes."""

    number: int
    stream: str
    jti: str
    event: str
    claims: dict[str, Any]
    created: int
    refused: int = 0  # how often its receiver has refused it


class Backlog(msgspec.Struct, frozen=True):
    """What waits for one stream."""

    count: int = 0
    oldest: int = 0  # when the first of it happened


class Entry(msgspec.Struct, frozen=True):
    """What is to wait."""

    stream: str
    jti: str
    event: str
    claims: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_stream = msgspec.json.Decoder(Stream).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


class Signals:
    """The tables of signals, over an opened state. For any number of threads."""

    def __init__(self, state: State) -> None:
        self._state = state

    # -- streams

    def streams(self, *, client_id: str | None = None) -> list[Stream]:
        """The oldest first."""
        query = select(SIGNAL_STREAMS.c.data).order_by(SIGNAL_STREAMS.c.created, SIGNAL_STREAMS.c.id)
        if client_id is not None:
            query = query.where(SIGNAL_STREAMS.c.client_id == client_id)
        with self._state.reading() as connection:
            return [_read(_stream, row.data, "stream") for row in connection.execute(query)]

    def stream(self, stream_id: str) -> Stream:
        """`NotFound`."""
        with self._state.reading() as connection:
            return _find(connection, stream_id)

    def add_stream(self, stream: Stream, *, most: int, most_of_client: int) -> None:
        """Keep a new stream; `UsageError` if there are as many already, in all or of this client."""
        with self._state.writing() as connection:
            count = select(func.count()).select_from(SIGNAL_STREAMS)
            if connection.execute(count).scalar_one() >= most:
                raise UsageError(f"there are {most} streams already")
            own = connection.execute(count.where(SIGNAL_STREAMS.c.client_id == stream.client_id)).scalar_one()
            if own >= most_of_client:
                raise UsageError(f"client {stream.client_id} has {most_of_client} streams already")
            connection.execute(insert(SIGNAL_STREAMS), [_values(stream)])

    def change_stream(self, stream_id: str, **fields: Any) -> Stream:
        """Change it and give it as it is now; `NotFound`. What waits for one that is disabled is dropped."""
        with self._state.writing() as connection:
            stream = msgspec.structs.replace(_find(connection, stream_id), **fields)
            connection.execute(update(SIGNAL_STREAMS).where(SIGNAL_STREAMS.c.id == stream_id).values(_values(stream)))
            if stream.status == DISABLED:
                connection.execute(delete(SIGNAL_QUEUE).where(SIGNAL_QUEUE.c.stream == stream_id))
            return stream

    def remove_stream(self, stream_id: str) -> Stream:
        """With all that is its; `NotFound`."""
        with self._state.writing() as connection:
            stream = _find(connection, stream_id)
            connection.execute(delete(SIGNAL_QUEUE).where(SIGNAL_QUEUE.c.stream == stream_id))
            connection.execute(delete(SIGNAL_SUBJECTS).where(SIGNAL_SUBJECTS.c.stream == stream_id))
            connection.execute(delete(SIGNAL_STREAMS).where(SIGNAL_STREAMS.c.id == stream_id))
            return stream

    # -- whom a stream tells of

    def put_subject(self, stream_id: str, subject: bytes, *, added: bool, most: int) -> None:
        """Remember that a subject (its one spelling) was added or removed; `UsageError` if there are too many."""
        digest = hashlib.sha256(subject).digest()
        values = {"added": int(added), "subject": subject.decode()}
        statement = upsert(SIGNAL_SUBJECTS).values(stream=stream_id, hash=digest, **values)
        with self._state.writing() as connection:
            count = select(func.count()).where(SIGNAL_SUBJECTS.c.stream == stream_id, SIGNAL_SUBJECTS.c.hash != digest)
            if connection.execute(count).scalar_one() >= most:
                raise UsageError(f"a stream has at most {most} subjects")
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[SIGNAL_SUBJECTS.c.stream, SIGNAL_SUBJECTS.c.hash], set_=values
                )
            )

    def drop_subject(self, stream_id: str, subject: bytes) -> None:
        """Nothing was said of it."""
        digest = hashlib.sha256(subject).digest()
        with self._state.writing() as connection:
            connection.execute(
                delete(SIGNAL_SUBJECTS).where(SIGNAL_SUBJECTS.c.stream == stream_id, SIGNAL_SUBJECTS.c.hash == digest)
            )

    def subjects(self, stream_id: str, *, added: bool) -> list[dict[str, Any]]:
        query = select(SIGNAL_SUBJECTS.c.subject).where(
            SIGNAL_SUBJECTS.c.stream == stream_id, SIGNAL_SUBJECTS.c.added == int(added)
        )
        with self._state.reading() as connection:
            return [_read(_object, row.subject, "subject") for row in connection.execute(query)]

    # -- what waits

    def enqueue(self, entries: Sequence[Entry], now: int, *, most: int) -> list[str]:
        """Keep all of it, in this order; gives the streams for which that was too much: they have lost it."""
        full: list[str] = []
        with self._state.writing() as connection:
            for entry in entries:
                waiting = select(func.count()).where(SIGNAL_QUEUE.c.stream == entry.stream)
                if connection.execute(waiting).scalar_one() >= most:
                    full.append(entry.stream)
                    continue
                connection.execute(
                    insert(SIGNAL_QUEUE),
                    [
                        {
                            "stream": entry.stream,
                            "jti": entry.jti,
                            "event": entry.event,
                            "claims": _encode(entry.claims).decode(),
                            "created": now,
                            "refused": 0,
                        }
                    ],
                )
        return full

    def waiting(self, stream_id: str, most: int) -> list[Waiting]:
        """What came first, first."""
        query = (
            select(SIGNAL_QUEUE).where(SIGNAL_QUEUE.c.stream == stream_id).order_by(SIGNAL_QUEUE.c.number).limit(most)
        )
        with self._state.reading() as connection:
            return [
                Waiting(
                    row.number,
                    row.stream,
                    row.jti,
                    row.event,
                    _read(_object, row.claims, "signal"),
                    row.created,
                    row.refused,
                )
                for row in connection.execute(query)
            ]

    def confirm(self, stream_id: str, jtis: Sequence[str]) -> list[tuple[str, str]]:
        """It was told; gives `jti` and event of what had waited."""
        named = (SIGNAL_QUEUE.c.stream == stream_id) & SIGNAL_QUEUE.c.jti.in_(list(jtis))
        with self._state.writing() as connection:
            rows = connection.execute(select(SIGNAL_QUEUE.c.jti, SIGNAL_QUEUE.c.event).where(named)).all()
            if rows:
                connection.execute(delete(SIGNAL_QUEUE).where(named))
            return [(row.jti, row.event) for row in rows]

    def refuse(self, number: int) -> None:
        """Its receiver did not take it."""
        with self._state.writing() as connection:
            connection.execute(
                update(SIGNAL_QUEUE).where(SIGNAL_QUEUE.c.number == number).values(refused=SIGNAL_QUEUE.c.refused + 1)
            )

    def backlogs(self) -> dict[str, Backlog]:
        """By stream; those that have none are not there."""
        query = select(
            SIGNAL_QUEUE.c.stream, func.count().label("total"), func.min(SIGNAL_QUEUE.c.created).label("oldest")
        ).group_by(SIGNAL_QUEUE.c.stream)
        with self._state.reading() as connection:
            return {row.stream: Backlog(row.total, row.oldest) for row in connection.execute(query)}

    def expire(self, before: int) -> dict[str, int]:
        """Drop what has waited since before then; gives how much of each stream."""
        old = SIGNAL_QUEUE.c.created < before
        with self._state.writing() as connection:
            rows = connection.execute(
                select(SIGNAL_QUEUE.c.stream, func.count().label("total")).where(old).group_by(SIGNAL_QUEUE.c.stream)
            ).all()
            if rows:
                connection.execute(delete(SIGNAL_QUEUE).where(old))
            return {row.stream: row.total for row in rows}

    # -- what was told to us

    def seen(self, issuer: str, jti: str) -> bool:
        """Whether a SET came before."""
        query = select(SIGNALS_SEEN.c.hash).where(SIGNALS_SEEN.c.hash == _name(issuer, jti))
        with self._state.reading() as connection:
            return connection.execute(query).one_or_none() is not None

    def remember(self, issuer: str, jti: str, expires: int) -> None:
        """It came; to be remembered until its age refuses it anyway."""
        statement = upsert(SIGNALS_SEEN).on_conflict_do_nothing()
        with self._state.writing() as connection:
            connection.execute(statement, {"hash": _name(issuer, jti), "expires": expires})

    def forget(self, now: int) -> None:
        """What is refused for its age by now."""
        with self._state.writing() as connection:
            connection.execute(delete(SIGNALS_SEEN).where(SIGNALS_SEEN.c.expires <= now))


def _name(issuer: str, jti: str) -> bytes:
    return hashlib.sha256(issuer.encode("utf-8") + b"\0" + jti.encode("utf-8")).digest()


def _find(connection: Connection, stream_id: str) -> Stream:
    row = connection.execute(select(SIGNAL_STREAMS.c.data).where(SIGNAL_STREAMS.c.id == stream_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no stream {stream_id!r}")
    return _read(_stream, row.data, "stream")


def _read(decode: Callable[[str], T], data: str, what: str) -> T:
    try:
        return decode(data)
    except msgspec.MsgspecError as error:
        raise StateError(f"a {what} in the state database is damaged: {error}") from error


def _values(stream: Stream) -> dict[str, Any]:
    return {
        "id": stream.id,
        "client_id": stream.client_id,
        "status": stream.status,
        "created": stream.created,
        "data": _encode(stream).decode(),
    }
