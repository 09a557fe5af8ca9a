"""Two real nodes: what ends at the issuer of one ends at the other, by push and by poll, whoever was down meanwhile."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.jose.signing import Signer, make_key
from tests.integration.node import Node, eventually, free_port
from tests.integration.person import Person, parameters
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

BACK = "https://app.example.com/back"
ISSUER = """
version: 1
workers: 1
listeners: [{{address: 127.0.0.1:PORT, tls: off}}]
issuer:
  url: http://127.0.0.1:PORT
  resources: [sp]
  signals: {{push_to: ["http://127.0.0.1:{other}/oauth/ssf/events"]}}
services: {{up: {{upstreams: [{url}]}}}}
routes:
  - {{match: /things, service: up, authenticate: [jwt], allow: call, limit: none}}
roles: {{caller: [call]}}
"""
OTHER = """
version: 1
workers: 2
listeners: [{{address: 127.0.0.1:{port}, tls: off}}]
connections: {{failures: 1000000/m}}
services: {{up: {{upstreams: [{url}]}}}}
routes:
  - {{match: /things, service: up, authenticate: [jwt], allow: read, limit: none}}
roles: {{reader: [read]}}
identity:
  issuers:
    - issuer: http://127.0.0.1:{issuer}
      audience: sp
      algorithms: [ES256]
      jwks: http://127.0.0.1:{issuer}/oauth/jwks
      roles: {{from: roles, map: {{caller: reader}}}}
      signals: {signals}
"""


class Pair:
    """A, which issues, and B, which takes its tokens and is told of their end."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.upstream = upstream
        port = free_port()
        self.a = Node(folder / "a", ISSUER.format(url=upstream.url, other=port))
        self.b = Node(folder / "b", "version: 1")
        self.b.port = port
        self.a.start()
        self.receiver = self.client("receiver", "--scope", "ssf.manage")
        self.app = self.client(
            "app",
            *("--grant", "authorization_code", "--grant", "refresh_token", "--redirect-uri", BACK),
            *("--scope", "openid", "--resource", "sp", "--first-party"),
        )
        self.program = self.client("program", "--role", "caller", "--resource", "sp")

    def client(self, name: str, *words: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.a.cli("client", "create", name, *words, "--json").stdout)
        return made

    def begin(self, signals: str) -> None:
        """Start B, which is told in this way."""
        self.b.configure(OTHER.format(url=self.upstream.url, port=self.b.port, issuer=self.a.port, signals=signals))
        self.b.start()
        # Its keys of A are fetched in the background.
        assert eventually(lambda: self.call(self.machine()) == 200, 20), self.b.tail()

    def push(self) -> str:
        """A stream by which A pushes to B; gives its id."""
        url = f"http://127.0.0.1:{self.b.port}/oauth/ssf/events"
        words = ("signals", "add", self.receiver["client_id"], "--push", url, "--audience", "sp", "--json")
        return str(json.loads(self.a.cli(*words).stdout)["id"])

    def begin_pushing(self) -> str:
        self.begin("{push: true}")
        return self.push()

    def begin_polling(self) -> str:
        """A stream that B polls with tokens of its own; gives its id."""
        words = ("signals", "add", self.receiver["client_id"], "--audience", "sp", "--json")
        made = json.loads(self.a.cli(*words).stdout)
        secret = self.b.folder / "secret"
        secret.touch(0o600)
        secret.write_text(self.receiver["client_secret"])
        self.begin(
            f'{{poll: "{made["poll"]}", client: {{id: {self.receiver["client_id"]}, '
            f'secret: "${{file:{secret}}}", token_endpoint: "{self.a.url}/oauth/token"}}}}'
        )
        return str(made["id"])

    # -- credentials

    def machine(self) -> str:
        """A token of the program's own, for B."""
        return self._token(self.program, grant_type="client_credentials")["access_token"]

    def manager(self, scope: str = "ssf.manage") -> str:
        return self._token(self.receiver, grant_type="client_credentials", scope=scope)["access_token"]

    def _token(self, client: dict[str, Any], **form: str) -> Any:
        answer = httpx.post(
            f"{self.a.url}/oauth/token",
            data=form,
            auth=(client["client_id"], client["client_secret"]),
            trust_env=False,
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def person(self, name: str) -> Person:
        made = json.loads(self.a.cli("user", "create", name, "--role", "caller", "--json").stdout)
        person = Person(self.a.url, name)
        person.begin(made["link"])
        return person

    def signed_in(self, person: Person) -> str:
        """Have somebody sign in at A; gives their token for B."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = httpx.URL(
            f"{self.a.url}/oauth/authorize",
            params={
                "response_type": "code",
                "client_id": self.app["client_id"],
                "redirect_uri": BACK,
                "scope": "openid",
                "resource": "sp",
                "state": "s",
                "nonce": "n",
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
        )
        where = person.sign_in(str(asked))
        assert where.startswith(BACK), person.text
        code = parameters(where)["code"]
        return str(
            self._token(
                self.app, grant_type="authorization_code", code=code, redirect_uri=BACK, code_verifier=verifier
            )["access_token"]
        )

    # -- what is seen

    def call(self, token: str) -> int:
        """At B."""
        answer = httpx.get(
            f"{self.b.url}/things", headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=20
        )
        return answer.status_code

    def refused(self, token: str, timeout: float = 15) -> bool:
        return bool(eventually(lambda: self.call(token) == 401, timeout))

    def streams(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.a.cli("signals", "streams", "--json").stdout)
        return found

    def acts(self, event: str) -> list[dict[str, Any]]:
        """What the record of B has of one kind."""
        return [act for act in self.b.query("--acts", "--limit", "1000") if act["event"] == event]

    def close(self) -> None:
        self.a.kill()
        self.b.kill()


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("s"), upstream)
    yield made
    made.close()


BOTH = pytest.mark.parametrize("begin", [Pair.begin_pushing, Pair.begin_polling], ids=["push", "poll"])


@BOTH
def test_what_is_revoked_at_one_is_refused_at_the_other(pair: Pair, begin: Callable[[Pair], str]) -> None:
    begin(pair)
    alice, bob = pair.person("alice"), pair.person("bob")
    first, other = pair.signed_in(alice), pair.signed_in(bob)
    assert (pair.call(first), pair.call(other)) == (200, 200)

    # A person: all that was given out until now, and nothing of anybody else.
    pair.a.cli("revoke", "user", "alice")
    assert pair.refused(first)
    assert pair.call(other) == 200
    # What is issued afterwards holds.
    again = pair.signed_in(alice)
    assert pair.call(again) == 200

    # A sign-in that its person ends.
    alice.visit(f"{pair.a.url}/oauth/logout")
    alice.submit("/oauth/logout/confirm")
    assert pair.refused(again)

    # One session, by name.
    sid = json.loads(base64.urlsafe_b64decode(other.split(".")[1] + "=="))["sid"]
    pair.a.cli("revoke", "session", sid)
    assert pair.refused(other)

    # A client's own tokens.
    machine = pair.machine()
    assert pair.call(machine) == 200
    pair.a.cli("revoke", "client", pair.program["client_id"])
    assert pair.refused(machine)

    told = eventually(lambda: len(pair.acts("signal:receive")) >= 4 and pair.acts("signal:receive"))
    assert told
    assert all(act["details"]["jti"] for act in told)
    assert eventually(lambda: pair.streams()[0]["waiting"] == 0)
    for one in (alice, bob):
        one.close()


def test_a_changed_password_and_a_device_end_what_was_given_out(pair: Pair) -> None:
    pair.begin_pushing()
    alice = pair.person("alice")
    token = pair.signed_in(alice)
    assert pair.call(token) == 200
    pair.a.cli("user", "reset-password", "alice", "--json")
    assert pair.refused(token)
    events = {act["details"]["event"].rpartition("/")[2] for act in pair.acts("signal:receive")}
    assert "credential-change" in events
    bob = pair.person("bob")
    token = pair.signed_in(bob)
    assert pair.call(token) == 200
    done = pair.a.cli("signals", "device-compliance", "laptop-1", "--user", "bob", "--reason", "no disk key", "--json")
    assert json.loads(done.stdout)["streams"] == 1
    assert pair.refused(token)
    for one in (alice, bob):
        one.close()


@BOTH
def test_who_was_down_hears_of_everything_in_the_end(pair: Pair, begin: Callable[[Pair], str]) -> None:
    begin(pair)
    people = [pair.person(f"person{number}") for number in range(3)]
    tokens = [pair.signed_in(person) for person in people]
    assert [pair.call(token) for token in tokens] == [200, 200, 200]
    pair.b.kill()
    for number in range(3):
        pair.a.cli("revoke", "user", f"person{number}")
    assert pair.streams()[0]["waiting"] >= 3
    # The sender, too, is killed in between, and begins anew with what waits.
    (control,) = pair.a.pids("control")
    os.kill(control, signal.SIGKILL)
    assert eventually(lambda: pair.a.pids("control") not in ([control], [0], []), 20)
    pair.b.start()
    assert all(pair.refused(token, 70) for token in tokens), pair.b.tail()
    assert eventually(lambda: pair.streams()[0]["waiting"] == 0, 70)
    for one in people:
        one.close()


def test_what_does_not_get_there_is_a_problem_that_status_shows(pair: Pair) -> None:
    stream = pair.push()  # nobody is there
    pair.a.cli("signals", "verify", stream)

    def problems() -> list[str]:
        return [one for one in pair.a.status()["problems"] if "signals for" in one]

    assert eventually(problems)
    shown = pair.a.cli("status").stdout
    assert "signals for" in shown
    pair.begin("{push: true}")
    assert eventually(lambda: not problems(), 70)
    assert pair.acts("signal:receive")
    pair.a.cli("signals", "status", stream, "paused", "--reason", "maintenance")
    assert pair.streams()[0]["status"] == "paused"
    pair.a.cli("signals", "remove", stream)
    assert pair.streams() == []


def test_streams_are_managed_over_the_gateway_with_the_scope_and_not_without(pair: Pair) -> None:
    url = pair.a.url

    def ask(method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.request(method, url + path, headers=headers, trust_env=False, timeout=40, **options)

    metadata = ask("GET", "/.well-known/ssf-configuration").json()
    assert metadata["issuer"] == url
    endpoint = metadata["configuration_endpoint"].removeprefix(url)
    assert ask("POST", endpoint, json={}).status_code == 401
    assert ask("POST", endpoint, pair.machine(), json={}).status_code == 401, "a token for somebody else"
    token = pair.manager()
    made = ask("POST", endpoint, token, json={"description": "mine"})
    assert made.status_code == 201
    stream = made.json()
    assert ask("GET", endpoint, token).json() == [stream]
    refused = {"delivery": {"method": "urn:ietf:rfc:8935", "endpoint_url": "http://127.0.0.1:6379/"}}
    assert ask("POST", endpoint, token, json=refused).status_code == 400

    poll = stream["delivery"]["endpoint_url"].removeprefix(url)
    assert ask("POST", poll, token, json={"returnImmediately": True}).json() == {"sets": {}}
    verify = metadata["verification_endpoint"].removeprefix(url)
    assert ask("POST", verify, token, json={"stream_id": stream["stream_id"], "state": "abc"}).status_code == 204
    # A poll that waits is answered when there is something, and everybody else is served meanwhile.
    (jti,) = ask("POST", poll, token, json={}).json()["sets"]
    import threading

    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(ask("POST", poll, token, json={"ack": [jti]})))
    waiting.start()
    time.sleep(0.5)
    assert ask("GET", endpoint, token).status_code == 200
    pair.person("alice").close()
    pair.a.cli("revoke", "user", "alice")
    waiting.join(30)
    (token_of_event,) = answers[0].json()["sets"].values()
    claims = json.loads(base64.urlsafe_b64decode(token_of_event.split(".")[1] + "=="))
    assert claims["sub_id"]["iss"] == url
    assert ask("DELETE", endpoint, token, params={"stream_id": stream["stream_id"]}).status_code == 204


def test_what_strangers_send_ends_nothing(pair: Pair) -> None:
    pair.begin_pushing()
    alice = pair.person("alice")
    token = pair.signed_in(alice)
    assert pair.call(token) == 200
    sub = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["sub"]

    def send(text: str, kind: str = "application/secevent+jwt") -> httpx.Response:
        return httpx.post(
            f"{pair.b.url}/oauth/ssf/events",
            content=text.encode(),
            headers={"content-type": kind},
            trust_env=False,
            timeout=20,
        )

    mallory = Signer(make_key("ES256"), "ES256")
    claims = {
        "iss": pair.a.url,
        "jti": "x",
        "iat": int(time.time()),
        "aud": "sp",
        "sub_id": {"format": "iss_sub", "iss": pair.a.url, "sub": sub},
        "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
    }
    assert send(mallory.sign(claims, "secevent+jwt")).json()["err"] == "invalid_key"
    assert (
        send(mallory.sign({**claims, "iss": "https://evil.example"}, "secevent+jwt")).json()["err"] == "invalid_issuer"
    )
    assert send(token).json()["err"] == "invalid_request", "an access token of the issuer's own is no signal"
    assert send(mallory.sign(claims, "secevent+jwt"), "application/json").status_code == 400
    assert send("x" * 100_000).status_code == 413
    assert httpx.get(f"{pair.b.url}/oauth/ssf/events", trust_env=False).status_code in (404, 405)
    assert pair.call(token) == 200
    assert pair.acts("signal:refused") == []
    alice.close()
