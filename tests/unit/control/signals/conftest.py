"""A node without processes, whose issuer tells others and whose file names two that may tell it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.config import Config, parse
from interlock.control.dependants import dependants
from interlock.control.issuers import Known, KnownKeys
from interlock.control.paths import Paths
from interlock.control.publish import Publisher
from interlock.control.revocation import RevocationDesk
from interlock.control.signals.outbox import Outbox
from interlock.control.signals.receiver import Receiver
from interlock.control.signals.sources import Sources
from interlock.control.signals.streams import StreamDesk
from interlock.keys import FactorKey
from interlock.snapshot import NodePage
from interlock.snapshot.directory import Directory
from interlock.store import Revocations, State
from interlock.store.accounts import Account, Accounts
from interlock.store.clients import Client, Clients
from interlock.store.signals import Signals, Stream
from tests.unit.control.conftest import FILE, Acts
from tests.unit.jose.material import ec, public, rsa, sign

OWN = "https://id.example.com"
IDP = "https://login.example.com"
POLLED = "https://polled.example.com"
MUTE = "https://mute.example.com"
AUDIENCE = "sp"
SIGNALS = """
issuer: {url: https://id.example.com, signals: {push_to: [https://receiver.example.com/events]}}
identity:
  issuers:
    - {issuer: https://login.example.com, audience: sp, algorithms: [RS256, ES256], jwks: https://login.example.com/jwks,
       signals: {push: true}}
    - {issuer: https://polled.example.com, audience: sp, algorithms: [RS256], jwks: https://polled.example.com/jwks,
       signals: {poll: "https://polled.example.com/poll?stream_id=1", token: "${env:POLL_TOKEN}"}}
    - {issuer: https://mute.example.com, audience: sp, algorithms: [RS256], jwks: https://mute.example.com/jwks}
"""


class Log:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _say(self, event: str, **fields: object) -> None:
        self.lines.append(f"{event} {fields}")

    info = warning = error = _say


class Bench:
    """All of it, over one state."""

    def __init__(
        self, folder: Path, state: State, paths: Paths, page: NodePage, clock: ManualClock, acts: Acts
    ) -> None:
        self.folder, self.state, self.paths, self.clock, self.acts = folder, state, paths, clock, acts
        self.page = page
        self.number = 0
        self.configure(SIGNALS)
        self.log = Log()
        self.kept = Signals(state)
        self.outbox = Outbox(state, clock, lambda: self.config.issuer)
        publisher = Publisher(paths, page)
        self.desk = RevocationDesk(state, publisher, clock, dependants(state, lambda _c: None), self.outbox.revoked)
        self.key = FactorKey(b"f" * 32)
        self.streams = StreamDesk(
            state, clock, self.outbox, lambda: self.config.issuer, lambda: self.key, lambda: self.acts
        )
        self.refreshed: list[str] = []
        self.linked: dict[tuple[str, str], tuple[str, str]] = {}
        self.sources = Sources(paths, lambda: self.config)
        self.receiver = Receiver(
            state,
            clock,
            self.log,
            desk=self.desk,
            find=self.sources.find,
            refresh=self.refreshed.append,
            acts=lambda: self.acts,
            linked=lambda issuer, sub: self.linked.get((issuer, sub)),
        )
        self.directory = Directory(page, paths.changes, b"k" * 32)
        self.revocations = Revocations(state)
        self.publish(IDP, rsa("idp"), ec("idp-ec"))
        self.publish(POLLED, rsa("polled"))
        self.publish(MUTE, rsa("mute"))

    def configure(self, more: str, file: str = FILE) -> None:
        text = (file + more).encode()
        self.config: Config = parse(text, self.folder / "interlock.yaml", look_at_files=False)

    def publish(self, issuer: str, *keys: Any, ago: int = 0) -> None:
        """Keys as they were last fetched."""
        known = Known(issuer, public(*keys), self.clock.wall() - ago, f"{issuer}/jwks")
        KnownKeys(self.paths.jwks).put(known)

    # -- our own

    def person(self, name: str = "alice") -> Account:
        account = Account(f"usr-{name}", name, (), self.clock.wall(), "k")
        Accounts(self.state).add(account)
        return account

    def client(self, name: str = "shop", **fields: Any) -> Client:
        values = {"scopes": ("ssf.manage",), "principal": f"service:interlock/{name}", **fields}
        client = Client(client_id=name, client_name=name, created=self.clock.wall(), **values)
        Clients(self.state).add(client)
        return client

    def stream(self, name: str = "s", client: str = "shop", **fields: Any) -> Stream:
        made = Stream(id=name, client_id=client, audience=(client,), created=self.clock.wall(), **fields)
        self.kept.add_stream(made, most=64, most_of_client=8)
        return made

    def waiting(self, stream: str = "s") -> list[dict[str, Any]]:
        """The claims of what waits."""
        return [one.claims for one in self.kept.waiting(stream, 1000)]

    # -- of others

    def set(
        self, event: str, subject: Any, payload: Any = None, *, key: Any = None, kid: str = "", **changes: Any
    ) -> bytes:
        """A token of the outside issuer that pushes; claims of `None` are left out."""
        self.number += 1
        claims = {
            "iss": IDP,
            "jti": f"set-{self.number}",
            "iat": self.clock.wall() // SECOND,
            "aud": AUDIENCE,
            "sub_id": subject,
            "events": {event: payload or {}},
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key = key or {IDP: rsa("idp"), POLLED: rsa("polled")}.get(str(claims.get("iss")), rsa("mute"))
        header = {"typ": "secevent+jwt", "alg": "RS256", "kid": kid or key.kid}
        return sign(header, json.dumps(claims).encode(), key)

    def told(self, event: str) -> list[dict[str, Any]]:
        """What the record has of one kind of act."""
        return [details for name, details in self.acts.done if name == event]

    def since(self, handle: bytes) -> int:
        return self.revocations.not_before(handle)


@pytest.fixture
def bench(
    tmp_path: Path,
    state: State,
    paths: Paths,
    page: NodePage,
    acts: Acts,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    monkeypatch.setenv("POLL_TOKEN", "secret-of-the-poll")
    yield Bench(tmp_path, state, paths, page, ManualClock(1_700_000_000 * SECOND), acts)
    state.close()
