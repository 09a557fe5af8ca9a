"""`audit query --sql` on a running node and without one: what is asked, what is refused, what stays of whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from interlock.keys import Keyring, cache_key, load_kek
from tests.integration.node import INTERLOCK, Node, eventually
from tests.integration.test_erasure import CONFIG, OTHER, PATIENT, calls
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration
pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")


@pytest.fixture
def node(make_node: Callable[..., Node], upstream: Upstream) -> Node:
    return make_node(CONFIG.format(url=upstream.url)).start()


def ask(node: Node, sql: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in node.cli("audit", "query", "--json", "--sql", sql).stdout.splitlines()]


def sealed(node: Node, sql: str, wanted: list[dict[str, Any]]) -> None:
    """It is answered so, once what happened is sealed."""
    found: list[Any] = []
    for _ in range(40):
        found = ask(node, sql)
        if found == wanted:
            return
        time.sleep(0.25)
    assert found == wanted


def test_what_is_sealed_is_in_the_answer_with_a_node_and_without(node: Node, key: str) -> None:
    calls(node, key)
    node.get("/open/x")
    count = "SELECT decision, count(*) AS n FROM calls WHERE resource NOT LIKE '/open/%' GROUP BY decision"
    sealed(node, count, [{"decision": "allow", "n": 2}])
    calls(node, key, OTHER)
    assert node.get("/patients/1").status_code == 401
    sealed(node, count + " ORDER BY 1", [{"decision": "allow", "n": 4}, {"decision": "deny", "n": 1}])
    plain = node.cli("audit", "query", "--sql", "SELECT 'a' AS x, 1, NULL, [1, 2]").stdout
    assert plain == "a\t1\t\t[1, 2]\n"
    shown = {row["id"]: row for row in node.query()}
    for row in ask(node, "SELECT * FROM calls"):
        for name, value in row.items():
            if name not in ("count", "upstream", "note"):
                assert shown[row["id"]].get(name) == value, name
    node.stop()
    sealed(node, count + " ORDER BY 1", [{"decision": "allow", "n": 4}, {"decision": "deny", "n": 1}])
    assert node.verify()["ok"]


def test_asking_is_on_the_record_and_whom_it_names_is_sealed_apart(node: Node, key: str) -> None:
    calls(node, key)
    asked = "SELECT count(*) AS n FROM calls WHERE principal = 'service:interlock/tester' OR source = '127.0.0.1'"
    ask(node, asked)
    (act,) = [act for act in node.query("--acts") if act["details"].get("kind") == "sql"]
    assert act["details"]["sql"].endswith("principal = '<subject1>' OR source = '<subject2>'")
    assert (act["details"]["subject1"], act["details"]["subject2"]) == ("service:interlock/tester", "source:127.0.0.1")
    sealed(node, "SELECT count(*) >= 1 AS n FROM acts WHERE event = 'record:read'", [{"n": True}])


@pytest.mark.parametrize(
    "words",
    [["--since", "1h"], ["--acts"], ["--limit", "3"], ["--status", "4xx"], ["--follow"], ["--principal", "x"]],
)
def test_nothing_else_is_asked_with_it(make_node: Callable[..., Node], upstream: Upstream, words: list[str]) -> None:
    node = make_node(CONFIG.format(url=upstream.url))
    done = node.cli("audit", "query", "--sql", "SELECT 1", *words, check=False)
    assert done.returncode == 2
    assert "--sql" in done.stderr


def test_what_is_wrong_or_not_allowed_is_said_and_reaches_nothing(node: Node, key: str) -> None:
    for sql in ("SELECT * FROM read_csv('/etc/passwd')", "COPY calls TO '/tmp/x'", "SELEC", "ATTACH '/tmp/y.db'"):
        done = node.cli("audit", "query", "--sql", sql, check=False)
        assert done.returncode == 2, done.stderr
        assert "root:" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_nothing_of_somebody_who_was_erased_can_be_asked_for(node: Node, key: str) -> None:
    calls(node, key)
    calls(node, key, OTHER)
    everything = (
        "SELECT string_agg(calls::TEXT, ' ') AS t FROM calls UNION ALL SELECT string_agg(acts::TEXT, ' ') FROM acts"
    )
    assert eventually(lambda: PATIENT in str(ask(node, everything)) and OTHER in str(ask(node, everything)), 20)
    asked = f"SELECT count(*) AS n FROM calls WHERE list_contains([resource], 'patient:{PATIENT}')"
    ask(node, asked)
    keys = Keyring(node.data / "keys", load_kek(None, node.data / "keys"))
    before = cache_key(keys)
    node.cli("audit", "erase", "--subject", f"patient:{PATIENT}", "--reason", "asked for")
    assert cache_key(keys) != before, "a copy of the cache opens no more"
    for _ in range(2):
        found = str(ask(node, everything))
        assert PATIENT not in found
        assert "erased:" in found
        assert OTHER in found
    node.stop()
    assert PATIENT not in str(ask(node, everything))


def test_it_is_refused_when_the_keys_do_not_open(node: Node, key: str) -> None:
    calls(node, key)
    ask(node, "SELECT 1")
    node.stop()
    kek = node.data / "keys" / "kek"
    kek.write_text("kek1-" + "A" * 43 if not kek.read_text().startswith("{") else "")
    done = node.cli("audit", "query", "--sql", "SELECT principal FROM calls", check=False)
    assert done.returncode != 0
    assert done.stdout == ""


def test_killed_while_it_is_made_it_is_made_all_the_same(node: Node, key: str) -> None:
    for number in range(30):
        node.get(f"/patients/{number}", key)
    node.stop()
    for nth in range(6):
        asking = subprocess.Popen(
            [*INTERLOCK, "-c", str(node.file), "audit", "query", "--sql", "SELECT 1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=node.env,
        )
        time.sleep(0.5 + 0.15 * nth)
        os.kill(asking.pid, signal.SIGKILL)
        asking.wait()
    assert ask(node, "SELECT count(*) AS n FROM calls") == [{"n": 30}]
    assert node.verify()["ok"]


def test_the_analyst_keeps_it_up_to_date_once_somebody_asked(node: Node, key: str) -> None:
    calls(node, key)
    manifest = node.data / "cache" / "parquet" / "manifest"
    time.sleep(2)
    assert not manifest.exists(), "nobody asked"
    ask(node, "SELECT 1")
    before = manifest.read_bytes()
    calls(node, key)
    assert eventually(lambda: manifest.read_bytes() != before, 30)
