"""How publishing is doing: what control writes to `run/publishing.json`, and whoever is asked reads."""

from __future__ import annotations

import msgspec

from interlock.clock import SECOND
from interlock.snapshot.report import Report


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


PUBLISHING_REPORT = Report("publishing.json", PublishingStatus)
