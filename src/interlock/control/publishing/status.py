"""How publishing is doing: what control writes to `run/publishing.json`, and whoever is asked reads."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from interlock.clock import SECOND

FILE = "publishing.json"


class PartyStatus(msgspec.Struct):
    """A witness, or a place where checkpoints are kept. Times are wall nanoseconds, 0 for never."""

    name: str
    url: str
    size: int = 0  # of the newest checkpoint that it has confirmed
    done_ns: int = 0  # when it last confirmed one
    failures: int = 0  # attempts that failed since control began
    error: str = ""  # why the last attempt failed; empty when it did not
    failing_ns: int = 0  # since when
    retry_ns: int = 0  # when it is tried again


class PublishingStatus(msgspec.Struct):
    """All of it."""

    require: int
    max_age_ns: int
    since_ns: int  # when it was asked for
    size: int = 0  # of the published checkpoint
    signed_ns: int = 0  # when the log signed that; 0: nothing is published
    cosigned: list[str] = []  # the witnesses whose cosignatures it has
    missing: list[str] = []  # those of the others
    problem: str = ""  # what keeps anything from being published
    witnesses: list[PartyStatus] = []
    places: list[PartyStatus] = []

    def age_ns(self, now: int) -> int:
        """How old the published checkpoint is; without one, since when there is none."""
        return max(0, now - (self.signed_ns or self.since_ns))


def problems_of(status: PublishingStatus, now: int) -> list[str]:
    """What an operator should look at, in words."""
    found = [f"publishing checkpoints: {status.problem}"] if status.problem else []
    age = status.age_ns(now)
    if age > status.max_age_ns:
        what = (
            f"the published checkpoint is {age // SECOND} s old" if status.signed_ns else "no checkpoint is published"
        )
        found.append(f"{what}: {len(status.cosigned)} witnesses have cosigned it, {status.require} must have")
    found += [f"witness {one.name}: {one.error}" for one in status.witnesses if one.error]
    found += [f"checkpoints do not get to {one.name}: {one.error}" for one in status.places if one.error]
    return found


def write_publishing(run_dir: Path, status: PublishingStatus | None) -> None:
    """Replace the file; None: nothing is to be published. Raises `OSError`."""
    if status is None:
        (run_dir / FILE).unlink(missing_ok=True)
        return
    aside = run_dir / f".{FILE}.{os.getpid()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, msgspec.json.encode(status))
    finally:
        os.close(fd)
    os.replace(aside, run_dir / FILE)


def read_publishing(run_dir: Path) -> PublishingStatus | None:
    """What control said last; None if nothing is to be published, or it is of another version."""
    try:
        return msgspec.json.decode((run_dir / FILE).read_bytes(), type=PublishingStatus)
    except (OSError, msgspec.MsgspecError):
        return None
