"""`interlock key list` says when a key was last used; the record knows, and no call pays for it."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.node import Node, eventually

pytestmark = pytest.mark.integration


def last_used(node: Node) -> dict[str, str | None]:
    return {key["name"]: key["last_used"] for key in json.loads(node.cli("key", "list", "--json").stdout)}


def test_last_used_is_read_from_the_record(node: Node) -> None:
    used, unused = node.key("used", "caller"), node.key("unused", "caller")
    assert last_used(node) == {"used": None, "unused": None}
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert node.get("/x", used["key"]).status_code == 200
    assert node.get("/x", unused["key"][:-1] + ("x" if unused["key"][-1] != "x" else "y")).status_code == 401
    found = last_used(node)
    assert found["unused"] is None
    assert found["used"] is not None
    assert before <= datetime.fromisoformat(found["used"]) <= datetime.now(UTC)
    assert node.get("/x", used["key"]).status_code == 200
    assert eventually(lambda: (last_used(node)["used"] or "") > (found["used"] or ""))
    assert found["used"][:10] in node.cli("key", "list").stdout
    assert "last-used" in str([act["details"] for act in node.query("--acts")])
    os.kill(node.pids("control")[0], signal.SIGKILL)  # beside the node, and without one
    assert last_used(node)["used"] is not None
    assert node.stop() == 0
    assert last_used(node)["used"] is not None
    assert node.verify()["ok"]
