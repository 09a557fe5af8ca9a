"""Checkpoints and proofs as an auditor uses them: from a running node, kept elsewhere, checked with other tools."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.cli import run
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

READER = Path(__file__).parents[2] / "examples" / "proof" / "verify_proof.py"


def proven(node: Node, record: str, *words: str) -> Path:
    """A proof, once a checkpoint covers the record."""
    out = node.data.parent / f"{record}.tlog-proof"
    made = eventually(
        lambda: node.cli("audit", "prove", record, "--out", str(out), *words, check=False).returncode == 0
    )
    assert made, node.cli("audit", "prove", record, "--out", str(out), *words, check=False).stderr
    return out


def vkey(node: Node) -> str:
    return node.cli("audit", "checkpoint", "--keys").stdout.strip()


def checkpoint(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.cli("audit", "checkpoint", "--json").stdout)
    return found


def test_a_call_is_proven_to_someone_who_has_nothing_of_the_node(node: Node, key: str, tmp_path: Path) -> None:
    assert node.get("/proven", key).status_code == 200
    record = node.row("/proven")["id"]
    sealed, opened, public = proven(node, record), tmp_path / "opened", vkey(node)
    node.cli("audit", "prove", record, "--out", str(opened), "--open")
    assert "record:read" in [entry["event"] for entry in node.query("--acts")], "opening is reading"
    assert node.stop() == 0
    shutil.rmtree(node.data)

    shown = json.loads(node.cli("audit", "verify-proof", str(sealed), "--key", public, "--json").stdout)
    assert (shown["record"], shown["event"], shown["contents"]) == (record, "call:intent", None)
    shown = json.loads(node.cli("audit", "verify-proof", str(opened), "--key", public, "--json").stdout)
    assert shown["contents"]["action"] == "GET"

    done = reader(opened, public)
    assert done.returncode == 0, done.stderr
    segment, _, sequence = record.partition("-")
    assert f"record number {sequence} of a segment that the proof calls {segment}" in done.stdout
    assert f"is number {shown['index']} of" in done.stdout
    assert "GET" in done.stdout

    data = bytearray(opened.read_bytes())
    for at in range(0, len(data), 97):
        bad = bytearray(data)
        bad[at] ^= 1
        opened.write_bytes(bad)
        ours = run(["audit", "verify-proof", str(opened), "--key", public])  # the command, without a process for it
        theirs = reader(opened, public)
        assert "Traceback" not in theirs.stderr
        assert ours in (0, 1)
        if ours == 0:  # the segment's name in the record's id is not vouched for, by either
            assert json.loads(node.cli("audit", "verify-proof", str(opened), "--key", public, "--json").stdout)["ok"]
    other = vkey_of_another()
    assert reader(sealed, other).returncode == 1
    assert node.cli("audit", "verify-proof", str(sealed), "--key", other, check=False).returncode == 1


def reader(file: Path, key: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(READER), str(file), key], capture_output=True, text=True, timeout=30, check=False
    )


def vkey_of_another() -> str:
    from interlock.audit import LogSigner

    return str(LogSigner("interlock/other", bytes(32)).vkeys[0])


def test_the_reader_is_short_and_needs_only_cryptography() -> None:
    text = READER.read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 100
    imported = {
        line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_checkpoint_a_second_under_load_and_verify_holds_the_record_against_old_ones(
    node: Node, key: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    for number in range(3):
        assert node.get(f"/first/{number}", key).status_code == 200
    size = eventually(lambda: (found := node.signed()) >= 6 and found)
    assert size
    node.cli("audit", "checkpoint", "--out", str(kept))
    assert checkpoint(node)["size"] >= size
    started = time.monotonic()
    sizes: set[int] = set()
    while len(sizes) < 4 and time.monotonic() < started + 20:
        assert node.get("/load", key).status_code == 200
        sizes.add(node.signed())
    assert len(sizes) == 4, sizes
    done = node.cli("audit", "verify", "--json", "--checkpoint", str(kept))
    assert json.loads(done.stdout)["size"] >= size
    assert node.stop() == 0
    final = checkpoint(node)
    report = json.loads(node.cli("audit", "verify", "--json", "--checkpoint", str(kept), "--key", vkey(node)).stdout)
    assert (report["ok"], report["size"], report["root"]) == (True, final["size"], final["root"])
    assert report["sealed"] == report["size"], "everything that is sealed is in the tree"


def test_a_replaced_record_and_one_that_was_set_back_are_told_by_a_kept_checkpoint(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path
) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("someone", "caller")["key"])
    assert node.get("/early", key).status_code == 200
    assert node.stop() == 0
    early = tmp_path / "early"
    shutil.copytree(node.data, early, ignore=shutil.ignore_patterns("*.sock"))
    node.start()
    assert node.get("/late", key).status_code == 200
    assert node.stop() == 0
    kept = tmp_path / "kept"
    node.cli("audit", "checkpoint", "--out", str(kept))
    assert node.cli("audit", "verify", "--checkpoint", str(kept)).returncode == 0
    shutil.rmtree(node.data)
    shutil.copytree(early, node.data)
    assert node.cli("audit", "verify").returncode == 0, "by itself it is whole"
    done = node.cli("audit", "verify", "--checkpoint", str(kept), check=False)
    assert done.returncode == 1
    assert "cut or set back" in done.stdout
    node.start()  # goes on from there, and has another history now
    for number in range(9):
        assert node.get(f"/other/{number}", key).status_code == 200
    assert node.stop() == 0
    done = node.cli("audit", "verify", "--checkpoint", str(kept), check=False)
    assert done.returncode == 1
    assert "another history" in done.stdout


@pytest.mark.parametrize("what", ["log/checkpoint", "log/tile", "journal-00001", "head"])
def test_the_running_node_says_within_seconds_that_a_file_was_removed(node: Node, key: str, what: str) -> None:
    assert node.get("/x", key).status_code == 200
    path = node.data / "record" / what
    assert eventually(path.exists)
    time.sleep(2.5)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert eventually(lambda: any("alarm" in problem for problem in node.status()["problems"]), 3), node.status()
    assert node.verify()["ok"] is False


def test_killed_in_the_middle_the_tree_is_what_it_would_have_been(node: Node, key: str) -> None:
    for round_ in range(5):
        for number in range(20):
            node.get(f"/round/{round_}/{number}", key)
        (pid,) = node.pids("recorder")
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda pid=pid: (pids := node.pids("recorder")) and pid not in pids), node.tail()
    assert node.get("/last", key).status_code == 200
    record = node.row("/last")["id"]
    proven(node, record)
    assert node.stop() == 0
    report = node.verify()
    assert report["ok"], report
    assert report["size"] == report["sealed"]
