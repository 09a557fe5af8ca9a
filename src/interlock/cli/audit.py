"""`interlock audit`: checking and reading the record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli import erase as erasing
from interlock.cli.desk import Settings, perform
from interlock.cli.output import end_with, print_json, printable, say, tell
from interlock.cli.proof import Keys, checkpoint, prove, verifier_of, verify_proof
from interlock.cli.prune import prune
from interlock.cli.times import moment

app = typer.Typer(help="The record: verify it, read it, erase persons from it.", no_args_is_help=True)
app.command()(erasing.erase)
app.command()(erasing.export)
app.add_typer(erasing.hold, name="hold")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


app.command()(checkpoint)
app.command()(prove)
app.command("verify-proof")(verify_proof)
app.command()(prune)


@app.command()
def verify(
    context: typer.Context,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="A checkpoint kept elsewhere, which this must go on from."),
    ] = None,
    keys: Keys = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare segments as a whole; look at no single record.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Remember there, where only you may write, what was found good; do not read it again."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="A head kept elsewhere, which this record must go on from."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the whole record: a flipped byte, a missing or cut file, a gap. Reads only, repairs nothing.

    Needs no secret, and no node. Exit status 0 if all is well, 1 if anything is amiss.

    Without a checkpoint kept elsewhere this proves nothing against whoever holds the key that signs.

    Example:  interlock audit verify --checkpoint /mnt/elsewhere/2026-01-31.checkpoint
    """
    from interlock.audit import verify as verify_record

    paths = Settings.of(context).paths
    known = bool(keys) or (paths.keys / "log.pub").exists()
    report = verify_record(
        paths.record,
        attest=paths.attest if paths.attest.exists() else None,
        log=verifier_of(context, keys) if known else None,
        kept=[(str(file), file.read_bytes()) for file in checkpoints or []],
        known_head=head,
        quick=quick,
        resume=resume,
        progress=_progress(),
    )
    if not known and report.sealed:
        report.problem("keys/log.pub", "is missing: without it no signature is checked; say the log's key with --key")
    problems = [str(problem) for problem in report.problems]
    signed = report.checkpoint
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "records": report.records,
                "sealed": report.sealed,
                "segments": report.segments,
                "problems": problems,
                "notices": report.notices,
                "head": report.head,
                "size": signed.size if signed is not None else 0,
                "root": signed.root.hex() if signed is not None else "",
            }
        )
    else:
        for notice in report.notices:
            tell(f"note: {notice}")
        for problem in problems:
            say(f"! {problem}")
        verdict = "the record is whole" if report.ok else f"{len(problems)} problems"
        say(f"{report.records} records in {report.segments} segments: {verdict}")
        if signed is not None:
            say(f"checkpoint of {signed.size} records, root {signed.root.hex()}")
        say(f"head {report.head}")
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def query(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before: 15m, 24h, 2026-01-31 or 2026-01-31T12:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Not after; the same forms.")] = None,
    principal: Annotated[
        str | None, typer.Option(metavar="PRINCIPAL", help="Of this principal only; * stands for anything.")
    ] = None,
    decision: Annotated[str | None, typer.Option(metavar="allow|deny", help="With this decision only.")] = None,
    reason: Annotated[list[str] | None, typer.Option(metavar="CODE", help="With this reason; repeat for more.")] = None,
    route: Annotated[list[str] | None, typer.Option(metavar="ROUTE", help="Of this route, as the file has it.")] = None,
    service: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Of this service.")] = None,
    source: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="From this address or network.")] = None,
    method: Annotated[list[str] | None, typer.Option(metavar="METHOD", help="With this HTTP method.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="With this status: 404, 4xx, 500-504.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="The newest N only.")] = None,
    acts: Annotated[bool, typer.Option("--acts", help="Administrative acts instead of calls.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what comes, as it is sealed, until Ctrl-C.")
    ] = False,
    sql: Annotated[
        str | None, typer.Option(metavar="SELECT", help="Ask the tables calls and acts; needs interlock[query].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each.")] = False,
) -> None:
    """Read the record: who called what, when, from where, with what result. Reading is itself recorded.

    All that is asked must hold; of an option given several times, one. * stands for any characters.

    Example:  interlock audit query --since 1h --decision deny --status 4xx --source 203.0.113.0/24 --json

    Example:  interlock audit query --follow --principal "service:partners/*"

    Example:  interlock audit query --sql "SELECT route, count(*), avg(duration_ms) FROM calls GROUP BY route"
    """
    from interlock.cli.follow import filters_of
    from interlock.cli.follow import follow as follow_record
    from interlock.errors import UsageError

    if decision not in (None, "allow", "deny"):
        raise UsageError("--decision is allow or deny")
    filters = filters_of(reason=reason, route=route, service=service, source=source, method=method, status=status)
    if sql is not None:
        from interlock.cli.sql import ask

        if filters or since or until or principal or decision or limit or acts or follow:
            raise UsageError("--sql says all that is asked: but for --json no other option goes with it")
        return ask(Settings.of(context), sql, as_json=as_json)
    show = _print_line if as_json else _show
    kind = "acts" if acts else "calls"
    if follow:
        if since or until or limit:
            raise UsageError("--follow shows what comes: --since, --until and --limit do not go with it")
        filters |= filters_of(principal=[principal] if principal else None, decision=decision)
        return follow_record(Settings.of(context), kind, filters, show)
    arguments: dict[str, Any] = {"kind": kind}
    if filters:
        arguments["filters"] = filters
    now = time.time_ns()
    if since is not None:
        arguments["since_ns"] = moment(since, now, "--since")
    if until is not None:
        arguments["until_ns"] = moment(until, now, "--until")
    for name, value in (("principal", principal), ("decision", decision), ("limit", limit)):
        if value is not None:
            arguments[name] = value
    done = perform(Settings.of(context), "audit.query", arguments, show)
    return end_with(done["problems"])


@app.command()
def acknowledge(
    context: typer.Context,
    record: Annotated[str, typer.Argument(metavar="ID", help="The record of the gap, as `audit verify` shows it.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="What you found out about it.")],
    as_json: Json = False,
) -> None:
    """Say, on the record, that somebody looked into a possible gap or an alarm.

    Example:  interlock audit acknowledge 0123456789abcdef-7 --note "power cut, see ticket 12"
    """
    done = perform(Settings.of(context), "audit.acknowledge", {"record": record, "note": note})
    if as_json:
        print_json(done)
    else:
        say(f"acknowledged, in record {done['id']}")


def _print_line(entry: dict[str, Any]) -> None:
    print_json(entry, indent=None)


def _show(entry: dict[str, Any]) -> None:
    if "event" in entry and "action" not in entry:
        say(f"{entry['time']}  {entry.get('actor', '')}  {entry['event']}  {printable(str(entry.get('details', '')))}")
        return
    reason = f" ({entry['reason']})" if entry.get("reason") else ""
    duration = f"{entry['duration_ms']:.1f} ms" if entry.get("duration_ms") is not None else ""
    say(
        f"{entry['time']}  {entry['decision']:5} {entry.get('status') or '-'}{reason}  {entry['principal']}  "
        f"{entry['action']} {entry['resource']}  {entry['source']}  {duration}"
    )


def _progress() -> Any:
    """A bar on a terminal, else nothing."""
    import sys

    if not sys.stderr.isatty():
        return None
    shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done >= total:
            sys.stderr.write("\r\x1b[K")
        elif now - shown > 0.2:
            shown = now
            sys.stderr.write(f"\rreading {100 * done // max(total, 1):3} %  ")
        sys.stderr.flush()

    return show
