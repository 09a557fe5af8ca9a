"""What verification asks of the node's state."""

from __future__ import annotations

from typing import Protocol


class KeyDirectory(Protocol):
    """The worker's view of keys, revocations, marks and risks: the snapshot, and what was said since.

    `epoch` MUST change whenever an answer of the others may have changed (a change log applied, a
    snapshot swapped in): a cached identity is asked about again only then.
    """

    @property
    def epoch(self) -> int: ...

    @property
    def lookup_key(self) -> bytes:
        """Under what API keys are hashed (32 bytes)."""
        ...

    def find_key(self, lookup: bytes, /) -> bytes | None:
        """The entry of an API key (`encode_key_entry`) by its 32-byte keyed hash."""
        ...

    def find_token(self, lookup: bytes, now: int, /) -> bytes | None:
        """What an opaque token of the node's own stands for (its claims, JSON), by its 32-byte keyed hash.

        It need not move the epoch: what was not found is not remembered for long, and what was found stays.
        """
        ...

    def is_revoked(self, handle: bytes, /) -> bool:
        """Whether a 32-byte handle was revoked."""
        ...

    def risk(self, handle: bytes, /) -> int:
        """What was found out about a 32-byte handle, from 1 to 100; 0: nothing."""
        ...

    def not_before(self, handle: bytes, /) -> int:
        """The second before which nothing of a 32-byte handle may have been issued; 0: there is no mark."""
        ...
