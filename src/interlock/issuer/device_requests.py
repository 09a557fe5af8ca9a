"""Devices that wait for somebody to allow them (RFC 8628): from the code on their screen to the token they fetch.

    waiting --approved--> approved --fetched--> taken
       \\----denied-----> denied                          each until its time, and then expired

In memory, as all codes are. A device code is 256 random bits. A user code is eight letters of twenty, 34.5 bits, since
people type it: so it can be tried by those who are signed in only, and few times. Ten misses in half an hour, counted
for the account and for the network it comes from, end the trying; with every place taken (20,000 codes at once) an
account hits one of them by chance once in 128,000 half hours.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from typing import Final

import msgspec

from interlock.addresses import SITE, block
from interlock.clock import SECOND
from interlock.issuer.codes import Full
from interlock.store.clients import Grant

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"  # section 6.1: no vowels, so no words; nothing that looks like another
LETTERS: Final = 8
LIVES: Final = 600 * SECOND
INTERVAL: Final = 5  # seconds between two polls, and what each that is too early adds (section 3.5)
EARLY: Final = SECOND // 2  # by which a poll may be early on its way
KEPT: Final = 20_000
OF_ONE: Final = 500  # of one place
REMEMBERED: Final = 600 * SECOND  # after its time, to say that it has expired
MISSES: Final = 10
WINDOW: Final = 30 * 60 * SECOND
COUNTED: Final = 20_000  # accounts and networks

WAITING, APPROVED, DENIED, TAKEN = "waiting", "approved", "denied", "taken"


class DeviceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a device asks for."""

    client_id: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    source: str  # the device's address
    created: int  # wall ns
    details: tuple[dict[str, object], ...] = ()
    jkt: bytes = b""  # of the DPoP key that it will be bound to

    @property
    def expires(self) -> int:
        return self.created + LIVES


class Polled(msgspec.Struct, frozen=True):
    """Where a request stands, for the device that asks."""

    request: DeviceRequest
    state: str
    slow_down: bool = False
    grant: Grant | None = None  # once it is approved

    def __repr__(self) -> str:
        return f"Polled(state={self.state!r})"


class _Entry:
    __slots__ = ("grant", "interval", "polled", "request", "state", "user")

    def __init__(self, request: DeviceRequest, user: bytes) -> None:
        self.request = request
        self.user = user
        self.state = WAITING
        self.grant: Grant | None = None
        self.interval = INTERVAL
        self.polled = request.created - INTERVAL * SECOND  # the interval is between two polls (RFC 8628 section 3.2)


class DeviceRequests:
    """All of one issuer. For many threads."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._by_device: dict[bytes, _Entry] = {}
        self._by_user: dict[bytes, _Entry] = {}
        self._places: dict[str, int] = {}  # how many came from one
        self._misses: dict[str, tuple[int, int]] = {}  # since when, how many
        self._lock = threading.Lock()
        self._swept = 0

    def open(self, request: DeviceRequest) -> tuple[str, str]:
        """Keep a request; gives its device code and its user code. Raises `Full`."""
        now, place = request.created, block(request.source, SITE)
        with self._lock:
            self._sweep(now)
            if len(self._by_device) >= KEPT or self._places.get(place, 0) >= OF_ONE:
                raise Full
            self._places[place] = self._places.get(place, 0) + 1
            device = "ild_" + secrets.token_urlsafe(32)
            while True:
                typed = "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))
                user = self._user(typed)
                if user not in self._by_user:
                    break
            entry = _Entry(request, user)
            self._by_device[_hash(device)] = self._by_user[user] = entry
        return device, f"{typed[:4]}-{typed[4:]}"

    # -- the person

    def find(self, user_code: str, now: int) -> DeviceRequest | None:
        """The request that waits under a typed code (`letters`)."""
        with self._lock:
            entry = self._waiting(user_code, now)
            return entry.request if entry is not None else None

    def answer(self, user_code: str, grant: Grant | None, now: int) -> bool:
        """Approve with what is given, or deny (None). The first answer counts; False: it was too late."""
        with self._lock:
            entry = self._waiting(user_code, now)
            if entry is None:
                return False
            entry.state, entry.grant = (DENIED, None) if grant is None else (APPROVED, grant)
            return True

    def may_try(self, keys: tuple[str, ...], now: int) -> bool:
        """Whether another code may be tried by those."""
        with self._lock:
            return all(self._missed(key, now) < MISSES for key in keys) and (
                len(self._misses) < COUNTED or all(key in self._misses for key in keys)
            )

    def missed(self, keys: tuple[str, ...], now: int) -> bool:
        """Count a code that there was not; True if it was the last one to be tried."""
        with self._lock:
            for key in keys:
                since = self._misses[key][0] if self._missed(key, now) else now
                self._misses[key] = (since, self._missed(key, now) + 1)
            return any(self._missed(key, now) == MISSES for key in keys)

    # -- the device

    def poll(self, device_code: str, client_id: str, now: int) -> Polled | None:
        """Where a request stands, of this client; None: there is none."""
        with self._lock:
            entry = self._by_device.get(_hash(device_code))
            if entry is None or entry.request.client_id != client_id:
                return None
            slow_down = entry.state == WAITING and 0 <= now - entry.polled < entry.interval * SECOND - EARLY
            if slow_down:
                entry.interval += INTERVAL
            entry.polled = now
            return Polled(entry.request, entry.state, slow_down, entry.grant)

    def take(self, device_code: str, now: int) -> bool:
        """Fetch what was approved: True once."""
        with self._lock:
            entry = self._by_device.get(_hash(device_code))
            if entry is None or entry.state != APPROVED or now >= entry.request.expires:
                return False
            entry.state, entry.grant = TAKEN, None
            return True

    # -- parts

    def _waiting(self, user_code: str, now: int) -> _Entry | None:
        entry = self._by_user.get(self._user(letters(user_code)))
        return entry if entry is not None and entry.state == WAITING and now < entry.request.expires else None

    def _missed(self, key: str, now: int) -> int:
        since, count = self._misses.get(key, (0, 0))
        return count if 0 <= now - since < WINDOW else 0

    def _user(self, typed: str) -> bytes:
        return hmac.digest(self._key, typed.encode("ascii"), "sha256")

    def _sweep(self, now: int) -> None:
        if 0 <= now - self._swept < SECOND:
            return
        self._swept = now
        for device, entry in list(self._by_device.items()):
            if now >= entry.request.expires + REMEMBERED:
                del self._by_device[device]
                self._by_user.pop(entry.user, None)
                place = block(entry.request.source, SITE)
                self._places[place] -= 1
                if not self._places[place]:
                    del self._places[place]
        for key, (since, _) in list(self._misses.items()):
            if not 0 <= now - since < WINDOW:
                del self._misses[key]


def letters(typed: str) -> str:
    """A code as it is compared: what is not of the alphabet counts for nothing (section 6.1)."""
    return "".join(letter for letter in typed[:64].upper() if letter in ALPHABET)[: LETTERS + 1]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
