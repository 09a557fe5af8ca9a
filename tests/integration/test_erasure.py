"""Erasing somebody through the command line: nothing of them is left, and the record is as whole as before."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interlock.audit.entries import decode
from interlock.audit.reader import SegmentReader, frame_reader, segment_files
from interlock.audit.subjects import content_key, open_subject, subject_key
from interlock.audit.subjects_register import StateNames
from interlock.errors import InterlockError
from interlock.keys import Keyring, load_kek
from interlock.model import Event
from interlock.model.events import BY_CODE
from interlock.store import Persons, State
from tests.integration.node import INTERLOCK, Node, eventually
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
  - match: [GET /patients/{{patient_id}}, /patients/{{patient_id}}/letters/{{letter}}]
    service: upstream
    authenticate: [api_key]
    allow: call
    limit: none
    subject: {{patient: patient_id}}
  - {{match: GET /open/*, service: upstream, allow: public, limit: none}}
roles:
  caller: [call]
"""
PATIENT, OTHER = "4711-Miller", "0815-Jones"


@pytest.fixture
def node(make_node: Callable[..., Node], upstream: Upstream) -> Node:
    return make_node(CONFIG.format(url=upstream.url)).start()


@dataclass
class Waiting:
    """A node that erased somebody, and was left alone with it."""

    node: Node
    receipt: dict[str, Any]
    intake: bytes  # the key from before


@pytest.fixture(scope="module", autouse=True)
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waiting]:
    """Made at the beginning: what it is waited for takes a minute, in which the other tests run."""
    upstream = Upstream()
    node = Node(tmp_path_factory.mktemp("waiting") / "node", CONFIG.format(url=upstream.url))
    try:
        node.start()
        calls(node, node.key("clinic", "caller")["key"])
        intake = intake_of(node)
        yield Waiting(node, erase(node), intake)
    finally:
        node.kill()
        upstream.close()


def intake_of(node: Node) -> bytes:
    return Keyring(node.data / "keys", load_kek(None, node.data / "keys")).open("intake")


def calls(node: Node, key: str, patient: str = PATIENT) -> None:
    assert node.get(f"/patients/{patient}", key).status_code == 200
    assert node.get(f"/patients/{patient}/letters/{patient}", key).status_code == 200


def readable(data: Path, keys: Path) -> Iterator[str]:
    """All that whoever has a data directory and a keys folder can make out, with every key there is."""
    ring = Keyring(keys, load_kek(None, keys))
    state = State.open(data / "state.db")
    known = StateNames(Persons(state), ring)
    for path in segment_files(data / "record"):
        with SegmentReader(path) as reader:
            header = reader.header
            yield str(header)
            opener = frame_reader(header, lambda key, sealed, info: ring.open_record_key(key).open(sealed, info))
            contents = dict(known.content_keys(header.id)) if header.subjects else {}
            for frame in reader.frames():
                payload = opener.open(frame.data)
                yield payload.decode("latin-1")
                event = BY_CODE[frame.event]
                if event is not Event.RECORD_SUBJECT:
                    yield str(decode(event, payload))
                    continue
                try:
                    key = subject_key(header, known.open_intake)
                    contents[frame.sequence] = content_key(key, header.id, frame.sequence, payload)
                except InterlockError:
                    pass
                if frame.sequence in contents:
                    yield str(open_subject(contents[frame.sequence], header.id, frame.sequence, payload))
    state.close()
    for path in data.glob("state.db*"):
        yield path.read_bytes().decode("latin-1")


def erase(node: Node, subject: str = f"patient:{PATIENT}", *words: str) -> dict[str, Any]:
    done = node.cli("audit", "erase", "--subject", subject, "--reason", "ticket 88", "--json", *words)
    return dict(json.loads(done.stdout))


def copy_of(node: Node, to: Path) -> Path:
    """What a thief of backups has: everything but the keys."""
    shutil.copytree(node.data / "record", to / "record")
    for path in node.data.glob("state.db*"):
        shutil.copy(path, to)
    return to


def test_a_copy_from_before_and_the_keys_of_today_reveal_nothing(node: Node, tmp_path: Path) -> None:
    key = node.key("clinic", "caller")["key"]
    calls(node, key)
    calls(node, key, OTHER)
    before = copy_of(node, tmp_path / "before")
    assert any(PATIENT in text for text in readable(before, node.data / "keys"))
    head = node.verify()["head"]

    receipt = erase(node, f"patient:{PATIENT}", "--now")
    assert receipt["subjects"] >= 1
    assert receipt["scrubbed"]
    assert receipt["keys_turned"]
    for data in (before, node.data):
        assert not [text for text in readable(data, node.data / "keys") if PATIENT in text]
    assert any(OTHER in text for text in readable(node.data, node.data / "keys"))

    rows = node.query("--limit", "100")
    erased = f"erased:{receipt['pseudonym']}"
    assert [row["resource"] for row in rows].count(f"/patients/{erased}") == 1
    assert f"/patients/{erased}/letters/{erased}" in [row["resource"] for row in rows]
    assert f"/patients/{OTHER}" in [row["resource"] for row in rows]
    assert {row["principal"] for row in rows} == {"service:interlock/clinic"}
    (act,) = [row for row in node.query("--acts") if row["event"] == "subject:erase"]
    assert act["details"]["pseudonym"] == receipt["pseudonym"]
    assert act["id"] == receipt["act"]
    assert node.cli("audit", "verify", "--head", head).returncode == 0

    calls(node, key)  # who comes back is new
    assert f"/patients/{PATIENT}" in [row["resource"] for row in node.query("--limit", "100")]
    again = erase(node, f"patient:{PATIENT}", "--now")
    assert again["pseudonym"] != receipt["pseudonym"]
    node.stop()
    assert node.verify()["ok"]
    assert PATIENT not in "".join(readable(node.data, node.data / "keys"))


def test_without_a_node(node: Node) -> None:
    calls(node, node.key("clinic", "caller")["key"])
    node.stop()
    receipt = erase(node)
    assert receipt["keys_turned"]
    assert PATIENT not in "".join(readable(node.data, node.data / "keys"))
    assert node.verify()["ok"]
    assert node.cli("audit", "erase", "--subject", "patient:nobody", "--reason", "x", check=False).returncode == 1


def test_a_hold_blocks(node: Node) -> None:
    calls(node, node.key("clinic", "caller")["key"])
    subject = f"patient:{PATIENT}"
    words = ("audit", "erase", "--subject", subject, "--reason", "ticket 88")
    held = json.loads(node.cli("audit", "hold", "add", "--subject", subject, "--reason", "case 12", "--json").stdout)
    refused = node.cli(*words, check=False)
    assert refused.returncode == 2
    assert "case 12" in refused.stderr
    late = ("audit", "hold", "add", "--since", "1h", "--until", "2999-01-01", "--reason", "x")
    assert node.cli(*late, check=False).returncode == 2
    timed = node.cli("audit", "hold", "add", "--since", "1h", "--until", "2199-01-01", "--reason", "case 13", "--json")
    assert [hold["subject"] for hold in json.loads(node.cli("audit", "hold", "list", "--json").stdout)] == [
        subject,
        None,
    ]
    node.cli("audit", "hold", "release", held["id"], "--reason", "closed")
    assert "case 13" in node.cli(*words, check=False).stderr  # the same day
    node.cli("audit", "hold", "release", json.loads(timed.stdout)["id"], "--reason", "closed")
    assert any(PATIENT in row["resource"] for row in node.query())
    erase(node)
    assert [row["event"] for row in node.query("--acts") if "hold" in row["event"] or "erase" in row["event"]] == [
        "hold:add",
        "hold:add",
        "hold:release",
        "hold:release",
        "subject:erase",
    ]


def test_a_principal_that_can_still_call_is_not_erased(node: Node) -> None:
    made = node.key("clinic", "caller")
    calls(node, made["key"])
    principal = "service:interlock/clinic"
    words = ("audit", "erase", "--subject", principal, "--reason", "ticket 88")
    assert made["id"] in node.cli(*words, check=False).stderr
    node.cli("key", "revoke", made["id"])
    receipt = erase(node, principal, "--now")
    assert {row["principal"] for row in node.query()} == {f"erased:{receipt['pseudonym']}"}
    assert {row["credential"] for row in node.query()} == {""}
    (key,) = json.loads(node.cli("key", "list", "--json").stdout)
    assert key["principal"] == f"service:interlock/erased-{receipt['pseudonym']}"
    assert "clinic" not in "".join(readable(node.data, node.data / "keys"))


@pytest.mark.parametrize("reason", [f"asked by {PATIENT}", " "])
def test_a_reason_that_names_the_subject_is_refused(node: Node, reason: str) -> None:
    calls(node, node.key("clinic", "caller")["key"])
    assert (
        node.cli("audit", "erase", "--subject", f"patient:{PATIENT}", "--reason", reason, check=False).returncode == 2
    )


def test_export_is_all_that_names_somebody_and_nothing_else(node: Node) -> None:
    made = node.key("clinic", "caller")
    calls(node, made["key"])
    calls(node, made["key"], OTHER)
    node.get("/open/x")
    node.get(f"/patients/{PATIENT}")  # refused: no key
    lines = node.cli("audit", "export", "--subject", f"patient:{PATIENT}").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["decision"] for row in rows if "decision" in row] == ["allow", "allow", "deny"]
    assert all(PATIENT in row["resource"] for row in rows if "resource" in row)
    (act,) = [row for row in rows if "actor" in row]  # this very reading
    assert act["event"] == "record:read"
    assert act["details"] == {"kind": "export", "subject": f"patient:{PATIENT}"}
    of_key = node.cli("audit", "export", "--subject", "service:interlock/clinic").stdout.splitlines()
    assert [json.loads(line).get("event") for line in of_key].count("key:create") == 1
    assert len(of_key) == 6  # four calls, the key, the reading
    source = node.cli("audit", "export", "--subject", "source:127.0.0.1").stdout.splitlines()
    assert len([line for line in source if "decision" in line]) == 6


def test_killed_at_any_moment_it_is_gone_through_with(node: Node) -> None:
    """Alone, so that the command itself does everything; the next one finishes what a kill left."""
    key = node.key("clinic", "caller")["key"]
    patients = [f"{number}-Smith" for number in range(4)]
    for patient in patients:
        calls(node, key, patient)
    node.stop()
    began = time.monotonic()
    node.cli("audit", "erase", "--subject", "patient:nobody", "--reason", "ticket", check=False)
    least = time.monotonic() - began  # what it takes to begin, and find nobody
    for number, patient in enumerate(patients):
        command = [*INTERLOCK, "-c", str(node.file), "audit", "erase", "--subject", f"patient:{patient}"]
        process = subprocess.Popen([*command, "--reason", "ticket"], stdout=subprocess.DEVNULL, env=node.env)
        time.sleep(least * (0.8 + 0.15 * number))
        process.kill()
        process.wait()
        node.cli("audit", "erase", "--subject", f"patient:{patient}", "--reason", "ticket", check=False)
        left = "".join(readable(node.data, node.data / "keys"))
        assert patient not in left
        assert all(other in left for other in patients[number + 1 :])
    rows = [row["resource"] for row in node.query("--limit", "100")]
    assert len([row for row in rows if "erased:" in row]) == 2 * len(patients)
    assert node.verify()["ok"]


def test_control_is_killed_in_the_middle(node: Node) -> None:
    calls(node, node.key("clinic", "caller")["key"])
    process = subprocess.Popen(
        [*INTERLOCK, "-c", str(node.file), "audit", "erase", "--subject", f"patient:{PATIENT}", "--reason", "t"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=node.env,
    )
    time.sleep(0.6)
    (control,) = node.pids("control")
    os.kill(control, signal.SIGKILL)
    process.wait()
    assert eventually(lambda: node.pids("control") not in ([], [control]), 20)
    node.cli("audit", "erase", "--subject", f"patient:{PATIENT}", "--reason", "t", check=False)
    rows = [row["resource"] for row in node.query("--limit", "100")]
    assert not [row for row in rows if PATIENT in row]
    assert len([row for row in rows if "erased:" in row]) == 2


def test_a_truncated_table_is_no_erasure(node: Node) -> None:
    calls(node, node.key("clinic", "caller")["key"])
    calls(node, node.key("other", "caller")["key"], OTHER)
    node.stop()
    erase(node)  # from here on the table alone knows who is who
    with sqlite3.connect(node.data / "state.db") as database:
        database.execute("DELETE FROM subjects")
    done = node.cli("audit", "query", "--json", check=False)
    assert done.returncode == 1
    assert "neither known nor erased" in done.stderr
    assert "lost:" in done.stdout


def test_last_used_is_known_through_the_names(node: Node) -> None:
    made = node.key("clinic", "caller")
    calls(node, made["key"])
    (key,) = json.loads(node.cli("key", "list", "--json").stdout)
    assert key["last_used"]


def test_keys_turn_by_themselves(waiting: Waiting) -> None:
    """Without `--now` and without a call: control goes on with it."""
    node, receipt = waiting.node, waiting.receipt
    assert receipt["erased"]
    assert receipt["keys_turned"] is None

    def turned() -> bool:
        found = [row for row in node.query("--acts") if row["event"] == "subject:turn"]
        return bool(found) and found[0]["details"]["pseudonyms"] == [receipt["pseudonym"]]

    assert eventually(turned, 80, pause=1)
    assert intake_of(node) != waiting.intake
