"""Who may read the record: real users of the operating system, before and after they are named, root included."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.control.socket import OF_ONE, STRANGERS
from tests.integration.as_user import BEGIN
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream
from tests.processes import runs

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users: RUN THIS AS ROOT to see who may read"),
]

ALICE, BOB, MALLORY = 54_001, 54_002, 54_003
AS_USER = [sys.executable, "-m", "tests.integration.as_user"]
AUDITORS, OTHERS = 54_100, 54_200


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can enter, and nobody but root can change."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-readers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def config(upstream: Upstream, place: Path, *readers: str) -> str:
    named = json.dumps(list(readers))
    return (
        f"{CONFIG.format(url=upstream.url)}record: {{readers: {named}, reader_socket: {place}/sockets/reader.sock}}\n"
    )


@pytest.fixture
def node(place: Path, upstream: Upstream) -> Iterator[Node]:
    node = Node(place / "node", config(upstream, place, f"os:{ALICE}", f"os:@{AUDITORS}"))
    node.file.chmod(0o644)
    node.start()
    yield node
    node.kill()


def run_as(
    node: Node, uid: int, *words: str, groups: str = "", env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit status, output and remarks of a command."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.integration.as_user",
            str(uid),
            str(OTHERS),
            groups,
            "-c",
            str(node.file),
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={**node.env, **(env or {})},
    )
    return done.returncode, done.stdout.partition(f"{BEGIN}\n")[2], done.stderr


def refusals(node: Node, *, reader: int = ALICE) -> list[dict[str, Any]]:
    code, out, err = run_as(node, reader, "audit", "query", "--acts", "--json")
    assert code == 0, err
    return [row for row in map(json.loads, out.splitlines()) if row["event"] == "record:read-refused"]


def test_who_is_named_reads_and_nobody_else_not_even_root(node: Node, place: Path) -> None:
    key = str(node.key("caller", "caller")["key"])
    for number in range(5):
        node.get(f"/n/{number}", key)
    path = place / "sockets" / "reader.sock"
    assert eventually(path.exists)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    for uid, groups in ((ALICE, ""), (BOB, f"{OTHERS},{AUDITORS}")):
        code, out, err = run_as(node, uid, "audit", "query", "--json", groups=groups)
        assert code == 0, err
        assert [json.loads(row)["resource"] for row in out.splitlines()] == [f"/n/{number}" for number in range(5)]
    record = json.loads(out.splitlines()[0])["id"]

    for words in (
        ["audit", "query"],
        ["audit", "query", "--sql", "SELECT 1"],
        ["audit", "query", "--follow"],
        ["audit", "export", "--subject", "user:a/b"],
    ):
        code, out, err = run_as(node, MALLORY, *words)
        assert (code, out) == (1, "")
        assert "may not read the record" in err
        root = node.cli(*words, check=False)
        assert (root.returncode, root.stdout) == (1, "")
        assert "may not read the record" in root.stderr
    proof = node.cli("audit", "prove", record, "--open", "--out", str(place / "proof"), check=False)
    assert proof.returncode == 1
    assert "may not read the record" in proof.stderr
    assert not (place / "proof").exists()

    def counted() -> Counter[str]:
        """How often each was refused: the first times one by one, what comes then as a number, some seconds later."""
        times: Counter[str] = Counter()
        for row in refusals(node):
            times[str(row["actor"]).rpartition("/")[2]] += row["details"].get("count", 1)
        return times

    assert eventually(lambda: counted().total() >= 9, 40, pause=1)
    assert counted() == {str(MALLORY): 4, "root": 5}
    assert {row["details"]["op"] for row in refusals(node)} >= {
        "audit.query",
        "audit.sql",
        "audit.follow",
        "audit.export",
        "audit.open",
    }
    reads = map(json.loads, run_as(node, ALICE, "audit", "query", "--acts", "--json")[1].splitlines())
    who = {row["actor"].rpartition("/")[2] for row in reads if row["event"] == "record:read"}
    assert who == {str(ALICE), str(BOB)}
    assert node.stop() == 0


def test_readers_do_nothing_but_read(node: Node, place: Path) -> None:
    assert eventually((place / "sockets" / "reader.sock").exists)
    made = node.key("caller", "caller")
    code, _, err = run_as(node, ALICE, "key", "revoke", made["id"])
    assert code == 1
    assert "belongs to the node's user" in err
    for op in (
        "key.revoke",
        "key.list",
        "audit.erase",
        "audit.hold.list",
        "reload",
        "status",
        "audit.prune",
        "no.such",
    ):
        answer = ask_as(ALICE, place / "sockets" / "reader.sock", {"op": op, "arguments": {"id": made["id"]}})
        assert answer["error"] == "NotAllowed", op
    assert node.get("/a", str(made["key"])).status_code == 200
    listed = json.loads(node.cli("key", "list", "--json").stdout)
    assert [one["last_used"] for one in listed] == [None], "when it was used is on the record, which root may not read"


def ask_as(uid: int, path: Path, request: object) -> dict[str, object]:
    """What the socket answers to a user, in a process of theirs."""
    script = (
        "import json,os,socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); request=sys.argv[3].encode()\n"
        "json.dumps({}); os.setgroups([]); os.setresgid(54200,54200,54200); u=int(sys.argv[1]); os.setresuid(u,u,u)\n"
        "s.connect(sys.argv[2]); s.sendall(request+b'\\n'); data=b''\n"
        "while piece:=s.recv(65536): data+=piece\n"
        "print(data.decode())\n"
    )
    words = [sys.executable, "-c", script, str(uid), str(path), json.dumps(request)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_reload_takes_up_who_may_read_and_ends_what_they_watch(node: Node, place: Path, upstream: Upstream) -> None:
    assert eventually((place / "sockets" / "reader.sock").exists)
    words = [*AS_USER, str(ALICE), str(OTHERS), ""]
    words += ["-c", str(node.file), "audit", "query", "--follow", "--json"]
    watching = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert watching.stdout is not None
        seen: list[bytes] = []
        threading.Thread(target=lambda: seen.extend(watching.stdout), daemon=True).start()  # type: ignore[arg-type]
        key = str(node.key("caller", "caller")["key"])
        assert eventually(lambda: node.get("/seen", key) and any(b'"/seen"' in line for line in seen), 30, pause=0.3)
        node.configure(config(upstream, place, "os:root"))
        node.cli("reload")
        assert watching.wait(15) is not None
    finally:
        watching.kill()
        watching.wait(5)
    assert run_as(node, ALICE, "audit", "query")[0] == 1
    assert node.cli("audit", "query", check=False).returncode == 0
    assert node.status()["record"]["readers"] == ["os:root"]
    said = node.cli("status").stdout
    assert f"the record is read by: os:root, at {place}/sockets/reader.sock" in said
    node.configure(CONFIG.format(url=upstream.url))
    node.cli("reload")
    assert not (place / "sockets" / "reader.sock").exists()
    assert node.status()["record"]["readers"] is None


def test_without_its_control_process_and_without_the_node_the_list_holds(node: Node, place: Path) -> None:
    """The command then reads the files itself, as root could with any tool: it does not."""
    assert eventually((place / "sockets" / "reader.sock").exists)
    os.kill(node.pids("supervisor")[0], signal.SIGSTOP)  # nobody starts control again
    os.kill(node.pids("control")[0], signal.SIGKILL)
    assert eventually(lambda: not alive(node))
    beside = node.cli("audit", "query", check=False)
    assert (beside.returncode, beside.stdout) == (1, "")
    assert "may not read the record" in beside.stderr
    os.kill(node.pids("supervisor")[0], signal.SIGCONT)
    assert eventually(lambda: alive(node), 20)
    assert node.stop() == 0
    offline = node.cli("audit", "query", check=False)
    assert (offline.returncode, offline.stdout) == (1, "")
    assert "may not read the record" in offline.stderr
    code, _, err = run_as(node, ALICE, "audit", "query")
    assert code == 1
    assert "reader.sock" in err
    node.start()
    assert [row["details"] for row in refusals(node)] == [{"op": "audit.query"}] * 2


def alive(node: Node) -> bool:
    (pid,) = node.pids("control") or [0]
    return bool(pid) and runs(pid)


def test_a_socket_is_all_that_a_reader_must_reach(node: Node, place: Path) -> None:
    path = place / "sockets" / "reader.sock"
    assert eventually(path.exists)
    node.file.chmod(0o600)
    code, _, err = run_as(node, ALICE, "audit", "query", "--json")
    assert code != 0
    code, _, err = run_as(node, ALICE, "audit", "query", "--json", env={"INTERLOCK_READER_SOCKET": str(path)})
    assert code == 0, err


def test_a_folder_that_others_can_write_gets_no_socket(place: Path, upstream: Upstream) -> None:
    """Whoever can write there could put a socket of theirs in its place, and hear what auditors ask."""
    (place / "sockets").mkdir()
    (place / "sockets").chmod(0o777)
    node = Node(place / "node", config(upstream, place, f"os:{ALICE}"))
    try:
        node.start()
        assert eventually(lambda: "can be written by others" in "\n".join(node.status()["problems"]))
        assert list((place / "sockets").iterdir()) == []
    finally:
        node.kill()


def test_strangers_keep_no_reader_and_no_operator_out_and_fill_no_record(node: Node, place: Path) -> None:
    path = place / "sockets" / "reader.sock"
    assert eventually(path.exists)
    script = (
        "import os,socket,sys,time\n"
        "os.setgroups([]); os.setresgid(54200,54200,54200); u=int(sys.argv[1]); os.setresuid(u,u,u)\n"
        "end=time.monotonic()+float(sys.argv[3]); held=[]\n"
        "while time.monotonic()<end:\n"
        "    try:\n"
        "        s=socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect(sys.argv[2])\n"
        "        if len(held)<200: held.append(s)\n"
        '        else: s.sendall(b\'{"op":"audit.query"}\\n\'); s.close()\n'
        "    except OSError: time.sleep(0.001)\n"
        "print('ended')\n"
    )
    words = [sys.executable, "-c", script]
    attackers = [subprocess.Popen([*words, str(MALLORY + number), str(path), "12"]) for number in range(3)]
    try:
        for _ in range(3):
            code, _, err = run_as(node, ALICE, "audit", "query", "--json", "--limit", "10")
            assert code == 0, err
            assert node.cli("key", "list", "--json").returncode == 0
    finally:
        for one in attackers:
            assert one.wait(30) == 0
    control = node.pids("control")[0]
    assert len(os.listdir(f"/proc/{control}/fd")) < 100
    assert STRANGERS + OF_ONE < 100
    assert len(refusals(node)) <= 3 * 4, "one record for a user's first refusal, and then one for each ten seconds"
    with socket.socket(socket.AF_UNIX) as sock:  # and the socket is still there
        sock.connect(str(path))


def test_erasing_and_holds_are_still_the_administrators(node: Node, place: Path) -> None:
    assert eventually((place / "sockets" / "reader.sock").exists)
    held = json.loads(node.cli("audit", "hold", "add", "--subject", "patient:1", "--reason", "case", "--json").stdout)
    assert [one["id"] for one in json.loads(node.cli("audit", "hold", "list", "--json").stdout)] == [held["id"]]
    node.cli("audit", "hold", "release", held["id"], "--reason", "over")
    node.cli("audit", "erase", "--subject", "patient:1", "--reason", "asked for")
    assert node.verify()["ok"]
