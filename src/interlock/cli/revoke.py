"""`interlock revoke`: end a credential and whatever hangs on it, everywhere on the node when the command returns.

A token is never given on the command line, which everybody on the machine can read while the command runs: it
comes from a file or from standard input, or is named by its `jti`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import listing, print_json, say, tell
from interlock.cli.times import duration, moment_to_come

app = typer.Typer(
    help="Revoke a token, client, user, principal, session, key, certificate or issuer: refused when this returns.",
    no_args_is_help=True,
)

LARGEST = 64 * 1024  # bytes of a token or certificate

Json = Annotated[bool, typer.Option("--json", help="Print JSON: all that was revoked.")]
Issuer = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Whose it is. Default: the node's own issuer, or the only one of the file."),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Forget it then (2027-01-31, or 30d from now): when all that it refuses has expired by itself. "
        "Default: known by itself, or never.",
    ),
]
Ahead = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Refuse what is dated up to so much later, too: the issuer's clock may be ahead."
    ),
]


@app.command()
def token(
    context: typer.Context,
    identifier: Annotated[
        str | None,
        typer.Argument(
            metavar="[JTI]",
            help="Its `jti` (one that begins with - goes after --); without one, sha256: and the digest of all "
            "before its last dot.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Where the token is; - for standard input, the default."),
    ] = None,
    issuer: Issuer = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Refuse one token; one of our own issuer takes its refresh tokens, and what came with them, along.

    Without JTI the token itself is read, and its signature checked, so that one that was cut short is not
    believed to be revoked.

    Example:  interlock revoke token < leaked.jwt
    """
    arguments: dict[str, Any] = {}
    if identifier is not None:
        if file is not None:
            _usage("say either the token's `jti` or where the token is")
        arguments["id"] = identifier
    else:
        arguments["token"] = _read(file)
    _revoke(context, "token", arguments, issuer=issuer, until=until, as_json=as_json)


@app.command()
def client(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its `client_id`, or the `azp` of its tokens.")],
    issuer: Issuer = None,
    until: Until = None,
    ahead: Ahead = None,
    as_json: Json = False,
) -> None:
    """Refuse all that was issued to a client until now; one of our own loses secrets and API keys, too.

    Example:  interlock revoke client shop-1f2e3d4c
    """
    _revoke(context, "client", {"id": identifier}, issuer=issuer, until=until, ahead=ahead, as_json=as_json)


@app.command()
def user(
    context: typer.Context,
    identifier: Annotated[
        str, typer.Argument(metavar="NAME", help="Of our own; or user:AUTHORITY/name as the record has it.")
    ],
    until: Until = None,
    ahead: Ahead = None,
    as_json: Json = False,
) -> None:
    """Refuse all that a user has now: tokens, sign-ins, refresh tokens, API keys. They may sign in again at once.

    Example:  interlock revoke user user:login.example.com/alice
    """
    _revoke(context, "user", {"id": identifier}, until=until, ahead=ahead, as_json=as_json)


@app.command()
def principal(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="kind:AUTHORITY/name as the record has it.")],
    until: Until = None,
    ahead: Ahead = None,
    as_json: Json = False,
) -> None:
    """Refuse all that a principal has now: tokens, API keys, certificates. What is issued afterwards holds.

    Example:  interlock revoke principal service:partners/spiffe://partners/billing
    """
    _revoke(context, "principal", {"id": identifier}, until=until, ahead=ahead, as_json=as_json)


@app.command()
def session(
    context: typer.Context,
    identifier: Annotated[
        str, typer.Argument(metavar="SID", help="The `sid` of its tokens; one that begins with - goes after --.")
    ],
    issuer: Issuer = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Refuse all that came out of one sign-in.

    Example:  interlock revoke session 08a5019c-17e1-4977-8f42-65a12843ea02 --issuer https://login.example.com
    """
    _revoke(context, "session", {"id": identifier}, issuer=issuer, until=until, as_json=as_json)


@app.command()
def key(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `key list` shows it.")],
    as_json: Json = False,
) -> None:
    """Refuse an API key, as `key revoke` does.

    Example:  interlock revoke key abcdefghij
    """
    done = perform(Settings.of(context), "revoke.key", {"id": identifier})
    if as_json:
        print_json(done)
    else:
        say(f"key {identifier} is revoked")


@app.command()
def certificate(
    context: typer.Context,
    identifier: Annotated[
        str | None, typer.Argument(metavar="[FINGERPRINT]", help="SHA-256, with or without colons.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The certificate, PEM; - for standard input.")
    ] = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Refuse a client certificate. Given the file, it is forgotten once the certificate has expired.

    Example:  interlock revoke certificate --file partner.pem
    """
    if (identifier is None) == (file is None):
        _usage("say either the certificate's fingerprint or --file")
    arguments = {"id": identifier} if identifier is not None else {"pem": _read(file)}
    _revoke(context, "certificate", arguments, until=until, as_json=as_json)


@app.command()
def issuer(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The issuer, as the file has it.")],
    until: Until = None,
    ahead: Ahead = None,
    as_json: Json = False,
) -> None:
    """Refuse all tokens that an issuer has issued until now: somebody had its key, or it made a mistake.

    Example:  interlock revoke issuer https://login.example.com --ahead 30s
    """
    _revoke(context, "issuer", {"id": url}, until=until, ahead=ahead, as_json=as_json)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List what is refused and would not be otherwise. Revoked API keys are in `key list`.

    Example:  interlock revoke list --json
    """
    found = perform(Settings.of(context), "revoke.list", {})["revocations"]
    columns = ("what", "issued_before", "revoked", "expires", "act")
    listing(found, columns, as_json=as_json)


def _revoke(
    context: typer.Context,
    kind: str,
    arguments: dict[str, Any],
    *,
    issuer: str | None = None,
    until: str | None = None,
    ahead: str | None = None,
    as_json: bool,
) -> None:
    if issuer is not None:
        arguments["issuer"] = issuer
    if until is not None:
        arguments["until_ns"] = moment_to_come(until, time.time_ns())
    if ahead is not None:
        arguments["ahead_s"] = -(-duration(ahead, "--ahead") // 10**9)
    done = perform(Settings.of(context), f"revoke.{kind}", arguments)
    notes = done.pop("notes", [])
    if as_json:
        print_json({**done, "notes": notes})
        return
    for one in done["revoked"]:
        of = f" of {one['issuer']}" if one["issuer"] else ""
        say(f"{one['kind']} {one['id']}{of} is revoked")
    if done["issued_before"]:
        say(f"refused is what was issued before {done['issued_before']}")
    for note in notes:
        tell(f"! {note}")


def _read(file: Path | None) -> str:
    """What is in the file, or on standard input. Raises `UsageError`."""
    from_stdin = file is None or str(file) == "-"
    if from_stdin and sys.stdin.isatty():
        tell("paste it here, then press Ctrl-D")
    try:
        if from_stdin:
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            assert file is not None
            with file.open("rb") as opened:
                data = opened.read(LARGEST + 1)
    except OSError as problem:
        _usage(f"{file} cannot be read: {problem.strerror}")
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > LARGEST:
        _usage("nothing that could be revoked was read")
    return text


def _usage(message: str) -> NoReturn:
    from interlock.errors import UsageError

    raise UsageError(message)
