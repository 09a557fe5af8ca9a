"""Opens single records for a proof. It is reading, so it is itself on the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.audit import parse_id
from interlock.audit.prove import open_frame
from interlock.control.reading import opener
from interlock.errors import RecordError, UsageError
from interlock.keys import Keyring
from interlock.model import Event

if TYPE_CHECKING:
    from interlock.audit import ActRecorder


class Open(msgspec.Struct, forbid_unknown_fields=True):
    record: str


def open_record(wanted: Open, record: Path, keyring: Keyring, acts: ActRecorder) -> dict[str, Any]:
    """What opens one frame: salt and plaintext, in base64."""
    try:
        found = parse_id(wanted.record)
    except RecordError as error:
        raise UsageError(str(error)) from None
    acts.act(Event.RECORD_READ, {"kind": "proof", "record": wanted.record})
    opening: dict[str, Any] = msgspec.to_builtins(open_frame(record, found, opener(keyring)))
    return opening
