"""The streams of a node, as their receivers and operators manage them. On the record first, as every act."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from interlock.clock import SECOND, Clock
from interlock.config import OwnIssuer
from interlock.control.signals.outbox import Outbox, entry
from interlock.control.status import rfc3339
from interlock.errors import NotFound, UsageError
from interlock.issuer.signals import events
from interlock.issuer.signals.api import POLL as POLL_PATH
from interlock.issuer.signals.api import SCOPE, TooSoon
from interlock.issuer.signals.events import canonical, opaque
from interlock.issuer.signals.stream import (
    MIN_VERIFICATION,
    POLL,
    PUSH,
    STATUSES,
    Wanted,
    check_authorization,
    delivered,
    is_allowed,
    push_url,
)
from interlock.keys import FactorKey
from interlock.model import Event, Recorder
from interlock.store import State
from interlock.store.clients import Clients
from interlock.store.signals import DISABLED, ENABLED, Backlog, Signals, Stream, Waiting

STREAMS = 64  # of a node
OF_CLIENT = 8
SUBJECTS = 10_000  # of a stream
POLLS = 64  # that wait at a time
OF_STREAM = 2


class AddStream(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator says of a new stream: the client it is for, and where it is pushed to (empty: it is polled)."""

    client: str
    push: str = ""
    audience: list[str] = []
    events: list[str] = []  # their short names, as `session-revoked`
    authorization: str = ""
    description: str = ""

    def __repr__(self) -> str:
        return f"AddStream(client={self.client!r}, push={self.push!r})"


class NamedStream(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class SetStatus(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    status: str
    reason: str = ""


class Compliance(msgspec.Struct, forbid_unknown_fields=True):
    """A device is, or is no longer, as it has to be."""

    device: str
    user: str = ""  # by name, of our own
    session: str = ""
    current: str = events.NOT_COMPLIANT
    previous: str = ""
    reason: str = ""


class StreamDesk:
    """For endpoints and operators; may be used by several threads."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        outbox: Outbox,
        issuer: Callable[[], OwnIssuer | None],
        key: Callable[[], FactorKey],
        acts: Callable[[], Recorder],
    ) -> None:
        """`key`: opens what is pushed with, asked for when it is needed; `acts`: the recorder of the issuer itself."""
        self._kept = Signals(state)
        self._clients = Clients(state)
        self._clock = clock
        self._outbox = outbox
        self._issuer = issuer
        self._key = key
        self._acts = acts
        self._polls: dict[str, list[int]] = {}  # until when they wait, by stream
        self.revision = 0
        self.changed: Callable[[], None] = lambda: None

    def filled(self) -> None:
        """Something is in a queue."""
        self.revision += 1

    # -- for receivers (`issuer.signals.api.Transmitter`)

    @property
    def everybody(self) -> bool:
        return self._outbox.everybody(self._settings())

    def of(self, client_id: str) -> list[Stream]:
        return self._kept.streams(client_id=client_id)

    def find(self, client_id: str, stream_id: str) -> Stream:
        stream = self._kept.stream(stream_id)
        if stream.client_id != client_id:
            raise NotFound(f"there is no stream {stream_id!r}")
        return stream

    def create(self, client_id: str, wanted: Wanted) -> Stream:
        """A receiver's own. It is pushed only where the file allows."""
        self._check_place(wanted.url)
        return self._add(self._new(client_id, wanted, (client_id,)), self._acts())

    def change(self, stream: Stream, wanted: Wanted, *, whole: bool) -> Stream:
        """`whole`: what is not said goes back to what it was at first (SSF 1.0 section 8.1.1.4)."""
        fields: dict[str, Any] = {}
        if whole or wanted.events is not None:
            fields["requested"] = wanted.events
        if whole or wanted.description is not None:
            fields["description"] = wanted.description or ""
        if whole or wanted.method is not None:
            if not (stream.operator and wanted.url == stream.url):
                self._check_place(wanted.url)
                fields["operator"] = False
            fields |= {"method": "push" if wanted.method == PUSH else "poll", "url": wanted.url}
            if whole or wanted.authorization is not None or wanted.url != stream.url:
                # What was meant for one place is never sent to another.
                fields |= self._sealed(stream.id, wanted.authorization or "")
        self._act(self._acts(), stream, "change")
        changed = self._kept.change_stream(stream.id, **fields)
        self.changed()
        return changed

    def remove(self, stream: Stream) -> None:
        self._remove(stream, self._acts())

    def set_status(self, stream: Stream, status: str, reason: str, *, by: str) -> Stream:
        return self._set_status(stream, status, reason, by, self._acts())

    def add_subject(self, stream: Stream, subject: Mapping[str, Any]) -> None:
        """Also where everybody is told of: one that was removed comes back."""
        if self.everybody:
            self._kept.drop_subject(stream.id, canonical(subject))
        else:
            self._kept.put_subject(stream.id, canonical(subject), added=True, most=SUBJECTS)

    def remove_subject(self, stream: Stream, subject: Mapping[str, Any]) -> None:
        if self.everybody:
            self._kept.put_subject(stream.id, canonical(subject), added=False, most=SUBJECTS)
        else:
            self._kept.drop_subject(stream.id, canonical(subject))

    def verify(self, stream: Stream, state: str | None) -> None:
        now = self._clock.wall()
        if 0 <= now - stream.verified < MIN_VERIFICATION * SECOND:
            raise TooSoon
        self._kept.change_stream(stream.id, verified=now)
        self._verification(stream, state, now)

    def waiting(self, stream: Stream, most: int) -> list[Waiting]:
        return self._kept.waiting(stream.id, most)

    def confirm(self, stream: Stream, jtis: Sequence[str], refused: Mapping[str, str]) -> None:
        """Confirmed and refused by who polls: either way it was heard, and is not sent again."""
        acts = self._acts()
        for jti, event in self._kept.confirm(stream.id, jtis):
            acts.act(Event.SIGNAL_SEND, {"stream": stream.id, "jti": jti, "event": event})
        for jti, event in self._kept.confirm(stream.id, list(refused)):
            told = {"stream": stream.id, "jti": jti, "event": event, "error": refused[jti], "by": "receiver"}
            acts.act(Event.SIGNAL_REFUSED, told)

    def may_wait(self, stream: Stream, until: int, now: int) -> bool:
        waiting = {name: kept for name, ends in self._polls.items() if (kept := [end for end in ends if end > now])}
        self._polls = waiting
        own = waiting.get(stream.id, [])
        if len(own) >= OF_STREAM or sum(map(len, waiting.values())) >= POLLS:
            return False
        waiting[stream.id] = [*own, until]
        return True

    # -- for operators

    def list(self) -> dict[str, Any]:
        backlogs = self._kept.backlogs()
        return {"streams": [describe(one, backlogs.get(one.id, Backlog())) for one in self._kept.streams()]}

    def add(self, asked: AddStream, acts: Recorder) -> dict[str, Any]:
        """A stream for a client; where it is pushed to is allowed by that."""
        self._settings()
        client = self._clients.get(asked.client)
        if SCOPE not in client.scopes and not asked.push:
            raise UsageError(f"client {asked.client} could not poll: it may not ask for the scope {SCOPE}")
        if asked.push:
            push_url(asked.push)
        if asked.authorization:
            check_authorization(asked.authorization)
        wanted = Wanted(
            tuple(_long_name(name) for name in asked.events) or None,
            PUSH if asked.push else POLL,
            asked.push,
            asked.authorization or None,
            asked.description,
        )
        stream = self._new(asked.client, wanted, tuple(asked.audience) or (asked.client,))
        return self._described(self._add(msgspec.structs.replace(stream, operator=True), acts))

    def drop(self, asked: NamedStream, acts: Recorder) -> dict[str, Any]:
        stream = self._kept.stream(asked.id)
        self._remove(stream, acts)
        return self._described(stream)

    def put_status(self, asked: SetStatus, acts: Recorder) -> dict[str, Any]:
        if asked.status not in STATUSES:
            raise UsageError(f"a stream is one of {', '.join(STATUSES)}")
        stream = self._kept.stream(asked.id)
        return self._described(self._set_status(stream, asked.status, asked.reason, "operator", acts))

    def check(self, asked: NamedStream, acts: Recorder) -> dict[str, Any]:
        """Put a verification event in the queue (SSF 1.0 section 8.1.4.1: without a state, since nobody asked)."""
        stream = self._kept.stream(asked.id)
        self._act(acts, stream, "verify")
        self._verification(stream, None, self._clock.wall())
        return self._described(stream)

    def compliance(self, asked: Compliance, acts: Recorder) -> dict[str, Any]:
        """Tell of a device that is no longer as it has to be, or is again."""
        self._settings()
        both = (events.COMPLIANT, events.NOT_COMPLIANT)
        previous = asked.previous or both[asked.current == events.COMPLIANT]
        if asked.current not in both or previous not in both:
            raise UsageError(f"a device is {' or '.join(both)}")
        if not asked.device:
            raise UsageError("say which device")
        principal = asked.user if not asked.user or ":" in asked.user else f"user:interlock/{asked.user}"
        told = {"what": "device-compliance-change", "device": asked.device, "current": asked.current}
        act = acts.act(Event.SIGNAL_SEND, {**told, **({"principal": principal} if principal else {})})
        streams = self._outbox.announce(
            "device-compliance-change",
            principal,
            asked.session,
            reason=asked.reason,
            device=asked.device,
            claims={"previous_status": previous, "current_status": asked.current},
        )
        return {"streams": streams, "act": act}

    # --

    def _settings(self) -> OwnIssuer:
        issuer = self._issuer()
        if issuer is None or issuer.signals is None:
            raise UsageError("the file says no `issuer: {signals: ...}`: nothing is told to anybody")
        return issuer

    def _check_place(self, url: str) -> None:
        settings = self._settings().signals
        assert settings is not None
        if url and not is_allowed(url, settings.push_to):
            raise UsageError("endpoint_url is not among the places that may be pushed to")

    def _new(self, client_id: str, wanted: Wanted, audience: tuple[str, ...]) -> Stream:
        stream_id = secrets.token_hex(16)
        return Stream(
            id=stream_id,
            client_id=client_id,
            audience=audience,
            created=self._clock.wall(),
            method="push" if wanted.method == PUSH else "poll",
            url=wanted.url,
            requested=wanted.events,
            description=wanted.description or "",
            **self._sealed(stream_id, wanted.authorization or ""),
        )

    def _sealed(self, stream_id: str, authorization: str) -> dict[str, Any]:
        if not authorization:
            return {"authorization": b"", "key": ""}
        key = self._key()
        return {"authorization": key.wrap(authorization.encode("ascii"), about(stream_id)), "key": key.id}

    def _add(self, stream: Stream, acts: Recorder) -> Stream:
        self._act(acts, stream, "create")
        self._kept.add_stream(stream, most=STREAMS, most_of_client=OF_CLIENT)
        self.changed()
        return stream

    def _remove(self, stream: Stream, acts: Recorder) -> None:
        self._act(acts, stream, "remove")
        self._kept.remove_stream(stream.id)
        self.changed()

    def _set_status(self, stream: Stream, status: str, reason: str, by: str, acts: Recorder) -> Stream:
        self._act(acts, stream, status)
        fields: dict[str, Any] = {"status": status, "reason": reason, "paused_by": "" if status == ENABLED else by}
        if status == ENABLED:
            fields["lost"] = 0
        changed = self._kept.change_stream(stream.id, **fields)
        if by != "receiver" and status != DISABLED:
            self._updated(changed)
        self.changed()
        self._outbox.filled()
        return changed

    def _updated(self, stream: Stream) -> None:
        """Its receiver is told what we did to it (SSF 1.0 section 8.1.5), as far as it still hears from us."""
        payload = {"status": stream.status, **({"reason": stream.reason} if stream.reason else {})}
        self._put(stream, events.STREAM_UPDATED, payload, self._clock.wall())

    def _verification(self, stream: Stream, state: str | None, now: int) -> None:
        self._put(stream, events.VERIFICATION, {} if state is None else {"state": state}, now)

    def _put(self, stream: Stream, event: str, payload: Mapping[str, Any], now: int) -> None:
        if stream.status == DISABLED:
            return
        self._outbox.put([entry(self._settings().url, stream, opaque(stream.id), event, payload, now)], now)

    def _act(self, acts: Recorder, stream: Stream, what: str) -> None:
        told = {"stream": stream.id, "client": stream.client_id, "what": what, "method": stream.method}
        acts.act(Event.SIGNAL_STREAM, {**told, "url": stream.url} if stream.url else told)

    def _described(self, stream: Stream) -> dict[str, Any]:
        found = describe(stream, self._kept.backlogs().get(stream.id, Backlog()))
        if stream.method == "poll":
            found["poll"] = f"{self._settings().url}{POLL_PATH}?stream_id={stream.id}"
        return found


def about(stream_id: str) -> str:
    """What the header field of a stream is sealed for."""
    return f"signal stream\0{stream_id}"


def describe(stream: Stream, backlog: Backlog) -> dict[str, Any]:
    """A stream for people and programs, without what we prove ourselves with."""
    return {
        "id": stream.id,
        "client": stream.client_id,
        "audience": list(stream.audience),
        "method": stream.method,
        "url": stream.url or None,
        "events": [event.rpartition("/")[2] for event in delivered(stream.requested)],
        "status": stream.status,
        "reason": stream.reason or None,
        "waiting": backlog.count,
        "oldest": rfc3339(backlog.oldest) if backlog.oldest else None,
        "lost": stream.lost,
        "description": stream.description or None,
        "created": rfc3339(stream.created),
    }


def _long_name(name: str) -> str:
    for event in events.SUPPORTED:
        if name in (event, event.rpartition("/")[2]):
            return event
    raise UsageError(
        f"{name!r} is not told of (there are {', '.join(one.rpartition('/')[2] for one in events.SUPPORTED)})"
    )
