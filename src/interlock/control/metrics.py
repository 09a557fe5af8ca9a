"""The text of `/metrics`: what the processes counted, and what is measured when somebody asks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from interlock.clock import SECOND, Clock, SystemClock
from interlock.control.paths import Paths
from interlock.control.publishing.status import PUBLISHING_REPORT
from interlock.control.status import free_bytes
from interlock.snapshot import Family, MetricsPage, NodePage, Process, exposition, process_families
from interlock.snapshot.exports import EXPORTS_REPORT
from interlock.snapshot.exposition import Labels, Value
from interlock.snapshot.page import ALARMS, EPOCH, GENERATION, SEALED_NS


def read_metrics(paths: Paths, issuers: Sequence[Mapping[str, Any]], clock: Clock | None = None) -> str:
    """The page as it is now; `issuers` as `/status` has them. Raises `SnapshotError` when no node runs."""
    now = (clock or SystemClock()).wall()
    node = NodePage.open(paths.page)
    try:
        page = MetricsPage.open(paths.metrics)
        try:
            processes = list(node.processes())
            rows = [(process, page.read_row(process.slot)) for process in processes]
            more = [*process_families(processes), *_node(node.words, processes, now)]
            more += [*_disk(paths), *_exports(paths), *_publishing(paths, now), *_issuers(issuers)]
            return exposition(rows, more)
        finally:
            page.close()
    finally:
        node.close()


def _node(words: Sequence[int], processes: Sequence[Process], now: int) -> Iterator[Family]:
    yield Family("snapshot_generation", "gauge", "Number of the current snapshot.", [({}, words[GENERATION])])
    yield Family("epoch_bytes", "gauge", "Length of the change log, which is the epoch.", [({}, words[EPOCH])])
    alarms = "Alarms of the recorder: a segment is not what its writer wrote."
    yield Family("record_alarms_total", "counter", alarms, [({}, words[ALARMS])])
    started = min((one.started_ns for one in processes if one.kind == "supervisor"), default=now)
    age = max(0.0, round((now - (words[SEALED_NS] or started)) / SECOND, 3))
    said = "Time since everything was last sealed, or since the node started."
    yield Family("record_unsealed_seconds", "gauge", said, [({}, age)])


def _disk(paths: Paths) -> Iterator[Family]:
    free = free_bytes(paths.record)
    if free is not None:
        yield Family("record_free_bytes", "gauge", "Free space of the record's file system.", [({}, free)])


def _exports(paths: Paths) -> Iterator[Family]:
    """As the analyst last said."""
    statuses = EXPORTS_REPORT.read(paths.run) or []
    for name, kind, said, key in (
        ("export_records_total", "counter", "Records that the receiver of an export has confirmed.", "records"),
        ("export_failures_total", "counter", "Attempts of an export that failed and are repeated.", "failures"),
        ("export_lag_seconds", "gauge", "Age of the oldest sealed record that is not confirmed.", "lag_seconds"),
    ):
        yield Family(name, kind, said, [({"export": one.name}, getattr(one, key)) for one in statuses])
    failing: list[tuple[Labels, Value]] = [({"export": one.name}, int(bool(one.error))) for one in statuses]
    yield Family("export_failing", "gauge", "Whether the last attempt of an export failed.", failing)


def _publishing(paths: Paths, now: int) -> Iterator[Family]:
    """As control last said; no values where nothing is to be published."""
    status = PUBLISHING_REPORT.read(paths.run)
    values: list[Value | None] = [None] * 4
    if status is not None:
        age = round(status.age_ns(now) / SECOND, 3)
        values = [status.size, age, len(status.cosigned), status.require]
    for (name, said), value in zip(
        (
            ("published_size", "Records that the published checkpoint covers."),
            ("published_age_seconds", "Age of the published checkpoint, or time without one."),
            ("published_cosignatures", "Witnesses that have cosigned the published checkpoint."),
            ("published_cosignatures_required", "How many must have."),
        ),
        values,
        strict=True,
    ):
        yield Family(name, "gauge", said, [] if value is None else [({}, value)])
    for label, parties in (
        ("witness", status.witnesses if status is not None else []),
        ("place", status.places if status is not None else []),
    ):
        failures: list[tuple[Labels, Value]] = [({label: one.name}, one.failures) for one in parties]
        failing: list[tuple[Labels, Value]] = [({label: one.name}, int(bool(one.error))) for one in parties]
        yield Family(f"{label}_failures_total", "counter", f"Attempts at a {label} that failed.", failures)
        yield Family(f"{label}_failing", "gauge", f"Whether the last attempt at a {label} failed.", failing)


def _issuers(issuers: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
    """An issuer whose keys were never seen has keys of infinite age, so that an alert on age finds it."""
    yield Family(
        "issuer_keys_age_seconds",
        "gauge",
        "Time since the keys of an issuer that are in use were fetched.",
        [({"issuer": one["issuer"]}, _age(one["age_seconds"])) for one in issuers],
    )


def _age(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
