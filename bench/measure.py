"""What the bench measures with: CPU and memory of whole process trees from /proc, and load from wrk.

It counts every process of a gateway, not only the one that answers, and never trusts a run in which a call failed.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
LOAD_CORE = 0
GATEWAY_CORE = 1
LOAD_SCRIPT = Path(__file__).with_name("load.lua")


class BenchError(Exception):
    """A figure could not be had, or would not mean what it says."""


def pin(core: int | None, command: list[str]) -> list[str]:
    """The command on one core; on all of them for `None`."""
    return command if core is None else ["taskset", "-c", str(core), *command]


# -- process trees ----------------------------------------------------------------------------------------------------


def tree(root: int) -> list[int]:
    """`root` and all its descendants that are alive."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                children = Path(f"/proc/{pid}/task/{task}/children").read_text()
            except OSError:
                continue
            waiting.extend(int(child) for child in children.split())
    return found


def cpu_seconds(root: int) -> float:
    """utime + stime of the tree, and of its children that have ended and been waited for."""
    return sum(user + system for user, system in cpu_by_process(root).values())


def cpu_by_process(root: int) -> dict[int, tuple[float, float]]:
    """User and system seconds of each process of the tree."""
    spent = {}
    for pid in tree(root):
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system, child_user, child_system = (int(value) * TICK_S for value in after_name[11:15])
        spent[pid] = (user + child_user, system + child_system)
    return spent


def stored(folder: Path) -> int:
    """Bytes of all files below, of which some may go meanwhile."""
    size = 0
    for where, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(where, name)).st_size
    return size


def private_kib(pid: int) -> int:
    """Memory in KiB that only this process holds and that the kernel cannot drop (`Private_Dirty`).

    Pages of mapped files, such as a snapshot, are the page cache's: shared by all workers. So are shared mappings,
    such as the counters, which look private while one worker alone has touched a page of theirs.
    """
    total, private = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "Private_Dirty:":
            total += int(value.split()[0]) if private else 0
        elif not name.endswith(":"):
            private = value[3:4] == "p"  # the mapping's permissions, such as rw-p
    return total


def tree_private_kib(root: int) -> int:
    total = 0
    for pid in tree(root):
        try:
            total += private_kib(pid)
        except OSError:
            continue
    return total


def settle(quiet: Callable[[], object], quiet_s: float = 0.6, limit_s: float = 20.0) -> None:
    """Wait until what `quiet` returns has not changed for `quiet_s`."""
    deadline = time.monotonic() + limit_s
    last = quiet()
    since = time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = quiet()
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since >= quiet_s:
            return
    raise BenchError(f"what was measured did not come to rest within {limit_s:g} s")


# -- load -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What wrk says of one run. Latencies in microseconds."""

    calls: int
    seconds: float
    p50_us: float
    p99_us: float
    bad: int

    @property
    def per_second(self) -> float:
        return self.calls / self.seconds


_UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


def _latency(text: str, percent: str) -> float:
    match = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if match is None:
        raise BenchError(f"wrk printed no {percent}% latency:\n{text}")
    return float(match[1]) * _UNIT_US[match[2]]


@dataclass(frozen=True)
class Calls:
    """What is sent: headers, and paths and API keys that are taken in turn from files of lines.

    `fresh` makes such a file for one run of so many seconds: a bound token and its proof on each line, used once.
    """

    headers: dict[str, str] = field(default_factory=dict)
    paths: Path | None = None
    keys: Path | None = None
    fresh: Callable[[float], Path] | None = None
    body: str = ""  # sent by POST


def run_wrk(url: str, connections: int, seconds: float, calls: Calls) -> Load:
    """One wrk thread on the load core."""
    environ = dict(os.environ)
    environ["BENCH_HEADERS"] = "\n".join(f"{name}: {value}" for name, value in calls.headers.items())
    environ["BENCH_PATHS"] = str(calls.paths or "")
    environ["BENCH_KEYS"] = str(calls.keys or "")
    environ["BENCH_BODY"] = calls.body
    environ["BENCH_PROOFS"] = str(calls.fresh(seconds)) if calls.fresh is not None else ""
    command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(LOAD_SCRIPT), url]
    done = subprocess.run(pin(LOAD_CORE, command), env=environ, capture_output=True, text=True, check=False)
    text = done.stdout
    total = re.search(r"(\d+) requests in ([\d.]+)(s|m)", text)
    if done.returncode or total is None:
        raise BenchError(f"wrk failed: {text}{done.stderr}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Load(
        calls=int(total[1]),
        seconds=float(total[2]) * (60 if total[3] == "m" else 1),
        p50_us=_latency(text, "50"),
        p99_us=_latency(text, "99"),
        bad=(int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0),
    )


@dataclass(frozen=True)
class Sample:
    """One run against one gateway."""

    load: Load
    cpu_us: float

    @property
    def per_second(self) -> float:
        return self.load.per_second


def measure(root: int, url: str, connections: int, seconds: float, calls: Calls, quiet: Callable[[], object]) -> Sample:
    """CPU per call of the tree under `root`, from before the load until `quiet` has come to rest."""
    before = cpu_seconds(root)
    load = run_wrk(url, connections, seconds, calls)
    settle(quiet)
    spent = cpu_seconds(root) - before
    if load.bad or not load.calls:
        raise BenchError(f"{load.bad} of {load.calls} calls to {url} failed; the figure would mean nothing")
    return Sample(load, spent / load.calls * 1e6)


# -- neighbouring pieces ----------------------------------------------------------------------------------------------


def in_turn(pieces: dict[str, Callable[[], Sample]], times: int) -> dict[str, list[Sample]]:
    """So many pieces of load on each of those that are up together, in turn, the order changing each time.

    What a machine does at its leisure weighs on one piece and not on the next. So it is neighbours that are compared:
    see `ratios`.
    """
    taken: dict[str, list[Sample]] = {name: [] for name in pieces}
    for number in range(times):
        for name in pieces if number % 2 else reversed(pieces):
            taken[name].append(pieces[name]())
    return taken


def cpu_of(samples: list[Sample]) -> float:
    """Microseconds of CPU per call: the median."""
    return statistics.median(sample.cpu_us for sample in samples)


def ratios(over: list[Sample], under: list[Sample]) -> tuple[float, float, float]:
    """CPU of one over that of the other, in each pair of neighbours: the lower quartile, the median, the upper one."""
    low, middle, high = statistics.quantiles(
        [one.cpu_us / other.cpu_us for one, other in zip(over, under, strict=True)], n=4
    )
    return low, middle, high
