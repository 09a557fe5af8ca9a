"""Opens the record's reading keys one by one. Neither they nor the KEK are held for longer than `HELD`.

A key that is destroyed MUST NOT live on here: a key ring that forgets is worth nothing beside a reader that
remembers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from interlock.keys import Keyring, RecipientKey

HELD = 60.0  # seconds


class ReadingKeys:
    """An `OpenKey` for several threads. Its repr shows nothing."""

    def __init__(self, keyring: Callable[[], Keyring], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keyring = keyring
        self._monotonic = monotonic
        self._known: dict[str, RecipientKey] = {}
        self._since = 0.0
        self._lock = threading.Lock()

    def __call__(self, recipient_id: str, sealed: bytes, info: bytes, /) -> bytes:
        with self._lock:
            now = self._monotonic()
            if now - self._since > HELD:
                self._known.clear()
                self._since = now
            key = self._known.get(recipient_id)
            if key is None:
                key = self._known[recipient_id] = self._keyring().open_record_key(recipient_id)
        return key.open(sealed, info)
