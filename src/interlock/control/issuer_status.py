"""How the authorization server is doing: what control writes to `run/issuer.json`, and whoever is asked reads."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE = "issuer.json"


class SigningKey(msgspec.Struct, frozen=True):
    """One of the keys that are published, in the order in which they sign."""

    kid: str
    algorithm: str
    state: str  # "signs", "next", "former"
    begins_ns: int  # when it signs, wall ns


class IssuerStatus(msgspec.Struct, frozen=True):
    """All of it."""

    url: str
    serving: bool
    problem: str = ""  # what keeps it from serving, or its keys from being replaced in time
    clients: int = 0  # that may do anything
    keys: list[SigningKey] = []


def write_issuer(run_dir: Path, status: IssuerStatus | None) -> None:
    """Replace the file; None where the file of the node names no issuer. Raises `OSError`."""
    path = run_dir / FILE
    if status is None:
        path.unlink(missing_ok=True)
        return
    aside = run_dir / f".{FILE}.{os.getpid()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, msgspec.json.encode(status))
    finally:
        os.close(fd)
    os.replace(aside, path)


def read_issuer(run_dir: Path) -> IssuerStatus | None:
    """What control said last; None if there is no issuer, or of another version."""
    try:
        return msgspec.json.decode((run_dir / FILE).read_bytes(), type=IssuerStatus)
    except (OSError, msgspec.MsgspecError):
        return None
