"""The exports of a node: one thread each, so that none waits for another. They follow the configuration."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from interlock.analyst.exporter import Exporter
from interlock.config import Export
from interlock.snapshot.exports import ExportStatus

PATIENCE = 3.0  # seconds for all of them to end


class Log(Protocol):
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class _Running:
    """One export and its thread."""

    def __init__(self, exporter: Exporter, log: Log) -> None:
        self.exporter = exporter
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"export-{exporter.export.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, seconds: float) -> None:
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        exporter, failing = self.exporter, ""
        wait = 0.0
        while not self._stop.wait(wait):
            try:
                wait = exporter.step()
            except Exception as fault:  # a fault of ours in one export must not end the others
                self._log.error("an export failed inside", export=exporter.export.name, problem=repr(fault))
                exporter.status.error, exporter.status.state = repr(fault), "retrying"
                exporter.close(politely=False)
                wait = 10.0
            failing = self._tell(failing)
        exporter.close()

    def _tell(self, failing: str) -> str:
        """Log when it begins to fail, when the reason changes, and when it is over."""
        status = self.exporter.status
        if status.error and status.error != failing:
            self._log.warning("an export fails; nothing is lost", export=status.name, problem=status.error)
        elif failing and not status.error:
            self._log.info("an export is delivered again", export=status.name)
        return status.error


class Exports:
    """What runs now. For one thread."""

    def __init__(self, make: Callable[[Export, int], Exporter], log: Log, before: Iterable[ExportStatus] = ()) -> None:
        """`make`: an exporter of an export and its failures so far; `before`: what was counted before we began."""
        self._make = make
        self._log = log
        self._failures = {status.name: status.failures for status in before}
        self._running: dict[str, _Running] = {}

    def configure(self, wanted: Iterable[Export]) -> None:
        """Stop what is no longer wanted, or changed, and start what is new."""
        exports = {export.name: export for export in wanted}
        stale = [name for name, one in self._running.items() if exports.get(name) != one.exporter.export]
        self._end(stale)
        for name, export in exports.items():
            if name not in self._running:
                self._running[name] = _Running(self._make(export, self._failures.get(name, 0)), self._log)
                self._log.info("exporting", export=name, to=str(export.to))

    def statuses(self) -> list[ExportStatus]:
        return [one.exporter.status for one in self._running.values()]

    def close(self) -> None:
        self._end(list(self._running))

    def _end(self, names: list[str]) -> None:
        for name in names:
            self._running[name].stop()
        until = time.monotonic() + PATIENCE
        for name in names:
            ended = self._running.pop(name)
            ended.join(until - time.monotonic())
            self._failures[name] = ended.exporter.status.failures
