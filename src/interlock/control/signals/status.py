"""How signals are doing: what control writes to `run/signals.json`, and whoever is asked reads."""

from __future__ import annotations

import msgspec

from interlock.clock import SECOND
from interlock.snapshot.report import Report

SLOW = 60 * SECOND  # what has waited for longer is worth a word


class StreamStatus(msgspec.Struct):
    """Somebody who is told. Times are wall nanoseconds, 0 for never."""

    id: str
    client: str
    method: str
    url: str
    status: str
    reason: str = ""
    paused_by: str = ""
    waiting: int = 0
    oldest_ns: int = 0
    lost: int = 0
    delivered: int = 0  # since control began
    failures: int = 0
    error: str = ""
    failing_ns: int = 0
    retry_ns: int = 0


class SourceStatus(msgspec.Struct):
    """An issuer that tells us."""

    issuer: str
    method: str  # push or poll
    taken: int = 0  # since control began
    refused: int = 0
    last_ns: int = 0  # when something was taken
    status: str = "enabled"  # what it says of its stream
    failures: int = 0
    error: str = ""  # why the last poll failed
    failing_ns: int = 0
    retry_ns: int = 0


class SignalsStatus(msgspec.Struct):
    streams: list[StreamStatus] = []
    sources: list[SourceStatus] = []


def problems_of(found: SignalsStatus, now: int) -> list[str]:
    """What an operator should look at, in words."""
    problems = []
    for stream in found.streams:
        name = f"signals for {stream.client} (stream {stream.id[:8]})"
        if stream.lost:
            problems.append(f"{name}: {stream.lost} were lost, since too many waited")
        if stream.status == "paused" and stream.paused_by == "node":
            problems.append(f"{name} are paused: {stream.reason}; `interlock signals status` enables them")
        elif stream.error:
            problems.append(f"{name} do not get there: {stream.error}")
        elif stream.status == "enabled" and stream.oldest_ns and now - stream.oldest_ns > SLOW:
            problems.append(f"{name}: {stream.waiting} wait, the first for {(now - stream.oldest_ns) // SECOND} s")
    for source in found.sources:
        if source.error:
            problems.append(f"signals of {source.issuer} cannot be fetched: {source.error}")
        if source.status != "enabled":
            problems.append(f"{source.issuer} says that it has {source.status} its signals to us")
    return problems


SIGNALS_REPORT = Report("signals.json", SignalsStatus)
