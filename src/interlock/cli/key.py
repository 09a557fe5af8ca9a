"""`interlock key`: API keys. A key is shown once, when it is made; only its keyed hash is kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import fields, listing, print_json, say, tell
from interlock.cli.times import duration

app = typer.Typer(help="API keys: make, list, rotate, revoke.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `key list` shows it.")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for: becomes service:interlock/NAME.")],
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="A role of the file; may be repeated.")],
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Refused after this time (90d, 12h). Default: never.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="CIDR", help="Usable from here only; may be repeated. Default: anywhere."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once. It travels as X-API-Key.

    Works with the node running (the key is good when the command returns) or not.

    Example:  interlock key create billing --role caller --expires 90d
    """
    arguments: dict[str, Any] = {"name": name, "roles": role, "networks": network or []}
    if expires is not None:
        arguments["expires_ns"] = duration(expires, "--expires")
    made = perform(Settings.of(context), "key.create", arguments)
    if as_json:
        print_json(made)
        return
    tell("Keep it now: it is not shown again.")
    fields(made)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the keys: never their secrets. When each was last used is read from the record.

    Example:  interlock key list --json
    """
    found = perform(Settings.of(context), "key.list", {})
    keys = found["keys"]
    if not found["last_used_complete"]:
        tell("Not all of the record could be read: a key may have been used later than shown.")
    columns = ("id", "principal", "roles", "state", "created", "expires", "last_used")
    listing(keys, columns, as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    key: Identifier,
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the old key still works beside the new one.")
    ] = "24h",
    as_json: Json = False,
) -> None:
    """Make a new key in place of an old one, which works on for a while.

    Example:  interlock key rotate abcdefghij --overlap 24h
    """
    made = perform(Settings.of(context), "key.rotate", {"id": key, "overlap_ns": duration(overlap, "--overlap")})
    if as_json:
        print_json(made)
        return
    tell("Keep it now: it is not shown again.")
    fields(made)


@app.command()
def revoke(context: typer.Context, key: Identifier, as_json: Json = False) -> None:
    """Refuse a key from now on: everywhere on the node when this returns.

    Example:  interlock key revoke abcdefghij
    """
    done = perform(Settings.of(context), "key.revoke", {"id": key})
    if as_json:
        print_json(done)
    else:
        say(f"{key} is revoked")
