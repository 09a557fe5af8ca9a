"""Clients as they are now, cheap enough to be asked at each use: one connection that stays open.

The issuer keeps clients in memory. Commands change them beside it, also while it hangs; so before a client is used it
is asked here whether anybody has changed anything since (`PRAGMA data_version`, some microseconds), and only then
what the client is like. A transaction is never left open, so nobody else waits for this connection.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

from interlock.errors import StateError

_PATIENCE: Final = 0.25  # seconds to wait for a database that is locked whole; the loop of the process waits, too


class ClientRows:
    """For many threads. Raises `StateError` where the database does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def version(self) -> int:
        """Another one than before after each change that anybody committed; to be asked before the rows."""
        return int(self._all("PRAGMA data_version", ())[0][0])

    def row(self, client_id: str) -> str | None:
        """The JSON of one client; None: there is none."""
        try:
            found = self._all("SELECT data FROM clients WHERE id = ?", (client_id,))
        except UnicodeEncodeError:  # half of a surrogate pair, which no name of ours has
            return None
        return str(found[0][0]) if found else None

    def rows(self) -> dict[str, str]:
        """All of them, the oldest first."""
        return {row[0]: row[1] for row in self._all("SELECT id, data FROM clients ORDER BY created, id", ())}

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _all(self, statement: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(
                        f"{self._path.absolute().as_uri()}?mode=rw",
                        uri=True,
                        timeout=_PATIENCE,
                        isolation_level=None,
                        check_same_thread=False,
                    )
                    self._connection.execute("PRAGMA trusted_schema = OFF")
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise StateError(f"{self._path}: {error}") from error
