"""Tells others of changed credentials, by what is put on the record of them: whoever changes one cannot forget it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from interlock.control.signals.outbox import Outbox
from interlock.issuer.needs import Notes
from interlock.model import Event

# `credential_type` of CAEP 1.0 section 3.3.1, by what a factor is called here.
_TYPES: Final = {"totp": "app", "passkey": "fido2-platform", "password": "password"}
_CHANGES: Final = {
    Event.USER_PASSWORD: "update",
    Event.USER_CHANGE: "revoke",
    Event.FACTOR_ADD: "create",
    Event.FACTOR_REMOVE: "delete",
}


class Telling:
    """A recorder in front of another one. What cannot be told is not done: `StateError` after it is on the record."""

    def __init__(self, record: Notes, outbox: Outbox, by: str) -> None:
        """`by`: who changes something through this one, `user` or `admin`."""
        self._record = record
        self._outbox = outbox
        self._by = by

    def note(self, event: Event, details: Mapping[str, Any], *, at_once: bool = False) -> str:
        done = self._record.note(event, details, at_once=at_once)
        self._tell(event, details)
        return done

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        done = self._record.act(event, details)
        self._tell(event, details)
        return done

    def _tell(self, event: Event, details: Mapping[str, Any]) -> None:
        change = _CHANGES.get(event)
        if change is None:
            return
        password = event is Event.USER_PASSWORD or (event is Event.USER_CHANGE and details.get("what") == "password")
        kind = _TYPES.get("password" if password else str(details.get("kind", "")))
        if kind is None:
            return
        if event is Event.USER_PASSWORD and details.get("invited"):
            change = "create"  # there was none: whoever took the former one away has told of that
        claims = {"credential_type": kind, "change_type": change}
        self._outbox.announce("credential-change", str(details.get("principal", "")), by=self._by, claims=claims)
