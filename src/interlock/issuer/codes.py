"""What is handed out for a moment and used once: authorization codes, pushed requests, what people are at.

In memory: a restart of the process that issues them costs a caller one more try, and nothing that was lost can be
used by anybody. Names are kept by their hash, so that nobody who reads the memory's dump can use one.

Some of them anybody can have kept, who has signed in nowhere and is no client that proves it: for these it is said
where they come from (`place`), and when there is no room, the oldest of the place that has most give theirs up. So
whoever fills it pushes out what is their own. Of the rest older ones belong to somebody, and more are refused.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

KEPT = 20_000  # of a kind
_AT_ONCE: Final = 8  # of those of one place, this part gives way: what is looked for once makes room for many


class Full(Exception):
    """There is no room for another; who asks again later finds some."""


class Once(Generic[T]):
    """Values under random names, each until its time; what was taken stays known until then. For many threads."""

    def __init__(self, prefix: str = "", kept: int = KEPT) -> None:
        self._prefix = prefix
        self._kept = kept
        self._values: dict[bytes, tuple[int, T]] = {}
        self._place_of: dict[bytes, str] = {}
        self._places: dict[str, dict[bytes, None]] = {}  # what came from where, the oldest first
        self._taken: dict[bytes, tuple[int, Any]] = {}
        self._lock = threading.Lock()
        self._swept = 0

    def put(self, value: T, expires: int, now: int, *, place: str = "") -> str:
        """Keep `value` until `expires` (wall ns); gives its name, 256 random bits.

        `place`: where it comes from, if anybody can have it kept. Raises `Full`.
        """
        name = self._prefix + secrets.token_urlsafe(32)
        key = _hash(name)
        with self._lock:
            self._sweep(now)
            if len(self._values) >= self._kept and not self._made_room():
                raise Full
            self._values[key] = (expires, value)
            if place:
                self._place_of[key] = place
                self._places.setdefault(place, {})[key] = None
        return name

    def get(self, name: str, now: int) -> T | None:
        """The value, which stays."""
        found = self._values.get(_hash(name))
        return found[1] if found is not None and now < found[0] else None

    def replace(self, name: str, change: Callable[[T], T | None]) -> bool:
        """What `change` makes of the value, until the same time; False if that is None, or the name is gone."""
        key = _hash(name)
        with self._lock:
            found = self._values.get(key)
            value = None if found is None else change(found[1])
            if found is None or value is None:
                return False
            self._values[key] = (found[0], value)
            return True

    def drop(self, name: str) -> None:
        """Nobody needs it any more, nor what came of it."""
        with self._lock:
            self._forget(_hash(name))

    def take(self, name: str, now: int) -> T | None:
        """The value, once."""
        key = _hash(name)
        with self._lock:
            found = self._forget(key)
            if found is None or now >= found[0]:
                return None
            self._taken[key] = (found[0], None)
            return found[1]

    def settle(self, name: str, outcome: Any) -> Any:
        """Say what came of a name that was taken, once; gives what was said before, or None if nothing was."""
        key = _hash(name)
        with self._lock:
            found = self._taken.get(key)
            if found is not None and found[1] is None:
                self._taken[key] = (found[0], outcome)
        return None if found is None else found[1]

    def outcome(self, name: str) -> Any:
        """What came of a name that was taken before; None if it was not."""
        found = self._taken.get(_hash(name))
        return None if found is None else found[1]

    def was_taken(self, name: str) -> bool:
        return _hash(name) in self._taken

    def _sweep(self, now: int) -> None:
        if 0 <= now - self._swept < 1_000_000_000:
            return
        self._swept = now
        for key in [key for key, (expires, _) in self._values.items() if expires <= now]:
            self._forget(key)
        for key in [key for key, (expires, _) in self._taken.items() if expires <= now]:
            del self._taken[key]

    def _forget(self, key: bytes) -> tuple[int, T] | None:
        place = self._place_of.pop(key, "")
        if place:
            del self._places[place][key]
            if not self._places[place]:
                del self._places[place]
        return self._values.pop(key, None)

    def _made_room(self) -> bool:
        """Whether the oldest of the most crowded place gave way."""
        if not self._places:
            return False
        crowded = max(self._places.values(), key=len)
        for key in list(crowded)[: max(1, len(crowded) // _AT_ONCE)]:
            self._forget(key)
        return True


class Codes:
    """All of them, by kind."""

    def __init__(self) -> None:
        self.authorization: Once[Any] = Once("ilc_")
        self.pushed: Once[Any] = Once("urn:ietf:params:oauth:request_uri:")  # RFC 9126 section 2.2
        self.flows: Once[Any] = Once()


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8")).digest()
