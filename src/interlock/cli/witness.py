"""`interlock witness`: cosign the checkpoints of other nodes."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from interlock.cli.output import say, tell


def witness(
    state: Annotated[Path, typer.Option(metavar="DIR", help="Its folder: its key, and what it has cosigned.")],
    logs: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="VKEY", help="A log's public key (`audit checkpoint --keys`); may be repeated."),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; beyond this machine only with TLS.")
    ] = "127.0.0.1:7380",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name, as in witness.example.com/w1; chosen once.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: the certificate chain, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS: its private key, PEM.")] = None,
    print_key: Annotated[bool, typer.Option("--print-key", help="Print its public key (vkey) and end.")] = False,
) -> None:
    """Run a witness: it cosigns a log's checkpoints as long as each goes on from the one before (C2SP tlog-witness).

    Run it on another machine, by other people than those who run the node. It needs no configuration file. Its folder
    is all it has: never run it from a copy or an older backup, which could cosign a second history.

    Example:  interlock witness --state /var/lib/witness --name witness.example.com/w1 --print-key

    Example:  interlock witness --state /var/lib/witness --log "interlock/0123...+89abcdef+AU..."
    """
    from interlock.config.hosts import parse_address
    from interlock.errors import LogError, NodeError, UsageError
    from interlock.witness import Store, Witness, group_logs, open_cosigner

    if print_key:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        say(str(open_cosigner(state, name).key))
        return
    try:
        known = group_logs(logs or [])
    except LogError as error:
        raise UsageError(f"--log: {error}") from None
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key go together")
    try:
        address = parse_address(listen)
    except ValueError as error:
        raise UsageError(f"--listen {error}") from None
    if certificate is None and not address.loopback:
        raise UsageError(f"--listen {address} can be reached by others: give --certificate and --key")
    from interlock.witness.server import serve

    try:
        store = Store(state)
        sock = socket.create_server(
            (address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET
        )
    except OSError as error:
        raise NodeError(f"the witness cannot start: {error.strerror or error}") from None
    cosigner = open_cosigner(state, name)
    say(f"witness {cosigner.key}")
    scheme = "http" if certificate is None else "https"
    host = f"[{address.host}]" if ":" in address.host else address.host
    say(f"listening on {scheme}://{host}:{sock.getsockname()[1]} for {len(known)} logs")
    sys.stdout.flush()
    try:
        serve(Witness(known, cosigner, store), sock, tell, certificate, key)
    finally:
        store.close()
