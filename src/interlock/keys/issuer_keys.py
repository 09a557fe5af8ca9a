"""The keys that sign tokens: made ahead, published before they sign and for as long as what they signed is alive.

    issuer.sealed    JSON list, oldest first: algorithm, PKCS #8 PEM, when it was made, from when it signs

A key signs from `begins` until the next one of the list begins; it is published from the moment it is made and
for `overlap` after it has ceased to sign, so that whoever keeps a copy of the JWKS for a while never meets a key
it does not know.
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


def tend(box: Box, schedule: Schedule, now: int, make: Callable[[str], bytes], *, turn: bool = False) -> list[IssuerKey]:
    """Make what is due, drop what is over, and give the keys that are published; the last that has begun signs.

    `turn`: a new key signs from now on, because somebody fears for the present one, which is then gone at once.
    """
    keys = before = load(box)
    signing = current(keys, now)
    if turn:
        keys = [IssuerKey(schedule.algorithm, make(schedule.algorithm), now, now)]
    elif signing is None or signing.algorithm != schedule.algorithm:
        keys = [one for one in keys if one.begins <= now]
        keys = [*keys, IssuerKey(schedule.algorithm, make(schedule.algorithm), now, now)]
    elif keys[-1] is signing and now >= signing.begins + schedule.every - schedule.ahead:
        begins = max(signing.begins + schedule.every, now + schedule.ahead)
        keys = [*keys, IssuerKey(schedule.algorithm, make(schedule.algorithm), now, begins)]
    keys = [
        key
        for number, key in enumerate(keys)
        if number + 1 == len(keys) or keys[number + 1].begins + schedule.overlap > now
    ]
    if keys != before:
        box.seal(ISSUER, msgspec.json.encode(keys))
    return keys


def current(keys: list[IssuerKey], now: int) -> IssuerKey | None:
    """The key that signs."""
    begun = [key for key in keys if key.begins <= now]
    return begun[-1] if begun else None
