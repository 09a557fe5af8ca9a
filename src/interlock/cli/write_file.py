"""`interlock init`: writes a small, commented, runnable file."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from interlock.errors import UsageError

FILE = "interlock.yaml"
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
TEMPLATE = """\
# Interlock's one file. `interlock check` tells what is wrong with it, `interlock plan` what a reload would
# change, `interlock schema` prints its JSON Schema for your editor.
version: 1

# Keys, the state database and the record live here. Back it up; keep it private.
data_dir: ./interlock-data

listeners:
{listener}
{issuer}
services:
  upstream:                      # the system behind; give several URLs to share the calls among them
    upstreams: [{upstream}]
    # record: durable            # each call on disk before it passes (default: in the kernel before it passes)

routes:
  # The most specific route wins. This one takes everything and asks for {asks} whose role may `call`.
  - match: /*
    service: upstream
    authenticate: [{authenticate}]
    allow: call
    limit: none                  # for example:  50/s burst 100 per principal
  # Open to anybody, and so said aloud:
  # - {{match: GET /health, service: upstream, allow: public, limit: none}}

roles:                           # what the holders of a role may do
  caller: [call]

# Next:
#   interlock -c {path} up
#   interlock -c {path} key create my-program --role caller
#   curl {trusting}-H "X-API-Key: THE-KEY" {url}/
{token}"""
ISSUER = """
# Tokens for programs, partners and people (OAuth 2.1, OpenID Connect). The URL is what tokens name as their issuer:
# it is never taken from a call. Programs find the rest at {url}/.well-known/oauth-authorization-server
issuer:
  url: {url}
  # scopes: {{accounts.read: See your accounts}}     # what may be asked for, and what people are told of it
"""
ISSUED = """\
# or, with a token of our own:
#   interlock -c {path} client create billing --grant client_credentials --role caller
#   curl {trusting}-u CLIENT_ID:CLIENT_SECRET -d grant_type=client_credentials {issuer}/oauth/token
#   curl {trusting}-H "Authorization: Bearer THE-TOKEN" {url}/
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write interlock.yaml; made if missing.")],
    upstream: Annotated[str, typer.Option(metavar="URL", help="The system to protect, as http(s)://HOST[:PORT].")],
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where Interlock listens. Plain HTTP only on loopback.")
    ] = "127.0.0.1:8080",
    tls: Annotated[
        str | None, typer.Option(metavar="auto|off", help="auto: TLS with a certificate of the built-in authority.")
    ] = None,
    issuer: Annotated[
        bool,
        typer.Option("--issuer", help="Also issue tokens: an OAuth 2.1 and OpenID Connect server on the listener."),
    ] = False,
    issuer_url: Annotated[
        str, typer.Option(metavar="URL", help="How others reach it, as tokens say. Default: the address.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write DIR/interlock.yaml: one service, one route that asks for an API key, or, with --issuer, for a token.

    Example:  interlock init shop --upstream http://127.0.0.1:9000
    """
    from interlock.cli.output import say, tell
    from interlock.config import load

    issuer = issuer or bool(issuer_url)
    text = render(folder, upstream, address, tls or "off", issuer=issuer, issuer_url=issuer_url)
    path = folder / FILE
    if path.exists() and not force:
        raise UsageError(f"{path} exists; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{FILE}.{os.getpid()}"
    aside.write_text(text, encoding="utf-8")
    try:
        load(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    say(f"wrote {path}")
    say("next:")
    say(f"  interlock -c {path} up")
    say(f"  interlock -c {path} key create my-program --role caller")
    if issuer:
        say(f"  interlock -c {path} client create my-program --grant client_credentials --role caller")
        if tls == "auto":
            say(f"callers trust {authority(folder)} (made at the first start)")
        else:
            tell("The issuer is on plain HTTP, which is for this machine only: use --tls auto for anything else.")


def render(folder: Path, upstream: str, address: str, tls: str, *, issuer: bool = False, issuer_url: str = "") -> str:
    """The file's text. Raises `UsageError` for what cannot work or would not be safe."""
    if tls not in ("auto", "off"):
        raise UsageError(f"--tls is auto or off, not {tls!r}")
    host, port = _split(address)
    if tls == "off" and not _is_loopback(host):
        raise UsageError(f"{address} can be reached from outside: add --tls auto, or listen on 127.0.0.1:{port}")
    url = f"{'https' if tls == 'auto' else 'http'}://{_reachable(host)}:{port}"
    path = folder / FILE
    if issuer and not issuer_url and host in EVERYWHERE:
        raise UsageError(f"{address} is no name for an issuer: say how others reach it, --issuer-url https://NAME")
    named = _quoted(issuer_url or url)
    trusting = f"--cacert {authority(folder)} " if tls == "auto" else ""
    return TEMPLATE.format(
        listener=f"  - {{address: {_quoted(address)}, tls: {tls}}}",
        issuer=ISSUER.format(url=named) if issuer else "",
        asks="an API key or a token of the issuer" if issuer else "an API key",
        authenticate="api_key, jwt" if issuer else "api_key",
        upstream=_quoted(_checked_upstream(upstream)),
        path=path,
        url=url,
        trusting=trusting,
        token=ISSUED.format(path=path, url=url, issuer=issuer_url or url, trusting=trusting) if issuer else "",
    )


def authority(folder: Path) -> Path:
    """Where the certificate of the built-in authority will be."""
    return folder / "interlock-data" / "pki" / "ca.pem"


def _checked_upstream(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise UsageError(f"--upstream {url!r}: {problem}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"--upstream {url!r} is not of the form http://HOST[:PORT] or https://HOST[:PORT]")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"--upstream {url!r}: only a scheme, a host and a port; paths pass through as they are")
    return f"{parts.scheme}://{parts.netloc}"


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--address {address!r} is not of the form HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reachable(host: str) -> str:
    """A host to put in a URL for an address to listen on."""
    if host in EVERYWHERE:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _quoted(text: str) -> str:
    """As a YAML flow scalar."""
    plain = all(c.isalnum() or c in ".:/-_" for c in text)
    return text if plain and ": " not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
