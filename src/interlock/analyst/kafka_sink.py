"""Produces to a topic of Kafka: each record counts once all replicas that are in sync have it (`acks=all`).

The producer is idempotent: what it sends again by itself is there once. What we send again after an error, or a crash,
may be there twice, under the same key: the id of its record. Topics are the operator's.

The library is `confluent-kafka` (the extra `interlock[kafka]`). A producer that failed is thrown away with all that it
still holds, so that nothing is delivered behind our back after we began again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interlock.analyst.sink import Message, SinkError

if TYPE_CHECKING:
    from interlock.config import Login, ServiceTls

_SAID = 200  # characters of what the library says that are shown
_LEAVING = 1.0  # seconds for a producer to let go
_LOG = logging.getLogger("interlock.analyst.kafka")  # what the library says goes nowhere: errors are told in `status`
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False


class KafkaSink:
    """One topic. Certificates and secrets are read when it connects."""

    def __init__(
        self,
        servers: Sequence[str],
        topic: str,
        *,
        encrypted: bool,
        tls: ServiceTls | None,
        login: Login | None,
        timeout: float,
    ) -> None:
        self._servers = servers
        self._topic = topic
        self._encrypted = encrypted
        self._tls = tls
        self._login = login
        self._timeout = timeout
        self._producer: Any = None
        self._said = ""  # the last that the library complained of
        self._failed: SinkError | None = None  # the first message of this batch that was not taken

    def send(self, batch: Sequence[Message]) -> bool:
        producer = self._producer
        if producer is None:
            producer = self._producer = self._connect()
        self._failed = None
        for message in batch:
            self._produce(producer, message)
        waiting = producer.flush(self._timeout)
        if self._failed is not None:
            raise self._failed
        if waiting:
            raise SinkError(self._said or "it did not confirm in time")
        return True

    def confirm(self) -> None:
        """Every batch was."""

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(_LEAVING)

    def _produce(self, producer: Any, message: Message) -> None:
        from confluent_kafka import KafkaException

        try:
            producer.produce(
                self._topic, message.data.removesuffix(b"\n"), message.id.encode(), on_delivery=self._delivered
            )
        except BufferError:
            raise SinkError("it does not keep up", smaller=True) from None
        except KafkaException as error:
            raise SinkError(_shown(error.args[0])) from None

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None and self._failed is None:
            said = _shown(error)
            # The library says only that the time was over; why, it said before.
            late = error.name() in ("_MSG_TIMED_OUT", "_TIMED_OUT")
            self._failed = SinkError(self._said or "it did not confirm in time" if late else said)

    def _complained(self, error: Any) -> None:
        if error.name() != "_ALL_BROKERS_DOWN":  # why, it said before
            self._said = _shown(error)

    def _connect(self) -> Any:
        try:
            from confluent_kafka import KafkaException, Producer
        except ImportError:
            raise SinkError(
                "it needs confluent-kafka: install interlock[kafka] where the node runs, and restart it"
            ) from None
        self._said = ""
        try:
            return Producer(self._settings(), logger=_LOG)
        except KafkaException as error:
            raise SinkError(_shown(error.args[0])) from None

    def _settings(self) -> dict[str, Any]:
        """In librdkafka's words. Raises `KeyMaterialError`, which names the place of a secret only."""
        settings: dict[str, Any] = {
            "bootstrap.servers": ",".join(self._servers),
            "client.id": "interlock",
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": max(1, int(self._timeout * 1000)),
            "linger.ms": 5,
            "error_cb": self._complained,
        }
        protocol = "ssl" if self._encrypted else "plaintext"
        if self._encrypted:
            settings |= {"ssl.endpoint.identification.algorithm": "https", "enable.ssl.certificate.verification": True}
        tls = self._tls
        if tls is not None:
            if tls.ca is not None:
                settings["ssl.ca.location"] = str(tls.ca)
            if tls.certificate is not None:
                settings |= {"ssl.certificate.location": str(tls.certificate), "ssl.key.location": str(tls.key)}
        login = self._login
        if login is not None and login.user is not None and login.password is not None:
            protocol = f"sasl_{protocol}"
            settings |= {
                "sasl.mechanisms": login.mechanism,
                "sasl.username": login.user,
                "sasl.password": login.password.resolve().decode("latin-1").strip(),
            }
        settings["security.protocol"] = protocol
        return settings


def _shown(error: Any) -> str:
    """What a `KafkaError` says."""
    said = " ".join(str(error.str() or error.name())[:_SAID].split())
    return "".join(c for c in said if c.isprintable())
