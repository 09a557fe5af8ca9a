"""Keeps the record in columns up to date in the background, once somebody has asked for it in SQL.

That somebody has is told by the key of the cache being there. Without the extra `query`, or before that,
nothing is loaded and nothing is done. Whoever asks brings up to date what is missing then; so this may lag.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.errors import InterlockError

if TYPE_CHECKING:
    from interlock.analyst.exports import Log
    from interlock.audit.columns import Builder
    from interlock.audit.reader import OpenKey
    from interlock.keys import Keyring
    from interlock.store import Persons

EVERY = 15.0  # seconds
BETWEEN = 0.2  # seconds between pieces: exports run in the same process
PIECE = 50_000  # frames
AGAIN = 60.0  # seconds after something went wrong
PATIENCE = 3.0  # seconds for a piece to end


class Columns:
    """One thread of the analyst."""

    def __init__(
        self,
        data_dir: Path,
        keyring: Callable[[], Keyring],
        persons: Callable[[], Persons],
        open_key: OpenKey,
        log: Log,
    ) -> None:
        self._data = data_dir
        self._keyring = keyring
        self._persons = persons
        self._open_key = open_key
        self._log = log
        self._builder: Builder | None = None
        self._failing = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="columns", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Killed within a piece, the next one begins with it again: so this waits only a moment."""
        self._stop.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        wait = EVERY
        while not self._stop.wait(wait):
            try:
                wait = self.step()
                problem = ""
            except InterlockError as error:
                wait, problem = AGAIN, str(error)
            except Exception as fault:  # a fault of ours here must not end the exports
                wait, problem = AGAIN, repr(fault)
            if problem and problem != self._failing:
                self._log.warning("the record in columns is not kept up to date", problem=problem)
            self._failing = problem

    def step(self) -> float:
        """Take in one piece, if anybody wants it; gives the seconds to wait before the next."""
        if not (self._data / "keys" / "cache.sealed").exists():
            return EVERY
        if self._builder is None:
            from interlock.audit.columns import Builder, installed

            if not installed():
                return AGAIN
            persons = self._persons()
            self._builder = Builder(
                self._data / "record", self._data / "cache", self._keyring, lambda: persons, self._open_key
            )
        done = self._builder.step(wait=False, limit=PIECE)
        if done is None or not done.frames:
            return EVERY
        return AGAIN if done.problem else BETWEEN
