"""Tables of the bench, as text for a terminal and as Markdown for `bench/README.md`."""

from __future__ import annotations

import os
import platform
import ssl
import statistics
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from measure import Sample, cpu_of, ratios

CONNECTIONS = (1, 32, 256)


class Figures:
    """Samples by row and number of connections; medians over the rounds."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int], list[Sample]] = {}

    def add(self, row: str, connections: int, sample: Sample) -> None:
        self._samples.setdefault((row, connections), []).append(sample)

    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self._samples))

    def has(self, row: str, connections: int) -> bool:
        return (row, connections) in self._samples

    def cpu_us(self, row: str, connections: int) -> float:
        return statistics.median(sample.cpu_us for sample in self._samples[row, connections])

    def spread(self, row: str, connections: int) -> tuple[float, float]:
        values = [sample.cpu_us for sample in self._samples[row, connections]]
        return min(values), max(values)

    def per_second(self, row: str, connections: int) -> float:
        return statistics.median(sample.per_second for sample in self._samples[row, connections])

    def latency(self, row: str, connections: int) -> tuple[float, float]:
        samples = self._samples[row, connections]
        return (
            statistics.median(sample.load.p50_us for sample in samples),
            statistics.median(sample.load.p99_us for sample in samples),
        )

    def ratio(self, row: str, against: str, connections: int) -> float:
        return self.cpu_us(row, connections) / self.cpu_us(against, connections)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that also reads well in a terminal: the first column left, the others right."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width if at == 0 else "-" * (width - 1) + ":") for at, width in enumerate(widths)]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])


BESIDE = ("at 32 connections", "CPU µs/call", "ratio", "middle half", "bound")


def beside(taken: dict[str, list[Sample]], bounds: dict[str, str]) -> list[list[str]]:
    """Rows under `BESIDE`: the CPU of each beside that of the first, of pieces of load that were taken in turn."""
    first, *others = taken
    rows = [[first, f"{cpu_of(taken[first]):.1f}", "1.00", "", ""]]
    for name in others:
        low, middle, high = ratios(taken[name], taken[first])
        rows.append(
            [name, f"{cpu_of(taken[name]):.1f}", f"{middle:.2f}", f"{low:.2f}-{high:.2f}", bounds.get(name, "")]
        )
    return rows


def main_table(figures: Figures) -> str:
    rows = []
    for row in figures.rows():
        for connections in CONNECTIONS:
            if figures.has(row, connections):
                low, high = figures.spread(row, connections)
                p50, p99 = figures.latency(row, connections)
                rows.append(
                    [
                        row,
                        str(connections),
                        f"{figures.cpu_us(row, connections):.1f}",
                        f"{low:.1f}-{high:.1f}",
                        f"{figures.per_second(row, connections):,.0f}",
                        milliseconds(p50),
                        milliseconds(p99),
                    ]
                )
    return table(["gateway", "connections", "CPU µs/call", "range", "calls/s", "p50 ms", "p99 ms"], rows)


def milliseconds(us: float) -> str:
    return f"{us / 1000:.2f}"


def ratio_table(figures: Figures, wanted: Sequence[tuple[str, str, float, float]]) -> str:
    """Rows of (measured, against, bound, aim); one column per number of connections."""
    rows = []
    for row, against, bound, aim in wanted:
        cells = [
            f"{figures.ratio(row, against, connections):.2f}"
            if figures.has(row, connections) and figures.has(against, connections)
            else "-"
            for connections in CONNECTIONS
        ]
        at_work = figures.ratio(row, against, 32) if figures.has(row, 32) and figures.has(against, 32) else None
        verdict = "" if at_work is None else "met" if at_work <= bound else "missed"
        rows.append([f"{row} / {against}", *cells, f"{bound:g}", f"{aim:g}", verdict])
    return table(["CPU per call", *(f"at {number}" for number in CONNECTIONS), "bound", "aim", "at 32"], rows)


def machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return (
        f"{model}, {os.cpu_count()} cores, {memory_kib / 1048576:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()} ({_build()}), {ssl.OPENSSL_VERSION}"
    )


def _build() -> str:
    """How the interpreter was built, as far as it says so: one without optimisation is slower on every call."""
    said = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return (
        "built with --enable-optimizations"
        if "--enable-optimizations" in said
        else "built without --enable-optimizations"
    )


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"
