"""What others tell us: a security event token is verified, and what it says is done by the revocation desk.

    session-revoked              the session, the token or the client it names is refused; of a person or a device, all
                                 that was issued before it happened
    credential-change            revoke, delete, update: all of the person's that was issued before
    device-compliance-change     not-compliant: the session, the person or the device
    anything else                is acknowledged and recorded, not acted upon

Each of it is of the issuer that says it, and of nobody else's (`issuer.signals.subjects`). Who signs in at our own
issuer as somebody of that issuer loses what they have here. When it happened is `event_timestamp`, or else when the
token was issued; later than now it cannot have been. Acting twice does what acting once does, so a token is remembered
after it was acted upon: one that comes again is acknowledged, and nothing more.

What is not signed by whom it names is refused without being put on the record each time: anybody can send it, and the
call that brought it is on the record.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from interlock.clock import SECOND, Clock
from interlock.config.own_issuer import EVENTS
from interlock.control.credentials import OWN_LIFE, Doomed
from interlock.control.signals.sources import OutsideSource, Stale
from interlock.control.signals.status import SourceStatus
from interlock.errors import InterlockError, RecordUnavailable, StateError
from interlock.identity import client_handle, issuer_handle, principal_handle, session_handle, token_handle
from interlock.issuer.errors import NotYet
from interlock.issuer.http import NO_STORE, Request, Response, json_response
from interlock.issuer.signals import events
from interlock.issuer.signals.sets import MEDIA, EventSet, SetRefused, verify
from interlock.issuer.signals.subjects import Target, persons, targets
from interlock.jose import MAX_TOKEN, TokenRefused, claims_set, split
from interlock.model import Event, Recorder
from interlock.store import State
from interlock.store.signals import Signals

PATH: Final = EVENTS
KEPT: Final = 400 * 86_400 * SECOND  # for so long what an outside issuer has ended is refused: longer than it lives
KEYS: Final = 3 * SECOND  # for so long a push waits for newer keys,
AGAIN: Final = 30 * SECOND  # which are asked for no more often,
WAITING: Final = 32  # and so many wait for at a time
LOOK: Final = 0.2
SAID: Final = 10 * SECOND  # refusals of what nobody has signed are told of no more often
KNOWN_BAD: Final = 4096  # tokens
ENGLISH: Final = ("content-language", "en")  # of every `description` (RFC 8935 section 2.3)
ENDING: Final = ("revoke", "delete", "update")


class Log(Protocol):
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class Desk(Protocol):
    """The revocation desk, as it is needed here."""

    def signalled(self, doomed: Doomed, acts: Recorder) -> dict[str, Any]: ...


class Receiver:
    """Of one node. For any number of threads; one issuer's tokens are acted upon one after the other."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        log: Log,
        *,
        desk: Desk,
        find: Callable[[str], OutsideSource | None],
        refresh: Callable[[str], None],
        acts: Callable[[], Recorder],
        linked: Callable[[str, str], tuple[str, str] | None] = lambda _issuer, _sub: None,
    ) -> None:
        """`refresh(issuer)` asks for newer keys and returns at once; `linked(issuer, sub)` gives the principal of our
        own, and the issuer that is ours, of whom it is who signs in as them."""
        self._kept = Signals(state)
        self._clock = clock
        self._log = log
        self._desk = desk
        self._find = find
        self.refresh = refresh
        self._linked = linked
        self._acts = acts
        self._locks: dict[str, threading.Lock] = {}
        self._statuses: dict[str, SourceStatus] = {}
        self._guard = threading.Lock()
        self._told = -SAID  # monotonic
        self._untold = 0
        self._asked: dict[str, tuple[int, int]] = {}  # when newer keys were asked for, and how many wait for them
        self._swept = 0
        self._known_bad: set[bytes] = set()  # SHA-256 of tokens whose refusal is on the record

    # -- pushed (RFC 8935)

    def push(self, request: Request) -> Response:
        """One token: 202, or 400 with a code. Raises `NotYet` while newer keys are fetched."""
        if request.method != "POST":
            return json_response({"err": "invalid_request"}, 405, (("allow", "POST"),))
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != MEDIA:
            return self._refused(SetRefused("invalid_request", f"the body is {MEDIA}"))
        if len(request.body) > MAX_TOKEN:
            return self._refused(SetRefused("invalid_request", f"it is longer than {MAX_TOKEN} bytes"))
        try:
            self.take(request.body.strip(), by="push", authorization=request.headers.get("authorization", ""))
        except SetRefused as refused:
            if refused.key_unknown and self._waits(request):
                raise NotYet(LOOK) from None
            return self._refused(refused)
        except Stale:
            return _later("the issuer's keys are not to be had")
        except (StateError, RecordUnavailable) as problem:
            self._log.error("a signal could not be acted upon", problem=str(problem))
            return _later("try again in a moment")
        except NotYet:
            raise
        except InterlockError as problem:
            self._log.error("a signal could not be acted upon", problem=str(problem))
            return _later("try again in a moment")
        return Response(202, NO_STORE)

    def _waits(self, request: Request) -> bool:
        """Whether newer keys may still come for it. Anybody can make up a key: few wait, and seldom."""
        until = request.proved.get("until")
        if until is None:
            until = request.proved["until"] = self._patience(_issuer_of(request.body))
        return self._clock.monotonic() < until

    def _patience(self, issuer: str) -> int:
        """Until when (monotonic) one more may wait; 0: it may not."""
        source = self._find(issuer)
        if source is None or source.from_file:
            return 0
        now = self._clock.monotonic()
        with self._guard:
            asked, waiting = self._asked.get(issuer, (-AGAIN, 0))
            if now - asked >= AGAIN:
                asked, waiting = now, 0
                self.refresh(issuer)
            if waiting >= WAITING:
                return 0
            self._asked[issuer] = (asked, waiting + 1)
        return asked + KEYS

    def _refused(self, refused: SetRefused) -> Response:
        if not refused.authentic:
            self._say(refused)
        said = {"err": refused.code, "description": refused.description}
        return json_response(said, 400, (*NO_STORE, ENGLISH))

    def _say(self, refused: SetRefused) -> None:
        """Anybody can have this said: now and then, with the number of times."""
        with self._guard:
            self._untold += 1
            now = self._clock.monotonic()
            if now - self._told < SAID:
                return
            count, self._untold, self._told = self._untold, 0, now
        self._log.warning("signals are refused", why=refused.note[:300], code=refused.code, count=count)

    # -- one token

    def take(self, token: bytes, *, by: str, authorization: str = "", only: str = "") -> EventSet:
        """Verify and act upon one token. `by`: `push` or `poll`; `only`: the issuer that was polled.

        Raises `SetRefused` for what does not count, `Stale` where that cannot be told now, `StateError` and
        `RecordUnavailable` where it cannot be done now: it has to come again.
        """
        now = self._clock.wall()

        def find(name: str) -> OutsideSource | None:
            source = self._find(name)
            polled = source is not None and source.settings.poll is not None
            return None if polled != (by == "poll") or (only and name != only) else source

        source, found = verify_as(token, find, now, partial(self._failed, token=token))
        if by == "push" and not source.shows(authorization):
            refused = SetRefused("authentication_failed", "the token is not the one agreed on")
            raise self._failed(source.issuer, refused, token)
        with self._lock(source.issuer):
            if self._kept.seen(source.issuer, found.jti):
                return found
            try:
                self._act(source, found, now)
            except SetRefused as refused:
                refused.authentic = True
                raise self._failed(source.issuer, refused, token, found.jti) from None
            self._kept.remember(source.issuer, found.jti, now + source.max_age + source.leeway + SECOND)
        status = self.status_of(source.issuer)
        status.taken += 1
        status.last_ns = now
        self._sweep(now)
        return found

    def _failed(self, issuer: str, refused: SetRefused, token: bytes, jti: str = "") -> SetRefused:
        """It is the issuer's own word and does not count: that is on the record, once.

        Whoever has come by a token that does not count can send it again and again.
        """
        status = self.status_of(issuer)
        status.refused += 1
        digest = hashlib.sha256(token).digest()
        if digest in self._known_bad:
            return refused
        self._acts().act(
            Event.SIGNAL_REFUSED,
            {"issuer": issuer, "jti": jti, "error": refused.code, "why": refused.note[:300], "by": "node"},
        )
        with self._guard:
            if len(self._known_bad) >= KNOWN_BAD:
                self._known_bad.clear()
            self._known_bad.add(digest)
        return refused

    def _act(self, source: OutsideSource, found: EventSet, now: int) -> None:
        """All events of it, or none: what cannot be read refuses the whole."""
        steps = [
            (event, payload, self._meant(source, found, event, payload)) for event, payload in found.events.items()
        ]
        for event, payload, meant in steps:
            since = happened(found, payload, now, source.leeway)
            done: list[str] = []
            for target in meant or []:
                doomed = self._doomed(source, found, target, since, now)
                self._desk.signalled(doomed, self._acts())
                done.append(target.kind)
            here = [] if meant is None else self._end_linked(source, found, since, now)
            self._record(source, found, event, payload, meant, done, here)

    def _end_linked(self, source: OutsideSource, found: EventSet, since: int, now: int) -> list[str]:
        """Whoever signs in here as somebody of that issuer loses what they have here: the issuer could sign in as them
        anyway. Gives who that is."""
        principals = []
        for sub in persons(source.issuer, found.subject):
            account = self._linked(source.issuer, sub)
            if account is None:
                continue
            principal, home = account
            doomed = Doomed(
                kind="principal",
                id=principal,
                handle=principal_handle(principal),
                own=True,
                home=home,
                marked=True,
                since=since,
                expires=now + OWN_LIFE,
                signal=found.jti,
                cause=(found.txn or found.jti)[:256],
            )
            self._desk.signalled(doomed, self._acts())
            principals.append(principal)
        return principals

    def _meant(
        self, source: OutsideSource, found: EventSet, event: str, payload: Mapping[str, Any]
    ) -> list[Target] | None:
        """Whom an event ends something of; None for what is not acted upon. Raises `SetRefused`."""
        if event not in events.SUPPORTED:
            return None
        meant = targets(source.issuer, found.subject, event)
        for target in meant:
            try:
                source.principal("user", target.id)
            except ValueError:
                raise SetRefused("invalid_request", "the subject is no name") from None
            if len(target.id) > 1024:
                raise SetRefused("invalid_request", "the subject is no name")
        stated = payload.get("event_timestamp", 0)
        if isinstance(stated, bool) or not isinstance(stated, int | float) or stated != stated:
            raise SetRefused("invalid_request", "event_timestamp is no date")
        if event == events.CREDENTIAL_CHANGE:
            change = payload.get("change_type")
            if change not in events.CHANGES:
                raise SetRefused("invalid_request", "change_type is missing, or not known")
            return meant if change in ENDING else None
        if event == events.DEVICE_COMPLIANCE_CHANGE:
            current = payload.get("current_status")
            if current not in (events.COMPLIANT, events.NOT_COMPLIANT):
                raise SetRefused("invalid_request", "current_status is missing, or not known")
            return meant if current == events.NOT_COMPLIANT else None
        return meant

    def _doomed(self, source: OutsideSource, found: EventSet, target: Target, since: int, now: int) -> Doomed:
        issuer, name = source.issuer, target.id
        marked = target.kind in ("user", "device", "client", "issuer")
        if target.kind in ("user", "device"):
            principal = source.principal(target.kind, name)
            kind, name, handle = "principal", str(principal), principal_handle(principal)
        else:
            kind = target.kind
            handle = {
                "session": lambda: session_handle(issuer, name),
                "token": lambda: token_handle(issuer, name),
                "client": lambda: client_handle(issuer, name),
                "issuer": lambda: issuer_handle(issuer),
            }[kind]()
        return Doomed(
            kind=kind,
            id=name,
            handle=handle,
            issuer="" if kind in ("principal", "issuer") else issuer,
            marked=marked,
            since=since if marked else 0,
            expires=now + KEPT,
            signal=found.jti,
        )

    def _record(
        self,
        source: OutsideSource,
        found: EventSet,
        event: str,
        payload: Mapping[str, Any],
        meant: list[Target] | None,
        done: list[str],
        here: list[str],
    ) -> None:
        if event == events.STREAM_UPDATED:
            status = str(payload.get("status", ""))
            self.status_of(source.issuer).status = status if status in ("enabled", "paused", "disabled") else "changed"
        what = "refused" if done else "nothing" if meant is None else "nobody is meant who is known here"
        told: dict[str, Any] = {"issuer": source.issuer, "jti": found.jti, "event": event[:300], "done": what}
        if done:
            told["of"] = sorted(set(done))
        names = [str(source.principal(one.kind, one.id)) for one in meant or [] if one.kind in ("user", "device")]
        told.update((f"principal{number or ''}", name) for number, name in enumerate([*names, *here]))
        if found.txn:
            told["txn"] = found.txn[:128]
        self._acts().act(Event.SIGNAL_RECEIVE, told)

    # --

    def status_of(self, issuer: str) -> SourceStatus:
        with self._guard:
            return self._statuses.setdefault(issuer, SourceStatus(issuer, "push"))

    def _lock(self, issuer: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(issuer, threading.Lock())

    def _sweep(self, now: int) -> None:
        if now - self._swept > 3600 * SECOND:
            self._swept = now
            self._kept.forget(now)


def verify_as(
    token: bytes,
    find: Callable[[str], OutsideSource | None],
    now: int,
    failed: Callable[[str, SetRefused], SetRefused],
) -> tuple[OutsideSource, EventSet]:
    """`sets.verify` with what the issuer itself has said wrongly put on the record."""
    try:
        source, found = verify(token, find, now)
    except SetRefused as refused:
        if refused.authentic:
            raise failed(_issuer_of(token), refused) from None
        raise
    assert isinstance(source, OutsideSource)
    return source, found


def happened(found: EventSet, payload: Mapping[str, Any], now: int, leeway: int) -> int:
    """The mark in seconds: what was issued until then is refused. Never beyond now and the leeway."""
    stated = payload.get("event_timestamp", found.iat)
    latest = (now + leeway) // SECOND
    return max(1, int(min(stated, latest)) + 1)


def _issuer_of(token: bytes) -> str:
    """As it stands there, verified or not."""
    try:
        name = claims_set(split(token.strip())).get("iss")
    except TokenRefused:
        return ""
    return name if isinstance(name, str) else ""


def _later(why: str) -> Response:
    """Nothing was wrong with it: it has to come again."""
    body = msgspec.json.encode({"err": "temporarily_unavailable", "description": why})
    return Response(503, (("content-type", "application/json"), ENGLISH, ("retry-after", "5"), *NO_STORE), body)
