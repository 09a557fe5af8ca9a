"""Waiting for an issuer's newer keys, so that a rotated key costs a moment and a made-up one nothing.

At most one refresh per issuer and `INTERVAL` is asked for, however many unknown keys arrive; those who
asked meanwhile wait up to `WAIT`, at most `WAITING` calls in all, and are then refused.
"""

from __future__ import annotations

from collections.abc import Callable

from interlock.clock import SECOND
from interlock.model import Pending, Refusal

INTERVAL = 30 * SECOND
WAIT = 3 * SECOND
WAITING = 256


class _Refresh:
    __slots__ = ("asked", "pending", "waiting")

    def __init__(self, asked: int) -> None:
        self.asked = asked
        self.pending: Pending | None = Pending()
        self.waiting = 0


class Refreshes:
    """One worker's outstanding refreshes. Times are wall ns."""

    def __init__(self, refresh: Callable[[str], None]) -> None:
        self._ask = refresh
        self._refreshes: dict[str, _Refresh] = {}
        self._waiting = 0

    def wait(self, issuer: str, now: int, refusal: Refusal) -> Refusal | Pending:
        """Wait for newer keys if there is hope of any; else the refusal."""
        if self._waiting >= WAITING:
            return refusal
        refresh = self._refreshes.get(issuer)
        if refresh is None or not 0 <= now - refresh.asked < INTERVAL:
            refresh = self._refreshes[issuer] = _asked_again(refresh, now)
            self._ask(issuer)
        if refresh.pending is None or not 0 <= now - refresh.asked < WAIT:
            return refusal
        refresh.waiting += 1
        self._waiting += 1
        return refresh.pending

    def arrived(self, issuer: str) -> None:
        """The issuer's keys were looked at anew: whoever waits may ask again."""
        refresh = self._refreshes.get(issuer)
        if refresh is not None:
            self._release(refresh)

    def expire(self, now: int) -> None:
        """Release those who waited for too long; asking again they get their refusal."""
        for refresh in list(self._refreshes.values()):
            if not 0 <= now - refresh.asked < WAIT:
                self._release(refresh)

    def _release(self, refresh: _Refresh) -> None:
        pending, refresh.pending = refresh.pending, None
        self._waiting -= refresh.waiting
        refresh.waiting = 0
        if pending is not None:
            pending.resolve()


def _asked_again(old: _Refresh | None, now: int) -> _Refresh:
    """A new refresh that whoever still waits for the old one waits for too (the wall clock was stepped)."""
    new = _Refresh(now)
    if old is not None and old.pending is not None:
        new.pending, new.waiting = old.pending, old.waiting
    return new
