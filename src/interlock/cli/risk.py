"""`interlock risk`: how risky somebody or something is, as routes ask for it (`strength: {risk: 60}`)."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import listing, print_json, say
from interlock.cli.times import duration

app = typer.Typer(
    help="How risky a principal, session, client or token is, for routes with `strength: {risk: ...}`.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("set")
def set_(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[PRINCIPAL] LEVEL",
            help="kind:AUTHORITY/name as the record has it, and a number from 1 to 100, or 0 to take it back.",
        ),
    ],
    session: Annotated[str | None, typer.Option(metavar="SID", help="A sign-in, by the `sid` of its tokens.")] = None,
    client: Annotated[str | None, typer.Option(metavar="ID", help="A client, by its `client_id`.")] = None,
    token: Annotated[str | None, typer.Option(metavar="JTI", help="One token, by its `jti`.")] = None,
    issuer: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Whose session, client or token it is. Default: the node's own issuer's."),
    ] = None,
    lasts: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long it counts. Default: until taken back.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it stays on the record.")] = "set by hand",
    as_json: Json = False,
) -> None:
    """Say how risky something is. When this returns, every worker goes by it.

    Example:  interlock risk set user:interlock/alice 80 --for 1h --reason "signed in from two continents"

    Example:  interlock risk set --session 08a5019c-17e1-4977-8f42-65a12843ea02 60
    """
    from interlock.errors import UsageError

    named: dict[str, str | None] = {"session": session, "client": client, "token": token}
    *principal, level = words
    if len(principal) == 1:
        named["principal"] = principal[0]
    said = [(kind, name) for kind, name in named.items() if name is not None]
    if len(said) != 1 or len(principal) > 1:
        raise UsageError("say one: a PRINCIPAL, --session, --client or --token, and then the LEVEL")
    if not (level.isascii() and level.isdecimal()) or int(level) > 100:
        raise UsageError(f"{level!r} is no level: a number from 1 to 100, or 0 to take it back")
    ((kind, name),) = said
    if not reason.strip() or name in reason:
        raise UsageError("a reason says something, and names nobody: it stays on the record")
    arguments: dict[str, Any] = {"kind": kind, "id": name, "value": int(level), "why": reason.strip()}
    if issuer is not None:
        arguments["issuer"] = issuer
    if lasts is not None:
        arguments["until_ns"] = time.time_ns() + duration(lasts, "--for")
    done = perform(Settings.of(context), "risk.set", arguments)
    if as_json:
        print_json(done)
    elif done["risk"]:
        say(f"{done['kind']} {done['id']} has a risk of {done['risk']}")
    else:
        say(f"{done['kind']} {done['id']} has no risk any more")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List what has a risk now, the highest first.

    Example:  interlock risk list --json
    """
    found = perform(Settings.of(context), "risk.list", {})["risks"]
    columns = ("what", "risk", "raised", "until", "act")
    listing(found, columns, as_json=as_json)
