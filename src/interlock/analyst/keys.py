"""Opens the record's reading keys one by one, each once. The KEK is held for no longer than that takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from interlock.keys import Keyring, RecipientKey


class ReadingKeys:
    """An `OpenKey` for several threads. Its repr shows nothing."""

    def __init__(self, keyring: Callable[[], Keyring]) -> None:
        self._keyring = keyring
        self._known: dict[str, RecipientKey] = {}
        self._lock = threading.Lock()

    def __call__(self, recipient_id: str, sealed: bytes, info: bytes, /) -> bytes:
        key = self._known.get(recipient_id)
        if key is None:
            with self._lock:
                key = self._known[recipient_id] = self._keyring().open_record_key(recipient_id)
        return key.open(sealed, info)
