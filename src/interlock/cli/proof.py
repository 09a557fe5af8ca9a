"""`interlock audit checkpoint`, `prove` and `verify-proof`: what can be kept and checked elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlock.cli.desk import Settings, perform
from interlock.cli.output import one_line, print_json, say

if TYPE_CHECKING:
    from interlock.audit import LogVerifier
    from interlock.tlog import WitnessPolicy

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="VKEY", help="The log's public key, kept elsewhere (`audit checkpoint --keys`)."),
]


def checkpoint(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead.")] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print the log's public keys, the present one first.")] = False,
    as_json: Json = False,
) -> None:
    """Print the newest signed checkpoint: keep it elsewhere, and the record can be held against it later.

    Needs no key and no node.

    Example:  interlock audit checkpoint --out /mnt/elsewhere/2026-01-31.checkpoint
    """
    from interlock.audit.prove import newest_checkpoint

    paths = Settings.of(context).paths
    log = verifier_of(context, None)
    if keys:
        vkeys = [str(key) for key in log.vkeys]
        if as_json:
            print_json({"origin": log.origin, "keys": vkeys})
        else:
            for key in vkeys:
                say(key)
        return
    data = newest_checkpoint(paths.record)
    signed = log.open_signed(data)
    if out is not None:
        out.write_bytes(data)
    if as_json:
        head = signed.checkpoint
        print_json(
            {
                "origin": head.origin,
                "size": head.size,
                "root": head.root.hex(),
                "signed": _time(log.time_of(signed)),
                "note": data.decode(),
            }
        )
    elif out is not None:
        say(f"{out}: {signed.checkpoint.size} records, signed {_time(log.time_of(signed))}")
    else:
        sys.stdout.write(data.decode())


def prove(
    context: typer.Context,
    record: Annotated[str, typer.Argument(metavar="ID", help="A record, as `audit query` shows it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the proof goes.")],
    opened: Annotated[
        bool, typer.Option("--open", help="With the record's contents, so that who gets the file can read them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a proof that one record is in the log: a file that can be verified anywhere, without the rest.

    Without --open it shows that the record is there and when it was written, not what it says.

    Example:  interlock audit prove 0123456789abcdef0123456789abcdef-7 --out call.tlog-proof --open
    """
    from base64 import b64decode

    from interlock.audit import parse_id
    from interlock.audit.prove import Opening, verify_proof
    from interlock.audit.prove import prove as make

    settings = Settings.of(context)
    log = verifier_of(context, None)
    found = parse_id(record)
    opening = None
    if opened:
        done = perform(settings, "audit.open", {"record": record})
        opening = Opening(b64decode(done["salt"]), b64decode(done["plaintext"]))
    data = make(settings.paths.record, found, log, opening)
    proven = verify_proof(data, log)
    out.write_bytes(data)
    if as_json:
        print_json({"record": record, "index": proven.index, "size": proven.checkpoint.size, "file": str(out)})
    else:
        say(f"{out}: record {proven.index} of {proven.checkpoint.size}")


def verify_proof(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `audit prove` wrote.")],
    keys: Keys = None,
    witnesses: Annotated[
        list[str] | None,
        typer.Option("--witness", metavar="VKEY", help="A witness whose cosignature counts; may be repeated."),
    ] = None,
    require: Annotated[
        int | None, typer.Option(metavar="K", help="How many of them must have cosigned; left out: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a proof offline: needs the file and the log's public key, and no record. Exit status 1 if it fails.

    Without witnesses it proves nothing against whoever holds the key that signs the log. What it shows of the record's
    id is the number; which segment that counts in is what the file says.

    Example:  interlock audit verify-proof call.tlog-proof --key "interlock/0123...+89abcdef+AU..."

    Example:  interlock audit verify-proof call.tlog-proof --witness "w1+..." --witness "w2+..." --require 1
    """
    import msgspec

    from interlock.audit.prove import verify_proof as verify

    proven = verify(file.read_bytes(), verifier_of(context, keys), policy_of(witnesses, require))
    head = proven.checkpoint
    contents: Any = msgspec.to_builtins(proven.entry)
    if contents is not None:
        contents = dict(zip(type(proven.entry).__struct_fields__, contents, strict=False))
    if as_json:
        print_json(
            {
                "ok": True,
                "record": proven.record,
                "sequence": proven.sequence,
                "index": proven.index,
                "event": proven.event,
                "time": _time(proven.time_ns // 10**9),
                "origin": head.origin,
                "size": head.size,
                "root": head.root.hex(),
                "signed": _time(proven.signed),
                "witnesses": {name: _time(when) for name, when in proven.witnesses.items()},
                "contents": contents,
            }
        )
        return
    segment = proven.record.partition("-")[0]
    written = _time(proven.time_ns // 10**9)
    say(f"record number {proven.sequence} of a segment that the proof calls {segment} ({proven.event}, {written})")
    say(f"is number {proven.index} of the {head.size} of {head.origin}, signed {_time(proven.signed)}")
    for name, when in proven.witnesses.items():
        say(f"cosigned by {one_line(name)}, {_time(when)}")
    if contents is not None:
        for name, value in contents.items():
            say(f"  {name}: {one_line(str(value))}")


def policy_of(witnesses: list[str] | None, require: int | None) -> WitnessPolicy | None:
    """Who must have cosigned; None: nobody was named."""
    from interlock.errors import LogError, UsageError
    from interlock.tlog import WitnessPolicy

    if not witnesses:
        if require is not None:
            raise UsageError("--require needs --witness")
        return None
    try:
        return WitnessPolicy(len(witnesses) if require is None else require, [one.strip() for one in witnesses])
    except LogError as error:
        raise UsageError(f"--witness, --require: {error}") from None


def verifier_of(context: typer.Context, keys: list[str] | None) -> LogVerifier:
    """By the keys that were given, else by those in the data directory."""
    from interlock.audit import LogVerifier, log_verifier

    return LogVerifier.of(keys) if keys else log_verifier(Settings.of(context).paths.keys)


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):  # a signature's time may be any number of 63 bits
        return f"{seconds} s after 1970"
