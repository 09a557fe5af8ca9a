"""Witnesses and checkpoints kept elsewhere, with real processes: a node, its witnesses, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import LogVerifier, log_verifier
from interlock.tlog import WitnessPolicy, parse_note, parse_vkey, verify_cosignatures
from tests.integration.certificates import Authority
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually, fetch
from tests.integration.upstream import Upstream
from tests.integration.witnesses import FalseWitness, WitnessProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SIZE = "text/x.tlog.size"
PLAIN = "text/plain"


@pytest.fixture
def make_witness(tmp_path: Path) -> Iterator[Callable[..., WitnessProcess]]:
    made: list[WitnessProcess] = []

    def make(name: str, logs: Sequence[str], *more: str) -> WitnessProcess:
        made.append(WitnessProcess(tmp_path / f"witness-{name}", f"witness.example.com/{name}", logs, *more))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def with_record(url: str, require: int, witnesses: Sequence[tuple[str, str]], publish: str = "") -> str:
    of = ", ".join(f'{{key: "{key}", url: "{at}"}}' for key, at in witnesses)
    section = f"record:\n  every: 1s\n  witnesses: {{require: {require}, of: [{of}], timeout: 2s}}\n"
    return CONFIG.format(url=url) + section + publish


def publishing(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = node.status()["publishing"] or {}
    return found


def published(node: Node) -> bytes:
    try:
        return (node.data / "record" / "log" / "published").read_bytes()
    except FileNotFoundError:
        return b""


def log_of(node: Node) -> LogVerifier:
    return log_verifier(node.data / "keys")


def vkey(node: Node) -> str:
    return node.cli("audit", "checkpoint", "--keys").stdout.split()[0]


def cosigners(node: Node, witnesses: Sequence[WitnessProcess], require: int) -> set[str]:
    """Who cosigned what is published; none if it is not enough."""
    data = published(node)
    if not data:
        return set()
    log_of(node).open(data)
    policy = WitnessPolicy(1, [one.vkey for one in witnesses])
    found = {one.witness for one in verify_cosignatures(parse_note(data), policy)}
    return found if len(found) >= require else set()


def published_size(node: Node) -> int:
    data = published(node)
    return log_of(node).open(data).size if data else 0


@pytest.fixture
def node(make_node: Callable[..., Node], upstream: Upstream) -> Node:
    """One that has run once, so that its log has a key, which witnesses are given."""
    node = make_node(CONFIG.format(url=upstream.url)).start()
    node.key("tester", "caller")
    return node


def test_two_of_three_with_one_down_then_all(
    node: Node, upstream: Upstream, make_witness: Callable[..., WitnessProcess], tmp_path: Path
) -> None:
    log = vkey(node)
    witnesses = [make_witness(name, [log]) for name in ("w1", "w2", "w3")]
    for one in witnesses[:2]:
        one.start()
    kept, clone, bare = tmp_path / "kept", tmp_path / "clone", tmp_path / "bare"
    kept.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    subprocess.run(["git", "clone", "-q", str(bare), str(clone)], check=True, capture_output=True)
    (node.folder / "token").write_text("s3cret\n")
    web = FalseWitness(lambda body: (204, b"", PLAIN))
    publish = (
        f'  publish: ["file:{kept}/", {{to: "git:{clone}", every: 1s}},'
        f' {{to: "{web.url}/n", token: "${{file:token}}", every: 1s}}]\n'
    )
    node.configure(with_record(upstream.url, 2, [(one.vkey, one.url) for one in witnesses], publish))
    node.cli("reload")
    try:
        assert eventually(lambda: cosigners(node, witnesses, 2), 30), (node.status(), node.tail())
        key = str(node.key("another", "caller")["key"])
        for number in range(5):
            assert node.get(f"/x/{number}", key).status_code == 200
        size = node.signed()
        assert eventually(lambda: published_size(node) >= size, 20), node.status()
        # What is signed just then is asked for anew, of all of them.
        found = eventually(lambda: (said := publishing(node))["missing"] == ["witness.example.com/w3"] and said)
        assert found, publishing(node)
        assert sorted(found["cosigned"]) == ["witness.example.com/w1", "witness.example.com/w2"]
        assert any("w3" in problem for problem in node.status()["problems"])
        assert node.verify()["ok"], node.verify()
        assert not any("alarm" in problem for problem in node.status()["problems"])
        shown = node.cli("status", check=False).stdout
        assert "cosigned by 2 witnesses (2 must have), without witness.example.com/w3" in shown
        # elsewhere
        assert eventually(lambda: any(kept.iterdir()), 10)
        one = next(iter(sorted(kept.iterdir())))
        assert node.cli("audit", "verify", "--checkpoint", str(one)).returncode == 0
        assert eventually(lambda: git(bare, "log", "--oneline"), 15)
        assert eventually(lambda: web.asked and log_of(node).open(web.asked[-1]), 10)
        assert eventually(lambda: git(clone, "rev-parse", "HEAD") == git(bare, "rev-parse", "HEAD"), 10)
        # a proof for someone who trusts the witnesses
        row = node.query("--limit", "1")[0]["id"]
        assert eventually(lambda: published_size(node) >= node.signed(), 20)
        proof = tmp_path / "proof"
        node.cli("audit", "prove", row, "--out", str(proof))
        words = [word for one in witnesses for word in ("--witness", one.vkey)]
        done = node.cli("audit", "verify-proof", str(proof), "--key", log, *words, "--require", "2", "--json")
        assert len(json.loads(done.stdout)["witnesses"]) == 2
        done = node.cli("audit", "verify-proof", str(proof), "--key", log, *words, check=False)
        assert (done.returncode, "3 must have" in done.stderr) == (1, True)
        # and the third is back
        witnesses[2].start()
        assert eventually(lambda: len(cosigners(node, witnesses, 3)) == 3, 60), node.status()
        assert eventually(lambda: publishing(node)["missing"] == [], 10)
        text = metrics(node)
        assert "interlock_published_cosignatures 3" in text
        assert 'interlock_witness_failing{witness="witness.example.com/w3"} 0' in text
        assert node.stop() == 0
        assert node.verify()["ok"]
    finally:
        web.close()


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def metrics(node: Node) -> str:
    return fetch(f"{node.status()['admin']}/metrics").text


@pytest.mark.soak
def test_killed_under_load_what_is_published_is_always_whole_and_goes_on(
    node: Node, upstream: Upstream, make_witness: Callable[..., WitnessProcess]
) -> None:
    witnesses = [make_witness(name, [vkey(node)]).start() for name in ("w1", "w2")]
    node.configure(with_record(upstream.url, 2, [(one.vkey, one.url) for one in witnesses]))
    node.cli("reload")
    key = str(node.key("loader", "caller")["key"])
    assert eventually(lambda: cosigners(node, witnesses, 2), 30), node.status()
    before = 0
    for round_ in range(6):
        until = time.monotonic() + 1.7
        while time.monotonic() < until:
            node.get("/load", key)
        if round_ % 2:
            (pid,) = node.pids("control")
            os.kill(pid, signal.SIGKILL)
        else:
            witnesses[round_ % 4 // 2].kill()
            witnesses[round_ % 4 // 2].start()
        assert len(cosigners(node, witnesses, 2)) == 2
        assert published_size(node) >= before
        before = published_size(node)
    size = node.signed()
    assert eventually(lambda: published_size(node) >= size, 70), (node.status(), node.tail())
    assert node.verify()["ok"], node.verify()
    assert not any("alarm" in one or "history" in one or "set back" in one for one in node.status()["problems"])


def test_a_node_that_was_set_back_is_told_by_the_witness(
    node: Node, upstream: Upstream, make_witness: Callable[..., WitnessProcess], tmp_path: Path
) -> None:
    witness = make_witness("w1", [vkey(node)]).start()
    config = with_record(upstream.url, 1, [(witness.vkey, witness.url)])
    node.configure(config)
    node.cli("reload")
    assert eventually(lambda: published_size(node) > 0, 30), node.status()
    assert node.stop() == 0
    early = tmp_path / "early"
    shutil.copytree(node.data, early, ignore=shutil.ignore_patterns("*.sock"))
    node.start()
    before = node.signed()
    for number in range(60):
        assert node.get(f"/open/{number}").status_code == 200
    assert eventually(lambda: node.signed() >= before + 120, 30), node.status()
    size = node.signed()
    assert eventually(lambda: published_size(node) >= size, 30), node.status()
    late = published(node)
    assert node.stop() == 0
    shutil.rmtree(node.data)
    shutil.copytree(early, node.data)
    node.start()
    assert eventually(lambda: any("it was set back" in one for one in node.status()["problems"]), 30), node.status()
    assert published_size(node) < size, "nothing is published any more"
    # it grows beyond, and has another history then
    for number in range(80):
        assert node.get(f"/open/{number}").status_code == 200
    assert eventually(lambda: any("another history" in one for one in node.status()["problems"]), 90), node.status()
    assert published_size(node) < size
    # with the published checkpoint kept, the node knows by itself
    assert node.stop() == 0
    shutil.rmtree(node.data)
    shutil.copytree(early, node.data)
    (node.data / "record" / "log" / "published").write_bytes(late)
    assert not node.verify()["ok"]
    node.start()
    assert eventually(lambda: any("the published checkpoint covers" in one for one in node.status()["problems"]), 30), (
        node.status()["problems"]
    )
    assert published(node) == late, "the evidence stays"


def test_two_histories_under_one_key_and_a_replaced_log(
    node: Node,
    make_node: Callable[..., Node],
    upstream: Upstream,
    make_witness: Callable[..., WitnessProcess],
) -> None:
    witness = make_witness("w1", [vkey(node)]).start()
    config = with_record(upstream.url, 1, [(witness.vkey, witness.url)])
    assert node.stop() == 0
    twin = make_node(config, "twin")
    shutil.copytree(node.data, twin.data, ignore=shutil.ignore_patterns("*.sock"))
    node.configure(config)
    node.start()
    before = node.signed()
    for number in range(30):
        assert node.get(f"/open/{number}").status_code == 200
    assert eventually(lambda: node.signed() >= before + 60, 30), node.status()
    size = node.signed()
    assert eventually(lambda: published_size(node) >= size, 30), node.status()
    assert node.stop() == 0
    twin.start()
    for number in range(60):
        assert twin.get(f"/open/twin/{number}").status_code == 200
    assert eventually(lambda: any("another history" in one for one in twin.status()["problems"]), 60), twin.status()
    assert published(twin) == b"", "the second history is not cosigned"
    assert twin.stop() == 0
    # a node with a new key is another log, which this witness does not know
    other = make_node(config, "other").start()
    assert eventually(lambda: any("404" in one for one in other.status()["problems"]), 30), other.status()
    assert published(other) == b""


@pytest.mark.soak
def test_liars_and_slow_ones_neither_block_nor_count(
    node: Node, upstream: Upstream, make_witness: Callable[..., WitnessProcess], tmp_path: Path
) -> None:
    good = make_witness("good", [vkey(node)]).start()
    others = [make_witness(name, [vkey(node)]) for name in ("wrong", "slow", "odd")]
    imposter = make_witness("imposter", [vkey(node)]).start()  # signs with a key that is not the one of the file
    babbler = FalseWitness(lambda body: (200, b"- x\n", PLAIN))
    slow = FalseWitness(lambda body: (time.sleep(30), (200, b"", PLAIN))[1])
    odd = FalseWitness(lambda body: (409, b"77777777\n", SIZE))
    try:
        of = [
            (good.vkey, good.url),
            (others[0].vkey, imposter.url),
            (others[1].vkey, slow.url),
            (others[2].vkey, odd.url),
            (make_witness("x", [vkey(node)]).vkey, babbler.url),
        ]
        node.configure(with_record(upstream.url, 1, of))
        node.cli("reload")
        assert eventually(lambda: published_size(node) > 0, 30), node.status()
        before = published_size(node)
        for _ in range(3):
            assert node.get("/open/x").status_code == 200
            assert eventually(lambda: published_size(node) > before, 12), node.status()
            before = published_size(node)
        found = eventually(lambda: len(failing := errors(node)) == 4 and failing, 30)
        assert found, node.status()
        assert "without a cosignature by its key" in found["witness.example.com/wrong"]
        assert "in time" in found["witness.example.com/slow"]
        assert "77777777" in found["witness.example.com/odd"]
        assert publishing(node)["cosigned"] == ["witness.example.com/good"]
        policy = WitnessPolicy(1, [parse_vkey(one.vkey) for one in others])
        with pytest.raises(Exception, match="0 witnesses"):
            verify_cosignatures(parse_note(published(node)), policy)
    finally:
        for false in (babbler, slow, odd):
            false.close()


def test_over_tls_only_with_the_right_authority(
    node: Node, upstream: Upstream, make_witness: Callable[..., WitnessProcess], tmp_path: Path
) -> None:
    authority, other = Authority("witnesses"), Authority("others")
    certificate, key = authority.issue(tmp_path, dns="localhost", name="witness", server=True)
    (node.folder / "ca.pem").write_bytes(other.pem)
    witness = make_witness("w1", [vkey(node)], "--certificate", str(certificate), "--key", str(key)).start()
    config = with_record(upstream.url, 1, [(witness.vkey, f"https://localhost:{witness.port}")])
    node.configure(config.replace(f':{witness.port}"', f':{witness.port}", ca: ca.pem'))
    node.cli("reload")
    assert eventually(lambda: "certificate verify failed" in "".join(errors(node).values()), 30), node.status()
    assert published(node) == b""
    (node.folder / "ca.pem").write_bytes(authority.pem)  # taken up with the next attempt
    assert eventually(lambda: published_size(node) > 0, 70), node.status()


@pytest.mark.soak
def test_an_idle_node_is_cosigned_again_each_minute(
    node: Node, upstream: Upstream, make_witness: Callable[..., WitnessProcess]
) -> None:
    witness = make_witness("w1", [vkey(node)]).start()
    node.configure(with_record(upstream.url, 1, [(witness.vkey, witness.url)]))
    node.cli("reload")
    time.sleep(3)  # what the reload has written is sealed and signed by then
    assert eventually(lambda: published_size(node) >= node.signed(), 30), node.status()
    before = published(node)
    assert eventually(lambda: published(node) != before, 80, pause=1), node.status()
    assert published_size(node) == log_of(node).open(before).size, "nothing happened meanwhile"
    assert publishing(node)["age_seconds"] < 70


def errors(node: Node) -> dict[str, str]:
    return {one["name"]: one["error"] for one in publishing(node)["witnesses"] if one["error"]}
