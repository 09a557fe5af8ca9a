"""Metrics in Prometheus text form (version 0.0.4), made from summed rows. Pure: it is read by `control`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from interlock.model.reason import CODES
from interlock.snapshot.metrics import DURATION_BUCKETS, DURATIONS_US, GAUGES, REFUSED, Counter
from interlock.snapshot.page import Process

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    Counter.CALLS: ("calls", "Calls that ended, refused ones included."),
    Counter.BYTES_IN: ("call_bytes_in", "Bytes of request bodies."),
    Counter.BYTES_OUT: ("call_bytes_out", "Bytes of answer bodies."),
    Counter.CONNECTIONS: ("connections", "Connections accepted."),
    Counter.CONNECTIONS_REFUSED: ("connections_refused", "Connections over a budget."),
    Counter.HANDSHAKES: ("tls_handshakes", "TLS handshakes that succeeded."),
    Counter.HANDSHAKES_FAILED: ("tls_handshakes_failed", "TLS handshakes that failed."),
    Counter.UPSTREAM_CONNECTIONS: ("upstream_connections", "Connections made to upstreams."),
    Counter.UPSTREAM_FAILURES: ("upstream_failures", "Exchanges with upstreams that failed."),
    Counter.UPSTREAM_RETRIES: ("upstream_retries", "Exchanges begun again on a fresh connection."),
    Counter.RECORD_FRAMES: ("record_frames", "Frames written to the record."),
    Counter.RECORD_BYTES: ("record_bytes", "Bytes written to the record."),
    Counter.RECORD_FLUSHES: ("record_flushes", "Writes to the record."),
    Counter.RECORD_SYNCS: ("record_syncs", "Syncs of the record to disk."),
    Counter.RECORD_FAILURES: ("record_failures", "Writes or syncs of the record that failed."),
    Counter.RECORD_SEALED: ("record_sealed_frames", "Frames sealed by the recorder."),
    Counter.REFUSALS_COUNTED: ("refusals_counted", "Refusals recorded as a count."),
    Counter.TOKENS_VERIFIED: ("tokens_verified", "Token signatures checked."),
    Counter.TOKENS_CACHED: ("tokens_cached", "Tokens answered from the cache."),
    Counter.LIMIT_UNAVAILABLE: ("limit_unavailable", "Calls refused because they could not be counted."),
    Counter.SNAPSHOTS: ("snapshots", "Snapshots taken into use."),
    Counter.LOOP_STALLS: ("loop_stalls", "Turns of an event loop over 20 ms."),
    Counter.OPEN_CONNECTIONS: ("open_connections", "Connections open now."),
    Counter.OPEN_HANDSHAKES: ("open_handshakes", "TLS handshakes in progress now."),
    Counter.OPEN_CALLS: ("open_calls", "Calls in progress now."),
    Counter.OPEN_UPSTREAM: ("open_upstream_connections", "Connections to upstreams open now."),
}
_STATUS = (Counter.STATUS_1XX, Counter.STATUS_2XX, Counter.STATUS_3XX, Counter.STATUS_4XX, Counter.STATUS_5XX)


def exposition(totals: Sequence[int], processes: Iterable[Process] = ()) -> str:
    """The whole page of text."""
    return "\n".join([*_counters(totals), *_durations(totals), *_processes(list(processes)), ""])


def _counters(totals: Sequence[int]) -> Iterator[str]:
    for counter, (name, text) in _HELP.items():
        if counter in GAUGES:
            yield from _family(f"interlock_{name}", "gauge", text, [("", totals[counter])])
        else:
            yield from _family(f"interlock_{name}_total", "counter", text, [("", totals[counter])])
    classes = [(f'{{class="{number}xx"}}', totals[word]) for number, word in enumerate(_STATUS, 1)]
    yield from _family("interlock_answers_total", "counter", "Answers by status class.", classes)
    refused = [(f'{{reason="{reason.value}"}}', totals[REFUSED + number]) for number, reason in enumerate(CODES)]
    yield from _family("interlock_refusals_total", "counter", "Refused calls by reason.", refused)


def _durations(totals: Sequence[int]) -> Iterator[str]:
    name = "interlock_call_duration_seconds"
    yield f"# HELP {name} Time from a call's head to its end."
    yield f"# TYPE {name} histogram"
    running = 0
    for number, bound in enumerate(DURATIONS_US):
        running += totals[DURATION_BUCKETS + number]
        yield f'{name}_bucket{{le="{bound / 1e6:g}"}} {running}'
    running += totals[DURATION_BUCKETS + len(DURATIONS_US)]
    yield f'{name}_bucket{{le="+Inf"}} {running}'
    yield f"{name}_sum {totals[Counter.DURATION_NS] / 1e9:.9f}"
    yield f"{name}_count {running}"


def _processes(processes: list[Process]) -> Iterator[str]:
    if processes:
        labels = [(process, f'{{kind="{process.kind}",slot="{process.slot}"}}') for process in processes]
        up = [(label, int(process.alive)) for process, label in labels]
        restarts = [(label, process.restarts) for process, label in labels]
        yield from _family("interlock_process_up", "gauge", "Whether the process runs.", up)
        yield from _family("interlock_process_restarts_total", "counter", "Restarts of the process.", restarts)


def _family(name: str, kind: str, text: str, samples: list[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{labels} {value}"
