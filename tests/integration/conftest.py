"""What integration tests share: an upstream and nodes that are always ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.node import Node
from tests.integration.upstream import Upstream

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
services:
  upstream: {{upstreams: [{url}]}}
routes:
  - {{match: GET /open/*, service: upstream, allow: public, limit: none}}
  - {{match: /*, service: upstream, authenticate: [api_key], allow: call, limit: none}}
roles:
  caller: [call]
"""


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Node]:
    """The node of all tests of a module that are marked `shared`."""
    node = Node(tmp_path_factory.mktemp("shared") / "node", CONFIG.format(url=shared_upstream.url))
    try:
        yield node.start()
    finally:
        node.kill()


@pytest.fixture(scope="module")
def shared_key(shared_node: Node) -> str:
    return str(shared_node.key("tester", "caller")["key"])


def shares(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("shared") is not None


@pytest.fixture
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    if shares(request):
        server: Upstream = request.getfixturevalue("shared_upstream")
        server.seen.clear()
        yield server
        return
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def make_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Node]]:
    folder = tmp_path_factory.mktemp("n")
    nodes: list[Node] = []

    def make(config: str, name: str = "node", **options: dict[str, str]) -> Node:
        node = Node(folder / name, config, **options)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.kill()


@pytest.fixture
def node(request: pytest.FixtureRequest, make_node: Callable[..., Node], upstream: Upstream) -> Iterator[Node]:
    """A running node with a public corner `/open/` and an API key for the rest; of its own, or shared."""
    if not shares(request):
        yield make_node(CONFIG.format(url=upstream.url)).start()
        return
    shared: Node = request.getfixturevalue("shared_node")
    yield shared
    assert shared.status()["serving"], "a shared node must be left as it was"


@pytest.fixture
def key(request: pytest.FixtureRequest, node: Node) -> str:
    return str(request.getfixturevalue("shared_key") if shares(request) else node.key("tester", "caller")["key"])
