"""Attacks on the record and its readers that need whole nodes: races, and receivers that misbehave on purpose."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.tlog import COSIGNATURE_V1, verifier_key
from tests.files import contents
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually
from tests.integration.test_publishing import publishing, with_record
from tests.integration.test_retention import acts, config, old_segment
from tests.integration.upstream import Upstream
from tests.integration.witnesses import FalseWitness, WitnessProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
MakeNode = Callable[..., Node]
PRIVATE = 40_000  # KiB that a process may grow by


def private(pid: int) -> int:
    """Private memory of a process, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def started(node: Node, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "interlock", "-c", str(node.file), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=node.env, cwd=node.folder
    )


def test_nobody_who_was_erased_comes_back_through_a_build_of_columns_that_was_under_way(
    make_node: MakeNode, upstream: Upstream
) -> None:
    """What a build reads before an erasure it must not write down after it, nor an answer show that began after it."""
    routes = CONFIG.format(url=upstream.url).replace(
        "  - {match: GET /open/*,",
        "  - {match: GET /patients/{id}, service: upstream, authenticate: [api_key],"
        " allow: call, limit: none, subject: {patient: id}}\n  - {match: GET /open/*,",
    )
    node = make_node(routes).start()
    key = str(node.key("clinic", "caller")["key"])
    for number in range(4):
        for _ in range(60):
            node.get(f"/patients/p{number}", key)
    ask = "SELECT DISTINCT resource FROM calls WHERE resource LIKE '/patients/%'"
    for number in range(3):
        shutil.rmtree(node.data / "cache", ignore_errors=True)
        asking = [started(node, "audit", "query", "--json", "--sql", ask) for _ in range(2)]
        node.cli("audit", "erase", "--subject", f"patient:p{number}", "--reason", "ticket")
        after = node.cli("audit", "query", "--json", "--sql", ask)
        for one in asking:  # it may have named them, or have been ended by it; but not have failed otherwise
            _, err = one.communicate(timeout=120)
            assert one.returncode in (0, 1), err
            assert "Traceback" not in err
        later = node.cli("audit", "query", "--json", "--sql", ask)
        for answer in (after, later):
            named = {json.loads(line)["resource"] for line in answer.stdout.splitlines()}
            assert f"/patients/p{number}" not in named
            assert f"/patients/p{number + 1}" in named
        assert len([one for one in named if "erased:" in one]) == number + 1
    for path, content in contents(node.data / "cache").items():
        assert b"/patients/p0" not in content, path
    assert node.verify()["problems"] == []


def test_a_witness_that_answers_with_a_hundred_megabytes_costs_its_own_cosignature(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path
) -> None:
    flood = b"\xe2\x80\x94 x y\n" * 12_000_000
    liar, name = FalseWitness(lambda _: (200, flood, "text/plain")), "flood.example.com/w"
    key = str(verifier_key(name, COSIGNATURE_V1, bytes(range(32))))
    good = WitnessProcess(tmp_path / "good", "witness.example.com/good")
    node = make_node(with_record(upstream.url, 1, [(key, liar.url), (good.vkey, good.url)])).start()
    try:
        good.logs = [node.cli("audit", "checkpoint", "--keys").stdout.split()[0]]
        good.start()
        control = node.pids("control")[0]
        assert eventually(lambda: publishing(node).get("size"), 60)
        before = private(control)
        asked = len(liar.asked)
        assert eventually(lambda: len(liar.asked) >= asked + 3, 90)
        assert publishing(node)["cosigned"] == [good.name]
        (told,) = [one for one in publishing(node)["witnesses"] if one["name"] == name]
        assert told["error"]
        assert node.pids("control") == [control]
        assert private(control) - before < PRIVATE
    finally:
        good.kill()
        liar.close()


def test_two_prunings_at_once_with_a_rotation_of_the_kek_between(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(config(upstream, "{standard: 30d}"))
    node.key("first", "caller")
    old = [old_segment(node, days) for days in (60, 50, 40)]
    young = old_segment(node, 10)
    node.start()
    words = [
        ("audit", "prune", "--json"),
        ("keyring", "rotate", "kek", "--again"),
        ("audit", "prune", "--json"),
        ("keyring", "rotate", "kek", "--again"),
        ("audit", "prune", "--json"),
    ]
    running = [started(node, *one) for one in words]
    ended = [(one.communicate(timeout=120), one.returncode) for one in running]
    assert [code for _, code in ended] == [0] * len(words), ended
    assert eventually(lambda: not any(path.exists() for path in old), 30)
    assert young.exists()
    pruned = eventually(lambda: len(found := acts(node, "record:prune")) >= 3 and found, 30)
    assert sorted(row["details"]["file"] for row in pruned) == sorted(path.name for path in old)
    destroyed = [row["details"]["id"] for row in acts(node, "keyring:destroyed")]
    assert len(destroyed) == len(set(destroyed)) == 3
    assert acts(node, "record:prune-refused") == []
    found = node.verify()
    assert found["ok"], found["problems"]
    assert node.stop() == 0
    node.start()
    key = str(node.key("second", "caller")["key"])
    assert node.get("/a", key).status_code == 200
    assert node.verify()["ok"]


def test_pruning_by_itself_once_the_node_has_begun(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(config(upstream, "{standard: 30d}"))
    node.key("first", "caller")
    old, young = old_segment(node, 40), old_segment(node, 10)
    node.start()
    assert eventually(lambda: not old.exists(), 120, pause=1)
    assert young.exists()
    (done,) = acts(node, "keyring:destroyed")
    assert done["actor"] == "service:interlock/control"
    assert node.verify()["ok"]


def test_no_worker_has_hashes_that_could_be_foreseen(make_node: MakeNode, upstream: Upstream) -> None:
    """With a known seed somebody can send field lines that all fall into one place of what workers remember."""
    node = make_node(CONFIG.format(url=upstream.url), env={"PYTHONHASHSEED": "0"}).start()
    for kind in ("worker", "control", "supervisor"):
        for pid in node.pids(kind):
            assert b"PYTHONHASHSEED" not in Path(f"/proc/{pid}/environ").read_bytes()
    key = str(node.key("caller", "caller")["key"])
    assert node.get("/a", key).status_code == 200
