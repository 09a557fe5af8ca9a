"""Behind a trusted proxy the caller is whom the proxy says; nobody else is believed. And what an allowed caller
is told of its limit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.node import Node
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

PROXY, STRANGER = "127.0.4.2", "127.0.4.3"
CALLER = "203.0.113.9"

CONFIG = """
version: 1
workers: 1
listeners: [{{address: 127.0.0.1:PORT, tls: off}}]
trusted_proxies: [127.0.4.2/32]
services:
  up: {{upstreams: [{url}]}}
  inner: {{upstreams: [{url}], zone: office}}
zones:
  office: {{from: [203.0.113.0/24]}}
routes:
  - {{match: GET /open/*, service: up, allow: public, limit: none}}
  - {{match: GET /keyed/*, service: up, authenticate: [api_key], allow: call, limit: none}}
  - {{match: GET /inner/*, service: inner, authenticate: [api_key], allow: call, limit: none}}
  - {{match: GET /limited/*, service: up, allow: public, limit: 3/m per address}}
  - match: GET /twice/*
    service: up
    authenticate: [api_key]
    allow: call
    limit: [10/m burst 20 per principal, 100/s per route]
roles: {{caller: [call]}}
"""


class Door:
    def __init__(self, node: Node, upstream: Upstream) -> None:
        self.node = node
        self.upstream = upstream
        self.key = str(node.key("tester", "caller")["key"])

    def get(self, source: str, path: str, key: str = "", **headers: str) -> httpx.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            fields["X-API-Key"] = key
        with httpx.Client(transport=httpx.HTTPTransport(local_address=source, verify=False), timeout=20) as client:
            return client.get(self.node.url + path, headers=fields)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    upstream = Upstream()
    node = Node(tmp_path_factory.mktemp("proxies") / "node", CONFIG.format(url=upstream.url)).start()
    yield Door(node, upstream)
    node.kill()
    upstream.close()


@pytest.mark.parametrize(
    ("source", "headers", "believed"),
    [
        (PROXY, {"X_Forwarded_For": CALLER}, CALLER),
        (PROXY, {"X_Forwarded_For": f"6.6.6.6, {CALLER}"}, CALLER),
        (PROXY, {"X_Forwarded_For": f"{CALLER}, {PROXY}"}, CALLER),
        (PROXY, {"Forwarded": f"for={CALLER};proto=https"}, CALLER),
        (PROXY, {"X_Forwarded_For": "nonsense"}, PROXY),
        (PROXY, {}, PROXY),
        (STRANGER, {"X_Forwarded_For": CALLER}, STRANGER),
        (STRANGER, {"Forwarded": f"for={CALLER}"}, STRANGER),
        (STRANGER, {"X_Real_IP": CALLER}, STRANGER),
    ],
)
def test_who_is_believed(door: Door, source: str, headers: dict[str, str], believed: str) -> None:
    path = f"/open/{len(door.upstream.seen)}"
    assert door.get(source, path, **headers).status_code == 200
    assert door.node.row(path)["source"] == believed
    seen = door.upstream.seen[-1]
    assert seen.target == path
    assert seen.header("x-real-ip") == believed
    chain = seen.header("x-forwarded-for") or ""
    assert chain.split(", ")[-1] == source, "who called us is the last of the chain"
    if source == STRANGER:
        assert chain == STRANGER


def test_zones_and_networks_go_by_the_caller_behind_the_proxy(door: Door) -> None:
    bound = str(door.node.key("bound", "caller", network="203.0.113.0/24")["key"])
    for path, key, refused in (("/inner/x", door.key, 403), ("/keyed/x", bound, 401)):
        assert door.get(PROXY, path, key, X_Forwarded_For=CALLER).status_code == 200
        assert door.get(PROXY, path, key, X_Forwarded_For="198.51.100.7").status_code == refused
        assert door.get(STRANGER, path, key, X_Forwarded_For=CALLER).status_code == refused


def test_a_proxy_that_contradicts_itself_is_not_served(door: Door) -> None:
    path = "/open/contradiction"
    assert door.get(PROXY, path, X_Forwarded_For=CALLER, Forwarded="for=198.51.100.1").status_code == 400
    assert door.node.row(path)["reason"] == "forwarded-conflict"
    assert path not in [seen.target for seen in door.upstream.seen]
    agreeing = door.get(PROXY, "/open/agreement", X_Forwarded_For=CALLER, Forwarded=f"for={CALLER}")
    assert agreeing.status_code == 200
    assert door.node.row("/open/agreement")["source"] == CALLER


def test_an_allowed_caller_is_told_what_is_left(door: Door) -> None:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) on allowed answers, per caller."""
    for left in (2, 1, 0):
        answer = door.get(PROXY, "/limited/a", X_Forwarded_For="203.0.113.20")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"address";q=3;w=60'
        told = re.fullmatch(r'"address";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
        assert told is not None, answer.headers["ratelimit"]
        assert int(told[1]) == left
        assert 0 < int(told[2]) <= 60
        assert "retry-after" not in answer.headers
    refused = door.get(PROXY, "/limited/a", X_Forwarded_For="203.0.113.20")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 20
    assert '"address";r=0;' in refused.headers["ratelimit"]
    other = door.get(PROXY, "/limited/a", X_Forwarded_For="203.0.113.21")
    assert other.headers["ratelimit"].startswith('"address";r=2;')


def test_several_limits_are_told_together(door: Door) -> None:
    answer = door.get(STRANGER, "/twice/a", door.key)
    assert answer.status_code == 200
    assert answer.headers["ratelimit-policy"] == '"principal";q=20;w=120, "route";q=100;w=1'
    assert re.fullmatch(r'"principal";r=19;t=\d+, "route";r=99;t=\d+', answer.headers["ratelimit"])


def test_no_limit_says_nothing(door: Door) -> None:
    assert not [name for name in door.get(STRANGER, "/open/x").headers if name.startswith("ratelimit")]


def test_one_callers_failures_are_not_the_proxys(door: Door) -> None:
    """Whoever guesses behind a proxy is refused; who else comes through it is not."""
    guessing = [door.get(PROXY, "/keyed/guess", "ilk_nonsense", X_Forwarded_For="198.51.100.66") for _ in range(25)]
    assert [answer.status_code for answer in guessing][-1] == 429
    other = door.get(PROXY, "/keyed/mistyped", "ilk_nonsense", X_Forwarded_For="198.51.100.67")
    assert other.status_code == 401
