"""A bounded memory of what was verified; when it is full the older half goes.

`entries` is a plain dict that is only ever changed in place, so that the hot path may hold on to it.
"""

from __future__ import annotations

from itertools import islice
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Anything that can say roughly how much it holds."""

    def __len__(self) -> int: ...


Key = TypeVar("Key", bound=Sized)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """At most `count` entries and `weight` bytes of keys."""

    def __init__(self, count: int, weight: int) -> None:
        self.entries: dict[Key, Value] = {}
        self._count = count
        self._most = weight
        self._weight = 0

    def put(self, key: Key, value: Value) -> None:
        if key not in self.entries:
            if len(self.entries) >= self._count or self._weight + len(key) > self._most:
                self._halve()
            self._weight += len(key)
        self.entries[key] = value

    def drop(self, key: Key) -> None:
        if self.entries.pop(key, None) is not None:
            self._weight -= len(key)

    def clear(self) -> None:
        self.entries.clear()
        self._weight = 0

    def _halve(self) -> None:
        for key in list(islice(self.entries, (len(self.entries) + 1) // 2)):
            self.drop(key)
