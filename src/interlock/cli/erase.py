"""`interlock audit erase | hold | export`: persons on the record, and what they and the law may ask for."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import end_with, fields, listing, print_json, say, tell, working
from interlock.cli.times import moment

hold = typer.Typer(help="Legal holds: what must not be erased.", no_args_is_help=True)

TURNING = 60.0  # seconds that `--now` waits
PAUSE = 0.5

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SUBJECT = "user:login.example.com/alice, source:192.0.2.1, or patient:4711 as a route's `subject` names it."


def erase(
    context: typer.Context,
    subject: Annotated[str, typer.Option(metavar="ID", help=f"Whom: {SUBJECT}")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it stays on the record, so without the name.")],
    now: Annotated[
        bool, typer.Option("--now", help="Wait until the keys of before are destroyed: else within a minute or so.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Erase somebody from the record. It cannot be undone. The record stays whole: every proof still holds.

    Destroys the keys of all that identifies them, and prints a receipt. Refused under a legal hold, and for a
    principal whose API keys still work. Copies of the state database from before are of no use once the keys
    are turned; copies of `keys/` from before MUST be destroyed.

    Example:  interlock audit erase --subject patient:4711 --reason "request of 3 May, ticket 88" --now
    """
    settings = Settings.of(context)
    with working("erasing"):
        receipt = perform(settings, "audit.erase", {"subject": subject, "reason": reason})
        problems = receipt.pop("problems")
        if now:
            receipt = _turned(settings, receipt)
    if as_json:
        print_json({**receipt, "problems": problems})
    else:
        fields(receipt)
    if now and receipt["keys_turned"] is None:
        waits = "a writer goes on in its segment. They are turned once it has ended."
        problems = [*problems, f"the keys of before are still there: {waits}"]
    end_with(problems)


def _turned(settings: Settings, receipt: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + TURNING
    while receipt["keys_turned"] is None and time.monotonic() < until:
        time.sleep(PAUSE)
        receipt = perform(settings, "audit.erasure", {"pseudonym": receipt["pseudonym"]})
    return receipt


def export(
    context: typer.Context,
    subject: Annotated[str, typer.Option(metavar="ID", help=f"Of whom: {SUBJECT}")],
) -> None:
    """Print every record that names somebody, as JSON lines: what they may ask for (GDPR, article 15).

    Calls come first, then acts. Reading is itself recorded.

    Example:  interlock audit export --subject patient:4711 > patient.jsonl
    """
    done = perform(Settings.of(context), "audit.export", {"subject": subject}, lambda row: print_json(row, indent=None))
    tell(f"{done['count']} records")
    end_with(done["problems"])


@hold.command()
def add(
    context: typer.Context,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    subject: Annotated[str | None, typer.Option(metavar="ID", help=f"Of whom: {SUBJECT}")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Of what is on the record from here on ...")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="... to here; the forms of `audit query`.")] = None,
    as_json: Json = False,
) -> None:
    """Forbid erasing somebody, or anybody who is on the record of a time, until the hold is released.

    Example:  interlock audit hold add --subject patient:4711 --reason "case 12 C 34/26"
    """
    from interlock.errors import UsageError

    arguments: dict[str, Any] = {"reason": reason}
    if subject is not None:
        arguments["subject"] = subject
    if (since is None) != (until is None):
        raise UsageError("the time of a hold has --since and --until")
    if since is not None and until is not None:
        now = time.time_ns()
        arguments |= {"since_ns": moment(since, now, "--since"), "until_ns": moment(until, now, "--until")}
    made = perform(Settings.of(context), "audit.hold.add", arguments)
    if as_json:
        print_json(made)
    else:
        fields(made)


@hold.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the holds there are.

    Example:  interlock audit hold list --json
    """
    holds = perform(Settings.of(context), "audit.hold.list", {})["holds"]
    columns = ("id", "subject", "since", "until", "reason", "actor", "added")
    listing(holds, columns, as_json=as_json)


@hold.command()
def release(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The hold's id, as `hold list` shows it.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    as_json: Json = False,
) -> None:
    """End a hold. That it was there stays on the record.

    Example:  interlock audit hold release 0123456789ab --reason "case closed"
    """
    done = perform(Settings.of(context), "audit.hold.release", {"id": identifier, "reason": reason})
    if as_json:
        print_json(done)
    else:
        say(f"hold {done['id']} is released")
