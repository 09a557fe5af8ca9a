"""Pruning on a real node, and what a real step of the clock leaves on its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import AttestPage, Recorder, SegmentWriter, encode, log_signer
from interlock.audit.entries import Act
from interlock.audit.reader import SegmentReader, segment_files
from interlock.audit.recorder_process import NoPage
from interlock.clock import ManualClock, SystemClock
from interlock.keys import DayRecipient, Keyring, RecordDays, ensure_log_key, load_kek
from interlock.model import Event
from interlock.model.retention import DAY
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration
MakeNode = Callable[..., Node]
FAKETIME = next(
    (path for root in ("/usr/lib", "/usr/local/lib") for path in sorted(Path(root).rglob("libfaketime.so.1"))), None
)

WATCH = """
import select
from interlock.audit.timekeeping import Timekeeper
from interlock.clock import SystemClock

def tell(event, details):
    print(event, *([details["seconds"]] if "seconds" in details else []), flush=True)

keeper = Timekeeper(SystemClock(), tell)
while True:
    keeper.tend()
    select.select([], [], [], 0.1)  # libfaketime breaks the sleep of an absolute monotonic time
"""


def config(upstream: Upstream, retention: str) -> str:
    return CONFIG.format(url=upstream.url) + f"\nrecord:\n  retention: {retention}\n"


def old_segment(node: Node, days: int) -> Path:
    """A closed segment as the node would have left it so many days ago; no node runs."""
    folder = node.data
    clock = ManualClock(SystemClock.wall() - days * DAY)
    keyring = Keyring(folder / "keys", load_kek(None, folder / "keys"))
    keyring.ensure()
    ensure_log_key(keyring)
    RecordDays(keyring, clock).tend(0)
    recipient, attest = DayRecipient(folder / "keys", clock), AttestPage.open(folder / "run" / "attest")
    before = set((folder / "record" / "segments").glob("*.seg"))
    writer = SegmentWriter(folder / "record", "worker-9", recipient, clock=clock, attest=attest)
    writer.append(Event.NODE_START.code, encode(Act("process:test", {})))
    writer.flush()
    writer.close()
    assert Recorder(
        folder / "record", recipient, log_signer(keyring), NoPage(), attest, clock=clock, reserve_size=4096
    ).stop()
    (path,) = set((folder / "record" / "segments").glob("*worker-9*.seg")) - before
    return path


def prune(node: Node, *words: str) -> dict[str, Any]:
    return json.loads(node.cli("audit", "prune", "--json", *words).stdout)


def acts(node: Node, event: str) -> list[dict[str, Any]]:
    return [row for row in node.query("--acts") if row["event"] == event]


def test_what_is_over_goes_from_a_running_node(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(config(upstream, "{standard: 30d}"))
    node.key("first", "caller")
    old, young = old_segment(node, 40), old_segment(node, 10)
    node.start()
    assert [one["file"] for one in prune(node, "--dry-run")["segments"]] == [old.name]
    assert old.exists()
    node.cli("audit", "hold", "add", "--reason", "a case", "--since", "41d", "--until", "39d")
    held = prune(node)
    assert (held["segments"], [one["segments"] for one in held["kept"]]) == ([], [1])
    assert "a case" in held["kept"][0]["why"]
    (hold,) = json.loads(node.cli("audit", "hold", "list", "--json").stdout)
    node.cli("audit", "hold", "release", hold["id"], "--reason", "closed")
    done = prune(node)
    assert [one["file"] for one in done["segments"]] == [old.name]
    assert eventually(lambda: not old.exists())
    assert young.exists()
    assert eventually(lambda: len(acts(node, "record:prune")) == 1)
    assert acts(node, "record:prune")[0]["details"]["file"] == old.name
    assert [row["details"]["id"] for row in acts(node, "keyring:destroyed")] == done["keys"]
    found = node.verify()
    assert found["ok"], found["problems"]
    assert any("were pruned" in notice for notice in found["notices"])
    key = node.key("second", "caller")
    assert node.get("/a", key["key"]).status_code == 200
    assert node.stop() == 0
    assert node.verify()["ok"]


def test_a_forged_request_gets_nothing_from_a_running_node(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(config(upstream, "{standard: 30d}"))
    node.key("first", "caller")
    young = old_segment(node, 2)
    node.start()
    aside = node.data / "run" / "forged"
    aside.write_text(json.dumps({"version": 1, "files": [young.name]}))
    aside.rename(node.data / "run" / "prune")
    assert eventually(lambda: len(acts(node, "record:prune-refused")) == 1)
    assert young.exists()
    assert node.verify()["ok"]


def test_without_a_node_it_is_done_by_the_command(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(config(upstream, "pci-dss-4.0.1"))
    node.key("first", "caller")
    old, young = old_segment(node, 400), old_segment(node, 300)
    assert [one["file"] for one in prune(node)["segments"]] == [old.name]
    assert (old.exists(), young.exists()) == (False, True)
    assert node.verify()["ok"]


def test_where_nothing_is_said_nothing_goes(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url))
    node.key("first", "caller")
    refused = node.cli("audit", "prune", check=False)
    assert refused.returncode != 0
    assert "retention" in refused.stderr


def test_segments_are_sealed_to_the_key_of_their_day(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(config(upstream, "{standard: 30d}")).start()
    key = node.key("first", "caller")
    assert node.get("/a", key["key"]).status_code == 200
    recipients = []
    for path in segment_files(node.data / "record"):
        with SegmentReader(path) as reader:
            recipients.append(reader.header.recipient)
    assert recipients
    assert all("-0-" in one for one in recipients)
    assert node.query()


def test_the_state_of_the_clock_is_on_the_record(make_node: MakeNode, upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url)).start()
    assert eventually(lambda: len(acts(node, "time:sync")) == 1)
    shown = node.status()["time"]
    assert (shown["steps"], shown["last_step"]) == (0, None)
    assert shown["synchronised"] is acts(node, "time:sync")[0]["details"]["synchronised"]


@pytest.mark.skipif(
    FAKETIME is None or not sys.platform.startswith("linux"),
    reason="NO REAL STEP OF THE CLOCK WAS TRIED: libfaketime is not here (apt-get install faketime)",
)
@pytest.mark.parametrize("step", [3600, -90])
def test_a_real_step_is_seen_with_its_size(tmp_path: Path, step: int) -> None:
    """A process whose wall clock is stepped while it runs, by libfaketime."""
    said = tmp_path / "faketime"
    said.write_text("+0")
    env = {
        **os.environ,
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(said),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    watch = subprocess.Popen([sys.executable, "-c", WATCH], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "time:sync\n"
        time.sleep(2.5)
        aside = tmp_path / "aside"
        aside.write_text(f"{step:+}")
        aside.rename(said)
        event, seconds = watch.stdout.readline().split()
        assert event == "time:step"
        assert abs(float(seconds) - step) < 0.5
    finally:
        watch.kill()
        rest = watch.communicate()[0]
    assert rest == ""
