"""What the long-lived processes tell the operator: one structured line per event, on standard error.

`key=value` on a terminal, JSON otherwise (journald, containers). Lines are for humans and for alerting; the
record is the evidence. A line MUST NOT hold a secret, a token or a header's value, and nothing that came
from outside can forge a second line: control characters are escaped in both forms.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

STDERR = 2


class Log:
    """Writes lines for one process. Never raises: a closed terminal must not stop a gateway."""

    __slots__ = ("_fd", "_json", "process")

    def __init__(self, process: str, fd: int = STDERR, *, as_json: bool | None = None) -> None:
        self.process = process
        self._fd = fd
        self._json = (not os.isatty(fd)) if as_json is None else as_json

    def named(self, process: str) -> Log:
        """The same log for another process."""
        return Log(process, self._fd, as_json=self._json)

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        line = render(time.time(), level, self.process, event, fields, as_json=self._json)
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


def render(now: float, level: str, process: str, event: str, fields: dict[str, Any], *, as_json: bool) -> str:
    """One line, ending in its only newline."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    if as_json:
        entry = {"time": stamp, "level": level, "process": process, "event": event}
        entry.update((name, value) for name, value in fields.items() if name not in entry)
        return json.dumps(entry, default=str) + "\n"
    words = [f"{name}={_plain(value)}" for name, value in fields.items()]
    return " ".join([stamp, f"{level:7}", f"{process}:", _plain(event, spaces=True), *words]) + "\n"


def _plain(value: Any, *, spaces: bool = False) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.isprintable() and '"' not in text and (spaces or (text and " " not in text)):
        return text
    return json.dumps(text)


class LoggingBridge(logging.Handler):
    """Takes what libraries say through `logging` (warnings and worse) into the same stream."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:
            message = str(record.msg)
        tell = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        tell(message, library=record.name)


def bridge_logging(log: Log) -> None:
    """Send the libraries' warnings to `log`, and nothing to anywhere else."""
    logging.root.handlers[:] = [LoggingBridge(log)]
    logging.root.setLevel(logging.WARNING)


def to_stderr(process: str) -> Log:
    """The log of a process whose standard error is where it should be."""
    return Log(process, sys.stderr.fileno() if sys.stderr is not None else STDERR)
