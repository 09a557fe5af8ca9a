"""`interlock keyring`: the keys of the node itself. What is shown names keys and never holds one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import end_with, fields, print_json, say, table, tell
from interlock.cli.times import duration

app = typer.Typer(help="The node's own keys: list, rotate, say who answers for them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List every key: purpose, algorithm, state, dates, the KEK it is sealed under, its custodian.

    Exit status 1 if something is wrong with the inventory.

    Example:  interlock keyring list --json
    """
    found = perform(Settings.of(context), "keyring.list", {})
    if as_json:
        print_json(found)
    else:
        columns = ("name", "id", "purpose", "algorithm", "state", "created", "rotated", "sealed_under", "custodian")
        table(columns, [[_shown(column, key[column]) for column in columns] for key in found["keys"]])
    end_with(found["problems"])


@app.command()
def rotate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="kek, record, assertion or log.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="REFERENCE", help="kek: the new one, as `keys: {kek: ...}` of the file names it by now."
        ),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="assertion: how long the former key stays published. Default: 24h."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="kek: seal everything anew, though it is under this KEK already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replace a key, with the node running or not. The rotation is on the record.

    record: segments to come are sealed to the new one; the former private half stays, to read what there is.
    assertion: workers sign with the new one at once; upstreams verify with either until the overlap is over.
    issuer: tokens are signed with the new one at once, and whatever the former ones signed is refused from now on. It
    is for keys that somebody may have copied; otherwise they follow each other by themselves.
    kek: everything is sealed under the KEK that the file names by now. Write the new one there as `kek` and the one
    in use as `former_kek` first; broken off, run it again.

    Examples:  interlock keyring rotate record

               interlock keyring rotate assertion --overlap 48h

               interlock keyring rotate kek --to '${file:/etc/interlock/kek-2027}'
    """
    arguments: dict[str, Any] = {"name": name, "to": to or "", "again": again}
    if overlap is not None:
        arguments["overlap_ns"] = duration(overlap, "--overlap")
    done = perform(Settings.of(context), "keyring.rotate", arguments)
    if as_json:
        print_json(done)
        return
    fields(done)
    if name == "kek" and not again:
        tell("Take `former_kek` out of the file, reload, and destroy the former KEK: it opens nothing here any more.")
        tell("Then say so:  interlock keyring destroyed ID")
    elif name == "log":
        tell("The recorder signs with it from its next start on.")


@app.command()
def custodian(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key, as `keyring list` shows it.")],
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Who answers for it.")],
    as_json: Json = False,
) -> None:
    """Say who answers for a key. It is on the record, and `keyring list` shows it.

    Example:  interlock keyring custodian kek "Ada Lovelace, Security"
    """
    done = perform(Settings.of(context), "keyring.custodian", {"name": name, "person": person})
    print_json(done) if as_json else say(f"{done['custodian']} answers for {name}")


@app.command()
def destroyed(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="ID", help="Of a retired KEK, as `keyring list` shows it.")],
    as_json: Json = False,
) -> None:
    """Say that a former KEK was destroyed where it was kept. It is on the record, and `keyring list` shows it.

    Example:  interlock keyring destroyed 3f2a9c0d11b7e845
    """
    done = perform(Settings.of(context), "keyring.destroyed", {"id": key})
    print_json(done) if as_json else say(f"{key} is called destroyed")


def _shown(column: str, value: Any) -> str:
    text = "" if value is None else str(value)
    return text[:10] if column in ("created", "rotated") else text
