"""How the command line says things: data on standard output, everything else on standard error.

Colours and tables only on a terminal. What came from outside (names, paths) is never read as markup, and
control characters in it never reach the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer


def say(text: str = "") -> None:
    """A line of the answer."""
    sys.stdout.write(printable(text) + "\n")


def tell(text: str) -> None:
    """A remark that is not part of the answer."""
    sys.stderr.write(printable(text) + "\n")


def end_with(problems: Sequence[str]) -> None:
    """Tell what is amiss, if anything is, and end the command with status 1 then."""
    for problem in problems:
        tell(f"! {problem}")
    if problems:
        raise typer.Exit(1)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """The answer as JSON; `indent=None` for one line."""
    sys.stdout.write(json.dumps(value, indent=indent, default=str) + "\n")


def printable(text: str) -> str:
    """The text with control characters (but the newline and the tab) made visible."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else one_line(c) for c in text)


def one_line(text: str) -> str:
    """The text with all control characters made visible: nothing in it looks like a line of ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows under headings; plain tab-separated lines when the output goes to a program."""
    cells = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            sys.stdout.write("\t".join(row) + "\n")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        grid.add_row(*(Text(cell) for cell in row))
    Console().print(grid)


def listing(found: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool = False) -> None:
    """Things of one kind: as JSON, or a row of these columns for each."""
    if as_json:
        print_json(found)
    else:
        table(columns, [[_cell(one[column]) for column in columns] for one in found])


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def fields(entry: Mapping[str, Any]) -> None:
    """One thing, a line per field."""
    width = max((len(name) for name in entry), default=0)
    for name, value in entry.items():
        shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        say(f"{name:<{width}}  {'' if shown is None else shown}")
