"""Has a question answered by a process of its own, which is killed when its time is over."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from interlock.audit.columns.cache import Manifest
from interlock.audit.columns.engine import Work
from interlock.audit.columns.schema import CALLS, KINDS, table
from interlock.audit.joined import Joined
from interlock.errors import RecordError, UsageError

SECONDS = 120.0  # for an answer
MEMORY = 1024**3  # bytes, the engine's own
THREADS = 4  # at most
_ALIVE = 1.0  # seconds


class Unreadable(RecordError):
    """A file of the cache was altered: it is to be thrown away and made anew."""


def answer(
    sql: str,
    manifest: Manifest,
    folder: Path,
    key: bytes,
    under_way: Sequence[Joined],
    columns: Callable[[list[str]], None],
    row: Callable[[list[Any]], None],
    alive: Callable[[], None] = lambda: None,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> int:
    """Give the names of the columns, then each row; `alive` is called now and then. Gives the number of rows.

    Raises `UsageError` for SQL that is wrong, not allowed or asks for too much, `RecordError` for files that cannot
    be read.
    """
    threads = max(1, min(THREADS, os.cpu_count() or 1))
    files = {kind: [str(folder / file.name) for file in manifest.files if file.kind == kind] for kind in KINDS}
    work = Work(sql, key, files, memory, threads, int(seconds * threads) + 1)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "interlock.audit.columns.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    count, ended = 0, False
    try:
        _ask(process.stdin, work, under_way)
        for line in _lines(process.stdout, time.monotonic() + seconds, alive):
            said = json.loads(line)
            if "unreadable" in said:
                raise Unreadable("a file of the cache was altered; it was thrown away: ask again")
            if "error" in said:
                raise UsageError(said["error"])
            ended = "done" in said
            if "columns" in said:
                columns(said["columns"])
            for values in said.get("rows", ()):
                row(values)
                count += 1
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    if not ended:
        raise RecordError(
            f"the engine ended without an answer ({process.returncode}); it may have had too little memory"
        )
    return count


def _environment() -> dict[str, str]:
    """Nothing of ours but what finds Python's modules."""
    wanted = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
    return {name: os.environ[name] for name in wanted if name in os.environ} | {"HOME": "/nonexistent"}


def _ask(stdin: IO[bytes], work: Work, under_way: Sequence[Joined]) -> None:
    import pyarrow as pa

    rows = table(CALLS, under_way)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    try:
        stdin.write(msgspec.json.encode(work) + b"\n")
        stdin.write(sink.getvalue().to_pybytes())
        stdin.close()
    except BrokenPipeError:
        pass  # it ended: nothing will be read from it


def _lines(stdout: IO[bytes], until: float, alive: Callable[[], None]) -> Iterator[bytes]:
    """Each line as it comes; `UsageError` when the time is over."""
    fd, buffer = stdout.fileno(), b""
    ready = select.poll()  # `select` takes no descriptor over 1,023
    ready.register(fd, select.POLLIN)
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise UsageError("the answer takes too long: ask for less, or for a shorter time")
        if not ready.poll(1000 * min(left, _ALIVE)):
            alive()
            continue
        data = os.read(fd, 1024 * 1024)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield from lines
