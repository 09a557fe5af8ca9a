"""What the node is doing, read from `run/` by whoever asks. Needs no process to answer, and changes nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from interlock.clock import SECOND, Clock, SystemClock
from interlock.control.issuer_status import ISSUER_REPORT, IssuerStatus
from interlock.control.publishing.status import PUBLISHING_REPORT, PartyStatus, PublishingStatus, problems_of
from interlock.control.readers import READERS_REPORT
from interlock.control.signals.status import SIGNALS_REPORT
from interlock.control.signals.status import problems_of as signal_problems
from interlock.errors import SnapshotError
from interlock.snapshot import NodePage, Process
from interlock.snapshot.exports import EXPORTS_REPORT, ExportStatus
from interlock.snapshot.page import (
    ALARMS,
    CLOCK_ERROR_NS,
    CLOCK_STEP_NS,
    CLOCK_STEPPED_NS,
    CLOCK_STEPS,
    CLOCK_SYNC,
    CLOCK_UNSYNCHRONISED_NS,
    EPOCH,
    GENERATION,
    SEALED_NS,
    SLOTS,
    SYNCHRONISED,
    UNKNOWN_SYNC,
)

NODE_FILE = "node.json"
LATE = 10 * SECOND  # a heartbeat older than this is worth a word
STEPPED = 3600 * SECOND  # for so long a step of the clock is worth one
UNSYNCHRONISED = 3600 * SECOND  # after so long a clock that nothing keeps is


class NodeFile(msgspec.Struct, frozen=True):
    """`run/node.json`: what the supervisor says of itself when it starts."""

    pid: int
    version: str
    boot_id: str
    started: str  # RFC 3339
    workers: int
    listeners: list[str]  # URLs
    admin: str
    config: str = ""  # the file the node was started with
    max_unsealed_ns: int = 30 * SECOND


def read_node_file(run_dir: Path) -> NodeFile | None:
    """What the last node wrote, if anything; it may be gone since."""
    try:
        return msgspec.json.decode((run_dir / NODE_FILE).read_bytes(), type=NodeFile)
    except (OSError, msgspec.MsgspecError):
        return None


def read_status(run_dir: Path, clock: Clock | None = None) -> dict[str, Any]:
    """The node's state in plain values.

    `running`: its supervisor lives. `serving`: every worker takes calls. `problems`: what an operator should
    look at, in words.
    """
    clock = clock or SystemClock()
    node = read_node_file(run_dir)
    try:
        page = NodePage.open(run_dir / "page")
    except SnapshotError:
        return {"running": False, "serving": False, "processes": [], "problems": ["the node does not run"]}
    try:
        return _describe(node, page, clock, run_dir.parent / "record")
    finally:
        page.close()


def _describe(node: NodeFile | None, page: NodePage, clock: Clock, record: Path) -> dict[str, Any]:
    now = clock.monotonic()
    processes = list(page.processes())
    supervisor = next((one for one in processes if one.kind == "supervisor"), None)
    running = node is not None and supervisor is not None and supervisor.alive and supervisor.pid == node.pid
    workers = [one for one in processes if one.kind == "worker" and one.alive]
    serving = running and node is not None and sum(one.state == "ready" for one in workers) >= node.workers
    words = page.words.tolist()
    status: dict[str, Any] = {
        "running": running,
        "serving": serving,
        "processes": [_process(one, now) for one in processes],
        "generation": words[GENERATION],
        "epoch": words[EPOCH],
        "record": {
            "sealed": rfc3339(words[SEALED_NS]) if words[SEALED_NS] else None,
            "unsealed_seconds": _seconds(clock.wall() - words[SEALED_NS]) if words[SEALED_NS] else None,
            "alarms": words[ALARMS],
            "free_bytes": free_bytes(record),
        },
    }
    status["time"] = _time(words, now)
    if node is not None:
        status.update(
            version=node.version,
            started=node.started,
            listeners=node.listeners,
            admin=node.admin,
            config=node.config,
            workers=node.workers,
        )
    readers = READERS_REPORT.read(record.parent / "run")
    status["record"]["readers"] = readers.readers if readers is not None else None
    status["record"]["reader_socket"] = readers.socket if readers is not None else ""
    exports = EXPORTS_REPORT.read(record.parent / "run") or []
    status["exports"] = [_export(one) for one in exports]
    publishing = PUBLISHING_REPORT.read(record.parent / "run")
    status["publishing"] = _publishing(publishing, clock.wall()) if publishing is not None else None
    issuer = ISSUER_REPORT.read(record.parent / "run")
    status["issuer"] = _issuer(issuer, processes) if issuer is not None else None
    signals = SIGNALS_REPORT.read(record.parent / "run")
    status["signals"] = msgspec.to_builtins(signals) if signals is not None else None
    sealed = words[SEALED_NS] or (supervisor.started_ns if supervisor is not None else 0)
    status["problems"] = _problems(status, processes, node, now, clock.wall() - sealed)
    if status["running"]:
        status["problems"] += _clock_problems(words, now, clock.wall())
        status["problems"] += [problem for one in exports if (problem := one.problem())]
        status["problems"] += problems_of(publishing, clock.wall()) if publishing is not None else []
        if readers is not None and readers.problem:
            status["problems"].append(f"readers of the record cannot ask: {readers.problem}")
        status["problems"] += signal_problems(signals, clock.wall()) if signals is not None else []
        if issuer is not None and issuer.problem:
            status["problems"].append(f"issuer: {issuer.problem}")
    assert words[SLOTS] == page.slots
    return status


def _time(words: list[int], now: int) -> dict[str, Any]:
    """What the recorder says of the clock."""
    sync, since, size = words[CLOCK_SYNC], words[CLOCK_UNSYNCHRONISED_NS], words[CLOCK_STEP_NS]
    return {
        "synchronised": None if sync == UNKNOWN_SYNC else sync == SYNCHRONISED,
        "unsynchronised_seconds": _seconds(now - since) if since else None,
        "estimated_error_ms": round(words[CLOCK_ERROR_NS] / 1_000_000, 3) if sync != UNKNOWN_SYNC else None,
        "steps": words[CLOCK_STEPS],
        "last_step": rfc3339(words[CLOCK_STEPPED_NS]) if words[CLOCK_STEPPED_NS] else None,
        "last_step_seconds": _seconds(size - (size >> 63 << 64)) if words[CLOCK_STEPPED_NS] else None,
    }


def _clock_problems(words: list[int], now: int, wall: int) -> list[str]:
    found = []
    if words[CLOCK_STEPPED_NS] and abs(wall - words[CLOCK_STEPPED_NS]) < STEPPED:
        size = words[CLOCK_STEP_NS]
        found.append(f"the clock was stepped by {_seconds(size - (size >> 63 << 64))} s: see what keeps it")
    since = words[CLOCK_UNSYNCHRONISED_NS]
    if since and now - since > UNSYNCHRONISED:
        found.append(f"nothing has synchronised the clock for {(now - since) // (3600 * SECOND)} h")
    return found


def _process(one: Process, now: int) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "slot": one.slot,
        "pid": one.pid if one.alive else 0,
        "state": one.state if one.alive else "gone",
        "alive": one.alive,
        "restarts": one.restarts,
        "started": rfc3339(one.started_ns),
        "silent_seconds": _seconds(now - one.heartbeat_ns) if one.heartbeat_ns else None,
        "epoch": one.epoch_acked,
        "generation": one.generation_acked,
    }


def _export(one: ExportStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "format": one.format,
        "to": one.to,
        "state": one.state,
        "records": one.records,
        "failures": one.failures,
        "lag_seconds": one.lag_seconds,
        "confirmed": rfc3339(one.confirmed_ns) if one.confirmed_ns else None,
        "error": one.error,
        "failing_since": rfc3339(one.failing_ns) if one.failing_ns else None,
        "next_try": rfc3339(one.retry_ns) if one.retry_ns else None,
    }


def _issuer(one: IssuerStatus, processes: list[Process]) -> dict[str, Any]:
    return {
        "url": one.url,
        "serving": one.serving and any(process.kind == "control" and process.alive for process in processes),
        "problem": one.problem,
        "clients": one.clients,
        "keys": [
            {"kid": key.kid, "algorithm": key.algorithm, "state": key.state, "begins": rfc3339(key.begins_ns)}
            for key in one.keys
        ],
    }


def _publishing(one: PublishingStatus, now: int) -> dict[str, Any]:
    return {
        "size": one.size,
        "signed": rfc3339(one.signed_ns) if one.signed_ns else None,
        "age_seconds": _seconds(one.age_ns(now)),
        "cosigned": one.cosigned,
        "missing": one.missing,
        "require": one.require,
        "problem": one.problem,
        "witnesses": [_party(party) for party in one.witnesses],
        "places": [_party(party) for party in one.places],
    }


def _party(one: PartyStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "url": one.url,
        "size": one.size,
        "confirmed": rfc3339(one.done_ns) if one.done_ns else None,
        "failures": one.failures,
        "error": one.error,
        "failing_since": rfc3339(one.failing_ns) if one.failing_ns else None,
        "next_try": rfc3339(one.retry_ns) if one.retry_ns else None,
    }


def _problems(
    status: dict[str, Any], processes: list[Process], node: NodeFile | None, now: int, unsealed: int
) -> list[str]:
    if not status["running"] or node is None:
        return ["the node does not run"]
    found = []
    ready = sum(one.kind == "worker" and one.alive and one.state == "ready" for one in processes)
    if ready < node.workers:
        found.append(f"{ready} of {node.workers} workers serve")
    for one in processes:
        name = f"{one.kind} (slot {one.slot})"
        if not one.alive:
            if one.kind != "worker":
                found.append(f"{name} is down")
        elif one.heartbeat_ns and now - one.heartbeat_ns > LATE:
            found.append(f"{name} has shown no sign of life for {_seconds(now - one.heartbeat_ns):.0f} s")
        if one.kind == "worker" and one.alive and one.generation_acked < status["generation"]:
            found.append(f"{name} is not on the current snapshot")
    if unsealed > node.max_unsealed_ns:
        found.append(f"nothing was sealed for {_seconds(unsealed):.0f} s: calls are refused until the recorder is back")
    if status["record"]["alarms"]:
        found.append(f"the recorder raised {status['record']['alarms']} alarms: run `interlock audit verify`")
    return found


def free_bytes(record: Path) -> int | None:
    """What the record's file system has left for us; None where there is no record."""
    try:
        disk = os.statvfs(record)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def rfc3339(wall_ns: int) -> str:
    """Wall nanoseconds as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_ns / SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(duration_ns: int) -> float:
    return round(duration_ns / SECOND, 3)
