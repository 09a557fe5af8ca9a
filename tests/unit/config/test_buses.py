"""Exports to NATS and Kafka: how they are addressed, never in the clear beyond this machine, secrets by reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import buses
from tests.unit.config.files import SMALL, faults, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    (tmp_path / "secret").write_text("s3cret\n")
    return tmp_path


def with_exports(*entries: str) -> str:
    return SMALL + "exports:\n" + "".join(f"  - {entry}\n" for entry in entries)


def test_what_is_said_is_read(folder: Path) -> None:
    text = with_exports(
        '{name: a, format: ocsf, to: "nats+tls://A.example:4222,[::1]:4223/interlock.record",'
        ' login: {token: "${file:secret}"}}',
        '{name: b, format: jsonl, to: "kafka://127.0.0.1:9092,localhost:9093/interlock-record"}',
        '{name: c, format: cef, to: "kafka+tls://k.example:9093/r", tls: {},'
        ' login: {user: interlock, password: "${file:secret}", mechanism: PLAIN}}',
    )
    config = read(text, folder)
    a, b, c = config.exports
    assert a.to == "nats+tls://a.example:4222,[::1]:4223/interlock.record"
    assert (a.to.servers, a.to.channel, a.to.encrypted) == (("a.example:4222", "[::1]:4223"), "interlock.record", True)
    assert (b.to.servers, b.to.channel) == (("127.0.0.1:9092", "localhost:9093"), "interlock-record")
    assert not b.to.encrypted
    assert c.login is not None
    assert (c.login.user, c.login.mechanism) == ("interlock", "PLAIN")
    assert "s3cret" not in repr(config)
    assert config.warnings == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("to: 'nats://nats.example.com:4222/a'", "in the clear; nats:// is for this machine only"),
        ("to: 'kafka://127.0.0.1:9092,kafka.example.com:9092/a'", "in the clear"),
        ("to: 'kafka://127.0.0.1.example.com:9092/a'", "in the clear"),
        ("to: 'nats+tls://nats.example.com/a'", "not a host and a port"),
        ("to: 'nats+tls://nats.example.com:0/a'", "not a host and a port"),
        ("to: 'nats+tls://nats.example.com:70000/a'", "not a host and a port"),
        ("to: 'nats+tls://nats.example.com:4222'", "is a scheme, servers and a subject"),
        ("to: 'nats+tls://nats.example.com:4222/'", "does not end with the name of a subject"),
        ("to: 'nats+tls://nats.example.com:4222/a.>'", "name of a subject"),
        ("to: 'nats+tls://nats.example.com:4222/a.*'", "name of a subject"),
        ("to: 'nats+tls://nats.example.com:4222/a..b'", "name of a subject"),
        ("to: 'nats+tls://nats.example.com:4222/$JS.API.x'", "name of a subject"),
        ("to: 'nats+tls://nats.example.com:4222/a/b'", "name of a subject"),
        ("to: 'nats+tls://nats.example.com:4222/a b'", "name of a subject"),
        ("to: 'nats+tls://u:p@nats.example.com:4222/a'", "user name or password"),
        ("to: 'nats+tls://*.example.com:4222/a'", "name each server"),
        ("to: 'nats+tls://::1:4222/a'", "not a host and a port"),
        ("to: 'nats+ssl://nats.example.com:4222/a'", "no place to export to"),
        ("to: 'kafka+tls://k.example.com:9093/..'", "name of a topic"),
        (f"to: 'kafka+tls://k.example.com:9093/{'a' * 250}'", "name of a topic"),
        ("to: 'kafka+tls://k.example.com:9093/a?x=1'", "name of a topic"),
        (f"to: 'kafka+tls://{'k.example.com:9093,' * 17}k:1/a'", "more than 16 servers"),
        ("to: 'kafka://127.0.0.1:9092/a', tls: {}", "has no meaning for kafka:"),
        ("to: 'file:a', login: {token: '${file:secret}'}", "has no meaning for file:"),
        ("to: 'kafka://127.0.0.1:9092/a', login: {token: '${file:secret}'}", "Kafka does not know"),
        ("to: 'nats://127.0.0.1:4222/a', login: {user: a}", "together"),
        ("to: 'nats://127.0.0.1:4222/a', login: {}", "needs one of"),
        ("to: 'nats://127.0.0.1:4222/a', login: {nkey: '${file:secret}', token: '${file:secret}'}", "needs one of"),
        ("to: 'nats://127.0.0.1:4222/a', login: {user: a, password: hunter2}", "must be a reference"),
        ("to: 'nats://127.0.0.1:4222/a', headers: {X-A: b}", "have no meaning"),
        ("to: 'kafka://127.0.0.1:9092/a', confirm: sent", "has no meaning"),
        ("to: 'kafka+tls://k.example:9093/a', tls: {certificate: secret}", "together"),
    ],
)
def test_what_cannot_be_is_refused(entry: str, said: str, folder: Path) -> None:
    found = faults(with_exports(f"{{name: a, format: ocsf, {entry}}}"), folder)
    assert len(found) == 1
    assert said in found[0].message
    assert "hunter2" not in str(found[0])


def test_what_is_probably_not_meant_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(buses.NEEDED, "kafka", "there_is_no_such_package")
    text = with_exports(
        '{name: a, format: ocsf, to: "nats://127.0.0.1:4222/a", login: {nkey: "${file:gone}"}}',
        '{name: b, format: ocsf, to: "kafka://127.0.0.1:9092/a"}',
    )
    said = [warning.message for warning in read(text, folder).warnings]
    assert len(said) == 2
    assert "gone does not exist" in said[0]
    assert said[1] == "needs interlock[kafka], which is not installed"
