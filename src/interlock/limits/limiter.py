"""The layer: a route's limits, compiled to one callable.

All limits of a route are charged together: a call that one of them refuses is counted by none. What
cannot be counted is refused (`limit-unavailable`), never let through.

Answers carry the `RateLimit-Policy` and `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers:
`q` is the burst, `w` the seconds in which it is earned back, `r` what is left of it, `t` the seconds
until all of it is back. A refusal adds `Retry-After` (RFC 9110, 10.2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from interlock.limits.gcra import Rate, remaining, reset_after, retry_after
from interlock.model import Identity, Reason, Refusal
from interlock.snapshot import LimitSpec
from interlock.snapshot.counters import TABLE_BUSY, TABLE_FULL, CounterTable

_S: Final = 1_000_000_000
_ROUTE_SUBJECT: Final = b"\0route"


class Verdict:
    """What the limits say of one call; `fields` are complete header lines for the answer."""

    __slots__ = ("fields", "refusal")

    def __init__(self, refusal: Refusal | None, fields: tuple[bytes, ...]) -> None:
        self.refusal = refusal
        self.fields = fields

    @property
    def refused(self) -> bool:
        return self.refusal is not None

    @property
    def retry_after(self) -> int:
        """Seconds, as in the refusal's `Retry-After`; 0 if it has none."""
        for name, value in self.refusal.headers if self.refusal is not None else ():
            if name == b"Retry-After":
                return int(value)
        return 0


Limit = Callable[[Identity, bytes, int], Verdict]


def compile_limits(specs: Sequence[LimitSpec], table: CounterTable, route_id: str) -> Limit | None:
    """The limits of a route as `(identity, address key, now) -> Verdict`; None where there are none.

    The address key names the caller's network; `now` is in ns of a clock that all processes share
    (`CLOCK_MONOTONIC` does; a wall clock that is set back costs callers at most one burst).
    `ValueError` for a limit that makes no sense.
    """
    limits = [_Limit(spec, number, route_id, _names(specs)[number]) for number, spec in enumerate(specs)]
    if not limits:
        return None
    return _one(limits[0], table) if len(limits) == 1 else _several(limits, table)


def _names(specs: Sequence[LimitSpec]) -> list[str]:
    """Policy names: what it is counted per, numbered where that is not enough."""
    pers = [spec.per for spec in specs]
    return [
        per if pers.count(per) == 1 else f"{per}-{pers[: number + 1].count(per)}" for number, per in enumerate(pers)
    ]


class _Limit:
    """One limit of one route."""

    __slots__ = ("anonymous", "item", "key", "name", "policy", "rate", "subject")

    def __init__(self, spec: LimitSpec, number: int, route_id: str, name: str) -> None:
        if spec.per not in _SUBJECTS:
            raise ValueError(f"a limit is per {', '.join(_SUBJECTS)}, not per {spec.per!r}")
        self.rate = Rate.of(spec)
        self.subject = _SUBJECTS[spec.per]
        self.anonymous = spec.per == "address"
        self.name = name
        # The rate is part of the name, so that a changed limit begins anew on every worker at once.
        identity = f"{route_id}\0{number}\0{spec.per}\0{self.rate.emission}\0{self.rate.tolerance}".encode()
        self.key = blake2b(identity, digest_size=16).digest()
        window = -(-self.rate.tolerance // _S)
        self.policy = b'"%b";q=%d;w=%d' % (name.encode(), self.rate.burst, window)
        self.item = b'"%b";r=%%d;t=%%d' % name.encode()

    def state(self, tat: int, now: int) -> bytes:
        """The limit's item in a `RateLimit` field."""
        return self.item % (remaining(tat, self.rate, now), -(-reset_after(tat, now) // _S))


def _one(limit: _Limit, table: CounterTable) -> Limit:
    """The common case, without a list in sight."""
    emission, tolerance, _burst = limit.rate
    key, subject, anonymous = limit.key, limit.subject, limit.anonymous
    policy = b"RateLimit-Policy: " + limit.policy + b"\r\n"
    line = b"RateLimit: " + limit.item + b"\r\n"

    def check(identity: Identity, address: bytes, now: int) -> Verdict:
        cell = table.cell(key, subject(identity, address), anonymous=anonymous)
        allowed, tat = table.spend(cell, emission, tolerance, now)
        if not allowed:
            return _refuse([limit], [tat], now)
        ahead = tat - now
        return Verdict(None, (policy, line % ((tolerance - ahead) // emission, (ahead + 999_999_999) // _S)))

    return check


def _several(limits: list[_Limit], table: CounterTable) -> Limit:
    policy = b"RateLimit-Policy: " + b", ".join(limit.policy for limit in limits) + b"\r\n"
    line = b"RateLimit: " + b", ".join(limit.item for limit in limits) + b"\r\n"
    places = [(limit.key, limit.subject, limit.anonymous) for limit in limits]
    rates = [limit.rate for limit in limits]

    def check(identity: Identity, address: bytes, now: int) -> Verdict:
        cells = [table.cell(key, subject(identity, address), anonymous=anonymous) for key, subject, anonymous in places]
        allowed, tats = table.spend_all(cells, rates, now)
        if not allowed:
            return _refuse(limits, tats, now)
        numbers: list[int] = []
        for tat, (emission, tolerance, _) in zip(tats, rates, strict=True):
            numbers += ((tolerance - tat + now) // emission, (tat - now + 999_999_999) // _S)
        return Verdict(None, (policy, line % tuple(numbers)))

    return check


def _refuse(limits: list[_Limit], tats: list[int], now: int) -> Verdict:
    if TABLE_FULL in tats or TABLE_BUSY in tats:
        note = "the table of counters is full" if TABLE_FULL in tats else "a counter is held by a process that stands"
        return Verdict(Refusal(Reason.LIMIT_UNAVAILABLE, ((b"Retry-After", b"1"),), note), ())
    waits = [(retry_after(tat, limit.rate, now), limit) for limit, tat in zip(limits, tats, strict=True)]
    wait, worst = max(waits, key=lambda pair: pair[0])
    headers = (
        (b"Retry-After", b"%d" % max(1, -(-wait // _S))),
        (b"RateLimit-Policy", b", ".join(limit.policy for limit in limits)),
        (b"RateLimit", b", ".join(limit.state(tat, now) for limit, tat in zip(limits, tats, strict=True))),
    )
    return Verdict(Refusal(Reason.RATE_LIMITED, headers, f"limit per {worst.name}"), ())


def _per_principal(identity: Identity, address: bytes) -> bytes:
    return identity.limit_key or identity.text.encode()


def _per_key(identity: Identity, address: bytes) -> bytes:
    return identity.handles[0] if identity.handles else _per_principal(identity, address)


def _per_address(identity: Identity, address: bytes) -> bytes:
    return address


def _per_route(identity: Identity, address: bytes) -> bytes:
    return _ROUTE_SUBJECT


_SUBJECTS: Final[dict[str, Callable[[Identity, bytes], bytes]]] = {
    "principal": _per_principal,
    "key": _per_key,
    "address": _per_address,
    "route": _per_route,
}
