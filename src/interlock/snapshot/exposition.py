"""Metrics in Prometheus text form (version 0.0.4), made from the rows of the processes. Pure: `control` reads them.

Every sample of a row carries `process`: `worker-0`, `recorder`, `control`. Sums are the reader's to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from interlock.model.reason import CODES, Reason
from interlock.snapshot.metrics import DURATION_BUCKETS, DURATIONS_US, GAUGES, OAUTH_WORD, REFUSED, Counter
from interlock.snapshot.page import FIRST_WORKER_SLOT, Process

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Value = int | float
Labels = Mapping[str, str]
Row = tuple[Process, Sequence[int]]


class Family(NamedTuple):
    """One metric: its name without `interlock_`, its type, what it means, its samples."""

    name: str
    type: str
    help: str
    samples: list[tuple[Labels, Value]]


WORKERS = frozenset({"worker"})
WRITERS = frozenset({"worker", "recorder"})
RECORDER = frozenset({"recorder"})
CONTROL = frozenset({"control"})

# Who counts what, and what it is called.
_WORDS: dict[Counter, tuple[frozenset[str], str, str]] = {
    Counter.CALLS: (WORKERS, "calls_total", "Calls that ended, refused ones included."),
    Counter.BYTES_IN: (WORKERS, "request_body_bytes_total", "Bytes of request bodies."),
    Counter.BYTES_OUT: (WORKERS, "answer_body_bytes_total", "Bytes of answer bodies."),
    Counter.REFUSALS_COUNTED: (WORKERS, "refusals_counted_total", "Refusals recorded as a count, in a flood."),
    Counter.CONNECTIONS: (WORKERS, "connections_total", "Connections accepted."),
    Counter.HANDSHAKES: (WORKERS, "tls_handshakes_total", "TLS handshakes that succeeded."),
    Counter.UPSTREAM_CONNECTIONS: (WORKERS, "upstream_connections_total", "Connections made to upstreams."),
    Counter.UPSTREAM_RETRIES: (WORKERS, "upstream_retries_total", "Exchanges begun again on a fresh connection."),
    Counter.TOKENS_VERIFIED: (WORKERS, "tokens_verified_total", "Token signatures checked; others were remembered."),
    Counter.SNAPSHOTS_TAKEN: (WORKERS, "snapshots_taken_total", "Snapshots taken into use."),
    Counter.LATE_SWEEPS: (WORKERS, "late_sweeps_total", "Sweeps, one a second, that came more than 50 ms late."),
    Counter.RECORD_FRAMES: (WRITERS, "record_frames_total", "Frames written to the record."),
    Counter.RECORD_BYTES: (WRITERS, "record_bytes_total", "Bytes written to the record."),
    Counter.RECORD_FLUSHES: (WRITERS, "record_flushes_total", "Writes to the record, each of one or more frames."),
    Counter.RECORD_SYNCS: (WORKERS, "record_syncs_total", "Syncs that calls waited for."),
    Counter.RECORD_FAILURES: (WRITERS, "record_failures_total", "Writes and syncs of the record that failed."),
    Counter.RECORD_SEALED: (RECORDER, "record_sealed_frames_total", "Frames sealed, of all writers."),
    Counter.RECORD_SEALS: (RECORDER, "record_seals_total", "Seals, each of a part of a segment."),
    Counter.SNAPSHOTS_BUILT: (CONTROL, "snapshots_built_total", "Snapshots built since the node started serving."),
    Counter.KEY_FETCHES: (CONTROL, "issuer_key_fetches_total", "Looks for newer keys of issuers."),
    Counter.KEY_FETCHES_FAILED: (CONTROL, "issuer_key_fetch_failures_total", "Looks for newer keys that failed."),
    Counter.TOKENS_ISSUED: (CONTROL, "tokens_issued_total", "Access tokens issued by the authorization server."),
    Counter.OPEN_CONNECTIONS: (WORKERS, "open_connections", "Connections open now."),
    Counter.OPEN_HANDSHAKES: (WORKERS, "open_handshakes", "TLS handshakes in progress now."),
    Counter.OPEN_CALLS: (WORKERS, "open_calls", "Calls in progress now."),
    Counter.OPEN_UPSTREAM: (WORKERS, "open_upstream_connections", "Connections to upstreams open now."),
}
_STATUS = (Counter.STATUS_1XX, Counter.STATUS_2XX, Counter.STATUS_3XX, Counter.STATUS_4XX, Counter.STATUS_5XX)
_OF_CONNECTIONS = frozenset(code for code in CODES if not code.status or code is Reason.TOO_MANY_CONNECTIONS)


def process_label(process: Process) -> str:
    """The process's name, as its log and its segments have it."""
    return f"worker-{process.slot - FIRST_WORKER_SLOT}" if process.kind == "worker" else process.kind


def exposition(rows: Iterable[Row], more: Iterable[Family] = ()) -> str:
    """The whole page of text: what the processes counted, and `more` that whoever shows it knows."""
    rows = list(rows)
    lines: list[str] = []
    for family in (*_words(rows), *_by_label(rows), *more):
        lines += _text(family)
    lines += _durations([row for row in rows if row[0].kind in WORKERS])
    return "\n".join([*lines, ""])


def process_families(processes: Iterable[Process]) -> Iterator[Family]:
    """Of each process: whether it runs, and how often it was started again."""
    processes = list(processes)
    labels = [{"process": process_label(process)} for process in processes]
    up = [(label, int(process.alive)) for label, process in zip(labels, processes, strict=True)]
    restarts = [(label, process.restarts) for label, process in zip(labels, processes, strict=True)]
    yield Family("process_up", "gauge", "Whether the process runs.", [*up])
    yield Family("process_restarts_total", "counter", "Restarts of the process.", [*restarts])


def _words(rows: list[Row]) -> Iterator[Family]:
    for counter, (kinds, name, text) in _WORDS.items():
        gauge = counter in GAUGES
        samples: list[tuple[Labels, Value]] = [
            ({"process": process_label(process)}, 0 if gauge and not process.alive else row[counter])
            for process, row in rows
            if process.kind in kinds
        ]
        yield Family(name, "gauge" if gauge else "counter", text, samples)


def _by_label(rows: list[Row]) -> Iterator[Family]:
    """What is counted by status or reason."""
    answers: list[tuple[Labels, Value]] = []
    calls: list[tuple[Labels, Value]] = []
    connections: list[tuple[Labels, Value]] = []
    issuer: list[tuple[Labels, Value]] = []
    for process, row in rows:
        if process.kind in CONTROL:
            issuer += [
                ({"process": process_label(process), "error": error}, row[word]) for error, word in OAUTH_WORD.items()
            ]
        if process.kind not in WORKERS:
            continue
        name = process_label(process)
        for number, word in enumerate(_STATUS, 1):
            answers.append(({"process": name, "class": f"{number}xx"}, row[word]))
        for number, reason in enumerate(CODES):
            samples = connections if reason in _OF_CONNECTIONS else calls
            samples.append(({"process": name, "reason": reason.value}, row[REFUSED + number]))
    yield Family("answers_total", "counter", "Answers by status class.", answers)
    yield Family("refusals_total", "counter", "Calls that were refused or broke off, by reason.", calls)
    yield Family(
        "connections_refused_total", "counter", "Connections that ended before they carried a call.", connections
    )
    yield Family("issuer_refusals_total", "counter", "Refusals of the authorization server, by error.", issuer)


def _durations(rows: list[Row]) -> Iterator[str]:
    name = "interlock_call_duration_seconds"
    yield f"# HELP {name} Time from a forwarded call's head to its end."
    yield f"# TYPE {name} histogram"
    for process, row in rows:
        label = f'process="{process_label(process)}"'
        running = 0
        for number, bound in enumerate(DURATIONS_US):
            running += row[DURATION_BUCKETS + number]
            yield f'{name}_bucket{{{label},le="{bound / 1e6:g}"}} {running}'
        running += row[DURATION_BUCKETS + len(DURATIONS_US)]
        yield f'{name}_bucket{{{label},le="+Inf"}} {running}'
        yield f"{name}_sum{{{label}}} {row[Counter.DURATION_NS] / 1e9:.9f}"
        yield f"{name}_count{{{label}}} {running}"


def _text(family: Family) -> Iterator[str]:
    name = f"interlock_{family.name}"
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.type}"
    for labels, value in family.samples:
        inside = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        yield f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: Value) -> str:
    return "+Inf" if value == float("inf") else str(value)
