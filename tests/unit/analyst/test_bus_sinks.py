"""What is asked of Kafka's library, and what both sinks say without theirs. Real brokers: tests/integration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from interlock.analyst.kafka_sink import KafkaSink
from interlock.analyst.nats_sink import NatsSink
from interlock.analyst.sink import Message, SinkError
from interlock.analyst.sinks import make_sink
from interlock.config import Export
from interlock.errors import KeyMaterialError

MESSAGE = Message("a-0", b"x\n")


def export(folder: Path, **said: object) -> Export:
    return Export.model_validate({"name": "a", "format": "jsonl", **said}, context={"folder": folder})


def settings(folder: Path, **said: object) -> dict[str, object]:
    sink = make_sink(export(folder, **said))
    assert isinstance(sink, KafkaSink)
    return sink._settings()


def test_every_replica_must_have_a_record_and_what_the_library_repeats_is_there_once(tmp_path: Path) -> None:
    found = settings(tmp_path, to="kafka://127.0.0.1:9092/a", timeout="2s")
    assert (found["acks"], found["enable.idempotence"], found["message.timeout.ms"]) == ("all", True, 2000)
    assert found["security.protocol"] == "plaintext"
    assert not [name for name in found if "sasl" in name]


def test_over_tls_certificates_and_names_are_always_verified(tmp_path: Path) -> None:
    for name in ("ca", "crt", "key", "password"):
        (tmp_path / name).write_text("s3cret")
    found = settings(
        tmp_path,
        to="kafka+tls://k.example:9093,l.example:9093/a",
        tls={"ca": "ca", "certificate": "crt", "key": "key"},
        login={"user": "interlock", "password": "${file:password}"},
    )
    assert found["bootstrap.servers"] == "k.example:9093,l.example:9093"
    assert found["security.protocol"] == "sasl_ssl"
    assert found["ssl.endpoint.identification.algorithm"] == "https"
    assert found["enable.ssl.certificate.verification"] is True
    assert found["ssl.ca.location"] == str(tmp_path / "ca")
    assert (found["sasl.mechanisms"], found["sasl.password"]) == ("SCRAM-SHA-512", "s3cret")


@pytest.mark.parametrize("to", ["kafka://127.0.0.1:1/a", "nats://127.0.0.1:1/a"])
def test_a_secret_that_is_not_there_is_named_and_nothing_is_sent(to: str, tmp_path: Path) -> None:
    sink = make_sink(export(tmp_path, to=to, login={"user": "a", "password": "${file:gone}"}))
    with pytest.raises((SinkError, KeyMaterialError), match="gone"):
        sink.send([MESSAGE])
    sink.close()


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [("kafka://127.0.0.1:1/a", "confluent_kafka", "kafka"), ("nats://127.0.0.1:1/a", "nats.aio.client", "nats")],
)
def test_without_its_library_a_sink_says_what_to_install(
    to: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "interlock.analyst.nats_client", raising=False)
    sink = make_sink(export(tmp_path, to=to))
    with pytest.raises(SinkError, match=rf"install interlock\[{extra}\]"):
        sink.send([MESSAGE])
    sink.close()


def test_a_sink_that_never_connected_is_closed_without_a_word(tmp_path: Path) -> None:
    NatsSink(["127.0.0.1:1"], "a", None, None, 1.0).close()
    make_sink(export(tmp_path, to="kafka://127.0.0.1:1/a")).close()
