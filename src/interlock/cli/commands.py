"""Where each command is found. A new one needs a line in `COMMANDS` and nothing else.

The module of a command is loaded when that command is named, and all of them for `interlock --help`: building every
command takes as long as reading most answers. What a line points to is a function, for one command, or a `typer.Typer`
for a group of them (`key create`, `key list`).
"""

from __future__ import annotations

from collections import UserDict
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

# In the order of `--help`. MODULE:NAME, relative to interlock.cli.
COMMANDS = {
    "init": "write_file:init",
    "up": "operate:up",
    "status": "operate:status",
    "reload": "operate:reload",
    "check": "inspect_file:check",
    "plan": "inspect_file:plan",
    "schema": "inspect_file:schema",
    "key": "key:app",
    "client": "client:app",
    "user": "user:app",
    "revoke": "revoke:app",
    "risk": "risk:app",
    "signals": "signals:app",
    "keyring": "keyring:app",
    "role": "role:app",
    "audit": "audit:app",
    "witness": "witness:witness",
    "tour": "tour.command:tour",
}


class Commands(TyperGroup):
    """The group at the top."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _OnDemand(COMMANDS)


class _OnDemand(UserDict[str, Any]):
    """Commands by name, as click has them: from the places of `COMMANDS`, when one is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _built(name, self.data[name])


@cache
def _built(name: str, place: str) -> Any:
    module, _, thing = place.partition(":")
    found = getattr(import_module(f"interlock.cli.{module}"), thing)
    around = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    return get_group(around).commands[name]
