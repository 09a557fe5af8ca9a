"""Exports to real receivers: whoever is killed, every record of the node arrives at least once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.certificates import Authority
from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually, fetch, free_port
from tests.integration.receiver import Receiver
from tests.integration.upstream import Upstream
from tests.unit.audit.export.test_ocsf import check

pytestmark = pytest.mark.integration

ID = re.compile(r'\[interlock@32473 id="([0-9a-f]{32}-\d+)"')
RSYSLOG = shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
GTLS = [Path(folder) / "lmnsd_gtls.so" for folder in ("/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/rsyslog")]


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(*arguments: Any) -> Receiver:
        made.append(Receiver(*arguments))
        return made[-1].start()

    yield make
    for receiver in made:
        receiver.kill()


def with_exports(upstream: Upstream, *entries: str) -> str:
    return CONFIG.format(url=upstream.url) + "exports:\n" + "".join(f"  - {entry}\n" for entry in entries)


def export(node: Node, name: str) -> dict[str, Any]:
    """How it is doing; as nothing at all until the analyst says so."""
    unknown = {"name": name, "error": "", "records": 0, "lag_seconds": -1, "state": ""}
    return next((one for one in node.status()["exports"] if one["name"] == name), unknown)


def recorded(node: Node) -> set[str]:
    """The ids of everything that happened, but for the questions that we ask ourselves."""
    calls = {row["id"] for row in node.query("--limit", "1000000") if row["outcome"] != "open"}
    acts = {row["id"] for row in node.query("--acts", "--limit", "1000000") if row["event"] != "record:read"}
    return calls | acts


def arrived(node: Node, ids: Callable[[], set[str]], timeout: float = 60) -> set[str]:
    """Wait until all that is on the record is at the receiver; gives what is missing."""
    wanted = recorded(node)
    assert len(wanted) > 20
    eventually(lambda: wanted <= ids(), timeout, pause=0.3)
    return wanted - ids()


def kill_analyst(node: Node) -> None:
    (pid,) = node.pids("analyst")
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: node.pids("analyst") not in ([pid], []))


def ocsf_ids(receiver: Receiver) -> set[str]:
    return {json.loads(line)["metadata"]["uid"] for line in receiver.lines}


def syslog_ids(lines: list[str]) -> set[str]:
    return {found[1] for line in lines if (found := ID.search(line))}


def test_an_http_receiver_gets_everything_through_kills_of_both(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path, receivers: Callable[..., Receiver]
) -> None:
    (tmp_path / "token").write_text("s3cret-token\n")
    receiver = receivers("http", tmp_path / "siem", "Bearer s3cret-token")
    node = make_node(
        with_exports(
            upstream,
            f'{{name: siem, format: ocsf, to: "http://127.0.0.1:{receiver.port}/in", batch: 50,'
            f' headers: {{Authorization: "Bearer ${{file:{tmp_path}/token}}"}}}}',
        )
    ).start()
    key = str(node.key("loader", "caller")["key"])
    with Load(node.port, key, threads=3, pause=0.01) as load:
        for _ in range(3):
            load.wait(150)
            kill_analyst(node)
            load.wait(150)
            receiver.kill()
            load.wait(50)
            receiver.start()
    fetch(node.url + "/nowhere")
    assert arrived(node, lambda: ocsf_ids(receiver)) == set()
    for line in receiver.lines:
        check(json.loads(line))
    status = eventually(lambda: (found := export(node, "siem"))["error"] == "" and found)
    assert status["records"] >= 1000
    assert "s3cret-token" not in node.log.read_text() + json.dumps(node.status())
    assert node.stop() == 0


def test_syslog_over_tls_gets_everything_through_kills_of_both(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path, receivers: Callable[..., Receiver]
) -> None:
    authority = Authority("logs")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, private = authority.issue(tmp_path, dns="localhost", server=True)
    client, client_key = authority.issue(tmp_path, dns="gateway")
    receiver = receivers("tls", tmp_path / "logs", str(certificate), str(private), str(tmp_path / "ca.pem"))
    node = make_node(
        with_exports(
            upstream,
            f'{{name: logs, format: syslog, to: "tls://localhost:{receiver.port}", batch: 50, timeout: 5s,'
            f" tls: {{ca: {tmp_path}/ca.pem, certificate: {client}, key: {client_key}}}}}",
        )
    ).start()
    key = str(node.key("loader", "caller")["key"])
    with Load(node.port, key, threads=3, pause=0.01) as load:
        for _ in range(3):
            load.wait(150)
            kill_analyst(node)
            load.wait(150)
            receiver.kill()
            load.wait(50)
            receiver.start()
    assert arrived(node, lambda: syslog_ids(receiver.lines)) == set()
    status = eventually(lambda: (found := export(node, "logs"))["error"] == "" and found["lag_seconds"] == 0 and found)
    assert status["records"] >= 1000


def test_a_receiver_that_cannot_prove_who_it_is_gets_nothing(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path, receivers: Callable[..., Receiver]
) -> None:
    certificate, private = Authority("other").issue(tmp_path, dns="localhost", server=True)
    (tmp_path / "ca.pem").write_bytes(Authority("logs").pem)
    receiver = receivers("tls", tmp_path / "logs", str(certificate), str(private))
    node = make_node(
        with_exports(
            upstream,
            f'{{name: logs, format: cef, to: "tls://localhost:{receiver.port}", tls: {{ca: {tmp_path}/ca.pem}}}}',
        )
    ).start()
    assert eventually(lambda: "certificate is not accepted" in export(node, "logs")["error"])
    assert receiver.lines == []


def test_a_refused_batch_is_shown_kept_and_delays_nobody_else(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers("http", tmp_path / "siem")
    receiver.refuse.touch()
    out = tmp_path / "out.jsonl"
    node = make_node(
        with_exports(
            upstream,
            f'{{name: siem, format: jsonl, to: "http://127.0.0.1:{receiver.port}/", only: {{kinds: calls}}}}',
            f'{{name: file, format: jsonl, to: "file:{out}"}}',
        )
    ).start()
    key = str(node.key("caller", "caller")["key"])
    for number in range(30):
        node.get(f"/n/{number}", key)
    said = "it answered 400: field 7 is not to my liking"
    assert eventually(lambda: export(node, "siem")["error"] == said)
    assert f"export siem (0 s behind): {said}"[:12] in "\n".join(node.status()["problems"])
    assert node.status()["serving"]
    ids = lambda: {json.loads(line)["id"] for line in out.read_text().splitlines()}  # noqa: E731
    assert arrived(node, ids) == set()
    kill_analyst(node)
    failing = export(node, "siem")
    assert failing["failures"] >= 1

    def shown() -> str:
        return fetch(node.status()["admin"] + "/metrics").text

    # A new analyst knows of no fault before it has tried.
    assert eventually(lambda: 'interlock_export_failing{export="siem"} 1' in shown()), shown()
    assert 'interlock_export_failing{export="file"} 0' in shown()
    receiver.refuse.unlink()
    wanted = {row["id"] for row in node.query("--limit", "1000")}
    assert eventually(lambda: wanted <= {json.loads(line)["id"] for line in receiver.lines}, 30)
    assert all("event" in json.loads(line) and "details" not in json.loads(line) for line in receiver.lines)
    assert eventually(lambda: not node.status()["problems"])


def test_a_reload_takes_up_exports_and_the_analyst_stops_nothing_when_it_is_killed(
    node: Node, key: str, upstream: Upstream, tmp_path: Path
) -> None:
    assert node.status()["exports"] == []
    out = tmp_path / "out.cef"
    node.configure(with_exports(upstream, f'{{name: cef, format: cef, to: "file:{out}"}}'))
    node.cli("reload")
    assert eventually(lambda: out.exists() and "CEF:0|" in out.read_text())
    with Load(node.port, key) as load:
        load.wait(100)
        kill_analyst(node)
        load.wait(100)
    assert set(load.statuses) == {200}
    out.rename(tmp_path / "out.1")  # as logrotate does
    ids = lambda: set(re.findall(r"externalId=(\S+)", out.read_text() + (tmp_path / "out.1").read_text()))  # noqa: E731
    node.get("/after", key)
    assert eventually(out.exists)
    assert arrived(node, ids) == set()
    node.configure(CONFIG.format(url=upstream.url))
    node.cli("reload")
    assert eventually(lambda: node.status()["exports"] == [])
    assert (node.data / "exports" / "cef.json").exists()


@pytest.mark.skipif(
    RSYSLOG is None or not any(path.exists() for path in GTLS),
    reason="rsyslogd with its gtls driver is not here: apt-get install rsyslog rsyslog-gnutls",
)
def test_rsyslog_reads_what_is_sent_over_tls(
    make_node: Callable[..., Node], upstream: Upstream, tmp_path: Path
) -> None:
    assert RSYSLOG is not None
    authority = Authority("logs")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, private = authority.issue(tmp_path, dns="localhost", server=True)
    client, client_key = authority.issue(tmp_path, dns="gateway")
    port, out = free_port(), tmp_path / "rsyslog.out"
    (tmp_path / "rsyslog.conf").write_text(f"""
global(workDirectory="{tmp_path}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{tmp_path}/ca.pem" defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{private}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="all" type="string" string="%pri% %app-name% %msgid% %structured-data% %msg%\\n")
action(type="omfile" file="{out}" template="all" asyncWriting="off")
""")
    words = [RSYSLOG, "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "rsyslog.pid")]
    with (tmp_path / "rsyslog.log").open("wb") as log:
        rsyslog = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        node = make_node(
            with_exports(
                upstream,
                f'{{name: logs, format: syslog, to: "tls://localhost:{port}", timeout: 5s,'
                f" tls: {{ca: {tmp_path}/ca.pem, certificate: {client}, key: {client_key}}}}}",
            )
        ).start()
        key = str(node.key("caller", "caller")["key"])
        for number in range(40):
            node.get(f"/n/{number}?q=%22%5D%5C", key)
        read = lambda: out.read_text().splitlines() if out.exists() else []  # noqa: E731
        missing = arrived(node, lambda: syslog_ids(read()), 30)
        assert missing == set(), f"{node.status()['exports']} {(tmp_path / 'rsyslog.log').read_text()[-2000:]}"
        status = eventually(lambda: (found := export(node, "logs"))["lag_seconds"] == 0 and found)
        assert status["error"] == ""
        line = next(line for line in read() if "call:intent" in line)
        assert line.startswith("110 interlock call:intent [interlock@32473 ")
        assert "service:interlock/caller GET /n/" in line
    finally:
        rsyslog.terminate()
        rsyslog.wait(10)
