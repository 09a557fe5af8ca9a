"""The process that runs somebody's SQL: DuckDB over Arrow, with nothing else within reach.

It is told once, on standard input, which files to read and the key to them, and answers in JSON lines. The SQL is
not trusted: one statement that reads; no file, no network, no extension, no setting, no variable of Python's;
nothing spilled to disk in the clear; memory, processor time and threads bounded. What the engine itself
forgot to forbid, the operating system does: the process cannot make a file longer than nothing.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from interlock.audit.columns import parquet
from interlock.audit.columns.schema import CALLS

AT_ONCE = 1_000  # rows
_READING = "reading the stream registered as"  # what DuckDB says when Arrow fails
ADDRESSES = 4 * 1024**3  # bytes of memory, DuckDB's and Arrow's
SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET python_scan_all_frames = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET temp_directory = ''",
    "SET disabled_filesystems = 'LocalFileSystem'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class Work(msgspec.Struct):
    """What is asked; an Arrow stream of calls under way follows it."""

    sql: str
    key: bytes
    files: dict[str, list[str]]  # by kind
    memory: int  # bytes
    threads: int
    seconds: int  # of processor time, in all threads together


class _Refused(Exception):
    pass


def main() -> int:
    """Reads one `Work` and answers it."""
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Work)
    _bound(work)
    try:
        _answer(work)
    except _Refused as problem:
        _say({"error": str(problem)})
    return 0


def _bound(work: Work) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # which would hold the key
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (work.seconds, work.seconds + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (ADDRESSES, ADDRESSES))


def _answer(work: Work) -> None:
    import duckdb
    import pyarrow as pa

    pa.set_cpu_count(work.threads)
    pa.set_io_thread_count(work.threads)
    under_way = pa.ipc.open_stream(sys.stdin.buffer).read_all()
    connection = duckdb.connect(":memory:", config={"threads": work.threads, "memory_limit": f"{work.memory}B"})
    try:
        for kind, paths in work.files.items():
            sealed = parquet.dataset([Path(path) for path in paths], kind, work.key)
            if kind == CALLS and under_way.num_rows:
                connection.register("ended", sealed)
                connection.register("under_way", under_way)
                connection.execute("CREATE VIEW calls AS FROM ended UNION ALL BY NAME FROM under_way")
            else:
                connection.register(kind, sealed)
        for setting in SETTINGS:
            connection.execute(setting)
        statements = connection.extract_statements(work.sql)
        allowed = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
        if len(statements) != 1 or statements[0].type not in allowed:
            raise _Refused("one SELECT is asked; the record is only read")
        connection.execute(statements[0])
        columns = [column[0] for column in connection.description or ()]
        _say({"columns": columns})
        while rows := connection.fetchmany(AT_ONCE):
            _say({"rows": [[_plain(value) for value in row] for row in rows]})
        _say({"done": True})
    except duckdb.Error as error:
        if _READING in str(error) and not _readable(work):
            _say({"unreadable": True})
            return
        raise _Refused(_first(error)) from None


def _readable(work: Work) -> bool:
    """Whether every file opens, to its last byte."""
    try:
        for kind, paths in work.files.items():
            for _ in parquet.dataset([Path(path) for path in paths], kind, work.key).to_batches():
                pass
    except (OSError, ValueError, RuntimeError):
        return False
    return True


def _first(error: Exception) -> str:
    """What went wrong, without the engine's advice on its settings."""
    text = str(error)
    if "Out of Memory" in text:
        return "the answer needs more memory than it may have: ask for less of it, or for a shorter time"
    return text.strip()


def _plain(value: Any) -> Any:
    """As JSON has it. All times are UTC."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return float(value)
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
        case _:
            return str(value)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    os._exit(code)  # threads of the engine have nothing to finish
