"""Running a node as its operators do: start, status, reload, keys, kills, stop."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.files import contents
from tests.integration.conftest import CONFIG
from tests.integration.node import INTERLOCK, PLAIN, Node, eventually, fetch
from tests.integration.upstream import Upstream
from tests.processes import runs

pytestmark = pytest.mark.integration


def acts(node: Node) -> list[str]:
    lines = node.cli("audit", "query", "--acts", "--json").stdout.splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_start_stop_and_what_is_left(node: Node, key: str) -> None:
    status = json.loads(node.cli("status", "--json").stdout)
    assert status["serving"]
    assert status["problems"] == []
    assert status.keys() == node.status().keys()
    assert [one["kind"] for one in status["processes"]].count("worker") == 1
    made = json.loads(node.cli("key", "create", "another", "--role", "caller", "--json").stdout)
    assert node.get("/x", made["key"]).status_code == 200
    assert node.get("/x", key).status_code == 200
    assert node.stop() == 0
    assert node.cli("status", check=False).returncode == 1
    assert json.loads(node.cli("status", "--json", check=False).stdout)["serving"] is False
    assert node.verify()["ok"]
    events = acts(node)
    assert events.index("node:start") < events.index("node:stop")
    assert "config:load" in events
    assert not any(one["pid"] and runs(one["pid"]) for one in status["processes"])


@pytest.mark.shared
def test_a_second_node_on_the_same_data_is_refused(node: Node) -> None:
    done = node.cli("up", check=False)
    assert done.returncode == 1
    assert "in use by a node" in done.stderr
    assert node.status()["serving"]


@pytest.mark.shared
def test_a_port_that_is_taken_is_an_error_before_anything_starts(node: Node, make_node: Callable[..., Node]) -> None:
    other = make_node(node.file.read_text(), "other")
    done = other.cli("up", check=False)
    assert done.returncode == 1
    assert "another process listens there" in done.stderr
    assert node.status()["serving"]


def test_keys_made_before_the_first_start_work(make_node: Callable[..., Node], upstream: Upstream) -> None:
    node = make_node(CONFIG.format(url=upstream.url))
    key = node.key("early", "caller")
    revoked = node.key("gone", "caller")
    node.cli("key", "revoke", revoked["id"])
    assert node.verify()["ok"]
    node.start()
    assert node.get("/x", key["key"]).status_code == 200
    assert node.get("/x", revoked["key"]).status_code == 401
    assert acts(node).count("key:create") == 2


@pytest.mark.shared
def test_a_revoked_key_is_refused_when_the_command_returns(node: Node) -> None:
    for _ in range(3):
        made = node.key("brief", "caller")
        assert node.get("/x", made["key"]).status_code == 200
        node.cli("key", "revoke", made["id"])
        assert node.get("/x", made["key"]).status_code == 401
    assert node.cli("key", "revoke", "nosuchkey0", check=False).returncode == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_revoking_works_without_the_control_process(node: Node, how: signal.Signals) -> None:
    made = node.key("brief", "caller")
    assert node.get("/x", made["key"]).status_code == 200
    os.kill(node.pids("control")[0], how)
    node.file.write_text("this is: [not a file")
    node.cli("key", "revoke", made["id"])
    assert node.get("/x", made["key"]).status_code == 401


@pytest.mark.shared
def test_a_worker_that_does_not_acknowledge_is_killed(node: Node) -> None:
    made = node.key("brief", "caller")
    worker = node.pids("worker")[0]
    os.kill(worker, signal.SIGSTOP)
    done = json.loads(node.cli("key", "revoke", made["id"], "--json").stdout)
    assert done["workers_killed"] == [worker]
    node.cli("status", "--wait", "10")
    assert node.get("/x", made["key"]).status_code == 401


@pytest.mark.shared
def test_rotation_leaves_an_overlap_and_no_more(node: Node) -> None:
    old = node.key("program", "caller")
    new = json.loads(node.cli("key", "rotate", old["id"], "--overlap", "2s", "--json").stdout)
    assert new["principal"] == old["principal"]
    assert node.get("/x", old["key"]).status_code == 200
    assert node.get("/x", new["key"]).status_code == 200
    assert eventually(lambda: node.get("/x", old["key"]).status_code == 401)
    assert node.get("/x", new["key"]).status_code == 200
    again = json.loads(node.cli("key", "rotate", new["id"], "--overlap", "0s", "--json").stdout)
    assert node.get("/x", new["key"]).status_code == 401
    assert node.get("/x", again["key"]).status_code == 200


def test_no_secret_of_a_key_is_kept_anywhere(node: Node, key: str) -> None:
    node.get("/x", key)
    node.stop()
    secret = key.rsplit("_", 1)[1].encode()
    for path, content in contents(node.folder).items():
        assert secret not in content, path


def test_a_reload_drops_no_call(node: Node, key: str) -> None:
    failed: list[object] = []
    count = 0
    stop = threading.Event()

    def call() -> None:
        nonlocal count
        with httpx.Client(base_url=node.url, headers={"X-API-Key": key}, **PLAIN) as client:
            while not stop.is_set():
                try:
                    status = client.get("/x").status_code
                except httpx.HTTPError as problem:
                    failed.append(problem)
                    continue
                count += 1
                if status != 200:
                    failed.append(status)

    caller = threading.Thread(target=call)
    caller.start()
    text = node.file.read_text()
    for turn in range(4):
        node.file.write_text(text + f"  extra{turn}: [something]\n")
        assert json.loads(node.cli("reload", "--json").stdout)["waiting"] == []
    stop.set()
    caller.join()
    assert failed == []
    assert count > 10
    assert node.status()["generation"] == 5


def test_a_reload_takes_effect_and_plan_tells_before(node: Node) -> None:
    node.file.write_text(node.file.read_text().replace("GET /open/*", "GET /public/*"))
    planned = json.loads(node.cli("plan", "--json").stdout)
    assert {(one["kind"], one["where"]) for one in planned} == {
        ("removed", "routes[GET /open/*]"),
        ("added", "routes[GET /public/*]"),
    }
    assert node.get("/open/x").status_code == 200
    node.cli("reload")
    assert node.get("/open/x").status_code == 401
    assert node.get("/public/x").status_code == 200
    assert json.loads(node.cli("plan", "--json").stdout) == []


def test_hangup_reloads_too(node: Node) -> None:
    node.file.write_text(node.file.read_text().replace("GET /open/*", "GET /public/*"))
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: node.get("/public/x").status_code == 200)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("roles:", "rolls:"), "did you mean `roles`"),
        (("allow: call,", "allow: {when: 'nobody.knows'},"), "when"),
        (("workers: 1", "workers: 2"), "restart"),
    ],
)
def test_a_faulty_file_changes_nothing(node: Node, key: str, change: tuple[str, str], said: str) -> None:
    good = node.file.read_text()
    generation = node.status()["generation"]
    refused = acts(node).count("config:refused")
    node.file.write_text(good.replace(*change))
    try:
        done = node.cli("reload", check=False)
    finally:
        node.file.write_text(good)
    assert done.returncode == 1
    assert said in done.stderr
    assert node.get("/x", key).status_code == 200
    assert node.status()["generation"] == generation
    assert acts(node).count("config:refused") == refused + 1


def test_a_restarted_control_process_knows_what_the_node_runs_with(node: Node, key: str) -> None:
    node.file.write_text(node.file.read_text().replace("GET /open/*", "GET /public/*"))
    before = node.pids("control")[0]
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: node.pids("control") not in ([before], []))
    planned = json.loads(eventually(lambda: node.cli("plan", "--json", check=False).stdout))
    assert len(planned) == 2
    assert node.get("/open/x").status_code == 200


@pytest.mark.parametrize("kind", ["recorder", "control", "worker"])
def test_a_killed_process_comes_back_and_the_record_says_so(node: Node, key: str, kind: str) -> None:
    before = node.pids(kind)[0]
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: (now := node.pids(kind)) and before not in now)
    node.cli("status", "--wait", "10")
    assert node.get("/x", key).status_code == 200
    status = node.status()
    assert [one["restarts"] for one in status["processes"] if one["kind"] == kind] == [1]
    assert eventually(lambda: "process:exit" in acts(node))
    assert node.stop() == 0
    assert node.verify()["ok"], node.verify()


def test_nothing_outlives_a_killed_supervisor(node: Node, key: str) -> None:
    pids = [one["pid"] for one in node.status()["processes"] if one["kind"] != "supervisor"]
    assert node.process is not None
    node.process.kill()
    node.process.wait()
    assert eventually(lambda: not any(runs(pid) for pid in pids), timeout=5)
    node.process = None
    node.start()
    assert node.get("/x", key).status_code == 200


def test_a_termination_lets_calls_end(node: Node, key: str, upstream: Upstream) -> None:
    upstream.delay = 1.0
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(node.get("/x", key).status_code))
    caller.start()
    eventually(lambda: upstream.seen)
    assert node.stop() == 0
    caller.join()
    assert answers == [200]


def test_the_admin_listener(node: Node, key: str) -> None:
    node.get("/x", key)
    admin = node.status()["admin"]

    def get(path: str, **headers: str) -> httpx.Response:
        return fetch(admin + path, headers=headers)

    def metrics() -> str:
        try:
            return get("/metrics").text
        except httpx.HTTPError:
            return ""

    assert eventually(lambda: 'interlock_calls_total{process="worker-0"} 1' in metrics(), timeout=20)
    assert get("/healthz").json()["serving"] is True
    assert get("/status").json()["serving"] is True
    assert get("/.well-known/jwks.json").json()["keys"][0]["kty"] == "OKP"
    assert "d" not in get("/.well-known/jwks.json").json()["keys"][0]
    assert get("/metrics", host="evil.example").status_code == 421
    # it is not reachable through a catch-all route
    assert "interlock_calls_total" not in node.get("/metrics", key).text


@pytest.mark.shared
def test_the_control_socket_is_ours_alone(node: Node) -> None:
    path = node.data / "run" / "control.sock"
    assert eventually(path.exists)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (node.data / "run").stat().st_mode & 0o777 == 0o700


def test_secrets_are_in_no_log(node: Node, key: str) -> None:
    node.get("/x?token=hunter2", key)
    node.stop()
    log = node.log.read_text()
    assert key not in log
    assert "hunter2" not in log


def test_init_up_key_call(tmp_path: Path, upstream: Upstream, make_node: Callable[..., Node]) -> None:
    node = make_node("", "made")
    words = ["init", str(node.folder), "--upstream", upstream.url, "--address", f"127.0.0.1:{node.port}", "--force"]
    subprocess.run([*INTERLOCK, *words], check=True, timeout=30, capture_output=True)
    node.start()
    made = node.key("program", "caller", expires="90d")
    assert node.get("/things", made["key"]).status_code == 200
    assert node.get("/things").status_code == 401


def test_init_with_tls_up_and_a_call_that_trusts_the_printed_authority(
    tmp_path: Path, upstream: Upstream, make_node: Callable[..., Node]
) -> None:
    node = make_node("", "made")
    words = ["init", str(node.folder), "--upstream", upstream.url, "--address", f"127.0.0.1:{node.port}"]
    done = subprocess.run(
        [*INTERLOCK, *words, "--tls", "auto", "--force"], check=True, timeout=30, capture_output=True, text=True
    )
    assert "up" in done.stdout
    node.start()
    made = node.key("program", "caller")
    printed = re.search(r"callers trust ([^\s\"]+ca\.pem)", node.log.read_text())
    assert printed is not None, node.tail()
    context = ssl.create_default_context(cafile=printed[1])
    with httpx.Client(base_url=f"https://localhost:{node.port}", verify=context, trust_env=False) as client:
        assert client.get("/things", headers={"X-API-Key": made["key"]}).status_code == 200
        assert client.get("/things").status_code == 401
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://localhost:{node.port}/things", trust_env=False)
    plain = httpx.get(f"http://localhost:{node.port}/things", trust_env=False, headers={"X-API-Key": made["key"]})
    assert (plain.status_code, len(upstream.seen)) == (400, 1)
    assert "HTTPS" in plain.text


def test_verify_says_by_its_exit_status_what_it_found(node: Node, key: str) -> None:
    for number in range(20):
        assert node.get(f"/x/{number}", key).status_code == 200
    assert node.stop() == 0
    assert node.cli("audit", "verify", check=False).returncode == 0
    segments = [path for path in (node.data / "record").rglob("*") if path.is_file() and path.stat().st_size > 2000]
    victim = max((path for path in segments if "worker" in path.name), key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    # wherever the byte is, and then back again
    for at in (len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4):
        victim.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = node.cli("audit", "verify", check=False)
        assert done.returncode == 1, f"byte {at} of {victim.name}: {done.stdout}"
        assert "Traceback" not in done.stderr
        assert node.cli("audit", "verify", "--json", check=False).returncode == 1
    victim.write_bytes(whole)
    assert node.cli("audit", "verify", check=False).returncode == 0
    victim.unlink()
    assert node.cli("audit", "verify", check=False).returncode == 1


@pytest.mark.shared
def test_wrong_use_is_told_apart_from_failure(node: Node) -> None:
    assert node.cli("key", "create", "x", "--role", "nosuch", check=False).returncode == 2
    assert node.cli("key", "create", "x", check=False).returncode == 2
    assert node.cli("key", "create", "x", "--role", "caller", "--expires", "90", check=False).returncode == 2
    assert node.cli("audit", "query", "--since", "yesterday", check=False).returncode == 2
    assert node.cli("nosuch", check=False).returncode == 2


def test_the_tour_holds() -> None:
    done = subprocess.run([*INTERLOCK, "tour", "--json"], capture_output=True, text=True, timeout=100)
    report = json.loads(done.stdout)
    assert [line for line in report["lines"] if not line["holds"]] == []
    assert report["ok"]
    assert done.returncode == 0
    assert len(report["lines"]) > 20
