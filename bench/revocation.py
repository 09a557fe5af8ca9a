"""What live revocations cost a call, and how long it takes until what was revoked is refused."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from material import Material
from measure import BenchError, Calls, Load, Sample, in_turn, measure, run_wrk
from peers import ISSUER, Gateway, bearer
from product import PORT, Node, Setup
from report import BESIDE, beside, table

from interlock.control.client import Client
from interlock.identity import principal_handle, token_handle
from interlock.store import Mark, Revocation, Revocations, State

CONNECTIONS = 32
LIVE = 100_000  # revocations, and as many marks
REVOKED = 200  # one after another, of each kind
PIECE = 2.0  # seconds of load at a time
SHORT = 2.0  # likewise, where pieces are compared


def run(material: Material, rounds: int, seconds: float, say: Callable[[str], None]) -> str:
    return f"{cost(material, rounds, seconds, say)}\n\n{time_to_deny(material, say)}"


# -- the cost of a call


def cost(material: Material, rounds: int, seconds: float, say: Callable[[str], None]) -> str:
    """CPU per call of one token, without revocations and with many: two nodes that are up together, called in turn."""
    rows = {"nothing is revoked": 0, f"{LIVE:,} revocations and {LIVE:,} marks": LIVE}
    calls = bearer(material.token)
    with ExitStack() as stack:
        gateways = {}
        for number, (row, count) in enumerate(rows.items()):
            setup = Setup(f"revocation-{count}", port=PORT + number)
            gateways[row] = stack.enter_context(_filled(Node(setup, material), count).up(calls))
            run_wrk(gateways[row].url, CONNECTIONS, 1.0, calls)
        pieces = max(6, round(rounds * seconds))
        say(f"revocation: {pieces} pieces of load of {SHORT:g} s on each of two nodes, in turn")

        def piece(gateway: Gateway) -> Sample:
            return measure(gateway.pid, gateway.url, CONNECTIONS, SHORT, calls, gateway.quiet)

        taken = in_turn({row: partial(piece, gateway) for row, gateway in gateways.items()}, pieces)
    return table(BESIDE, beside(taken, dict.fromkeys(taken, "1.03")))


def _filled(node: Node, count: int) -> Node:
    """A stopped node's state with revocations and marks of what nobody presents."""
    node.command("key", "create", "first", "--role", "reader")  # makes the node's keys and its state
    if count:
        now = time.time_ns()
        second = now // 10**9
        with State.open(node.data / "state.db") as state:
            Revocations(state).keep(
                now=now,
                act="",
                revocations=[Revocation(token_handle(ISSUER, f"gone-{n}"), f"token {n}", now) for n in range(count)],
                marks=[Mark(principal_handle(f"user:x/{n}"), f"principal {n}", second, now) for n in range(count)],
            )
    return node


# -- the time until it is refused


def time_to_deny(material: Material, say: Callable[[str], None]) -> str:
    """From asking the control process until a call that follows its answer is refused, idle and under load."""
    node = Node(Setup("revocation-time", workers=2, pinned=False), material)
    settings = json.loads(node.file.read_text())
    settings["connections"]["failures"] = "1000000/m"
    node.file.write_text(json.dumps(settings))
    rows = []
    calls = bearer(material.token)
    with node.up(calls) as gateway:
        for loaded in (False, True):
            say(f"revocation: {REVOKED} of each kind, {'under load' if loaded else 'idle'}")
            for kind in ("token", "principal"):
                with _Background(gateway.url, calls, loaded) as background:
                    times = [_once(node.data / "run", material, kind) for _ in range(REVOKED)]
                returned, refused, killed = zip(*times, strict=True)
                if background.failed and not any(killed):
                    raise BenchError("calls of a good token failed while others were revoked")
                spreads = [*_spread(returned), *_spread(refused)]
                name = f"{kind}, {'under load' if loaded else 'idle'}"
                rows.append([name, *(f"{value:.1f}" for value in spreads), f"{sum(killed):.0f}"])
    head = ["revoked one by one", "command p50 ms", "p99", "refused after p50 ms", "p99", "workers killed"]
    return table(head, rows)


_numbers = iter(range(10**9))


def _once(run: Path, material: Material, kind: str) -> tuple[float, float, float]:
    """One token, accepted and revoked: ms until the command returned and until a call was refused; workers killed."""
    number = next(_numbers)
    token = material.other(f"doomed-{number}", f"doomed-{number}")
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    if _call(connection, token) != 200:
        raise BenchError("a good token was refused")
    arguments = (
        {"id": f"doomed-{number}", "issuer": ISSUER}
        if kind == "token"
        else {"id": f"user:issuer.bench.example/doomed-{number}"}
    )
    started = time.perf_counter()
    done = Client(run).call(f"revoke.{kind}", arguments)
    returned = time.perf_counter()
    try:
        refused_with = _call(connection, token)
    except ConnectionError:  # its worker did not acknowledge in 100 ms and was killed
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        refused_with = _call(connection, token)
    if refused_with != 401:
        raise BenchError("what was revoked was accepted")
    refused = time.perf_counter()
    connection.close()
    return (returned - started) * 1000, (refused - started) * 1000, len(done["workers_killed"])


def _call(connection: http.client.HTTPConnection, token: str) -> int:
    connection.request("GET", "/r0/a-1", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _spread(values: tuple[float, ...]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.99)]


class _Background(threading.Thread):
    """Load of a good token for as long as it lasts, if there is to be any."""

    def __init__(self, url: str, calls: Calls, loaded: bool) -> None:
        super().__init__(daemon=True)
        self._url, self._calls, self._loaded = url, calls, loaded
        self._over = threading.Event()
        self._loads: list[Load] = []

    def run(self) -> None:
        while self._loaded and not self._over.is_set():
            self._loads.append(run_wrk(self._url, CONNECTIONS, PIECE, self._calls))

    @property
    def failed(self) -> bool:
        return any(load.bad for load in self._loads)

    def __enter__(self) -> _Background:
        self.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(PIECE + 10)
