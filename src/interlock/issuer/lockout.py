"""Guessing is stopped: after ten failures nothing is tried for half an hour (PCI DSS 4.0.1, 8.3.4).

Counted are the account, and the network it came from: an IPv4 address, an IPv6 /64. An attempt is counted before it
is tried and taken back if it succeeds, so that many at once are not more than ten. While something is locked nothing
is tried, and the lock does not get longer by it: it ends by itself.

    account     a known account: exact, so that nobody's lock is lost
    device      the same, for a browser in which this account signed in before (`devices.py`): others cannot lock it
    name        an unknown name: counted like a known one, so that the same happens at the same moment
    address     where it came from

Names and addresses are made up freely, so they share a fixed number of places, chosen by a keyed hash: nobody can fill
the table or push another's lock out of it. That two share a place has no consequence for names, which nobody owns;
for addresses it is rare, since each place takes ten passwords to lock and those are tried a few at a time.

Successes do not clear an address: who has one account must not try others between its successes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from interlock.addresses import NETWORK, block
from interlock.clock import SECOND
from interlock.keys import FactorKey
from interlock.store.signins import Failures, SignIns

LIMIT: Final = 10
WINDOW: Final = 30 * 60 * SECOND
PLACES: Final = 1 << 20  # for names, and as many for addresses
ACCOUNT, DEVICE, NAME, ADDRESS = "account", "device", "name", "address"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that was counted. It MUST be tried only if `allowed`."""

    keys: Mapping[bytes, str]  # to what it is
    locked: frozenset[str]  # what was locked before
    reached: frozenset[str]  # what is locked now, unless this one succeeds

    @property
    def allowed(self) -> bool:
        return not self.locked


class Lockout:
    """Over the table of failures, so that a restart forgets nothing."""

    def __init__(self, signins: SignIns, key: FactorKey, *, limit: int = LIMIT, window: int = WINDOW) -> None:
        self._signins = signins
        self._key = key
        self._limit = limit
        self.window = window

    def attempt(self, *, account: str, name: str, source: str, now: int, device: bytes = b"") -> Attempt:
        """Count an attempt that is about to be made. `account`: its id, empty for an unknown `name`."""
        if account and device:
            keys = {self._key.hash("failures device", device): DEVICE}  # one account's, so it says nothing of others
        elif account:
            keys = {self._key.hash("failures account", account.encode()): ACCOUNT, self._address(source): ADDRESS}
        else:
            keys = {self._place("failures name", name): NAME, self._address(source): ADDRESS}
        locked: set[str] = set()
        reached: set[str] = set()

        def change(found: Mapping[bytes, Failures]) -> Sequence[Failures]:
            wanted = []
            for key, kind in keys.items():
                row = current(found.get(key), key, now, self.window)
                if row.until:
                    locked.add(kind)
                    continue
                row = counted(row, now, self._limit, self.window)
                if row.until:
                    reached.add(kind)
                wanted.append(row)
            return wanted

        self._signins.count(list(keys), change)
        return Attempt(keys, frozenset(locked), frozenset(reached))

    def took_back(self, attempt: Attempt, now: int) -> None:
        """It succeeded: as if it had not been counted. What came before it stays counted."""

        def change(found: Mapping[bytes, Failures]) -> Sequence[Failures]:
            return [
                replace(row, count=row.count - 1, until=0)
                for key, kind in attempt.keys.items()
                if kind not in attempt.locked and (row := found.get(key)) is not None
            ]

        self._signins.count(list(attempt.keys), change)

    def clear(self, account: str, device: bytes = b"", *, address: str = "") -> None:
        """Somebody signed in with all that was asked for, or an operator knows better; only one names an address."""
        keys = [self._key.hash("failures account", account.encode())]
        if device:
            keys.append(self._key.hash("failures device", device))
        if address:
            keys.append(self._address(address))
        self._signins.count(keys, lambda found: [replace(row, count=0) for row in found.values()])

    def address_locked(self, source: str, now: int) -> bool:
        """Whether nothing is tried from there; says nothing of any account."""
        return self._until(self._address(source), now) != 0

    def locked_until(self, account: str, now: int) -> int:
        """For an operator; 0: it is not locked."""
        return self._until(self._key.hash("failures account", account.encode()), now)

    def _until(self, key: bytes, now: int) -> int:
        row = self._signins.failures(key)
        return 0 if row is None else current(row, key, now, self.window).until

    def _address(self, source: str) -> bytes:
        return self._place("failures address", block(source, NETWORK))

    def _place(self, kind: str, text: str) -> bytes:
        number = int.from_bytes(self._key.hash(kind, text.encode("utf-8", "surrogatepass"))[:8], "big") % PLACES
        return f"{kind} {number}".encode()


def current(row: Failures | None, key: bytes, now: int, window: int) -> Failures:
    """What counts at `now`: a lock that is not over, what was counted in this window, or nothing.

    A clock that is stepped back a little drops no lock; one that is stepped back far does not keep one for ever.
    """
    if row is not None and row.until:
        in_force = now < row.until <= now + 2 * window
    else:
        in_force = row is not None and -window < now - row.since < window
    return row if row is not None and in_force else Failures(key, now, 0)


def counted(row: Failures, now: int, limit: int, window: int) -> Failures:
    """With one more failure, and locked if that makes `limit`."""
    count = row.count + 1
    return replace(row, count=count, until=now + window if count >= limit else 0)
