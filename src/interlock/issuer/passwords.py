"""Passwords: what may be one (NIST SP 800-63B-4 section 3.1.1.2), and how one is kept and tried (Argon2id).

Trying one takes some 47 MiB and tens of milliseconds, so it is done by few threads and a short queue, away from
calls and tokens; who comes when the queue is full is told to come again (`Busy`). A place in the queue is for one
network: nobody fills it alone. For an unknown account a hash of nobody's password is tried, so that it takes as long.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

from interlock.errors import InterlockError
from interlock.issuer.common_passwords import is_common

LEAST: Final = 12  # characters; the standard asks for 15 where nothing else is asked for, 8 beside a second factor
LEAST_ALONE: Final = 15
MOST: Final = 256
AT_ONCE: Final = 2
QUEUE: Final = 16
QUEUE_OF_ONE: Final = 4  # for one network
# OWASP asks for 46 MiB with one pass, or the like; this is twice that.
MEMORY_KIB: Final = 47_104
PASSES: Final = 2
T = TypeVar("T")


class PasswordUnfit(InterlockError):
    """This cannot be anybody's password; the message is for who chose it."""


class Busy(InterlockError):
    """No more is tried at the moment."""


def prepared(text: str) -> str | None:
    """A password as it is hashed: RFC 8265 section 4.2 (OpaqueString). None for what cannot be one.

    Each space is the ASCII one; NFC; nothing that no key types. Code points that are not assigned are let through,
    since they may be in the next version of Unicode.
    """
    if not text or len(text) > 4 * MOST:
        return None
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    made = unicodedata.normalize("NFC", spaced)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in made):
        return None
    return made if len(made) <= MOST else None


def check(text: str, name: str, *, alone: bool) -> str:
    """A password somebody wants to have, as it is hashed; `PasswordUnfit` says why not.

    `alone`: nothing but the password will be asked for.
    """
    made = prepared(text)
    if made is None:
        raise PasswordUnfit(f"A password has at most {MOST} characters, and no control characters.")
    least = LEAST_ALONE if alone else LEAST
    if len(made) < least:
        raise PasswordUnfit(f"This is too short: take at least {least} characters. A few words in a row are fine.")
    rest = made.casefold()
    for part in (name, name.partition("@")[0]):  # the longer one first
        if len(part) >= 3:
            rest = rest.replace(part, "")
    if len(rest) < 8:
        raise PasswordUnfit("This is little more than your name: others would try it.")
    if is_common(made):
        raise PasswordUnfit("This is among the first that others would try: take something less common.")
    return made


class Hasher:
    """Argon2id with parameters that are written into each hash, so that they can be raised later."""

    def __init__(self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        self._argon2 = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
        )
        self._nobody = self._argon2.hash(secrets.token_urlsafe(32))

    def hash(self, password: str) -> str:
        """Of a prepared password."""
        return self._argon2.hash(password)

    def verify(self, encoded: str, password: str) -> bool:
        """Whether this is the one. Without a hash it is tried on nobody's, and is not."""
        try:
            held = self._argon2.verify(encoded or self._nobody, password)
        except (Argon2Error, InvalidHashError):
            return False
        return held and bool(encoded)

    def outdated(self, encoded: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(encoded)


class Pool:
    """The threads in which passwords are tried, or which wait for something else that takes its time."""

    def __init__(
        self,
        *,
        at_once: int = AT_ONCE,
        queue: int = QUEUE,
        queue_of_one: int = QUEUE_OF_ONE,
        name: str = "passwords",
    ) -> None:
        self._threads = ThreadPoolExecutor(at_once, name)
        self._room = at_once + queue
        self._room_of_one = queue_of_one
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()

    def submit(self, network: str, work: Callable[[], T]) -> Future[T]:
        """Have it done; `Busy` when there is no room, or this network has taken its part of it."""
        with self._lock:
            if self._waiting.total() >= self._room or self._waiting[network] >= self._room_of_one:
                raise Busy("too many are waiting already")
            self._waiting[network] += 1
        try:
            future = self._threads.submit(work)
        except RuntimeError as closed:
            self._left(network)
            raise Busy("the node is stopping") from closed
        future.add_done_callback(lambda _: self._left(network))
        return future

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _left(self, network: str) -> None:
        with self._lock:
            self._waiting[network] -= 1
            if not self._waiting[network]:
                del self._waiting[network]
