"""`interlock user`: people who sign in at the node's own issuer.

A password MUST NOT be given on the command line, where others see it: it is read from standard input.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import fields, print_json, say, table, tell
from interlock.cli.times import duration

app = typer.Typer(help="People who sign in: make, list, disable, unlock, reset, remove.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user name, as `user list` shows it.")]
Roles = Annotated[list[str] | None, typer.Option("--role", metavar="ROLE", help="A role of the file; may be repeated.")]
FromStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read a password from standard input; it has to be changed when it is used."),
]
Expires = Annotated[str, typer.Option(metavar="DURATION", help="How long the link is good (1m to 7d).")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is: becomes user:interlock/NAME.")],
    role: Roles = None,
    password_stdin: FromStdin = False,
    expires: Expires = "24h",
    as_json: Json = False,
) -> None:
    """Make an account and print a link, once, with which its owner chooses a password.

    Example:  interlock user create alice --role teller --json
    """
    arguments = {"name": name, "roles": role or []} | _way_in(password_stdin, expires)
    _show_way_in(perform(Settings.of(context), "user.create", arguments), as_json)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List everybody: state, roles, second factors, sessions.

    Example:  interlock user list --json
    """
    users = perform(Settings.of(context), "user.list", {})["users"]
    if as_json:
        print_json(users)
        return
    columns = ("name", "roles", "state", "factors", "sessions", "created")
    table(columns, [[_shown(user[column]) for column in columns] for user in users])


@app.command()
def disable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Let nobody sign in as this person, and refuse all that was given out before.

    Example:  interlock user disable alice
    """
    _done(context, "user.disable", {"name": name}, f"{name} is disabled", as_json)


@app.command()
def remove(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Delete a person for good: account, second factors, sign-ins, consents and grants; nothing of theirs is taken.

    What the record has of them stays sealed there until `audit erase --subject user:interlock/NAME`.

    Example:  interlock user remove alice
    """
    _done(context, "user.remove", {"name": name}, f"{name} is removed", as_json)


@app.command()
def enable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Let a disabled person sign in again.

    Example:  interlock user enable alice
    """
    _done(context, "user.enable", {"name": name}, f"{name} can sign in", as_json)


@app.command()
def unlock(
    context: typer.Context,
    name: Name,
    address: Annotated[str, typer.Option(metavar="ADDRESS", help="Also let this address try again.")] = "",
    as_json: Json = False,
) -> None:
    """End a lock that came of too many failures before it ends by itself, which takes half an hour.

    Example:  interlock user unlock alice --address 192.0.2.7
    """
    _done(context, "user.unlock", {"name": name, "address": address}, f"{name} can try again", as_json)


@app.command("reset-password")
def reset_password(
    context: typer.Context,
    name: Name,
    password_stdin: FromStdin = False,
    expires: Expires = "24h",
    as_json: Json = False,
) -> None:
    """Take the password away, end all sessions, and print a link with which another one is chosen.

    Example:  interlock user reset-password alice --expires 2h
    """
    arguments = {"name": name} | _way_in(password_stdin, expires)
    _show_way_in(perform(Settings.of(context), "user.reset", arguments), as_json)


@app.command("remove-factor")
def remove_factor(
    context: typer.Context,
    name: Name,
    factor: Annotated[str, typer.Option(metavar="ID", help="One of them; left out: all, and the recovery codes.")] = "",
    as_json: Json = False,
) -> None:
    """Remove second factors that somebody has lost, and end all sessions.

    Example:  interlock user remove-factor alice
    """
    _done(context, "user.remove-factor", {"name": name, "factor": factor}, f"removed from {name}", as_json)


@app.command()
def role(
    context: typer.Context,
    name: Name,
    role: Roles = None,
    as_json: Json = False,
) -> None:
    """Give these roles in place of those there were; without any, none. Sessions end, since tokens say the old ones.

    Example:  interlock user role alice --role teller --role auditor
    """
    _done(context, "user.roles", {"name": name, "roles": role or []}, f"{name} has other roles", as_json)


def _way_in(password_stdin: bool, expires: str) -> dict[str, Any]:
    if password_stdin:
        return {"password": _password()}
    return {"expires_ns": duration(expires, "--expires")}


def _password() -> str:
    """One line of standard input, or what is typed, unseen, at a terminal. Raises `UsageError`."""
    from interlock.errors import UsageError

    if sys.stdin.isatty():
        from getpass import getpass

        password = getpass("Password: ")
        if password != getpass("The same again: "):
            raise UsageError("the two are not the same")
    else:
        password = sys.stdin.readline(2048).removesuffix("\n").removesuffix("\r")
    if not password:
        raise UsageError("no password was given on standard input")
    return password


def _show_way_in(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    if "link" in made:
        tell("Hand the link to its owner now: it is not shown again, and whoever opens it chooses the password.")
    fields({name: _shown(value) for name, value in made.items()})


def _done(context: typer.Context, op: str, arguments: dict[str, Any], said: str, as_json: bool) -> None:
    done = perform(Settings.of(context), op, arguments)
    if as_json:
        print_json(done)
    else:
        say(said)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(one["kind"] if isinstance(one, dict) else str(one) for one in value)
    return "" if value is None else str(value)
