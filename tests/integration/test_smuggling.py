"""The smuggling corpus against the running gateway, with two different parsers behind it, and with a second
caller on the same pooled connections who must not be hurt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from interlock.model import Reason
from tests.corpus.smuggling import CASES, Case
from tests.integration.nginx import Nginx, executable
from tests.integration.node import PLAIN, Node
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
connections: {{body_timeout: 2s, header_timeout: 2s}}
services:
  up: {{upstreams: [{url}]}}
routes:
  - {{match: "GET,POST,HEAD,PUT,DELETE,OPTIONS,PATCH /a", service: up, allow: public, limit: none}}
  - {{match: GET /victim/{{number}}, service: up, allow: public, limit: none}}
  # What would be split off a request is forwarded, so that it is seen.
  - {{match: "GET,POST,HEAD,PUT,DELETE,OPTIONS,PATCH /*", service: up, allow: public, limit: none}}
"""

ATTENTION = 0.25  # seconds an attacker waits for more
CREDENTIALS = frozenset({"authorization", "x-api-key", "cookie"})


def attack(node: Node, case: Case) -> bytes:
    try:
        return node.raw(case.raw, timeout=ATTENTION, until_close=False)
    except (ConnectionError, TimeoutError):
        return b""


def statuses(answer: bytes) -> list[int]:
    """Of every final answer in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", answer)]


def forwarded(target: bytes) -> str:
    """As it is forwarded: the origin form."""
    return re.sub(r"^(?i:http)://[^/]*", "", target.decode())


def marker(number: int) -> str:
    return f"GET /victim/{number}"


def run(node: Node) -> None:
    """Every case, each followed by a victim, whose request marks in the upstream's account where it ends."""
    wrong: list[str] = []
    with httpx.Client(base_url=node.url, **PLAIN) as victim:
        for number, case in enumerate(CASES):
            answer = attack(node, case)
            expected = [200] * len(case.messages)
            if case.reason is not None:
                expected.append(case.reason.status)
            if statuses(answer) != expected:
                wrong.append(f"{case.name}: answered {statuses(answer)}, not {expected}")
            ask = f"/victim/{number}"
            got = victim.get(ask)
            if got.status_code != 200 or ask not in got.text:
                wrong.append(f"{case.name}: the victim got {got.status_code} {got.text[:100]}")
    assert not wrong, "\n".join(wrong)


def of_cases(requests: list[str]) -> Iterator[tuple[Case, list[int]]]:
    """Which of the upstream's requests came from which case, by the markers between them."""
    own: list[int] = []
    number = 0
    for at, request in enumerate(requests):
        if request == marker(number):
            yield CASES[number], own
            own = []
            number += 1
        else:
            own.append(at)
    assert not own, f"requests after the last case: {[requests[at] for at in own]}"
    assert number == len(CASES)


def nothing_else(requests: list[str], *, heads: bool) -> None:
    """The upstream saw of every case what the case allows, in order, and nothing more.

    `heads`: it also counts requests whose body broke off, which it MUST NOT take for whole.
    """
    wrong: list[str] = []
    broken = False
    for case, own in of_cases(requests):
        saw = [requests[at] for at in own]
        may = [f"{method} {forwarded(target)}" for method, target, _ in case.messages]
        broken = heads and (broken or case.reason is Reason.MALFORMED_BODY)
        if broken and saw != may:  # it may note the end of a broken one late
            saw = [request for request in saw if request != "POST /a"]
            may = [request for request in may if request != "POST /a"]
        if saw != may:
            wrong.append(f"{case.name}: the upstream saw {saw}, not {may}")
        broken = case.reason is Reason.MALFORMED_BODY
    assert not wrong, "\n".join(wrong)


def test_with_h11_behind(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    run(node)
    requests = upstream.targets()
    nothing_else(requests, heads=False)
    for case, own in of_cases(requests):
        for at, (_, _, body) in zip(own, case.messages, strict=True):
            read = upstream.seen[at]
            assert read.body == body, case.name
            carried = CREDENTIALS & {name for name, _ in read.headers}
            assert not carried, f"{case.name}: {carried} reached the upstream"
    # A body that turns out malformed after its head went on is cut off, which the upstream MUST notice.
    refused = [error for error in upstream.errors if "without sending complete message body" not in error]
    assert refused == [], "the gateway sent what h11 refuses"
    assert node.stop() == 0
    assert node.verify()["ok"]


def test_with_nginx_behind(make_node: Callable[..., Node], tmp_path: Path) -> None:
    if executable() is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    nginx = Nginx(tmp_path / "nginx")
    try:
        node = make_node(CONFIG.format(url=nginx.url)).start()
        run(node)
        nothing_else(nginx.seen(), heads=True)
        refused = [line for line in nginx.log.read_text().splitlines() if line.split()[-1] == "400"]
        assert refused == [], "the gateway sent what nginx refuses"
    finally:
        nginx.close()


def test_every_refusal_is_on_the_record_with_its_reason(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    import time

    chosen = [case for case in CASES if case.reason is not None][::7]
    for case in chosen:
        attack(node, case)
        time.sleep(0.12)  # below the rate at which refusals are counted together
    recorded = {call["reason"] for call in node.query("--decision", "deny")}
    expected = {str(case.reason) for case in chosen if case.reason is not None}
    late = {"request-timeout", "client-gone", "malformed-body"}
    assert expected - late <= recorded, expected - recorded


def test_slowloris(make_node: Callable[..., Node], upstream: Upstream) -> None:
    """A head and a body that come one byte at a time are given up; others are served meanwhile."""
    import socket
    import time

    node = make_node(CONFIG.format(url=upstream.url)).start()
    slow: list[socket.socket] = []
    for number in range(50):
        sock = node.connect()
        sock.sendall(b"GET /a HT" if number % 2 else b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        slow.append(sock)
    end = time.monotonic() + 8
    closed = 0
    while time.monotonic() < end and closed < len(slow):
        closed = 0
        for sock in slow:
            try:
                sock.send(b"x")
                sock.setblocking(False)
                closed += sock.recv(1000) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
        assert node.get("/victim/1").status_code == 200
        time.sleep(0.3)
    assert closed > 45, f"only {closed} of {len(slow)} slow connections were given up"
    assert not [target for target in upstream.targets() if target == "POST /a"]
