"""`interlock client`: clients of the authorization server. A secret is shown once; only its keyed hash is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import fields, listing, print_json, say, tell
from interlock.cli.times import duration

app = typer.Typer(help="Clients of the authorization server: make, list, rotate, disable.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The client_id, as `client list` shows it.")]
Many = list[str] | None


@app.command()
def create(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is called; its tokens are service:interlock/NAME.")
    ],
    grant: Annotated[
        Many,
        typer.Option(
            "--grant", metavar="TYPE", help="client_credentials (default), authorization_code, ...; may be repeated."
        ),
    ] = None,
    role: Annotated[
        Many, typer.Option("--role", metavar="ROLE", help="A role of the file for its own tokens; may be repeated.")
    ] = None,
    scope: Annotated[
        Many, typer.Option("--scope", metavar="SCOPE", help="A scope it may ask for; may be repeated.")
    ] = None,
    redirect: Annotated[
        Many, typer.Option("--redirect-uri", metavar="URI", help="Compared exactly; may be repeated.")
    ] = None,
    post_logout: Annotated[
        Many,
        typer.Option("--post-logout-redirect-uri", metavar="URI", help="Where people go when they have signed out."),
    ] = None,
    backchannel: Annotated[
        str, typer.Option("--backchannel-logout-uri", metavar="URI", help="Where it is told who has signed out.")
    ] = "",
    resource: Annotated[
        Many, typer.Option("--resource", metavar="URI", help="An API it may ask for, or is; may be repeated.")
    ] = None,
    auth: Annotated[
        str,
        typer.Option(
            "--auth",
            metavar="METHOD",
            help="client_secret_basic, private_key_jwt, tls_client_auth, self_signed_tls_client_auth or none (public).",
        ),
    ] = "client_secret_basic",
    jwks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its public keys (JWKS), for private_key_jwt.")
    ] = None,
    certificate: Annotated[
        list[Path] | None, typer.Option("--certificate", metavar="FILE", help="Its self-signed certificate, in PEM.")
    ] = None,
    san_uri: Annotated[str, typer.Option(metavar="URI", help="Of its certificate, as a SPIFFE ID.")] = "",
    san_dns: Annotated[str, typer.Option(metavar="NAME", help="Of its certificate.")] = "",
    subject_dn: Annotated[
        str, typer.Option(metavar="NAME", help="The subject of its certificate, as CN=billing,O=Example (RFC 4514).")
    ] = "",
    bound: Annotated[
        str, typer.Option(metavar="HOW", help="Its tokens are bound: `dpop` or `certificate`. Default: not.")
    ] = "",
    opaque: Annotated[bool, typer.Option("--opaque", help="Its access tokens are references, not JWTs.")] = False,
    first_party: Annotated[bool, typer.Option("--first-party", help="People are not asked for their consent.")] = False,
    assertion_issuer: Annotated[
        str, typer.Option(metavar="URL", help="For jwt-bearer: the outside issuer whose word stands for a credential.")
    ] = "",
    assertion_subject: Annotated[
        Many, typer.Option("--assertion-subject", metavar="SUB", help="Whom it then names, exactly; may be repeated.")
    ] = None,
    details: Annotated[
        Many, typer.Option("--details", metavar="TYPE", help="Authorization details it may ask for; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a client and print its secret, once. Works with the node running or not.

    Example:  interlock client create billing --grant client_credentials --role caller --json
    """
    arguments: dict[str, Any] = {
        "name": name,
        "grants": grant or [],
        "roles": role or [],
        "scopes": scope or [],
        "redirect_uris": redirect or [],
        "post_logout_redirect_uris": post_logout or [],
        "backchannel_logout_uri": backchannel,
        "resources": resource or [],
        "method": auth,
        "certificates": [_text(path) for path in certificate or []],
        "san_uri": san_uri,
        "san_dns": san_dns,
        "subject_dn": subject_dn,
        "bound": bound,
        "opaque": opaque,
        "first_party": first_party,
        "assertion_issuer": assertion_issuer,
        "assertion_subjects": assertion_subject or [],
        "details": details or [],
    }
    if jwks is not None:
        arguments["jwks"] = _json(jwks)
    made = perform(Settings.of(context), "client.create", arguments)
    if as_json:
        print_json(made)
        return
    if "client_secret" in made:
        tell("Keep the secret now: it is not shown again.")
    fields(made)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the clients: never their secrets.

    Example:  interlock client list --json
    """
    clients = perform(Settings.of(context), "client.list", {})["clients"]
    columns = ("client_id", "name", "grants", "method", "roles", "scopes", "state", "created")
    listing(clients, columns, as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    client: Identifier,
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the old secret still works beside the new one.")
    ] = "24h",
    as_json: Json = False,
) -> None:
    """Make a new secret in place of an old one, which works on for a while.

    Example:  interlock client rotate billing-1a2b3c4d --overlap 24h
    """
    arguments = {"id": client, "overlap_ns": duration(overlap, "--overlap")}
    made = perform(Settings.of(context), "client.rotate", arguments)
    if as_json:
        print_json(made)
        return
    tell("Keep the secret now: it is not shown again.")
    fields(made)


@app.command()
def disable(context: typer.Context, client: Identifier, as_json: Json = False) -> None:
    """Refuse a client and all its tokens, from now on and for good: everywhere on the node when this returns.

    Example:  interlock client disable billing-1a2b3c4d
    """
    done = perform(Settings.of(context), "client.disable", {"id": client})
    if as_json:
        print_json(done)
    else:
        say(f"{client} is disabled")


@app.command()
def role(
    context: typer.Context,
    client: Identifier,
    add: Annotated[Many, typer.Option("--add", metavar="ROLE", help="A role of the file; may be repeated.")] = None,
    remove: Annotated[Many, typer.Option("--remove", metavar="ROLE", help="One that it has; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Give a client other roles for its own tokens. Taking one away ends every token the client has, at once.

    Example:  interlock client role billing-1a2b3c4d --add caller --remove admin
    """
    arguments = {"id": client, "add": add or [], "remove": remove or []}
    done = perform(Settings.of(context), "client.roles", arguments)
    if as_json:
        print_json(done)
    else:
        say(f"{client} has the roles {', '.join(done['roles']) or 'none'}")


@app.command("initial-token")
def initial_token(
    context: typer.Context,
    uses: Annotated[int, typer.Option(metavar="N", help="How many clients may register themselves with it.")] = 1,
    expires: Annotated[str, typer.Option(metavar="DURATION", help="How long it is good for.")] = "1h",
    list_: Annotated[bool, typer.Option("--list", help="Show those that can still be used.")] = False,
    withdraw: Annotated[str, typer.Option(metavar="ID", help="Let nobody use this one any more.")] = "",
    as_json: Json = False,
) -> None:
    """Make a token with which clients register themselves (RFC 7591), and print it, once.

    Example:  interlock client initial-token --uses 5 --expires 1h --json
    """
    settings = Settings.of(context)
    if list_:
        found = perform(settings, "client.initial-tokens", {})["initial_tokens"]
        listing(found, ("id", "uses", "expires"), as_json=as_json)
        return
    if withdraw:
        done = perform(settings, "client.withdraw", {"id": withdraw})
        if as_json:
            print_json(done)
        else:
            say(f"{withdraw} is withdrawn")
        return
    made = perform(settings, "client.initial-token", {"uses": uses, "expires_ns": duration(expires, "--expires")})
    if as_json:
        print_json(made)
        return
    tell("Keep the token now: it is not shown again.")
    fields(made)


def _text(path: Path) -> str:
    from interlock.errors import UsageError

    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path} cannot be read: {problem}") from None


def _json(path: Path) -> Any:
    import json

    from interlock.errors import UsageError

    try:
        return json.loads(_text(path))
    except ValueError:
        raise UsageError(f"{path} is not JSON") from None
