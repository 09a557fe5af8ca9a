"""Promise 6 for the disk: what cannot be recorded does not pass, and no torn frame stays when space returns."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB that can really be filled."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize("durable", [False, True], ids=["written", "durable"])
def test_a_full_disk_refuses_forwards_nothing_and_recovers(
    make_node: Callable[..., Node], upstream: Upstream, small_disk: Path, durable: bool
) -> None:
    config = CONFIG.format(url=upstream.url) + f"data_dir: {small_disk}/data\n"
    if durable:
        config = config.replace("upstreams:", "record: durable, upstreams:")
    node = make_node(config).start()
    key = str(node.key("filler", "caller")["key"])
    assert node.get("/before", key).status_code == 200
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:  # all that is left, the reserve excepted
        try:
            while file.write(b"x" * 65536) and not file.flush():
                pass
        except OSError:
            pass
    assert node.get("/tight", key).status_code == 200, "the reserve serves authenticated calls"
    with Load(node.port, key, threads=4, prefix="/filling") as load:
        for _ in range(40):
            load.wait(2000, timeout=5)
            if load.statuses[503] > 50:
                break
    if not load.statuses[503]:  # the reserve holds for many calls; take it, too
        with ballast.open("ab") as file:
            try:
                while file.write(b"x" * 4096) and not file.flush():
                    pass
            except OSError:
                pass
        with Load(node.port, key, threads=4, prefix="/filling2") as load:
            load.wait(5000)
    assert load.statuses[503], load.statuses
    before = len(upstream.seen)
    refused = [path for path, status in load.answers.items() if status == 503]
    reached = {seen.target for seen in upstream.seen}
    assert not [path for path in refused if path in reached], "refused, yet forwarded"
    assert node.get("/full", key).status_code == 503
    assert len(upstream.seen) == before
    ballast.unlink()
    assert eventually(lambda: node.get("/after", key).status_code == 200, timeout=15), node.tail()
    assert node.stop() == 0
    report = node.verify()
    assert report["ok"], report
    recorded = {call["resource"] for call in node.query("--limit", "1000000")}
    assert reached - recorded == set()


def test_a_file_size_limit_is_a_full_disk(make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path) -> None:
    """RLIMIT_FSIZE gives EFBIG and short writes, in the middle of frames and then of the heads of segments."""
    node = make_node(CONFIG.format(url=upstream.url)).start()
    key = str(node.key("limited", "caller")["key"])
    worker = node.pids("worker")[0]
    # The soft limit alone (the colon): raising a hard one takes a capability that containers lack.
    subprocess.run(["prlimit", "--pid", str(worker), "--fsize=20000:"], check=True)
    with Load(node.port, key, threads=2, prefix="/limited") as load:
        load.wait(1000)
    assert load.statuses[200]
    assert load.statuses[503], "each segment ends with a write that fails"
    subprocess.run(["prlimit", "--pid", str(worker), "--fsize=100:"], check=True)
    with Load(node.port, key, threads=2, prefix="/shut") as shut:
        shut.wait(300)
    assert set(shut.statuses) == {503}, "no segment can be begun any more"
    answers = {**load.answers, **shut.answers}
    reached = {seen.target for seen in upstream.seen}
    refused = [path for path, status in answers.items() if status == 503]
    assert not [path for path in refused if path in reached]
    subprocess.run(["prlimit", "--pid", str(worker), "--fsize=unlimited:"], check=True)
    assert eventually(lambda: node.get("/free", key).status_code == 200)
    assert node.stop() == 0
    report = node.verify()
    assert report["ok"], report
    rows = node.query("--limit", "1000000")
    assert {target for target in reached if target not in {row["resource"] for row in rows}} == set()
    assert {row["outcome"] for row in rows if row["decision"] == "allow"} == {"done"}, "outcomes came again"


def test_a_flood_of_refusals_is_counted_and_disturbs_nobody(node: Node, key: str) -> None:
    """The honest caller shares the flooders' address and still passes."""
    with (
        Load(node.port, "ilk_nosuchkey0_" + "x" * 49, threads=6, prefix="/flood") as flood,
        Load(node.port, key, threads=1, prefix="/honest", pause=0.01) as honest,
    ):
        flood.wait(6000, timeout=8)
    assert set(honest.statuses) == {200}, honest.statuses
    assert set(flood.statuses) <= {401, 429}, flood.statuses
    refusals = [call for call in node.query("--limit", "1000000") if call["decision"] == "deny"]
    assert len(refusals) < len(flood.answers) / 4, "each refusal was written"
    assert node.verify()["ok"]


def test_what_a_flood_was_counted_is_on_the_record_when_the_node_stops(node: Node) -> None:
    with Load(node.port, "ilk_nonsense", threads=4, prefix="/flood") as flood:
        flood.wait(500)
    assert node.stop() == 0
    rows = node.query("--decision", "deny", "--limit", "100000")
    assert sum(row.get("count", 1) for row in rows) == len(flood.answers)
