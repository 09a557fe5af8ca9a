"""The authorization server at a real node: what `init --issuer` promises, kept through kills and attacks."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from interlock.clock import SECOND
from interlock.config import load
from interlock.control.housekeeping import ISSUING
from interlock.control.paths import Paths
from interlock.gateway.http1 import RequestReader
from interlock.keys import open_keyring
from interlock.keys.issuer_keys import keep
from interlock.keys.issuer_keys import load as load_keys
from interlock.snapshot import Snapshot
from tests.files import contents
from tests.integration.node import INTERLOCK, Node, eventually, free_port
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
issuer: {{url: "http://127.0.0.1:PORT", scopes: {{ledger: Your ledger}}}}
services:
  upstream: {{upstreams: [{url}]}}
routes:
  - {{match: /*, service: upstream, authenticate: [jwt], allow: call, limit: none}}
roles:
  caller: [call]
"""


class Desk:
    """A node that issues tokens on plain loopback, and one client of it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.made: dict[str, Any] = {}

    def client(self, name: str = "billing", *words: str) -> tuple[str, str]:
        made = json.loads(self.node.cli("client", "create", name, "--role", "caller", "--json", *words).stdout)
        self.made = made
        return made["client_id"], made["client_secret"]

    def post(self, path: str, who: tuple[str, str] | None, **form: str) -> httpx.Response:
        return self.node.request("POST", f"/oauth/{path}", data=form, auth=who)

    def token(self, who: tuple[str, str]) -> str:
        answer = self.post("token", who, grant_type="client_credentials")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def asks(self, who: tuple[str, str]) -> int:
        return self.post("token", who, grant_type="client_credentials").status_code

    def opens(self, token: str) -> int:
        """What every worker says to a token, which is the same."""
        found = set()
        for _ in range(8):
            found.add(self.node.get("/x", headers={"authorization": f"Bearer {token}"}).status_code)
        assert len(found) == 1, found
        assert found != {500}, self.node.tail()
        return found.pop()

    def active(self, token: str, who: tuple[str, str]) -> bool:
        return bool(self.post("introspect", who, token=token).json()["active"])


@pytest.fixture
def desk(make_node: Callable[..., Node], upstream: Upstream) -> Desk:
    return Desk(make_node(CONFIG.format(url=upstream.url)).start())


# -- what init prints is what works


class Followed:
    """A folder that was made by `interlock init`, and a node that was started as it says."""

    def __init__(self, folder: Path, upstream: str, tls: str) -> None:
        self.folder, self.tls = folder, tls
        self.port = free_port()
        words = ["init", "shop", "--upstream", upstream, "--issuer", "--address", f"127.0.0.1:{self.port}"]
        self.said = self.run(*INTERLOCK, *words, "--tls", tls)
        self.file = (folder / "shop" / "interlock.yaml").read_text()
        self.log = folder / "log"
        self.up: subprocess.Popen[bytes] | None = None

    def run(self, *words: str) -> str:
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def printed(self, what: str) -> list[str]:
        """The one line of the comment at the end of the file that has `what`, as words."""
        steps = self.file[self.file.index("# Next:") :]
        (line,) = [line for line in steps.splitlines() if what in line]
        return shlex.split(line.removeprefix("#").strip())

    def follow(self, what: str, **put: str) -> str:
        words = self.printed(what)
        for name, value in put.items():
            assert any(name in word for word in words), (name, words)
            words = [word.replace(name, value) for word in words]
        if words[0] == "interlock":
            words = [*INTERLOCK, *words[1:]]
        else:
            words[1:1] = ["-sS", "--noproxy", "*"]
        return self.run(*words)

    def start(self) -> None:
        words = self.printed(" up")
        with self.log.open("ab") as log:
            self.up = subprocess.Popen([*INTERLOCK, *words[1:]], cwd=self.folder, stdout=log, stderr=log)
        status = [*INTERLOCK, *words[1:3], "status", "--wait", "60"]
        assert subprocess.run(status, cwd=self.folder, capture_output=True, timeout=90).returncode == 0


@pytest.fixture(params=["off", "auto"])
def followed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[Followed]:
    made = Followed(tmp_path_factory.mktemp("i"), upstream.url, request.param)
    yield made
    if made.up is not None:
        made.up.send_signal(signal.SIGTERM)
        made.up.wait(30)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_what_init_prints_is_followed_word_by_word(followed: Followed, upstream: Upstream) -> None:
    assert "client create" in followed.said
    if followed.tls == "auto":
        followed.start()  # the authority is made at the first start, and callers trust it by then
    made = followed.follow("client create")  # with the node running, and, without TLS, before it ever ran
    client_id = re.search(r"^client_id +(\S+)", made, re.MULTILINE)
    secret = re.search(r"^client_secret +(\S+)", made, re.MULTILINE)
    assert client_id is not None, made
    assert secret is not None, made
    if followed.up is None:
        followed.start()
    answer = json.loads(followed.follow("/oauth/token", CLIENT_ID=client_id[1], CLIENT_SECRET=secret[1]))
    assert answer["token_type"] == "Bearer"
    echoed = json.loads(followed.follow("Bearer THE-TOKEN", **{"THE-TOKEN": answer["access_token"]}))
    assert echoed["target"] == "/" if "target" in echoed else echoed
    assert upstream.seen[-1].header("authorization") is None, "the token is the gateway's business"
    key = re.search(r"ilk_\S+", followed.follow("key create"))
    assert key is not None
    assert followed.follow("X-API-Key", **{"THE-KEY": key[0]})
    scheme = "https" if followed.tls == "auto" else "http"
    trust = ["--cacert", "shop/interlock-data/pki/ca.pem"] if followed.tls == "auto" else []
    documents = []
    for path in ("oauth-authorization-server", "openid-configuration"):
        url = f"{scheme}://127.0.0.1:{followed.port}/.well-known/{path}"
        documents.append(json.loads(followed.run("curl", "-sS", "--noproxy", "*", *trust, url)))
    assert documents[0] == documents[1]
    assert documents[0]["issuer"] == f"{scheme}://127.0.0.1:{followed.port}"


# -- the life of a token and of a client


def test_the_life_of_a_token(desk: Desk) -> None:
    who = desk.client()
    token, other = desk.token(who), desk.token(who)
    assert desk.opens(token) == 200
    assert desk.active(token, who)
    assert desk.post("revoke", who, token=token).status_code == 200
    assert desk.opens(token) == 401
    assert not desk.active(token, who)
    assert desk.opens(other) == 200
    acts = desk.node.query("--acts")
    kinds = [act["event"] for act in acts]
    assert {"client:create", "token:issue", "grant:revoke"} <= set(kinds)
    for secret in (who[1], token):
        assert secret not in json.dumps(acts)
    assert who[1].encode() not in b"".join(contents(desk.node.data).values())


def test_the_life_of_a_client_with_the_node_running_and_not(make_node: Callable[..., Node], upstream: Upstream) -> None:
    desk = Desk(make_node(CONFIG.format(url=upstream.url)))
    client_id, first = desk.client()  # before the node ever ran
    desk.node.start()
    token = desk.token((client_id, first))
    second = json.loads(desk.node.cli("client", "rotate", client_id, "--overlap", "1h", "--json").stdout)
    for secret in (first, second["client_secret"]):
        assert desk.opens(desk.token((client_id, secret))) == 200
    desk.node.stop()
    third = json.loads(desk.node.cli("client", "rotate", client_id, "--overlap", "0s", "--json").stdout)
    desk.node.start()
    assert eventually(lambda: desk.asks((client_id, first)) == 401)
    assert desk.opens(token) == 200, "whoever has a token keeps it"
    fourth = json.loads(desk.node.cli("client", "rotate", client_id, "--overlap", "0s", "--json").stdout)
    for former in (second, third):
        refused = desk.post("token", (client_id, former["client_secret"]), grant_type="client_credentials")
        assert refused.status_code == 401
    token = desk.token((client_id, fourth["client_secret"]))
    desk.node.cli("client", "disable", client_id)
    assert desk.opens(token) == 401, "when the command returns"
    refused = desk.post("token", (client_id, fourth["client_secret"]), grant_type="client_credentials")
    assert refused.status_code == 401
    desk.node.stop()
    desk.node.start()
    assert desk.opens(token) == 401
    other, secret = desk.client("other")
    desk.node.stop()
    desk.node.cli("client", "disable", other)
    desk.node.start()
    eventually(lambda: desk.asks((other, secret)) != 503)
    assert desk.asks((other, secret)) == 401


def test_a_path_in_the_issuer_s_url(make_node: Callable[..., Node], upstream: Upstream) -> None:
    config = CONFIG.format(url=upstream.url).replace('"http://127.0.0.1:PORT"', '"http://127.0.0.1:PORT/tenant"')
    desk = Desk(make_node(config).start())
    node = desk.node
    who = desk.client()
    for path in ("/.well-known/oauth-authorization-server/tenant", "/tenant/.well-known/openid-configuration"):
        document = eventually(lambda path=path: _served(node, path))
        assert document["issuer"] == f"{node.url}/tenant"
        assert document["token_endpoint"] == f"{node.url}/tenant/oauth/token"
        assert node.get(document["jwks_uri"].removeprefix(node.url)).json()["keys"]
    answer = node.request("POST", "/tenant/oauth/token", data={"grant_type": "client_credentials"}, auth=who)
    assert desk.opens(answer.json()["access_token"]) == 200
    assert node.request("POST", "/oauth/token", data={"grant_type": "client_credentials"}, auth=who).status_code == 401


def test_a_data_directory_as_deep_as_one_likes(tmp_path: Path, upstream: Upstream) -> None:
    """The name of a socket holds 107 bytes: workers, control and the issuer meet nevertheless."""
    node = Node(tmp_path / "deep" / ("d" * 80) / ("e" * 80) / "node", CONFIG.format(url=upstream.url))
    try:
        desk = Desk(node.start())
        token = desk.token(eventually(desk.client))
        assert desk.opens(token) == 200
        (node.folder / "token").write_text(token)
        node.cli("revoke", "token", "--file", "token")
        assert desk.opens(token) == 401, "both workers were told"
        node.cli("reload")
        assert node.stop() == 0
        assert node.verify()["ok"]
    finally:
        node.kill()


def _served(node: Node, path: str) -> Any:
    answer = node.get(path)
    return answer.json() if answer.status_code == 200 else None


# -- restarts and kills


def test_a_token_and_a_client_outlive_restarts(desk: Desk) -> None:
    who = desk.client()
    token = desk.token(who)
    keys = desk.node.get("/oauth/jwks").json()
    for kill in ("control", "worker"):
        for pid in desk.node.pids(kill):
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: _says(desk, token) == 200)
        assert eventually(lambda: desk.asks(who) == 200, 30)
    assert desk.node.get("/oauth/jwks").json() == keys
    desk.node.stop()
    desk.node.start()
    assert desk.opens(token) == 200
    assert eventually(lambda: desk.asks(who) == 200, 30)
    assert desk.node.get("/oauth/jwks").json() == keys


def _says(desk: Desk, token: str) -> int:
    try:
        return desk.node.get("/x", headers={"authorization": f"Bearer {token}"}).status_code
    except httpx.HTTPError:
        return 0


def test_control_is_killed_while_it_issues(desk: Desk) -> None:
    """Whatever was given out is on the record, whoever was killed in that moment; nobody is left without an answer."""
    who = desk.client()
    given: list[str] = []
    strange: list[Any] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(
                        f"{desk.node.url}/oauth/token", data={"grant_type": "client_credentials"}, auth=who
                    )
                except httpx.HTTPError as problem:
                    strange.append(problem)
                    continue
                if answer.status_code == 200:
                    given.append(answer.json()["access_token"])
                elif answer.status_code not in (502, 503, 504):
                    strange.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            before = len(given)
            assert eventually(lambda before=before: len(given) > before + 20, 40), "it is issued again"
            for pid in desk.node.pids("control"):
                os.kill(pid, signal.SIGKILL)
    finally:
        before = len(given)
        eventually(lambda: len(given) > before + 20, 40)
        stop.set()
        for thread in threads:
            thread.join()
    assert strange == []
    issued = {act["details"]["token"] for act in _acts(desk.node, "token:issue")}
    missing = [token for token in given if _claims(token)["jti"] not in issued]
    assert missing == [], f"{len(missing)} of {len(given)} tokens are not on the record"
    assert desk.opens(given[0]) == 200
    assert desk.node.verify()["ok"]


def _acts(node: Node, event: str) -> list[dict[str, Any]]:
    return [act for act in node.query("--acts", "--limit", "100000") if act["event"] == event]


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


# -- the keys


def test_a_new_key_at_once(desk: Desk) -> None:
    """For one that somebody may have copied: what it signed is refused, everywhere, when the command returns."""
    who = desk.client()
    stolen = desk.token(who)
    (former,) = desk.node.get("/oauth/jwks").json()["keys"]
    done = json.loads(desk.node.cli("keyring", "rotate", "issuer", "--json").stdout)
    assert desk.opens(stolen) == 401
    assert not desk.active(stolen, who)
    token = desk.token(who)
    assert desk.opens(token) == 200
    (key,) = desk.node.get("/oauth/jwks").json()["keys"]
    assert key["kid"] == done["id"] != former["kid"]
    rows = json.loads(desk.node.cli("keyring", "list", "--json").stdout)
    listed = {row["id"]: row["state"] for row in (rows["keys"] if isinstance(rows, dict) else rows) if row["id"]}
    assert listed[former["kid"]] == "destroyed"
    assert listed[key["kid"]] == "active"
    desk.node.stop()
    desk.node.cli("keyring", "rotate", "issuer")  # without the node, too
    desk.node.start()
    assert desk.opens(token) == 401
    assert eventually(lambda: desk.asks(who) == 200)
    assert desk.opens(desk.token(who)) == 200


HOUR = 3600
SOON = 15  # seconds: a node has started by then


def age(node: Node, hours: float, seconds: float = 0) -> None:
    """Make the keys of a node that is stopped so much older. (Its clock cannot be set forward: it would not sleep.)"""
    paths = Paths(node.data)
    keyring = open_keyring(load(node.file).keys, paths.keys)
    older = int((hours * HOUR + seconds) * SECOND)
    keep(
        keyring,
        [msgspec.structs.replace(key, made=key.made - older, begins=key.begins - older) for key in load_keys(keyring)],
    )


def test_a_key_follows_another_while_the_node_runs(make_node: Callable[..., Node], upstream: Upstream) -> None:
    """It is published hours before it signs, workers know it by then, and what the former one signed still holds."""
    config = CONFIG.format(url=upstream.url).replace("scopes:", "rotate: 1d, scopes:")
    desk = Desk(make_node(config).start())
    node = desk.node
    who = desk.client()
    (old,) = eventually(lambda: _keys(node, 1))
    node.stop()
    age(node, 12, -SOON)
    node.start()
    token = desk.token(who)
    assert _kid(token) == old
    keys = eventually(lambda: _keys(node, 2), SOON + 4 * ISSUING)
    assert keys, "the next key is published half a day before it signs"
    (new,) = set(keys) - {old}
    assert eventually(lambda: _known(node) == {old, new}, 60), "and brought to the workers"
    assert _kid(desk.token(who)) == old, "and does not sign yet"
    assert desk.opens(token) == 200
    node.stop()
    age(node, 12, -SOON)
    node.start()
    former = desk.token(who)
    assert _kid(former) == old
    token = eventually(lambda: _by(desk, who, new), SOON + 4 * ISSUING)
    assert token, "the new key signs"
    assert desk.opens(token) == 200
    assert desk.opens(former) == 200
    assert desk.active(former, who)
    assert eventually(lambda: _signing(node) == new)
    assert set(_keys(node, 2) or ()) == {old, new}
    node.stop()
    age(node, 2, SOON)
    node.start()
    assert eventually(lambda: _keys(node, 1) == [new]), "until nothing it signed can be alive"
    assert desk.opens(token) == 200
    turned = [act["details"] for act in _acts(node, "keyring:rotate")]
    assert {act["new"] for act in turned} >= {new}, "on the record, as every act"


def _known(node: Node) -> set[str]:
    """The keys by which workers verify the issuer's tokens."""
    snapshot = Snapshot.open(Paths(node.data).snapshot)
    try:
        (own,) = [issuer for issuer in snapshot.node.issuers if issuer.own]
        return {key["kid"] for key in json.loads(own.jwks)["keys"]}
    finally:
        snapshot.close()


def _keys(node: Node, count: int) -> list[str] | None:
    answer = node.get("/oauth/jwks")
    if answer.status_code != 200:
        return None
    keys = [key["kid"] for key in answer.json()["keys"]]
    return keys if len(keys) == count else None


def _kid(token: str) -> str:
    part = token.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["kid"])


def _by(desk: Desk, who: tuple[str, str], kid: str) -> str | None:
    answer = desk.post("token", who, grant_type="client_credentials")
    token = str(answer.json().get("access_token", "")) if answer.status_code == 200 else ""
    return token if token and _kid(token) == kid else None


def _signing(node: Node) -> str:
    return next((key["kid"] for key in node.status()["issuer"]["keys"] if key["state"] == "signs"), "")


# -- what operators see


def test_status_and_metrics_tell_how_the_issuer_does(desk: Desk) -> None:
    who = desk.client()
    status = eventually(lambda: desk.node.status()["issuer"])
    assert status["serving"]
    assert status["url"] == desk.node.url
    assert [key["state"] for key in status["keys"]] == ["signs"]
    for _ in range(3):
        desk.token(who)
    desk.post("token", (who[0], "wrong"), grant_type="client_credentials")
    desk.post("token", who, grant_type="client_credentials", scope="nosuch")
    desk.post("token", who, grant_type="nosuch")

    def counted() -> dict[str, int]:
        text = httpx.get(f"{desk.node.status()['admin']}/metrics", trust_env=False).text
        issued = re.findall(r"^interlock_(tokens_issued_total)\{.*\} (\d+)$", text, re.MULTILINE)
        refused = re.findall(r'^interlock_issuer_refusals_total\{.*error="(\w+)".*\} (\d+)$', text, re.MULTILINE)
        return {name: int(number) for name, number in issued + refused}

    assert eventually(lambda: counted().get("tokens_issued_total") == 3)
    found = counted()
    assert (found["invalid_client"], found["invalid_scope"], found["unsupported_grant_type"]) == (1, 1, 1)
    shown = desk.node.cli("status").stdout
    assert f"issuer: {desk.node.url}, serving, 1 clients" in shown


def test_an_issuer_that_cannot_begin_leaves_the_node_and_says_so(
    make_node: Callable[..., Node], upstream: Upstream
) -> None:
    desk = Desk(make_node(CONFIG.format(url=upstream.url)).start())
    who = desk.client()
    token = desk.token(who)
    sealed = desk.node.data / "keys" / "issuer.sealed"
    kept = sealed.read_bytes()
    sealed.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    for pid in desk.node.pids("control"):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: any("issuer" in problem for problem in desk.node.status()["problems"]), 30)
    assert not desk.node.status()["issuer"]["serving"]
    assert desk.opens(token) == 200, "whoever has a token calls on"
    assert desk.asks(who) == 503
    sealed.write_bytes(kept)
    assert eventually(lambda: desk.node.status()["issuer"]["serving"], 4 * ISSUING)
    assert desk.opens(desk.token(who)) == 200
    assert eventually(lambda: not desk.node.status()["problems"])


# -- attacks


def test_nobody_says_of_himself_what_workers_say_of_connections(desk: Desk, upstream: Upstream) -> None:
    """A caller's own `Interlock-Certificate` would be another's login; its `Interlock-Source` another's limits."""
    seen: list[bytes] = []
    listening = desk.node.data / "run" / "issuer.sock"
    folder = os.open(listening.parent, os.O_PATH)
    try:
        with between(Path(f"/proc/self/fd/{folder}") / listening.name, seen):
            spelt = [
                "Interlock-Certificate",
                "interlock-certificate",
                "INTERLOCK_CERTIFICATE",
                "Interlock.Certificate",
                "X-Interlock-Certificate",
                "InterlockCertificate",
                "Interlock-Source",
                "interlock_source",
                "Interlock-Identity",
                "Client-Cert",
                "X-Client-Cert",
                "X-Forwarded-Client-Cert",
            ]
            fields = "".join(f"{name}: ZXZpbC1tYXJr\r\n" for name in spelt)
            body = "grant_type=client_credentials&client_id=x"
            kind = "Content-Type: application/x-www-form-urlencoded\r\n"
            for connection in ("close", "close, Interlock-Source", "close, Interlock-Certificate"):
                head = f"POST /oauth/token HTTP/1.1\r\nHost: x\r\n{fields}Connection: {connection}\r\n{kind}"
                answer = desk.node.raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                assert answer.startswith(
                    b"HTTP/1.1 200 " if connection == "close" else (b"HTTP/1.1 200 ", b"HTTP/1.1 4")
                )
            desk.node.raw(
                (
                    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                    "Content-Type: application/x-www-form-urlencoded\r\nTrailer: Interlock-Certificate\r\n\r\n"
                    f"{len(body):x}\r\n{body}\r\n0\r\nInterlock-Certificate: ZXZpbC1tYXJr\r\n"
                    "Interlock-Source: ZXZpbC1tYXJr\r\n\r\n"
                ).encode()
            )
    finally:
        os.close(folder)
    assert len(seen) >= 2
    for message in seen:
        assert b"ZXZpbC1tYXJr" not in message
        assert message.lower().count(b"interlock-source: 127.0.0.1\r\n") == 1
        assert b"interlock-certificate" not in message.lower()


class between:
    """Stands in the place of the issuer's socket and keeps what workers send, while it is entered."""

    def __init__(self, path: Path, seen: list[bytes]) -> None:
        self.path, self.seen = path, seen
        self.aside = path.with_name("issuer.aside")

    def __enter__(self) -> None:
        self.path.rename(self.aside)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.path))
        self.listening.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                got = b""
                while not _whole(got):
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    got += piece
                self.seen.append(got)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(5)
        self.aside.rename(self.path)


def _whole(data: bytes) -> bool:
    reader = RequestReader()
    reader.feed(data)
    for _ in range(100):
        event = reader.next()
        if str(event) == "Signal.END":
            return True
        if str(event) == "Signal.NEED_DATA":
            return False
    return False


def test_slow_bodies_keep_nobody_from_a_token(desk: Desk) -> None:
    """A few connections lead to the issuer. Whoever dribbles hundreds of forms MUST NOT hold them."""
    who = desk.client()
    desk.token(who)
    slow: list[socket.socket] = []
    try:
        for _ in range(600):
            sock = desk.node.connect()
            sock.sendall(
                b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                b"Content-Length: 1000\r\n\r\ngrant_type="
            )
            slow.append(sock)
        for _ in range(10):
            assert desk.opens(desk.token(who)) == 200
    finally:
        for sock in slow:
            sock.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n", b"413"),
        (b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\0\0\0", b"400"),
        (
            b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            b"400",
        ),
        (b"GET /oauth/jwks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"413"),
        (b"PUT /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"4"),
        (b"GET /oauth/nothing HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /oauth/../oauth/jwks HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"GET /oauth/jwks/ HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET //oauth/jwks HTTP/1.1\r\nHost: x\r\n\r\n", b"4"),
    ],
)
def test_what_is_no_request_of_a_client(desk: Desk, head: bytes, status: bytes) -> None:
    answer = desk.node.raw(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    assert answer.split(b" ", 2)[1].startswith(status), answer[:200]
    assert not answer.startswith(b"HTTP/1.1 5")


def test_a_pipeline_of_tokens_is_answered_in_its_order(desk: Desk) -> None:
    who = desk.client()
    basic = base64.b64encode(":".join(who).encode()).decode()
    one = (
        f"POST /oauth/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\ngrant_type=client_credentials"
    )
    assert len("grant_type=client_credentials") == 29
    last = "GET /oauth/jwks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    got = desk.node.raw((one * 20 + last).encode())
    assert got.count(b'"access_token"') == 20
    assert got.rindex(b'"access_token"') < got.index(b'"keys"')


def test_the_socket_is_for_this_user_alone(desk: Desk) -> None:
    mode = (desk.node.data / "run" / "issuer.sock").stat().st_mode
    assert mode & 0o077 == 0


def test_the_issuer_never_goes_by_the_host_of_a_call(desk: Desk) -> None:
    for host in ("evil.example", "127.0.0.1:1", "localhost"):
        document = desk.node.get("/.well-known/oauth-authorization-server", headers={"host": host})
        assert document.json()["issuer"] == desk.node.url
        assert "evil" not in document.text


def test_a_token_for_another_api_opens_nothing_here(make_node: Callable[..., Node], upstream: Upstream) -> None:
    config = CONFIG.format(url=upstream.url).replace("scopes:", "resources: https://api.example, scopes:")
    desk = Desk(make_node(config).start())
    who = desk.client("billing", "--resource", "https://api.example")
    api = desk.client("api", "--resource", "https://api.example")
    token = desk.token(who)
    assert _claims(token)["aud"] == "https://api.example"
    assert desk.opens(token) == 401
    assert desk.active(token, api)


if sys.platform != "linux":  # the tests above look into /proc
    pytestmark = [pytestmark, pytest.mark.skip(reason="Linux")]  # type: ignore[assignment]


def test_a_control_process_that_hung_while_a_client_was_revoked_takes_its_secret_no_more(desk: Desk) -> None:
    """The command works beside it, and nothing tells it afterwards; a thief with the secret asks when it goes on."""
    who = desk.client("hung")
    assert desk.asks(who) == 200
    (control,) = desk.node.pids("control")
    with desk.node.held(control):
        desk.node.cli("revoke", "client", who[0])
    until = time.monotonic() + 5  # past the second of the revocation, in which nothing is issued
    answers = set()
    while time.monotonic() < until:
        answers.add(desk.asks(who))
        time.sleep(0.2)
    assert 200 not in answers
    assert 401 in answers
    assert desk.node.pids("control") == [control], "it is the one that hung"
