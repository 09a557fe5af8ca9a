"""Puts the issuer's acts on the record, and counts them for the metrics."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interlock.model import Event
from interlock.snapshot.metrics import OAUTH_ERRORS, OAUTH_WORD, Counter

if TYPE_CHECKING:
    from interlock.issuer.needs import Notes


class CountedNotes:
    """`interlock.issuer.needs.Notes`. For many threads."""

    def __init__(self, record: Notes) -> None:
        self._record = record
        self._lock = threading.Lock()
        self.issued = 0
        self.refused = dict.fromkeys(OAUTH_ERRORS, 0)

    def note(self, event: Event, details: Mapping[str, Any], *, at_once: bool = False) -> str:
        done = self._record.note(event, details, at_once=at_once)
        if event is Event.TOKEN_ISSUE:
            with self._lock:
                self.issued += 1
        elif event is Event.TOKEN_REFUSED:
            error = details.get("error", "")
            with self._lock:
                self.refused[error if error in self.refused else OAUTH_ERRORS[-1]] += 1
        return done

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        return self._record.act(event, details)

    def totals(self) -> dict[int, int]:
        """By their words of the metrics page."""
        refused = {OAUTH_WORD[error]: count for error, count in self.refused.items()}
        return {Counter.TOKENS_ISSUED: self.issued, **refused}
