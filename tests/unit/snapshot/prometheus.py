"""Reads the Prometheus text format 0.0.4 strictly, line by line, as its specification and its linter have it."""

from __future__ import annotations

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL.pattern})(?:,{LABEL.pattern})*)\}})? (\S+)")
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|\+Inf")
UNITS = ("_milliseconds", "_ms", "_ns", "_us", "_minutes", "_kilobytes", "_mb")  # which are not base units

Series = tuple[str, frozenset[tuple[str, str]]]


def parse(text: str) -> tuple[dict[str, str], dict[Series, float]]:
    """Types by metric and values by series; `AssertionError` at the first fault."""
    assert text.endswith("\n")
    types: dict[str, str] = {}
    helped: set[str] = set()
    samples: dict[Series, float] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, said = line[7:].partition(" ")
            assert re.fullmatch(NAME, name), line
            assert name not in helped, f"a second HELP: {line}"
            assert said.strip(), line
            helped.add(name)
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            assert name in helped, f"no HELP before {line}"
            assert name not in types, f"a second TYPE: {line}"
            assert kind in ("counter", "gauge", "histogram"), line
            assert name.endswith("_total") == (kind == "counter"), line
            assert not name.removesuffix("_total").endswith(UNITS), line
            types[name] = kind
            current = name
        else:
            found = SAMPLE.fullmatch(line)
            assert found, f"not a sample: {line!r}"
            name, inside, value = found[1], found[2] or "", found[found.re.groups]
            suffixes = ("_bucket", "_sum", "_count") if types.get(current) == "histogram" else ("",)
            assert name in {current + suffix for suffix in suffixes}, f"{line} under {current}"
            assert NUMBER.fullmatch(value), line
            labels = LABEL.findall(inside)
            assert len({label for label, _ in labels}) == len(labels), line
            series = (name, frozenset(labels))
            assert series not in samples, f"twice: {line}"
            samples[series] = float(value)
    for name, kind in types.items():
        if kind == "histogram":
            _check_histogram(name, samples)
    return types, samples


def value(samples: dict[Series, float], name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(number for (other, own), number in samples.items() if other == name and wanted <= own)


def _check_histogram(name: str, samples: dict[Series, float]) -> None:
    """Buckets grow and end with +Inf, which is the count."""
    rest: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    for (metric, labels), number in samples.items():
        if metric == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            rest.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((bound, number))
    for labels, buckets in rest.items():
        counts = [number for _, number in sorted(buckets)]
        assert counts == sorted(counts), labels
        assert max(buckets)[0] == float("inf"), labels
        assert counts[-1] == samples[(f"{name}_count", labels)]
        assert (f"{name}_sum", labels) in samples
