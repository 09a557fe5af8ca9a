"""The life of the analyst process: a heartbeat, the exports and what they say of themselves, the record in columns.

What a node exports is what it runs with: the bytes in `run/applied`, looked at again when there is a new
snapshot. Nothing that reads the record is loaded before there is something to export.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.clock import SystemClock
from interlock.errors import InterlockError
from interlock.snapshot import NodePage
from interlock.snapshot.exports import EXPORTS_REPORT
from interlock.snapshot.page import ANALYST_SLOT, GENERATION, READY

if TYPE_CHECKING:
    from interlock.analyst.columns import Columns
    from interlock.analyst.exporter import Exporter
    from interlock.analyst.exports import Exports, Log
    from interlock.audit.subjects_reading import Names
    from interlock.config import Config, Export
    from interlock.keys import Keyring
    from interlock.store import Persons

BEAT = 0.5  # seconds
LATER = 5.0  # seconds until a configuration that could not be read is tried again


class Analyst:
    """One node's analyst."""

    def __init__(self, file: Path, config: Config, page: NodePage, log: Log) -> None:
        self._file = file
        self._data = config.data_dir
        self._run = config.data_dir / "run"
        self._page = page
        self._log = log
        self._clock = SystemClock()
        self._config = config
        self._generation = -1
        self._exports: Exports | None = None
        self._said = b""
        self._stop = threading.Event()

    def run(self) -> None:
        """Until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        self._page.beat(ANALYST_SLOT, self._clock.monotonic())
        self._page.set_state(ANALYST_SLOT, READY)
        columns = self._columns()
        columns.start()
        while not self._stop.wait(BEAT):
            self._page.beat(ANALYST_SLOT, self._clock.monotonic())
            self._look_at_configuration()
            self._tell()
        columns.close()
        if self._exports is not None:
            self._exports.close()
            self._tell()

    def _columns(self) -> Columns:
        from interlock.analyst.columns import Columns
        from interlock.analyst.keys import ReadingKeys

        return Columns(self._data, self._keyring, self._persons, ReadingKeys(self._keyring), self._log)

    def _look_at_configuration(self) -> None:
        generation = self._page.words[GENERATION]
        if generation == self._generation:
            return
        from interlock.config import parse

        try:
            self._config = parse((self._run / "applied").read_bytes(), self._file, look_at_files=False)
            wanted = self._config.exports
            if wanted or self._exports is not None:
                self._start().configure(wanted)
        except (OSError, InterlockError) as problem:
            self._log.error("the exports cannot be taken up", problem=str(problem))
            self._stop.wait(LATER)
            return
        self._generation = generation

    def _start(self) -> Exports:
        if self._exports is None:
            from interlock.analyst.exports import Exports

            self._exports = Exports(self._exporter, self._log, EXPORTS_REPORT.read(self._run) or [])
        return self._exports

    def _exporter(self, export: Export, failures: int) -> Exporter:
        import socket

        from interlock.analyst.exporter import Exporter
        from interlock.analyst.keys import ReadingKeys
        from interlock.analyst.sinks import make_sink

        return Exporter(
            export,
            self._data / "record",
            ReadingKeys(self._keyring),
            self._data / "exports",
            make_sink=make_sink,
            clock=self._clock,
            host=socket.gethostname(),
            names=self._names,
            tell=lambda problem: self._log.error("somebody on the record cannot be named", problem=str(problem)),
            failures=failures,
            log=self._log_name(),
        )

    def _log_name(self) -> str:
        """What marks this node's record apart; empty where that cannot be told."""
        from interlock.keys import log_names

        try:
            return log_names(self._data / "keys").origin
        except InterlockError:
            return ""

    def _keyring(self) -> Keyring:
        from interlock.keys import open_keyring

        return open_keyring(self._config.keys, self._data / "keys", clock=self._clock)

    def _names(self) -> Names:
        """Who is who on the record: from the state database, which is only read."""
        from interlock.audit.subjects_register import names

        return names(self._persons(), self._keyring())

    def _persons(self) -> Persons:
        from interlock.store import Persons, State

        return Persons(State.open(self._data / "state.db"))

    def _tell(self) -> None:
        if self._exports is None:
            return
        try:
            EXPORTS_REPORT.write(self._run, self._exports.statuses())
        except OSError as problem:
            self._log.error("how the exports are doing cannot be written", problem=os.strerror(problem.errno or 0))


def run(file: Path, config: Config, page: NodePage, log: Log) -> None:
    """The body of the process, after the fork."""
    Analyst(file, config, page, log).run()
