"""The layer: a route's limits, compiled to one callable.

All limits of a route are charged together: a call that one of them refuses is counted by none. What
cannot be counted is refused (`limit-unavailable`), never let through.

Answers carry the `RateLimit-Policy` and `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers:
`q` is the burst, `w` the seconds in which it is earned back, `r` what is left of it, `t` the seconds
until all of it is back. A refusal adds `Retry-After` (RFC 9110, 10.2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
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
    limits = [_Limit(_kind(spec, number, _names(specs)[number]), route_id, table) for number, spec in enumerate(specs)]
    if not limits:
        return None
    return limits[0] if len(limits) == 1 else _several(limits, table)


def _names(specs: Sequence[LimitSpec]) -> list[str]:
    """Policy names: what it is counted per, numbered where that is not enough."""
    pers = [spec.per for spec in specs]
    return [
        per if pers.count(per) == 1 else f"{per}-{pers[: number + 1].count(per)}" for number, per in enumerate(pers)
    ]


class _Kind:
    """What one limit has in common with those of other routes that are written alike."""

    __slots__ = (
        "anonymous",
        "emission",
        "item",
        "line",
        "name",
        "policy",
        "policy_line",
        "rate",
        "subject",
        "text",
        "tolerance",
    )

    def __init__(self, spec: LimitSpec, number: int, name: str) -> None:
        if spec.per not in _SUBJECTS:
            raise ValueError(f"a limit is per {', '.join(_SUBJECTS)}, not per {spec.per!r}")
        self.rate = Rate.of(spec)
        self.emission = self.rate.emission
        self.tolerance = self.rate.tolerance
        self.subject = _SUBJECTS[spec.per]
        self.anonymous = spec.per == "address"
        self.name = name
        # The rate is part of the name, so that a changed limit begins anew on every worker at once.
        self.text = f"{number}\0{spec.per}\0{self.rate.emission}\0{self.rate.tolerance}"
        window = -(-self.rate.tolerance // _S)
        self.policy = b'"%b";q=%d;w=%d' % (name.encode(), self.rate.burst, window)
        self.item = b'"%b";r=%%d;t=%%d' % name.encode()
        self.policy_line = b"RateLimit-Policy: " + self.policy + b"\r\n"
        self.line = b"RateLimit: " + self.item + b"\r\n"

    def state(self, tat: int, now: int) -> bytes:
        """The limit's item in a `RateLimit` field."""
        return self.item % (remaining(tat, self.rate, now), -(-reset_after(tat, now) // _S))


@lru_cache(256)
def _kind(spec: LimitSpec, number: int, name: str) -> _Kind:
    return _Kind(spec, number, name)


class _Limit:
    """One limit of one route. Alone, the common case, it is what the route calls, without a list in sight."""

    __slots__ = ("_table", "key", "kind")

    def __init__(self, kind: _Kind, route_id: str, table: CounterTable) -> None:
        self.kind = kind
        self.key = blake2b(f"{route_id}\0{kind.text}".encode(), digest_size=16).digest()
        self._table = table

    def __call__(self, identity: Identity, address: bytes, now: int) -> Verdict:
        kind, table = self.kind, self._table
        subject, emission, tolerance = kind.subject, kind.emission, kind.tolerance
        cell = table.cell(self.key, subject(identity, address), anonymous=kind.anonymous)
        allowed, tat = table.spend(cell, emission, tolerance, now)
        if not allowed:
            return _refuse([self], [tat], now)
        ahead = tat - now
        left = kind.line % ((tolerance - ahead) // emission, (ahead + 999_999_999) // _S)
        return Verdict(None, (kind.policy_line, left))


def _several(limits: list[_Limit], table: CounterTable) -> Limit:
    policy = b"RateLimit-Policy: " + b", ".join(limit.kind.policy for limit in limits) + b"\r\n"
    line = b"RateLimit: " + b", ".join(limit.kind.item for limit in limits) + b"\r\n"
    places = [(limit.key, limit.kind.subject, limit.kind.anonymous) for limit in limits]
    rates = [limit.kind.rate for limit in limits]

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
    waits = [(retry_after(tat, limit.kind.rate, now), limit.kind) for limit, tat in zip(limits, tats, strict=True)]
    wait, worst = max(waits, key=lambda pair: pair[0])
    headers = (
        (b"Retry-After", b"%d" % max(1, -(-wait // _S))),
        (b"RateLimit-Policy", b", ".join(limit.kind.policy for limit in limits)),
        (b"RateLimit", b", ".join(limit.kind.state(tat, now) for limit, tat in zip(limits, tats, strict=True))),
    )
    return Verdict(Refusal(Reason.RATE_LIMITED, headers, f"limit per {worst.name}"), ())


def _per_principal(identity: Identity, address: bytes) -> bytes:
    return identity.limit_key or identity.text.encode()


def _per_key(identity: Identity, address: bytes) -> bytes:
    """By the API key rather than by a token beside it, of which there is another one whenever somebody asks."""
    if identity.api_key:
        return identity.api_key
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
