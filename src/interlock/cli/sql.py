"""`interlock audit query --sql`: the record as two tables, `calls` and `acts`."""

from __future__ import annotations

import json
import sys
from typing import Any

from interlock.cli.desk import Settings, perform
from interlock.cli.output import end_with, print_json, printable, table

Value = Any


def ask(settings: Settings, sql: str, *, as_json: bool) -> None:
    """Show the answer: a table, tab-separated lines, or a JSON line for each row."""
    columns: list[str] = []
    rows: list[list[Value]] = []
    terminal, bar = sys.stdout.isatty(), sys.stderr.isatty()
    drawn = False

    def shown(said: dict[str, Any]) -> None:
        nonlocal drawn
        if "row" in said:
            if as_json:
                print_json(dict(zip(columns, said["row"], strict=True)), indent=None)
            elif terminal:
                rows.append([_cell(value) for value in said["row"]])  # its columns' widths are known at the end
            else:
                sys.stdout.write("\t".join(printable(_cell(value)) for value in said["row"]) + "\n")
            return
        if "of" in said and bar:
            sys.stderr.write(f"\rreading the record {100 * said['done'] // max(said['of'], 1):3} %  ")
            drawn = True
        elif drawn:
            sys.stderr.write("\r\x1b[K")
            drawn = False
        sys.stderr.flush()
        columns[:] = said.get("columns", columns)

    done = perform(settings, "audit.sql", {"sql": sql}, shown)
    if terminal and not as_json:
        table(columns, rows)
    end_with(done["problems"])


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else str(value)
