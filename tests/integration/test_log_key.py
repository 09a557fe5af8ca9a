"""`keyring rotate log`: what was signed before verifies by the key of before, what comes by the new one, and the record
goes on over the turn."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.audit import LogVerifier
from interlock.errors import LogError
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration


def vkeys(node: Node) -> list[str]:
    return node.cli("audit", "checkpoint", "--keys").stdout.split()


def proves(node: Node, file: Path, *keys: str) -> bool:
    words = [word for key in keys for word in ("--key", key)]
    return node.cli("audit", "verify-proof", str(file), *words, check=False).returncode == 0


def prove(node: Node, path: str, to: Path) -> Path:
    """A proof of the call to `path`, once a checkpoint covers it."""
    record = node.row(path)["id"]
    done = eventually(lambda: node.cli("audit", "prove", record, "--out", str(to), check=False).returncode == 0, 20)
    assert done
    return to


def key_that_signed(node: Node) -> str:
    """Which of the log's keys the newest checkpoint verifies by."""
    data = node.cli("audit", "checkpoint").stdout.encode()
    found = []
    for key in vkeys(node):
        try:
            LogVerifier.of([key]).open(data)
        except LogError:
            continue
        found.append(key)
    (signed,) = found
    return signed


def test_proofs_and_checkpoints_hold_over_the_turn(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path
) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("caller", "caller")["key"])
    node.get("/before", key)
    (first,) = vkeys(node)
    before = prove(node, "/before", tmp_path / "before.proof")
    kept = tmp_path / "before.checkpoint"
    node.cli("audit", "checkpoint", "--out", str(kept))

    done = json.loads(node.cli("keyring", "rotate", "log", "--json").stdout)
    second, *others = vkeys(node)
    assert others == [first]
    assert second.partition("+")[0] == first.partition("+")[0], "the log keeps its name"
    acts = [row["details"] for row in node.query("--acts") if row["event"] == "keyring:rotate"]
    assert acts == [{"key": "log", "former": done["former"], "new": done["id"]}]
    assert key_that_signed(node) == first, "the running recorder goes on with the key that it has"
    assert node.verify()["problems"] == []

    os.kill(node.pids("recorder")[0], signal.SIGKILL)
    assert eventually(lambda: key_that_signed(node) == second, 30, pause=0.5)
    node.get("/after", key)
    after = prove(node, "/after", tmp_path / "after.proof")
    assert proves(node, before, first)
    assert proves(node, after, second)
    assert not proves(node, before, second)
    assert not proves(node, after, first)
    assert proves(node, before)
    assert proves(node, after)
    found = json.loads(node.cli("audit", "verify", "--json", "--checkpoint", str(kept)).stdout)
    assert found["problems"] == []
    alone = node.cli("audit", "verify", "--key", first, check=False)
    assert alone.returncode == 1, "who has only the former key must be told, not left believing"

    assert node.stop() == 0
    node.cli("keyring", "rotate", "log")
    third, *others = vkeys(node)
    assert others == [second, first]
    node.start()
    assert eventually(lambda: key_that_signed(node) == third, 30, pause=0.5)
    found = json.loads(node.cli("audit", "verify", "--json", "--checkpoint", str(kept)).stdout)
    assert found["problems"] == []
    assert proves(node, before, first)
    assert proves(node, after, second)


def test_broken_off_the_turn_is_gone_through_with(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path
) -> None:
    """The private half was replaced and its public half never written."""
    node = make_node(CONFIG.format(url=upstream.url)).start()
    assert node.stop() == 0
    public = node.data / "keys" / "log.pub"
    before = public.read_bytes()
    (first,) = vkeys(node)
    node.cli("keyring", "rotate", "log")
    public.write_bytes(before)
    assert vkeys(node) == [first]
    node.start()
    second, *others = vkeys(node)
    assert others == [first]
    assert eventually(lambda: key_that_signed(node) == second, 30, pause=0.5)
    assert node.verify()["problems"] == []
