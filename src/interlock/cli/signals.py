"""`interlock signals`: whom the node's own issuer tells of ended sessions, changed credentials and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import fields, listing, print_json, say

app = typer.Typer(
    help="Shared signals (SSF, CAEP): who is told of ended sessions and changed credentials.", no_args_is_help=True
)

LARGEST = 4096

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The stream's id, as `signals streams` shows it.")]


@app.command()
def streams(context: typer.Context, as_json: Json = False) -> None:
    """List the streams: who is told, by which way, and what waits.

    Example:  interlock signals streams --json
    """
    found = perform(Settings.of(context), "signals.streams", {})["streams"]
    columns = ("id", "client", "method", "url", "status", "waiting", "oldest", "lost")
    listing(found, columns, as_json=as_json)


@app.command()
def add(
    context: typer.Context,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="The client_id of who is told.")],
    push: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Where to push: https, or http on loopback; allowed by this. Default: the client polls."
        ),
    ] = "",
    audience: Annotated[
        list[str] | None, typer.Option("--audience", metavar="NAME", help="Its `aud`. Default: the client's id.")
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            metavar="NAME",
            help="session-revoked, credential-change or device-compliance-change; may be repeated. Default: all.",
        ),
    ] = None,
    authorization: Annotated[
        Path | None,
        typer.Option(
            "--authorization-file", metavar="FILE", help="The Authorization header to push with, as in `Bearer ...`."
        ),
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="For people.")] = "",
    as_json: Json = False,
) -> None:
    """Tell a client of what happens: by pushing it, or by giving it when the client polls.

    Example:  interlock signals add shop-1f2e3d4c --push https://shop.example.com/ssf/events --audience shop
    """
    arguments: dict[str, Any] = {
        "client": client,
        "push": push,
        "audience": audience or [],
        "events": event or [],
        "description": description,
    }
    if authorization is not None:
        arguments["authorization"] = _read(authorization)
    _show(perform(Settings.of(context), "signals.add", arguments), as_json)


@app.command()
def remove(context: typer.Context, stream: Identifier, as_json: Json = False) -> None:
    """Tell nothing more by a stream, and forget what waits for it.

    Example:  interlock signals remove 6f1c0c5be2d14a1f8f1f1f2a3b4c5d6e
    """
    done = perform(Settings.of(context), "signals.remove", {"id": stream})
    if as_json:
        print_json(done)
    else:
        say(f"stream {stream} is removed")


@app.command()
def status(
    context: typer.Context,
    stream: Identifier,
    wanted: Annotated[str, typer.Argument(metavar="STATUS", help="enabled, paused (what happens waits) or disabled.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Told to the receiver.")] = "",
    as_json: Json = False,
) -> None:
    """Set a stream's status; the receiver cannot set it back, unless it is enabled.

    Example:  interlock signals status 6f1c0c5be2d14a1f8f1f1f2a3b4c5d6e paused --reason maintenance
    """
    arguments = {"id": stream, "status": wanted, "reason": reason}
    _show(perform(Settings.of(context), "signals.status", arguments), as_json)


@app.command()
def verify(context: typer.Context, stream: Identifier, as_json: Json = False) -> None:
    """Send a verification event, which the receiver confirms or refuses: see `signals streams` and `status`.

    Example:  interlock signals verify 6f1c0c5be2d14a1f8f1f1f2a3b4c5d6e
    """
    _show(perform(Settings.of(context), "signals.verify", {"id": stream}), as_json)


@app.command("device-compliance")
def device_compliance(
    context: typer.Context,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="What both sides call it.")],
    current: Annotated[
        str, typer.Option("--current", metavar="STATUS", help="compliant or not-compliant.")
    ] = "not-compliant",
    previous: Annotated[str, typer.Option(metavar="STATUS", help="Default: the other one.")] = "",
    user: Annotated[str, typer.Option(metavar="NAME", help="Who uses it, of our own.")] = "",
    session: Annotated[str, typer.Option(metavar="SID", help="The sign-in at it.")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For whoever administers the other side.")] = "",
    as_json: Json = False,
) -> None:
    """Tell that a device is no longer as it has to be, or is again. Nothing is revoked here by it.

    Example:  interlock signals device-compliance laptop-4711 --user alice --reason "disk not encrypted"
    """
    arguments = {
        "device": device,
        "current": current,
        "previous": previous,
        "user": user,
        "session": session,
        "reason": reason,
    }
    done = perform(Settings.of(context), "signals.device-compliance", arguments)
    if as_json:
        print_json(done)
    else:
        say(f"{done['streams']} streams tell of it")


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        fields(found)


def _read(file: Path) -> str:
    """A secret is never given on the command line, which everybody on the machine can read."""
    from interlock.errors import UsageError

    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"{file} cannot be read: {problem}") from None
    if not text or len(text) > LARGEST:
        raise UsageError(f"{file} holds no header field")
    return text
