"""`make bench`: Interlock beside nginx, haproxy and Envoy in one alternating run.

The load generator and the upstream share one core; the gateway under test has the other to itself. Each round starts
every gateway in turn, warms it, and measures it at 1, 32 and 256 connections, so that a machine that slows down slows
all of them. CPU is that of the whole process tree until its record or log is at rest.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import material
import memory
import peers
import report
import scale
from measure import BenchError, measure, run_wrk
from peers import Gateway
from product import Setup, interlock, interlock_dpop
from report import CONNECTIONS, Figures

NGINX, HAPROXY = "nginx bare", "haproxy bare"
ENVOY, ENVOY_UNCACHED, ENVOY_TLS = "Envoy token cache", "Envoy as it comes", "Envoy token cache TLS"
WRITTEN, DURABLE, TLS = "Interlock written", "Interlock durable", "Interlock written TLS"
DPOP = "Interlock DPoP-bound tokens"

# (measured, against, at most, aim)
RATIOS = [
    (WRITTEN, ENVOY, 0.75, 0.6),
    (WRITTEN, ENVOY_UNCACHED, 0.75, 0.6),
    (DURABLE, ENVOY, 1.0, 0.85),
    (DURABLE, ENVOY_UNCACHED, 1.0, 0.85),
    (TLS, ENVOY_TLS, 0.85, 0.65),
    (WRITTEN, NGINX, 3.5, 3.5),
]

PARTS = ("ratios", "issuer", "scale", "revocation", "memory", "budget", "record", "sql")

Start = Callable[[], AbstractContextManager[Gateway]]


def gateways(made: material.Material) -> dict[str, Start]:
    pair = (made.certificate, made.key)
    return {
        NGINX: lambda: peers.nginx(made.token),
        HAPROXY: lambda: peers.haproxy(made.token),
        ENVOY: lambda: peers.envoy(made.token, made.jwks),
        ENVOY_UNCACHED: lambda: peers.envoy(made.token, made.jwks, cached=False),
        WRITTEN: lambda: interlock(Setup("written"), made),
        DURABLE: lambda: interlock(Setup("durable", durable=True), made),
        TLS: lambda: interlock(Setup("tls", tls=True), made),
        DPOP: lambda: interlock_dpop(Setup("dpop"), made),
        ENVOY_TLS: lambda: peers.envoy(made.token, made.jwks, certificate=pair),
    }


def compare(starts: dict[str, Start], rounds: int, seconds: float) -> Figures:
    figures = Figures()
    for number in range(rounds):
        for row, start in starts.items():
            say(f"round {number + 1} of {rounds}: {row}")
            with start() as gateway:
                run_wrk(gateway.url, 32, min(1.0, seconds), gateway.calls)
                for connections in CONNECTIONS:
                    sample = measure(gateway.pid, gateway.url, connections, seconds, gateway.calls, gateway.quiet)
                    figures.add(row, connections, sample)
    return figures


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of load for each figure (4)")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: a look, not a figure to quote")
    parser.add_argument("--only", default="", help=f"comma separated parts ({', '.join(PARTS)}) or gateways")
    parser.add_argument("--write", action="store_true", help="write the figures to bench/README.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 2.0
    return options


def sections(options: argparse.Namespace, made: material.Material) -> Iterable[tuple[str, str]]:
    """Each section's title and text, made as it is asked for."""
    only = {word.strip() for word in options.only.split(",") if word.strip()}
    parts = set(PARTS)
    starts = gateways(made)
    chosen = {row: start for row, start in starts.items() if row in only}
    if not only or "ratios" in only or chosen:
        figures = compare(chosen or starts, options.rounds, options.seconds)
        yield "CPU per call", report.main_table(figures)
        yield (
            "Ratios",
            report.ratio_table(figures, [ratio for ratio in RATIOS if set(ratio[:2]) <= set(figures.rows())]),
        )
    if not only or "issuer" in only:
        import issuer

        yield "The authorization server", issuer.run(options.rounds, options.seconds, say)
    if not only or "scale" in only:
        yield "Scale", scale.run(made, options.rounds, options.seconds, say)
    if not only or "revocation" in only:
        import revocation

        yield "Revocation", revocation.run(made, options.rounds, options.seconds, say)
    if not only or "memory" in only:
        yield "Memory", memory.run(made, say)
    if not only or "budget" in only:
        import budget

        yield "Budget", budget.run(made, options.seconds, say)
    if not only or "record" in only:
        import record

        yield "The record alone", record.run(say)
    if not only or "sql" in only:
        import sql

        yield "The record in SQL", sql.run(say)
    unknown = only - parts - set(starts)
    if unknown:
        raise BenchError(
            f"--only does not know {', '.join(sorted(unknown))}; it knows {', '.join(parts | set(starts))}"
        )


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if (os.cpu_count() or 1) < 2:
        print("bench: two cores are needed, one for the load and one for the gateway", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing that was started stays behind
    started = time.strftime("%Y-%m-%d")
    try:
        peers.install()
        made = material.make(peers.SCRATCH / "material")
        with peers.upstream():
            parts = []
            for title, text in sections(options, made):
                print(f"\n{title}\n\n{text}", flush=True)
                parts.append(f"## {title}\n\n{text}\n")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.write:
        command = f"make bench BENCH='{' '.join(arguments)}'" if arguments else "make bench"
        versions = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
        head = (Path(__file__).with_name("HEAD.md")).read_text()
        facts = f"Measured {started} at {report.commit()} with `{command}` on {report.machine()}; {versions}.\n"
        Path(__file__).with_name("README.md").write_text("\n".join([head, facts, *parts]))
        say("written to bench/README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
