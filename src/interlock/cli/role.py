"""`interlock role`: what the file's roles grant, and what of it is made use of. Proposes; changes nothing."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import print_json, say, table, tell, working
from interlock.cli.times import moment

app = typer.Typer(help="Roles of the file: list them, and advise what they could do without.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHOWN = 5  # principals named for a use


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the roles: what each permits, on how many routes, and who gives it. Needs no node.

    Example:  interlock role list
    """
    config = Settings.of(context).config()
    found = []
    for role, permissions in config.roles.items():
        routes = [route.id for route in config.routes if route.allow.permission in permissions]
        given = [f"trust {name}" for name, trust in config.trust.items() if role in set().union(*trust.roles.values())]
        for issuer in config.identity.issuers:
            if issuer.roles is not None and any(role in roles for roles in issuer.roles.map.values()):
                given.append(f"issuer {issuer.authority}")
        found.append({"role": role, "permissions": list(permissions), "routes": routes, "given_by": given})
    if as_json:
        print_json(found)
        return
    rows = []
    for one in found:
        rows.append([one["role"], ", ".join(one["permissions"]), len(one["routes"]), ", ".join(one["given_by"])])
    table(("role", "permissions", "routes", "given by (besides keys)"), rows)


@app.command()
def advise(
    context: typer.Context,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role of the file.")],
    since: Annotated[str, typer.Option(metavar="TIME", help="Look at calls since then: 90d, 24h, 2026-01-31.")] = "90d",
    as_json: Json = False,
) -> None:
    """Compare what a role grants with what recorded calls made use of, and propose the role without the rest.

    Reads the record, which is itself recorded, and changes nothing. A caller with a token counts as having the
    role if the issuer's map can lead to it. Exit status 1 if the role grants what nobody used.

    Example:  interlock role advise teller --since 90d
    """
    from interlock.errors import NotFound
    from interlock.policy.advice import Adviser

    settings = Settings.of(context)
    config = settings.config()
    if role not in config.roles:
        raise NotFound(f"there is no role {role!r} in {settings.file}")
    start = moment(since, time.time_ns(), "--since")
    with working("reading the record"):
        adviser = Adviser(config, role, perform(settings, "key.list", {})["keys"])
        done = perform(settings, "audit.query", {"kind": "calls", "since_ns": start}, adviser.add)
    advice = adviser.advice()
    if as_json:
        print_json({**_plain(advice), "problems": done["problems"]})
    else:
        _show(advice, since)
    for problem in done["problems"]:
        tell(f"! {problem}")
    if done["problems"]:
        tell("Not all of the record could be read: something may be in use that is not shown.")
    raise typer.Exit(1 if advice.unused or done["problems"] else 0)


def _plain(advice: Any) -> dict[str, Any]:
    return {
        "role": advice.role,
        "granted": list(advice.granted),
        "proposed": list(advice.kept),
        "unused": {permission: list(routes) for permission, routes in advice.unused.items()},
        "uses": [_use(use) for use in advice.uses],
        "refused": [_use(use) for use in advice.refused],
        "calls": advice.calls,
        "would_be_denied": advice.would_be_denied,
        "since": advice.since or None,
        "snippet": advice.snippet(),
    }


def _use(use: Any) -> dict[str, Any]:
    return {
        "permission": use.permission,
        "route": use.route,
        "calls": use.calls,
        "last": use.last,
        "principals": len(use.principals),
        "some_principals": sorted(use.principals)[:SHOWN],
        "certain": not use.possible,
        "also_granted_by": sorted(use.elsewhere),
    }


def _show(advice: Any, since: str) -> None:
    if not advice.since:
        tell(f"The record has no calls in this time ({since}): that nothing was used says nothing.")
    else:
        tell(f"Calls since {advice.since}, the oldest there is in this time ({since}):")
    columns = ("permission", "route", "calls", "last", "principals", "certain", "also by")
    rows = [
        [
            use.permission,
            use.route,
            use.calls,
            use.last,
            len(use.principals),
            "no" if use.possible else "yes",
            ", ".join(sorted(use.elsewhere)),
        ]
        for use in advice.uses
    ]
    table(columns, rows)
    for permission, routes in advice.unused.items():
        say(f"- {permission}: not used; asked for by {', '.join(routes) or 'no route'}")
    for use in advice.refused:
        say(f"! {use.permission}: {use.calls} calls on {use.route} were refused for want of it, last {use.last}")
    if not advice.unused:
        say(f"{advice.role} grants nothing that is not used")
        return
    say(f"{advice.role} could be as below; of {advice.calls} calls, {advice.would_be_denied} would have been denied:")
    say()
    say(advice.snippet())
