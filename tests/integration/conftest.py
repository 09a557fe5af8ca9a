"""What integration tests share: an upstream and nodes that are always ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(config: str, name: str = "node", **options: dict[str, str]) -> Node:
        node = Node(tmp_path / name, config, **options)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.kill()


@pytest.fixture
def node(make_node: Callable[..., Node], upstream: Upstream) -> Node:
    """A running node with a public corner `/open/` and an API key for the rest."""
    return make_node(CONFIG.format(url=upstream.url)).start()


@pytest.fixture
def key(node: Node) -> str:
    return str(node.key("tester", "caller")["key"])
