"""What more of something costs: routes, keys, revocations, workers; and how long a reload holds up a call."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from material import Material
from measure import Calls, Sample, in_turn, measure, private_kib, run_wrk
from peers import bearer
from population import fill
from product import PORT, Node, Setup
from report import BESIDE, beside, table

CONNECTIONS = 32
MANY_ROUTES, MANY_KEYS, REVOCATIONS = 10_000, 1_000_000, 100_000
KEYS_CALLED = 50_000  # more than a worker remembers, so that the table itself is searched
PIECE = 2.0  # seconds of load at a time
CPU_MORE, CPU_WORKERS = "1.05", "1.15"  # bounds


@dataclass(frozen=True)
class Case:
    """One way to set a node up."""

    name: str
    setup: Setup
    paths: int = 10  # called in turn
    keys: int = 0
    keys_called: int = 10  # in turn
    revocations: int = 0
    bound: str = CPU_MORE


def groups() -> list[list[Case]]:
    """What is compared: the first of each with the others, which are up together."""
    turn = f"{KEYS_CALLED:,} keys, all called in turn"
    many, crowd = f"{MANY_ROUTES:,} routes", f"{MANY_KEYS:,} keys"

    def by_key(name: str, port: int = 0) -> Setup:
        return Setup(f"scale-{name}", authenticate="api_key", port=PORT + port)

    return [
        [
            Case("10 routes", Setup("scale-routes-few")),
            Case(f"{many}, ten called", Setup("scale-routes-ten", routes=MANY_ROUTES, port=PORT + 1)),
            Case(
                f"{many}, all called in turn",
                Setup("scale-routes-all", routes=MANY_ROUTES, port=PORT + 2),
                paths=MANY_ROUTES,
            ),
        ],
        [
            Case("10 keys", by_key("keys-few"), keys=10),
            Case(f"{crowd}, ten called", by_key("keys-ten", 1), keys=MANY_KEYS),
            Case(f"10 keys, {REVOCATIONS:,} revocations", by_key("revoked", 2), keys=10, revocations=REVOCATIONS),
        ],
        [
            Case(turn, by_key("keys-turn"), keys=KEYS_CALLED, keys_called=KEYS_CALLED),
            Case(f"{crowd}, {KEYS_CALLED:,} in turn", by_key("keys-all", 1), keys=MANY_KEYS, keys_called=KEYS_CALLED),
        ],
        [
            Case("one worker, not pinned", Setup("scale-worker", pinned=False)),
            Case(
                "two workers, not pinned",
                Setup("scale-workers", pinned=False, workers=2, port=PORT + 1),
                bound=CPU_WORKERS,
            ),
        ],
    ]


def prepare(case: Case, material: Material) -> tuple[Node, Calls]:
    """The case's node with its state filled, and what it is called with."""
    node = Node(case.setup, material)
    paths = node.folder / "paths"
    paths.write_text("".join(f"/r{number}/a-1\n" for number in range(case.paths)))
    if not case.keys:
        return node, replace(bearer(material.token), paths=paths)
    keys = node.folder / "called-keys"
    called = fill(node, case.keys, case.keys_called, case.revocations, role="reader")
    keys.write_text("".join(f"{key}\n" for key in called))
    return node, Calls(paths=paths, keys=keys)


def compare(cases: list[Case], material: Material, times: int) -> list[list[str]]:
    """Rows of the table: the CPU of each beside that of the first, in neighbouring pieces of load."""
    with ExitStack() as stack:
        nodes: dict[str, Node] = {}
        pieces: dict[str, Callable[[], Sample]] = {}
        for case in cases:
            node, calls = prepare(case, material)
            gateway = stack.enter_context(node.up(calls))
            run_wrk(gateway.url, CONNECTIONS, 3.0, calls)
            nodes[case.name] = node
            pieces[case.name] = partial(measure, gateway.pid, gateway.url, CONNECTIONS, PIECE, calls, gateway.quiet)
        taken = in_turn(pieces, times)
        private = {name: _private_mib(node) for name, node in nodes.items()}
    base = private[cases[0].name]
    return [
        [*row, f"{private[row[0]]:.1f}", f"{private[row[0]] - base:+.1f}"]
        for row in beside(taken, {case.name: case.bound for case in cases})
    ]


def _private_mib(node: Node) -> float:
    workers = node.worker_pids()
    return sum(private_kib(pid) for pid in workers) / len(workers) / 1024


def run(material: Material, rounds: int, seconds: float, say: Callable[[str], None]) -> str:
    times = max(6, round(rounds * seconds))
    rows = []
    for cases in groups():
        say(f"scale: {', '.join(case.name for case in cases)}: {times} pieces of {PIECE:g} s each, in turn")
        found = compare(cases, material, times)
        for row in found:
            say(f"scale: {', '.join(filter(None, row))}")
        rows += found
    say("scale: reload under calls")
    return f"{table([*BESIDE, 'private MiB/worker', 'more'], rows)}\n\n{reload_pause(material)}"


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
