"""`interlock audit query --follow`: what is sealed, as it is sealed, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from interlock.cli.desk import Settings, perform, reader_socket
from interlock.cli.output import tell
from interlock.errors import NodeError

Show = Callable[[dict[str, Any]], None]


def filters_of(**given: Any) -> dict[str, Any]:
    """What was said of filters, as it is asked for. Whoever is asked refuses a status or network that is none."""
    return {name: value for name, value in given.items() if value}


def follow(settings: Settings, kind: str, filters: dict[str, Any], show: Show) -> None:
    """Show each call once it has ended, or each act, from now on. Ends with Ctrl-C, or when nobody reads it."""
    from interlock.control.lock import is_held

    if reader_socket(settings) is None and not is_held(settings.paths.data_dir):
        raise NodeError("the node does not run: nothing new comes onto the record; leave --follow out")

    def shown(entry: dict[str, Any]) -> None:
        if entry:
            show(entry)
        else:
            sys.stdout.flush()

    try:
        done = perform(settings, "audit.follow", {"kind": kind, "filters": filters}, shown)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does the interpreter, at its end
        raise typer.Exit(0) from None
    for problem in done["problems"]:
        tell(f"! {problem}")
    tell("the node ended it" if not done["problems"] else "following ended")
    raise typer.Exit(1 if done["problems"] else 0)
