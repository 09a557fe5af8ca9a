"""What the lower floors may ask of the record, without knowing how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from interlock.model.events import Event


class Recorder(Protocol):
    """Writes acts (not calls: the gateway has its own, faster way for those)."""

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        """Put an act on the record and on disk before returning; gives its id.

        `details` hold plain JSON values and never a secret.
        Raises `RecordUnavailable` when it cannot be written: the act MUST then not take place.
        """
        ...
