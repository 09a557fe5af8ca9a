"""What more of something costs: routes, keys, revocations, workers; and how long a reload holds up a call."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from material import Material
from measure import Calls, Sample, measure, private_kib, run_wrk
from peers import bearer
from population import fill
from product import PORT, Node, Setup
from report import table

CONNECTIONS = 32
MANY_ROUTES, MANY_KEYS, REVOCATIONS = 10_000, 1_000_000, 100_000
KEYS_CALLED = 50_000  # more than a worker remembers, so that the table itself is searched


@dataclass
class Case:
    """One way to set a node up; `against` is the row that its figures are compared with."""

    name: str
    against: str
    setup: Setup
    paths: int = 10  # called in turn
    keys: int = 0
    keys_called: int = 10  # in turn
    revocations: int = 0
    node: Node | None = None
    calls: Calls = field(default_factory=Calls)
    samples: list[Sample] = field(default_factory=list)
    private: list[int] = field(default_factory=list)

    @property
    def cpu_us(self) -> float:
        return statistics.median(sample.cpu_us for sample in self.samples)

    @property
    def private_mib(self) -> float:
        return statistics.median(self.private) / 1024


def cases() -> list[Case]:
    few, many = "10 routes", f"{MANY_ROUTES:,} routes"
    some, crowd, one = "10 keys", f"{MANY_KEYS:,} keys", "one worker, not pinned"
    turn = f"{KEYS_CALLED:,} keys, all called in turn"

    def by_key(name: str) -> Setup:
        return Setup(f"scale-{name}", authenticate="api_key")

    return [
        Case(few, few, Setup("scale-routes-few")),
        Case(f"{many}, ten called", few, Setup("scale-routes-ten", routes=MANY_ROUTES)),
        Case(f"{many}, all called in turn", few, Setup("scale-routes-all", routes=MANY_ROUTES), paths=MANY_ROUTES),
        Case(some, some, by_key("keys-few"), keys=10),
        Case(f"{crowd}, ten called", some, by_key("keys-ten"), keys=MANY_KEYS),
        Case(turn, turn, by_key("keys-turn"), keys=KEYS_CALLED, keys_called=KEYS_CALLED),
        Case(f"{crowd}, {KEYS_CALLED:,} in turn", turn, by_key("keys-all"), keys=MANY_KEYS, keys_called=KEYS_CALLED),
        Case(f"10 keys, {REVOCATIONS:,} revocations", some, by_key("revoked"), keys=10, revocations=REVOCATIONS),
        Case(one, one, Setup("scale-worker", pinned=False)),
        Case("two workers, not pinned", one, Setup("scale-workers", pinned=False, workers=2)),
    ]


def prepare(case: Case, material: Material) -> Node:
    """The case's node, its state filled on the first round and kept for the next."""
    if case.node is None:
        case.node = node = Node(case.setup, material)
        paths = node.folder / "paths"
        paths.write_text("".join(f"/r{number}/a-1\n" for number in range(case.paths)))
        case.calls = replace(bearer(material.token), paths=paths)
        if case.keys:
            keys = node.folder / "called-keys"
            called = fill(node, case.keys, case.keys_called, case.revocations, role="reader")
            keys.write_text("".join(f"{key}\n" for key in called))
            case.calls = Calls(paths=paths, keys=keys)
    return case.node


def take(case: Case, material: Material, seconds: float) -> None:
    """One round of one case."""
    node = prepare(case, material)
    with node.up(case.calls) as gateway:
        run_wrk(gateway.url, CONNECTIONS, 3.0 if case.paths > 10 else 1.0, case.calls)
        sample = measure(gateway.pid, gateway.url, CONNECTIONS, seconds, case.calls, gateway.quiet)
        case.samples.append(sample)
        workers = node.worker_pids()
        case.private.append(sum(private_kib(pid) for pid in workers) // len(workers))


def run(material: Material, rounds: int, seconds: float, say: Callable[[str], None]) -> str:
    taken = cases()
    for number in range(rounds):
        for case in taken:
            say(f"scale, round {number + 1} of {rounds}: {case.name}")
            take(case, material, seconds)
    by_name = {case.name: case for case in taken}
    rows = []
    for case in taken:
        base = by_name[case.against]
        rows.append(
            [
                case.name,
                f"{case.cpu_us:.1f}",
                f"{case.cpu_us / base.cpu_us:.2f}",
                f"{case.private_mib:.1f}",
                f"{case.private_mib - base.private_mib:+.1f}",
            ]
        )
    text = table(["at 32 connections", "CPU µs/call", "ratio", "private MiB/worker", "more"], rows)
    say("scale: reload under calls")
    return f"{text}\n\n{reload_pause(material)}"


# -- reload -----------------------------------------------------------------------------------------------------------


def reload_pause(material: Material) -> str:
    """The longest wait of a call without and with five reloads, of many routes that all change, and with many keys."""
    rows = []
    for what, routes, keys in ((f"{MANY_ROUTES:,} routes", MANY_ROUTES, 0), (f"{MANY_KEYS:,} keys", 10, MANY_KEYS)):
        node = Node(Setup(f"scale-reload-{routes}", routes=routes, pinned=False), material)
        if keys:
            fill(node, keys, 1, 0, role="reader")
        calls = bearer(material.token)
        with node.up(calls) as gateway:
            run_wrk(gateway.url, CONNECTIONS, 1.0, calls)
            authorization = calls.headers["Authorization"]
            quiet = _waits(authorization, lambda: time.sleep(3))
            busy = _waits(authorization, lambda node=node: _reload(node, 5))  # type: ignore[misc]
        for when, (longest, with_core, failed) in (("without a reload", quiet), ("five reloads", busy)):
            rows.append([f"{what}, {when}", f"{longest:.1f}", f"{with_core:.1f}", str(failed)])
    return table(["one caller, call after call", "longest wait ms", "and for its own core", "failed calls"], rows)


def _waits(authorization: str, during: Callable[[], object]) -> tuple[float, float, int]:
    """Longest wait in ms, the same with what the caller waited for its own core, and calls that failed."""
    command = [sys.executable, str(Path(__file__).with_name("caller.py")), str(PORT), authorization]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        time.sleep(0.5)
        during()
        time.sleep(0.5)
        caller.terminate()
        longest, with_core, _, failed = json.loads(caller.communicate(timeout=15)[0])
    return longest, with_core, failed


def _reload(node: Node, times: int) -> None:
    for number in range(times):
        rate = 1_000_000 + number
        text = node.file.read_text()
        node.file.write_text(text.replace(f'"{rate}/s per principal"', f'"{rate + 1}/s per principal"'))
        node.command("reload")
        time.sleep(0.5)
