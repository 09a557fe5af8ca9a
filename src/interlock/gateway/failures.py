"""Failed authentications, counted per source network over all workers of the node.

Guessing a 256-bit key is hopeless; what the budget saves is work and the record. A network over its
budget is answered 429 where it would have been answered 401; whoever holds a valid credential is not
disturbed, even behind the same address. A caller without any credential has not failed at anything.
"""

from __future__ import annotations

from interlock.clock import SECOND
from interlock.model import Reason, Refusal
from interlock.snapshot import LimitSpec
from interlock.snapshot.counters import CounterTable

UNCOUNTED = frozenset(
    {Reason.CREDENTIAL_MISSING, Reason.DPOP_NONCE_NEEDED, Reason.ISSUER_UNAVAILABLE, Reason.TOKEN_EXPIRED}
)
REMEMBERED = 10_000
LIMIT = b"failed-authent.."  # names this limit in the table, 16 bytes


class Failures:
    """Turns the refusal of a network that fails too often into `too-many-failures`."""

    def __init__(self, table: CounterTable, budget: LimitSpec) -> None:
        self._table = table
        self._interval = budget.period_ns // budget.count
        self._tolerance = self._interval * (budget.burst or budget.count)
        self._blocked: dict[bytes, int] = {}

    def judge(self, refusal: Refusal, network: bytes, now: int) -> Refusal:
        """The refusal to give for a failed authentication from `network`; `now` in monotonic ns."""
        if refusal.reason in UNCOUNTED or refusal.reason.status != 401:
            return refusal
        until = self._blocked.get(network, 0)
        if now < until:
            return _blocked(refusal, until - now)
        cell = self._table.cell(LIMIT, network, anonymous=True)
        allowed, tat = self._table.spend(cell, self._interval, self._tolerance, now)
        if allowed:
            return refusal
        until = tat - self._tolerance + self._interval if tat > 0 else now + SECOND
        if len(self._blocked) >= REMEMBERED:
            self._blocked.clear()
        self._blocked[network] = until
        return _blocked(refusal, until - now)

    def sweep(self, now: int) -> None:
        """Forget the networks whose time is over."""
        if self._blocked:
            self._blocked = {network: until for network, until in self._blocked.items() if until > now}


def _blocked(refusal: Refusal, wait: int) -> Refusal:
    seconds = max(1, -(-wait // SECOND))
    return Refusal(Reason.TOO_MANY_FAILURES, ((b"retry-after", b"%d" % seconds),), refusal.reason)
