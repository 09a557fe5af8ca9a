"""`interlock role` beside a running node."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from interlock.config.document import read_document
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
services:
  upstream: {{upstreams: [{url}]}}
routes:
  - {{match: GET /*, service: upstream, authenticate: [api_key], allow: read, limit: none}}
  - {{match: POST /*, service: upstream, authenticate: [api_key], allow: write, limit: none}}
roles:
  clerk: [read, write, audit]
  boss: [write]
"""


def test_a_role_is_trimmed_to_what_calls_used(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("clerk", "clerk")["key"])
    for number in range(3):
        assert node.get(f"/a/{number}", key).status_code == 200
    assert eventually(lambda: len([row for row in node.query() if row["outcome"] == "done"]) == 3)
    result = node.cli("role", "advise", "clerk", "--since", "1h", "--json", check=False)
    assert result.returncode == 1
    advice = json.loads(result.stdout)
    assert advice["proposed"] == ["read"]
    assert advice["unused"] == {"write": ["POST /*"], "audit": []}
    assert (advice["calls"], advice["would_be_denied"]) == (3, 0)
    assert advice["uses"][0]["some_principals"] == ["service:interlock/clerk"]
    assert read_document(advice["snippet"].encode()) == {"roles": {"clerk": ["read"]}}
    shown = node.cli("role", "advise", "clerk", check=False).stdout
    assert "clerk: [read]" in shown
    assert "write: not used; asked for by POST /*" in shown
    node.configure(CONFIG.format(url=upstream.url).replace("clerk: [read, write, audit]", "clerk: [read]"))
    node.cli("reload")
    assert node.get("/after", key).status_code == 200
    assert node.cli("role", "advise", "clerk").returncode == 0
    assert node.cli("role", "advise", "nobody", check=False).returncode == 1
    roles = json.loads(node.cli("role", "list", "--json").stdout)
    assert [(role["role"], role["permissions"], role["routes"]) for role in roles] == [
        ("clerk", ["read"], ["GET /*"]),
        ("boss", ["write"], ["POST /*"]),
    ]
