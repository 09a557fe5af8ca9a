"""Promise 5: when the revoking command returns, what it names is refused by every worker of a real node: under load,
with control killed or stopped, without the key-encryption key, over a new snapshot and a new start."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from interlock.control.client import Client
from tests.files import contents
from tests.integration.certificates import Authority
from tests.integration.node import Node, eventually
from tests.integration.test_layers import ISSUER, OTHER, Outside
from tests.integration.upstream import Upstream
from tests.processes import resume

pytestmark = pytest.mark.integration

ROLES = "roles: {from: groups, map: {Readers: reader}}"
URI = "spiffe://partners/billing"
CONFIG = f"""
version: 1
workers: 2
keys: {{kek: "${{file:KEK}}"}}
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto}}
connections: {{failures: 1000000/m}}
services:
  up: {{upstreams: [UPSTREAM]}}
trust:
  partners: {{ca: partners.pem, principal: san-uri, roles: {{"{URI}": reader, "{URI}/2": reader}}}}
routes:
  - {{match: [/token/*, /bytes/*], service: up, authenticate: [jwt], allow: read, limit: none}}
  - {{match: /key/*, service: up, authenticate: [api_key], allow: read, limit: none}}
  - {{match: /cert/*, service: up, authenticate: [mtls], trust: partners, allow: read, limit: none}}
roles: {{reader: [read]}}
identity:
  issuers:
    - {{issuer: "{ISSUER}", audience: api, algorithms: [RS256], jwks: jwks.json, {ROLES}}}
    - {{issuer: "{OTHER}", audience: api, algorithms: [RS256], jwks: jwks.json, {ROLES}}}
"""


@dataclass
class Credential:
    """What is presented, and on which route."""

    path: str
    headers: dict[str, str] = field(default_factory=dict)
    certificate: tuple[Path, Path] | None = None


def bearer(token: str) -> Credential:
    return Credential("/token/a", {"Authorization": f"Bearer {token}"})


class Line:
    """One connection that is kept, so that it stays with its worker."""

    def __init__(self, node: Node, certificate: tuple[Path, Path] | None = None) -> None:
        context = ssl.create_default_context(cafile=str(node.data / "pki" / "ca.pem"))
        if certificate:
            context.load_cert_chain(*certificate)
        self.sock = context.wrap_socket(node.connect(), server_hostname="localhost")
        self.sock.settimeout(20)
        self.near, self.far = self.sock.getsockname()[1], node.port

    def call(self, credential: Credential) -> int:
        fields = "".join(f"{name}: {value}\r\n" for name, value in credential.headers.items())
        self.sock.sendall(f"GET {credential.path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            piece = self.sock.recv(65536)
            if not piece:
                raise ConnectionError("the gateway closed")
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self.sock.recv(65536)
        return int(head.split(b" ", 2)[1])

    def worker(self, workers: list[int]) -> int:
        """Which of the workers has the other end, by the kernel's word."""
        near, far = (f"0100007F:{port:04X}" for port in (self.near, self.far))
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inode = next(row[9] for row in rows if (row[1], row[2]) == (far, near))
        for pid in workers:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    if os.readlink(fd) == f"socket:[{inode}]":
                        return pid
                except OSError:
                    continue
        raise AssertionError("no worker has this connection")


@dataclass
class Bench:
    node: Node
    outside: Outside
    authority: Authority
    folder: Path
    made: int = 0

    def token(self, **claims: Any) -> str:
        """A token like no other."""
        self.made += 1
        return self.outside.token(number=self.made, **claims)

    def key(self, name: str) -> tuple[str, Credential]:
        made = self.node.key(name, "reader")
        return made["id"], Credential("/key/a", {"X-API-Key": made["key"]})

    def certificate(self, uri: str = URI) -> Credential:
        return Credential("/cert/a", {}, self.authority.issue(self.folder, uri=uri))

    def file(self, text: str) -> str:
        path = self.folder / "presented"
        path.write_text(text)
        return str(path)

    def lines(self, credential: Credential) -> list[Line]:
        """One connection to each worker."""
        workers = self.node.pids("worker")
        assert len(workers) == 2
        found: dict[int, Line] = {}
        for _ in range(200):
            line = Line(self.node, credential.certificate)
            found.setdefault(line.worker(workers), line)
            if len(found) == len(workers):
                return list(found.values())
        raise AssertionError("the kernel gives all connections to one worker")

    def answers(self, lines: list[Line], credential: Credential) -> list[int]:
        return [line.call(credential) for line in lines]

    def revoke(self, *words: str) -> dict[str, Any]:
        done: dict[str, Any] = json.loads(self.node.cli("revoke", *words, "--json").stdout)
        return done


@pytest.fixture(scope="module")
def outside() -> Outside:
    return Outside()


def begin(folder: Path, outside: Outside, upstream: Upstream) -> Bench:
    folder.mkdir()
    authority = Authority("partners")
    (folder / "jwks.json").write_text(outside.jwks())
    (folder / "partners.pem").write_bytes(authority.pem)
    kek = folder / "kek"
    kek.touch(0o600)
    kek.write_text("5a" * 32)
    node = Node(folder, CONFIG.replace("UPSTREAM", upstream.url).replace("KEK", str(kek)))
    return Bench(node, outside, authority, folder)


@pytest.fixture(scope="module")
def bench(outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    upstream = Upstream()
    bench = begin(tmp_path_factory.mktemp("revocation") / "node", outside, upstream)
    bench.node.start()
    yield bench
    bench.node.kill()
    upstream.close()


# What is revoked: the words of the command, what they end, and what they must not hurt.
Way = tuple[list[str], Credential, Credential]


def ways(bench: Bench) -> dict[str, Callable[[], Way]]:
    """Each makes fresh credentials, with names of their own, so that one way does not end what another needs."""
    token, mine = bench.token, f"n{bench.made}"

    def by_jti() -> Way:
        return ["token", mine, "--issuer", ISSUER], bearer(token(jti=mine)), bearer(token(jti="other"))

    def whole(**claims: Any) -> Way:
        text = token(**claims)
        return ["token", "--file", bench.file(text)], bearer(text), bearer(token(**claims and {"jti": "other"}))

    def by_digest() -> Way:
        text = token()
        name = "sha256:" + hashlib.sha256(text.rpartition(".")[0].encode()).hexdigest()
        return ["token", name, "--issuer", ISSUER], bearer(text), bearer(token())

    def client(claim: str) -> Way:
        return ["client", mine, "--issuer", ISSUER], bearer(token(**{claim: mine})), bearer(token(**{claim: "other"}))

    def user() -> Way:
        return ["user", f"user:login.example.com/{mine}"], bearer(token(sub=mine)), bearer(token(sub="other"))

    def principal_of_key() -> Way:
        _, key = bench.key(mine)
        return ["principal", f"service:interlock/{mine}"], key, bench.key("other")[1]

    def principal_of_certificate() -> Way:
        return ["principal", f"service:partners/{URI}/2"], bench.certificate(f"{URI}/2"), bench.certificate()

    def key() -> Way:
        key_id, key = bench.key(mine)
        return ["key", key_id], key, bench.key(mine)[1]

    def certificate(by_file: bool) -> Way:
        credential = bench.certificate()
        assert credential.certificate is not None
        pem = credential.certificate[0]
        der = ssl.PEM_cert_to_DER_cert(pem.read_text())
        words = ["--file", str(pem)] if by_file else [hashlib.sha256(der).hexdigest()]
        return ["certificate", *words], credential, bench.certificate()

    return {
        "token by jti": by_jti,
        "token": lambda: whole(jti=mine),
        "token without jti": whole,
        "token by digest": by_digest,
        "client_id": lambda: client("client_id"),
        "azp": lambda: client("azp"),
        "session": lambda: (
            ["session", mine, "--issuer", ISSUER],
            bearer(token(sid=mine)),
            bearer(token(sid="other")),
        ),
        "user": user,
        "principal of a key": principal_of_key,
        "principal of a certificate": principal_of_certificate,
        "issuer": lambda: (["issuer", OTHER], bearer(token(iss=OTHER)), bearer(token())),
        "key": key,
        "certificate by file": lambda: certificate(True),
        "certificate by fingerprint": lambda: certificate(False),
    }


WAYS = [
    "token by jti", "token", "token without jti", "token by digest", "client_id", "azp", "session", "user",
    "principal of a key", "principal of a certificate", "issuer", "key", "certificate by file",
    "certificate by fingerprint",
]  # fmt: skip


def test_every_way_is_tried(bench: Bench) -> None:
    assert set(ways(bench)) == set(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_refused_by_both_workers_when_the_command_returns(bench: Bench, way: str) -> None:
    words, doomed, other = ways(bench)[way]()
    lines, others = bench.lines(doomed), bench.lines(other)
    assert bench.answers(lines, doomed) == [200, 200]
    assert bench.answers(others, other) == [200, 200]
    bench.revoke(*words)
    assert bench.answers(lines, doomed) == [401, 401]
    assert bench.answers(bench.lines(doomed), doomed) == [401, 401]
    assert bench.answers(others, other) == [200, 200]
    assert bench.node.query("--limit", "1", "--decision", "deny")[0]["reason"] == "credential-revoked"


def test_it_is_on_the_record_and_in_the_list_and_the_token_is_nowhere(bench: Bench) -> None:
    text = bench.token(jti="on-record", sub="recorded")
    bench.revoke("token", "--file", bench.file(text))
    bench.revoke("user", "user:login.example.com/recorded", "--ahead", "2s")
    acts = [act for act in bench.node.query("--acts") if act["event"] == "credential:revoke"]
    assert {"kind": "token", "token": "on-record"}.items() <= acts[-2]["details"].items()
    assert acts[-1]["details"]["principal"] == "user:login.example.com/recorded"
    listed = json.loads(bench.node.cli("revoke", "list", "--json").stdout)
    by_act = {one["act"]: one for one in listed}
    assert by_act[acts[-2]["id"]]["what"] == f"token on-record of {ISSUER}"
    assert by_act[acts[-2]["id"]]["expires"]
    assert by_act[acts[-1]["id"]]["issued_before"]
    (bench.folder / "presented").unlink()
    signature = text.rpartition(".")[2].encode()
    for path, content in contents(bench.folder).items():
        assert signature not in content, path


def test_an_outside_session_may_begin_with_a_dash(bench: Bench) -> None:
    credential = bearer(bench.token(sid="-yX7ii8Z"))
    lines = bench.lines(credential)
    assert bench.answers(lines, credential) == [200, 200]
    bench.node.cli("revoke", "session", "--issuer", ISSUER, "--", "-yX7ii8Z")
    assert bench.answers(lines, credential) == [401, 401]


def test_what_is_issued_within_the_second_of_the_revocation(bench: Bench) -> None:
    """To the second of the command: refused; from the next on: accepted, also while it is still to come."""
    sub = "seconds"
    done = bench.revoke("user", f"user:login.example.com/{sub}")
    since = int(time.mktime(time.strptime(done["issued_before"], "%Y-%m-%dT%H:%M:%S.000Z"))) - time.timezone
    before = [bearer(bench.token(sub=sub, iat=since - 1)), bearer(bench.token(sub=sub, iat=since - 0.001))]
    before.append(bearer(bench.token(sub=sub, iat=None)))
    after = [bearer(bench.token(sub=sub, iat=since)), bearer(bench.token(sub=sub, iat=since + 0.5))]
    lines = bench.lines(after[0])
    for credential in before:
        assert bench.answers(lines, credential) == [401, 401]
    for credential in after:
        assert bench.answers(lines, credential) == [200, 200]


def test_a_key_made_at_once_after_its_principal_was_revoked(bench: Bench) -> None:
    _, old = bench.key("again")
    bench.revoke("principal", "service:interlock/again")
    _, new = bench.key("again")
    lines = bench.lines(old)
    assert bench.answers(lines, old) == [401, 401]
    assert bench.answers(lines, new) == [200, 200]


def test_what_is_over_goes_away(bench: Bench) -> None:
    credential = bearer(bench.token(sid="brief"))
    lines = bench.lines(credential)
    until = time.time() + 8
    bench.revoke("session", "brief", "--issuer", ISSUER, "--until", "8s")
    assert bench.answers(lines, credential) == [401, 401]
    bench.node.cli("reload")
    assert bench.answers(lines, credential) == [401, 401]
    time.sleep(max(0.0, until + 3 - time.time()))
    assert "brief" not in bench.node.cli("revoke", "list").stdout
    bench.node.cli("reload")
    assert eventually(lambda: bench.answers(lines, credential) == [200, 200])


@pytest.mark.parametrize("way", ["token without jti", "user", "principal of a certificate"])
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_without_control(bench: Bench, way: str, how: str) -> None:
    """Killed it is back within a moment, before the command or in the midst of it; stopped it never answers."""
    words, doomed, _ = ways(bench)[way]()
    if "certificate" in way:
        doomed = bench.certificate(f"{URI}/{how}")
        words = ["principal", f"service:partners/{URI}/{how}"]
    lines = bench.lines(doomed)
    before = bench.answers(lines, doomed)
    (control,) = bench.node.pids("control")
    os.kill(control, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    try:
        bench.revoke(*words)
        assert bench.answers(lines, doomed) == [401, 401]
    finally:
        resume(control)
    assert before == ([403, 403] if "certificate" in way else [200, 200])
    assert eventually(lambda: bench.node.pids("control") and bench.node.status()["serving"])


def test_while_control_hangs_with_the_state_locked(bench: Bench) -> None:
    """The command beside it waits until the supervisor has killed it, which frees what it held."""
    words, doomed, _ = ways(bench)["user"]()
    lines = bench.lines(doomed)
    assert bench.answers(lines, doomed) == [200, 200]
    bench.node.query("--limit", "1")  # it has begun, or would be given longer
    (control,) = bench.node.pids("control")
    holder = sqlite3.connect(bench.node.data / "state.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    os.kill(control, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as beside:
        revoked = beside.submit(bench.revoke, *words)
        assert eventually(lambda: control not in bench.node.pids("control"), timeout=40)
        holder.close()  # as the kernel does it for who is killed
        revoked.result(60)
    assert bench.answers(bench.lines(doomed), doomed) == [401, 401]
    assert eventually(lambda: bench.node.pids("control") and bench.node.status()["serving"])


def test_over_a_new_snapshot_and_a_new_start(bench: Bench) -> None:
    words, doomed, other = ways(bench)["user"]()
    more, token, spared = ways(bench)["token"]()
    bench.revoke(*words)
    bench.revoke(*more)
    bench.node.cli("reload")
    lines = bench.lines(doomed)
    for credential, status in ((doomed, 401), (token, 401), (other, 200), (spared, 200)):
        assert bench.answers(lines, credential) == [status, status]
    assert bench.node.stop() == 0
    offline, third, _ = ways(bench)["session"]()
    bench.revoke(*offline)  # without a node
    bench.node.start()
    lines = bench.lines(doomed)
    for credential, status in ((doomed, 401), (token, 401), (third, 401), (other, 200), (spared, 200)):
        assert bench.answers(lines, credential) == [status, status]
    assert bench.node.verify()["ok"]


def test_without_the_key_encryption_key(bench: Bench) -> None:
    """It is away, as a token that is unplugged, and control hangs: tokens can be revoked all the same."""
    words, doomed, _ = ways(bench)["token"]()
    lines = bench.lines(doomed)
    assert bench.answers(lines, doomed) == [200, 200]
    kek = bench.folder / "kek"
    (control,) = bench.node.pids("control")
    kek.rename(kek.with_suffix(".away"))
    try:
        with bench.node.held(control):
            bench.revoke(*words)
            assert bench.answers(lines, doomed) == [401, 401]
    finally:
        kek.with_suffix(".away").rename(kek)
    assert bench.node.pids("control") == [control], "it is the one that hung"


@pytest.mark.parametrize(
    "words",
    [
        ["token", "jti-without-issuer"],
        ["token", "x", "--issuer", "https://nobody.example.com"],
        ["principal", "user:nobody.example.com/alice"],
        ["certificate", "abcd"],
        ["session", "s", "--issuer", ISSUER, "--until", "2020-01-01"],
        ["key", "nosuchkey0"],
    ],
    ids=" ".join,
)
def test_what_would_miss_is_not_believed(bench: Bench, words: list[str]) -> None:
    before = bench.node.cli("revoke", "list").stdout
    assert bench.node.cli("revoke", *words, check=False).returncode in (1, 2)
    assert bench.node.cli("revoke", "list").stdout == before


def test_an_answer_under_way_does_not_go_on_for_long(bench: Bench) -> None:
    """It was let in before; it is asked about again within a second and cut off, which its record says."""
    words, doomed, _ = ways(bench)["session"]()
    total = 300_000_000
    (line, _) = bench.lines(doomed)
    fields = "".join(f"{name}: {value}\r\n" for name, value in doomed.headers.items())
    line.sock.sendall(f"GET /bytes/{total} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
    got = len(line.sock.recv(65536))  # and no more for now: most of it is still to come
    bench.revoke(*words)
    assert bench.node.row(f"/bytes/{total}")["reason"] == "credential-revoked"
    try:
        while piece := line.sock.recv(1 << 20):
            got += len(piece)
    except OSError:
        pass
    assert 0 < got < total


class Racing:
    """Calls without a pause, each with the moment it began and how it was answered."""

    def __init__(self, bench: Bench, credential: Credential, threads: int = 4) -> None:
        self.credential = credential
        self.calls: list[tuple[float, int]] = []
        self._stop = threading.Event()
        lines = [line for _ in range(threads // 2) for line in bench.lines(credential)]
        self._threads = [threading.Thread(target=self._work, args=(line,), daemon=True) for line in lines]

    def _work(self, line: Line) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.calls.append((began, line.call(self.credential)))

    def __enter__(self) -> Racing:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def wait(self, count: int, since: float = 0.0) -> None:
        """Until so many calls that began since then were answered."""
        assert eventually(lambda: sum(began > since for began, _ in list(self.calls)) >= count, timeout=30)


@pytest.mark.parametrize("way", ["token without jti", "user", "key", "certificate by fingerprint"])
def test_no_call_that_began_after_it_returned_is_accepted(bench: Bench, way: str) -> None:
    ops = {"token": "token", "user": "id", "key": "id", "certificate": "id"}
    for _ in range(2):
        words, doomed, _ = ways(bench)[way]()
        kind = words[0]
        given = Path(words[2]).read_text() if words[1] == "--file" else words[1]
        with Racing(bench, doomed) as racing:
            racing.wait(100)
            Client(bench.node.data / "run").call(f"revoke.{kind}", {ops[kind]: given})
            returned = time.monotonic()
            racing.wait(100, returned)
        late = [status for began, status in racing.calls if began > returned]
        assert racing.calls[0][1] == 200
        assert set(late) == {401}, late
