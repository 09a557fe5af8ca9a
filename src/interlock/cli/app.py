"""The program `interlock`: what all its commands share. The commands themselves: `interlock.cli.commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interlock import __version__
from interlock.cli.commands import Commands
from interlock.cli.desk import Settings

app = typer.Typer(
    name="interlock",
    cls=Commands,
    help="""A zero-trust gateway that puts every call on the record before it passes.

    Begin with:  interlock init DIR --upstream http://127.0.0.1:9000  and then  interlock -c DIR/interlock.yaml up
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"interlock {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="INTERLOCK_CONFIG",
            readable=False,  # not looked at here: a reader of the record needs none
            help="The configuration file.",
        ),
    ] = Path("interlock.yaml"),
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    context.obj = Settings(config)
