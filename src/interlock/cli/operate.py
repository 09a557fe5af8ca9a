"""`interlock up | status | reload`: running a node."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, ask_node
from interlock.cli.output import listing, print_json, say, tell, working

PAUSE = 0.05  # seconds between two looks while waiting


def up(context: typer.Context) -> None:
    """Run the node in the foreground: supervisor, recorder, workers, control, analyst. Ctrl-C or SIGTERM drains it.

    Example:  interlock -c shop/interlock.yaml up
    """
    from interlock.supervisor import run

    settings = Settings.of(context)

    def announce(line: str) -> None:
        say(line)
        sys.stdout.flush()

    raise typer.Exit(run(settings.file, announce))


def status(
    context: typer.Context,
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait until it serves, at most this long.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what the node is doing. Exit status 0 if it serves, 1 if not.

    Example:  interlock status --wait 30
    """
    from interlock.control.status import read_status

    run_dir = Settings.of(context).paths.run
    until = time.monotonic() + (wait or 0)
    with working("waiting until it serves") if wait else nullcontext():
        while True:
            found = read_status(run_dir)
            issues = found.get("issuer") is None or found["issuer"]["serving"]
            if (found["serving"] and issues) or time.monotonic() >= until:
                break
            time.sleep(PAUSE)
    if as_json:
        print_json(found)
    else:
        _show(found)
    raise typer.Exit(0 if found["serving"] else 1)


def reload(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Have the running node take up the changed file; no call fails for it. A faulty file changes nothing.

    Example:  interlock check && interlock plan; interlock reload
    """
    with working("reloading"):
        done = ask_node(Settings.of(context), "reload")
    if as_json:
        print_json(done)
        return
    for change in done["changes"]:
        say(f"{change['kind']:8} {change['where']}: {change['summary']}")
    say(f"the node uses snapshot {done['generation']}")
    for slot in done["waiting"]:
        tell(f"the worker in slot {slot} does not use it yet; look at `interlock status`")


def _show(found: dict[str, Any]) -> None:
    if not found["running"]:
        say("the node does not run")
        return
    say(f"Interlock {found['version']}, {'serving' if found['serving'] else 'NOT serving'}, since {found['started']}")
    for url in found["listeners"]:
        say(f"  {url}")
    columns = ("kind", "pid", "state", "restarts", "started", "silent_seconds", "generation")
    listing(found["processes"], columns)
    if found.get("exports"):
        columns = ("name", "format", "to", "state", "records", "failures", "lag_seconds")
        listing(found["exports"], columns)
    say(_clock(found["time"]))
    if found.get("issuer"):
        _show_issuer(found["issuer"])
    readers = found["record"]["readers"]
    if readers is not None:
        at = f", at {found['record']['reader_socket']}" if found["record"]["reader_socket"] else ""
        say(f"the record is read by: {', '.join(readers) or 'nobody'}{at}")
    if found.get("publishing"):
        _show_publishing(found["publishing"])
    for problem in found["problems"]:
        say(f"! {problem}")


def _clock(time: dict[str, Any]) -> str:
    kept = {None: "nobody says whether it is synchronised", True: "synchronised", False: "NOT synchronised"}
    steps = f", {time['steps']} steps, the last of {time['last_step_seconds']} s" if time["steps"] else ""
    return f"clock: {kept[time['synchronised']]}{steps}"


def _show_issuer(found: dict[str, Any]) -> None:
    signs = next((key for key in found["keys"] if key["state"] == "signs"), None)
    key = f", signs with {signs['kid']} ({signs['algorithm']}) since {signs['begins']}" if signs is not None else ""
    say(f"issuer: {found['url']}, {'serving' if found['serving'] else 'NOT serving'}, {found['clients']} clients{key}")


def _show_publishing(found: dict[str, Any]) -> None:
    if found["signed"]:
        missing = f", without {', '.join(found['missing'])}" if found["missing"] else ""
        who = f"{len(found['cosigned'])} witnesses ({found['require']} must have){missing}"
        say(f"published: {found['size']} records, {found['age_seconds']:.0f} s ago, cosigned by {who}")
    else:
        say("published: nothing yet")
    columns = ("name", "url", "size", "confirmed", "failures", "error")
    listing([*found["witnesses"], *found["places"]], columns)
