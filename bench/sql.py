"""The record in columns: rows written as the analyst writes them, then questions in SQL, beside jq over JSON lines.

The same 400,000 calls are written again and again, each time later, into files of their own. Time is all that passes
from the question to the answer: the start of the process that answers, with its imports, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peers

ROWS = int(os.environ.get("INTERLOCK_BENCH_ROWS", "10000000"))
LINES = ROWS // 20  # for jq
ROUNDS = 3
GOAL = "5,000,000/s"
FIRST = 1_767_225_600 * 10**9  # wall ns
APART = 5_000_000  # ns between rows
SKIPS = "errors of one hour, by route; other times are skipped"
HOUR = "time >= TIMESTAMP '2026-01-01 06:00' AND time < TIMESTAMP '2026-01-01 07:00'"
QUESTIONS = {
    "calls by decision and reason": "SELECT decision, reason, count(*) FROM calls GROUP BY ALL",
    "calls by route, mean duration": "SELECT route, count(*), avg(duration_ms) FROM calls GROUP BY ALL",
    "ten principals with most calls": "SELECT principal, count(*) n FROM calls GROUP BY ALL ORDER BY n DESC LIMIT 10",
    SKIPS: f"SELECT route, count(*) FROM calls WHERE status >= 500 AND {HOUR} GROUP BY ALL",
}
JQ = 'reduce inputs as $row ({}; .[$row.decision + " " + $row.reason] += 1)'


def run(say: Callable[[str], None]) -> str:
    """A table in Markdown."""
    from interlock.audit.columns import answer
    from interlock.audit.columns.builder import LARGEST
    from interlock.audit.columns.cache import File, Manifest
    from interlock.audit.columns.parquet import footer, write
    from interlock.audit.columns.schema import CALLS, table

    folder = peers.SCRATCH / "run" / "sql"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    key, files = os.urandom(32), []
    say("sql: rows")
    rows = list(_rows(min(LARGEST, ROWS)))
    began = time.process_time()
    first = table(CALLS, rows)
    making = (time.process_time() - began) / len(rows)
    writing = 0.0
    for number in range(-(-ROWS // LARGEST)):
        say(f"sql: {number * LARGEST:,} of {ROWS:,} rows")
        some = _later(first.slice(0, ROWS - number * LARGEST), number)
        path = folder / f"calls-{number:04}.parquet"
        began = time.process_time()
        write(path, CALLS, some, key)
        writing += time.process_time() - began
        files.append(File(path.name, CALLS, some.num_rows, footer(path), (f"{number:032x}",)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    manifest = Manifest(files=files)

    def ask(sql: str) -> float:
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.monotonic()
            answer(sql, manifest, folder, key, (), lambda _: None, lambda _: None)
            best = min(best, time.monotonic() - began)
        return best

    say("sql: questions")
    start = ask("SELECT 1")
    counted: list[list[int]] = []
    answer("SELECT count(route) FROM calls", manifest, folder, key, (), lambda _: None, counted.append)
    assert counted == [[ROWS]], counted
    lines = ["| what | seconds | rows per second | asked for |", "| --- | ---: | ---: | ---: |"]
    for what, sql in QUESTIONS.items():
        took = ask(sql)
        scanned = f"{ROWS / took:,.0f} | {GOAL}" if what != SKIPS else "|"
        lines.append(f"| {what} | {took:.2f} | {scanned} |")
    if shutil.which("jq"):
        say("sql: jq")
        took = _jq(folder / "lines")
        lines.append(f"| jq, calls by decision and reason, of {LINES:,} | {took:.2f} | {LINES / took:,.0f} | |")
    shutil.rmtree(folder)
    lines += [
        "",
        f"{ROWS:,} rows, {size / ROWS:.0f} bytes each, encrypted; made into columns and written at "
        f"{1 / (making + writing / ROWS):,.0f}/s and core. The process that "
        f"answers takes {start:.2f} s to start, once for each question, which is counted. Best of {ROUNDS}.",
    ]
    return "\n".join(lines)


def _later(rows: Any, number: int) -> Any:
    """The same calls, later and of another segment."""
    import pyarrow as pa
    import pyarrow.compute as pc

    apart = pa.scalar(number * rows.num_rows * APART // 1000, pa.duration("us"))
    sequences = pa.array([str(sequence) for sequence in range(rows.num_rows)])
    ids = pc.binary_join_element_wise(f"{number:032x}", sequences, "-")
    return rows.set_column(0, rows.schema.field("time"), pc.add(rows["time"], apart)).set_column(1, "id", ids)


def _rows(count: int) -> Iterator[Any]:
    """Calls of 5,000 principals on 12 routes, one in twenty refused."""
    from interlock.audit.joined import Joined

    for number in range(count):
        mixed = number * 2_654_435_761 % 2**32
        refused = mixed % 20 == 0
        principal, route = mixed >> 8, mixed % 12
        row = {
            "id": f"{number // 1_000_000:032x}-{number % 1_000_000}",
            "event": "call:refused" if refused else "call:intent",
            "principal": f"user:login.example.com/u{principal % 5_000}",
            "methods": ["jwt"],
            "action": "GET",
            "host": "api.example.com",
            "route": f"GET /things{route}/{{id}}",
            "resource": f"/things{route}/{principal % 100_000}",
            "service": f"things{route}",
            "source": f"10.{principal % 4}.{principal % 256}.{mixed % 256}",
            "decision": "deny" if refused else "allow",
            "outcome": "refused" if refused else "done",
            "reason": "not-permitted" if refused else "",
            "status": 403 if refused else 500 if mixed % 97 == 0 else 200,
            "duration_ms": (mixed % 100_000) / 1000,
            "bytes_in": mixed % 4_096,
            "bytes_out": mixed % 65_536,
            "mode": "written",
            "trace_id": f"{mixed * mixed:032x}",
            "credential": "",
            "upstream": f"http://things{route}",
            "note": "",
        }
        yield Joined(row, "calls", FIRST + number * APART, FIRST + number * APART, ())


def _jq(path: Path) -> float:
    with path.open("w") as file:
        for one in _rows(LINES):
            file.write(json.dumps(one.row) + "\n")
    began = time.monotonic()
    subprocess.run(["jq", "-n", JQ, str(path)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


if __name__ == "__main__":
    print(run(lambda text: print(text, file=sys.stderr)))
