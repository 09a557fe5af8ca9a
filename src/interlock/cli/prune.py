"""`interlock audit prune`: delete what was kept for long enough."""

from __future__ import annotations

from typing import Annotated

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import print_json, say, table, tell, working


def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete what was kept for as long as `record: {retention: ...}` says. It cannot be undone.

    A running node does so by itself once a day. The record key of each day goes first, so that copies of the
    segments are of no use any more; then the files, which takes the recorder a few seconds. Nothing under a legal
    hold goes, nor what shares a key with it. Each deletion is on the record, and `audit verify` accepts no other.

    Example:  interlock audit prune --dry-run
    """
    with working("looking for what is over"):
        done = perform(Settings.of(context), "audit.prune", {"dry_run": dry_run})
    if as_json:
        print_json(done)
        return
    columns = ("file", "class", "ended", "records", "bytes")
    if done["segments"]:
        table(columns, [[one[column] for column in columns] for one in done["segments"]])
    for kept in done["kept"]:
        tell(f"note: {kept['segments']} segments of key {kept['key']} are kept: {kept['why']}")
    what = "would be deleted" if dry_run else "are deleted"
    say(f"{len(done['segments'])} segments, {done['bytes']} bytes, {what}")
