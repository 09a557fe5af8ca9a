"""Where each export is: one small file per export, replaced whole and put on disk before it counts."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from interlock.audit.cursor import Cursor
from interlock.audit.files import Files, write_aside
from interlock.errors import RecordError

VERSION = 1


class Kept(msgspec.Struct):
    """`DATA/exports/NAME.json`; members are only added, with a default."""

    version: int
    export: str
    cursor: str
    records: int = 0
    time_ns: int = 0
    log: str = ""  # whose record the cursor is in; empty: not known then
    check: str = ""  # SHA-256 of all this with an empty check, hex; files of before have none


_MEMBERS = set(Kept.__struct_fields__)


class Place:
    """One export's file."""

    def __init__(self, folder: Path, name: str, files: Files | None = None, *, log: str = "") -> None:
        """`log`: the name of the node's log. A cursor of another record would pass over what was never sent."""
        self._log = log
        self.path = folder / f"{name}.json"
        self._name = name
        self._files = files or Files()

    def read(self) -> tuple[Cursor, int] | None:
        """The cursor and how many records were confirmed; None if the export never began.

        Raises `RecordError` for a file that cannot be read: to begin again in silence would be a guess.
        """
        try:
            members = msgspec.json.decode(self.path.read_bytes(), type=dict[str, Any])
            kept = msgspec.convert(members, Kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # msgspec's, or bytes that are not UTF-8
            raise RecordError(f"{self.path} cannot be read: {error}; remove it to begin again") from None
        if members["check"] != _check(members) if "check" in members else not members.keys() <= _MEMBERS:
            raise RecordError(f"{self.path} was altered; remove it to begin again")
        if kept.version != VERSION or kept.export != self._name:
            raise RecordError(f"{self.path} is of another version or export; remove it to begin again")
        if kept.log and self._log and kept.log != self._log:
            raise RecordError(f"{self.path} is of the record of {kept.log}, not of this one; remove it to begin again")
        return Cursor.parse(kept.cursor), kept.records

    def keep(self, cursor: Cursor, records: int, time_ns: int) -> None:
        """On disk when this returns. Raises `OSError`."""
        self._files.make_folder(self.path.parent)
        kept = Kept(VERSION, self._name, str(cursor), records, time_ns, self._log)
        kept.check = _check(msgspec.to_builtins(kept))
        write_aside(self._files, self.path, msgspec.json.encode(kept) + b"\n")


def _check(members: Mapping[str, Any]) -> str:
    """Over whatever members there are: a later version may have more."""
    return sha256(msgspec.json.encode({**members, "check": ""})).hexdigest()
