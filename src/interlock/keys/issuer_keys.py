"""The keys that sign tokens: made ahead, published before they sign and for as long as what they signed is alive.

    issuer.sealed    JSON list, oldest first: algorithm, PKCS #8 PEM, when it was made, from when it signs

A key signs from `begins` until the next one of the list begins; it is published from the moment it is made and
for `overlap` after it has ceased to sign, so that whoever keeps a copy of the JWKS for a while never meets a key
it does not know. At most three are in the list: one that has ceased, one that signs, one that will.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from interlock.errors import KeyMaterialError

ISSUER: Final = "issuer"


class Box(Protocol):
    """What of a keyring is used here."""

    def exists(self, name: str) -> bool: ...

    def open(self, name: str) -> bytes: ...

    def seal(self, name: str, secret: bytes) -> None: ...


class IssuerKey(msgspec.Struct, frozen=True):
    """One key. Its repr shows nothing of it."""

    algorithm: str  # of `alg`
    pem: bytes
    made: int  # wall ns
    begins: int  # wall ns

    def __repr__(self) -> str:
        return f"IssuerKey(algorithm={self.algorithm!r}, begins={self.begins})"


class Schedule(msgspec.Struct, frozen=True):
    """How keys follow each other; ns."""

    algorithm: str
    every: int  # how long one signs
    ahead: int  # how long before it signs it is published
    overlap: int  # how long it is published when it signs no more


def load(box: Box) -> list[IssuerKey]:
    """The keys there are; none if the node has issued nothing yet."""
    if not box.exists(ISSUER):
        return []
    try:
        return msgspec.json.decode(box.open(ISSUER), type=list[IssuerKey])
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {ISSUER!r}: the contents are damaged") from error


def keep(box: Box, keys: list[IssuerKey]) -> None:
    """On disk when this returns."""
    box.seal(ISSUER, msgspec.json.encode(keys))


def plan(
    keys: list[IssuerKey], schedule: Schedule, now: int, make: Callable[[str], bytes], *, turn: bool = False
) -> list[IssuerKey]:
    """The keys that are published from now on: what is due is made, what is over is dropped.

    `current` says which of them signs. `make(algorithm)` gives a new one in PEM. `turn`: a new key signs at once,
    because somebody fears for the present ones, which are then gone; whatever they signed is refused.
    """
    if turn or not keys:
        return [IssuerKey(schedule.algorithm, make(schedule.algorithm), now, now)]
    if keys[0].begins > now:  # the clock was set back; it was good for signing then
        keys = [msgspec.structs.replace(keys[0], begins=now), *keys[1:]]
    signing = current(keys, now)
    # One that was made for another algorithm than is wanted now, and has signed nothing.
    keys = [key for key in keys if key.begins <= now or key.algorithm == schedule.algorithm]
    if keys[-1] is signing:
        ends = signing.begins + schedule.every if signing.algorithm == schedule.algorithm else now
        if now >= ends - schedule.ahead:
            begins = max(ends, now + schedule.ahead)
            keys.append(IssuerKey(schedule.algorithm, make(schedule.algorithm), now, begins))
    return [
        key
        for number, key in enumerate(keys)
        if number + 1 == len(keys) or keys[number + 1].begins + schedule.overlap > now
    ]


def current(keys: list[IssuerKey], now: int) -> IssuerKey:
    """The key that signs: the last one that has begun. There MUST be one."""
    begun = [key for key in keys if key.begins <= now]
    return begun[-1] if begun else keys[0]
