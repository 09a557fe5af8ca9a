"""`interlock check | plan | schema`: looking at the file without changing anything."""

from __future__ import annotations

from typing import Annotated

import typer

from interlock.cli.desk import Settings, ask_node
from interlock.cli.output import print_json, say, tell

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def check(context: typer.Context, as_json: Json = False) -> None:
    """Tell whether the file is right: each fault with file, line and reason. Changes nothing.

    Exit status 0 if it is, 1 if not; warnings do not count.

    Example:  interlock -c shop/interlock.yaml check
    """
    from interlock.control.check import check_file
    from interlock.control.wire import problem_entry

    settings = Settings.of(context)
    problems, warnings = check_file(settings.file)
    if as_json:
        print_json(
            {
                "ok": not problems,
                "problems": [problem_entry(problem) for problem in problems],
                "warnings": [problem_entry(warning) for warning in warnings],
            }
        )
    else:
        for warning in warnings:
            tell(f"warning: {warning}")
        for problem in problems:
            say(str(problem))
        if not problems:
            say(f"{settings.file} is right")
    raise typer.Exit(1 if problems else 0)


def plan(context: typer.Context, as_json: Json = False) -> None:
    """Tell what a reload would change in the running node. Changes nothing.

    Example:  interlock plan
    """
    changes = ask_node(Settings.of(context), "plan")["changes"]
    if as_json:
        print_json(changes)
        return
    for change in changes:
        note = "  (needs a restart)" if change["restart"] else ""
        say(f"{change['kind']:8} {change['where']}: {change['summary']}{note}")
    if not changes:
        say("a reload would change nothing")


def schema() -> None:
    """Print the JSON Schema of the file, for editors.

    Example:  interlock schema > interlock.schema.json
    """
    from interlock.config import schema as of_the_file

    print_json(of_the_file())
