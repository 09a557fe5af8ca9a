"""A decision against a call is a value that carries its reason."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from interlock.model.reason import Reason


class Refusal(msgspec.Struct, frozen=True):
    """Why a call does not pass. `headers` go to the caller; `note` goes to the record only."""

    reason: Reason
    headers: tuple[tuple[bytes, bytes], ...] = ()
    note: str = ""


class Pending:
    """A layer cannot tell yet; when `resolve` is called, every waiter is asked to try again."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[Callable[[], None]] = []

    def wait(self, again: Callable[[], None]) -> None:
        """Call `again` once, when it is worth asking the layer again."""
        self._waiters.append(again)

    def resolve(self) -> None:
        waiters, self._waiters = self._waiters, []
        for again in waiters:
            again()
