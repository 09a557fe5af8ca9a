"""Where the CPU of a call goes: by process, user and kernel, which sums to the total; and by step of the worker."""

from __future__ import annotations

from collections.abc import Callable

import steps
from material import Material
from measure import cpu_by_process, run_wrk, settle
from peers import bearer
from product import Node, Setup
from report import table

CONNECTIONS = 32


def run(material: Material, seconds: float, say: Callable[[str], None]) -> str:
    say("budget: by process")
    node = Node(Setup("budget"), material)
    with node.up(bearer(material.token)) as gateway:
        run_wrk(gateway.url, CONNECTIONS, 1.0, gateway.calls)
        settle(gateway.quiet)
        before = cpu_by_process(gateway.pid)
        load = run_wrk(gateway.url, CONNECTIONS, max(seconds, 4.0), gateway.calls)
        settle(gateway.quiet)
        after = cpu_by_process(gateway.pid)
        kinds = node.processes()
        (worker,) = node.worker_pids()
        say("budget: by step")
        samples = node.folder / "stacks"
        sampler = steps.begin(worker, max(seconds, 6.0), samples)
        run_wrk(gateway.url, CONNECTIONS, max(seconds, 6.0) + 1, gateway.calls)
        sampler.wait(60)
    spent: dict[str, tuple[float, float]] = {}
    for pid, (user, system) in after.items():
        kind = kinds.get(pid, "other")
        old_user, old_system = before.get(pid, (0.0, 0.0))
        so_far = spent.get(kind, (0.0, 0.0))
        spent[kind] = (so_far[0] + user - old_user, so_far[1] + system - old_system)
    scale = 1e6 / load.calls
    total = sum(user + system for user, system in spent.values()) * scale
    rows = []
    for kind in sorted(spent, key=lambda name: -sum(spent[name])):
        user, system = spent[kind][0] * scale, spent[kind][1] * scale
        rows.append([kind, f"{user:.1f}", f"{system:.1f}", f"{user + system:.1f}", f"{(user + system) / total:.0%}"])
    rows.append(["sum", "", "", f"{total:.1f}", "100%"])
    processes = table(["process, at 32 connections", "user µs/call", "kernel µs/call", "together", "share"], rows)
    in_worker = sum(spent["worker"]) * scale
    parts = [(step, share * in_worker) for step, share in steps.shares(samples).items()]
    parts += [(f"{kind}, another process", sum(spent[kind]) * scale) for kind in spent if kind != "worker"]
    lines = [[step, f"{cost:.1f}", f"{cost / total:.0%}"] for step, cost in sorted(parts, key=lambda part: -part[1])]
    lines.append(["sum", f"{sum(cost for _, cost in parts):.1f}", "100%"])
    return f"{processes}\n\n{table(['step of a call', 'µs/call', 'share'], lines)}"
