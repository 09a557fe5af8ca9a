"""Erasing somebody from the record, what forbids it, and telling somebody all that the record has of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.audit.subjects import PRINCIPAL, Subject
from interlock.audit.subjects_register import Register
from interlock.clock import Clock
from interlock.control.paths import Paths
from interlock.control.status import rfc3339
from interlock.errors import NotFound, UsageError
from interlock.keys import Keyring
from interlock.model import Event
from interlock.store import Erasure, Hold, Persons, State
from interlock.store.accounts import Accounts

if TYPE_CHECKING:
    from interlock.audit import ActRecorder


LATEST = 2**63  # wall ns


class Erase(msgspec.Struct, forbid_unknown_fields=True):
    subject: str
    reason: str


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    pseudonym: str


class AddHold(msgspec.Struct, forbid_unknown_fields=True):
    reason: str
    subject: str = ""
    since_ns: int = 0
    until_ns: int = 0


class ReleaseHold(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    reason: str = ""


class SubjectDesk:
    """For one thread, the one that changes things."""

    def __init__(
        self, paths: Paths, state: State, keyring: Keyring, clock: Clock, pause: Callable[[], None] = lambda: None
    ) -> None:
        self._state = state
        self._clock = clock
        self._register = Register(paths.data_dir, Persons(state), keyring, clock, pause=pause)

    def erase(self, wanted: Erase, acts: ActRecorder, *, alone: bool) -> dict[str, Any]:
        """Erase somebody. `alone`: no node runs, so the keys can be turned at once."""
        subject = _named(wanted.subject)
        reason = wanted.reason.strip()
        if not reason:
            raise UsageError("an erasure has a reason, which stays on the record")
        if subject.id in reason or (len(subject.value) > 2 and subject.value in reason):
            raise UsageError("the reason names the subject, and it stays on the record: leave that out")
        left = self._register.unfinished  # by a command that was killed: whom it was about may be known no more
        if left:
            self._go_through(acts, alone)
        problems = self._register.take_in()
        try:
            person = self._register.find(subject.id)
        except NotFound as nobody:
            if left:
                raise NotFound(f"{nobody}; an erasure that was interrupted before was gone through with now") from None
            raise
        self._register.refuse_held(subject.id, person)
        if subject.kind == PRINCIPAL:
            now = self._clock.wall()
            usable = [key.id for key in self._state.keys(principal=subject.value) if key.usable(now)]
            if usable:
                raise UsageError(f"it can still call: revoke its API keys first ({', '.join(usable)})")
            accounts = Accounts(self._state)
            name = subject.value.removeprefix("user:interlock/")
            account = accounts.find(name)
            if account is not None and account.principal == subject.value and account.active:
                raise UsageError(f"it can still sign in: disable it first (`interlock user disable {name}`)")
            self._state.forget(subject.value, f"service:interlock/erased-{person.pseudonym}", now)
            accounts.forget(subject.value, f"erased-{person.pseudonym}")
        erasure = self._register.request(person, reason)
        self._go_through(acts, alone)
        return {**_receipt(self._register.erasure(erasure.pseudonym)), "problems": problems}

    def _go_through(self, acts: ActRecorder, alone: bool) -> None:
        self._register.finish(acts)
        if alone:
            self._register.turn(acts)

    def progress(self, wanted: Progress, acts: ActRecorder) -> dict[str, Any]:
        """Go on with an erasure as far as it goes now; gives its receipt as it then is."""
        erasure = self._register.erasure(wanted.pseudonym)
        if not (erasure.scrubbed and erasure.turned):
            self.go_on(acts)
        return _receipt(self._register.erasure(wanted.pseudonym))

    def go_on(self, acts: ActRecorder) -> None:
        """Now and then: take in what ended, and go through with every erasure."""
        self._register.take_in(ended_only=True)
        if self._register.unfinished:
            self._register.finish(acts)
            self._register.turn(acts)

    def add_hold(self, wanted: AddHold, acts: ActRecorder, actor: str) -> dict[str, Any]:
        reason = wanted.reason.strip()
        if not reason:
            raise UsageError("a hold has a reason")
        if bool(wanted.subject) == bool(wanted.until_ns):
            raise UsageError("a hold is of a subject, or of a time with its beginning and its end")
        if wanted.subject:
            _named(wanted.subject)
        elif not 0 <= wanted.since_ns < wanted.until_ns < LATEST:
            raise UsageError("the time of a hold begins after 1970, ends after that, and before 2262")
        hold_id = secrets.token_hex(6)
        details: dict[str, Any] = {"hold": hold_id, "reason": reason}
        if wanted.subject:
            details["subject"] = wanted.subject
        else:
            details |= {"since": rfc3339(wanted.since_ns), "until": rfc3339(wanted.until_ns)}
        acts.act(Event.HOLD_ADD, details)
        hold = self._register.hold(hold_id, wanted.subject, wanted.since_ns, wanted.until_ns, reason, actor)
        return _hold(hold, wanted.subject)

    def holds(self) -> dict[str, Any]:
        return {"holds": [_hold(hold, subject) for hold, subject in self._register.holds()]}

    def release_hold(self, wanted: ReleaseHold, acts: ActRecorder) -> dict[str, Any]:
        persons = Persons(self._state)
        if wanted.id not in {hold.id for hold in persons.holds()}:
            raise NotFound(f"there is no hold {wanted.id!r}")
        acts.act(Event.HOLD_RELEASE, {"hold": wanted.id, "reason": wanted.reason})
        persons.release_hold(wanted.id)
        return {"id": wanted.id}


def _named(subject_id: str) -> Subject:
    try:
        return Subject.named(subject_id)
    except ValueError:
        raise UsageError(
            "a subject is a principal (user:login.example.com/alice), an address (source:192.0.2.1) or what a "
            "route's `subject` names (patient:4711)"
        ) from None


def _receipt(erasure: Erasure) -> dict[str, Any]:
    return {
        "pseudonym": erasure.pseudonym,
        "subjects": erasure.subjects,
        "segments": erasure.segments,
        "reason": erasure.reason,
        "requested": rfc3339(erasure.requested),
        "erased": _when(erasure.erased),
        "scrubbed": _when(erasure.scrubbed),
        "keys_turned": _when(erasure.turned),
        "act": erasure.act,
    }


def _when(time_ns: int) -> str | None:
    return rfc3339(time_ns) if time_ns else None


def _hold(hold: Hold, subject: str) -> dict[str, Any]:
    return {
        "id": hold.id,
        "subject": subject or None,
        "since": _when(hold.since),
        "until": _when(hold.until),
        "reason": hold.reason,
        "actor": hold.actor,
        "added": rfc3339(hold.added),
    }
