"""A code is being redeemed while what it hangs on is ended: when that is said to be done, nothing of it is good.

The real authorization server over a real state; the redemption is held up between what it looked at and what it writes,
where it waits for whoever writes to the state just then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from interlock.clock import ManualClock
from interlock.config import OwnIssuer
from interlock.control.build import SnapshotBuilder
from interlock.control.credentials import Named, OfIssuer, Plain
from interlock.control.dependants import dependants
from interlock.control.issuer_desk import IssuerDesk
from interlock.control.paths import Paths
from interlock.control.presented import Tokens
from interlock.control.publish import Publisher
from interlock.control.revocation import RevocationDesk
from interlock.issuer.app import handle
from interlock.issuer.http import Request, Response
from interlock.keys import Keyring
from interlock.model import Identity
from interlock.snapshot import NodePage, NodeSpec
from interlock.store import State
from interlock.store.accounts import Account, Accounts
from interlock.store.clients import Client, Clients
from tests.unit.control.conftest import Acts
from tests.unit.control.test_credentials import FILE, config
from tests.unit.issuer.desk import FakeRecord, NoProofs, OnceInMemory, header, told
from tests.unit.issuer.test_authorize import BACK, CHALLENGE, VERIFIER

URL = "https://id.example.com"
FORM = {"content-type": "application/x-www-form-urlencoded"}
NOTHING: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())


class Scene:
    """Alice is signed in, and a client of hers has a code that is to outlive the session."""

    def __init__(self, paths: Paths, page: NodePage, keyring: Keyring, state: State, clock: ManualClock) -> None:
        SnapshotBuilder(paths, state, page, clock).build(NodeSpec("", 0, 1), [])
        self.state, self.clock = state, clock
        self.clients = Clients(state)
        self.publisher = Publisher(paths, page)
        record: Any = FakeRecord()
        self.desk = IssuerDesk(paths, page, keyring, state, self.publisher, record, NoProofs(), OnceInMemory(), clock)
        self.desk.configure(OwnIssuer.model_validate({"url": URL}))
        self.revocation = RevocationDesk(state, self.publisher, clock, dependants(state, lambda _client: None))
        self.named = Named(config(FILE + f"issuer: {{url: {URL}}}\n"), Tokens(paths.snapshot, lambda _a, _b: None))
        grants = ("authorization_code", "refresh_token")
        self.clients.add(
            Client(client_id="app", client_name="app", principal="service:interlock/app", created=1, grant_types=grants,
                   token_endpoint_auth_method="none", redirect_uris=(BACK,), scopes=("openid",), first_party=True)
        )  # fmt: skip
        self.alice = Account("acc-alice", "alice", (), clock.wall(), "k", changed=clock.wall())
        Accounts(state).add(self.alice)
        session, (_, cookie) = self.means.sessions.begin(self._request("GET", "/x"), self.alice, ("pwd",))
        self.sid, self.cookie = session.sid, cookie.partition(";")[0]

    @property
    def means(self) -> Any:
        return self.desk.issuer.people.means  # type: ignore[union-attr]

    def code(self, scope: str = "openid offline_access") -> str:
        asked = {"response_type": "code", "client_id": "app", "redirect_uri": BACK, "scope": scope,
                 "code_challenge": CHALLENGE, "code_challenge_method": "S256"}  # fmt: skip
        answer = self._send("GET", "/oauth/authorize", query=urlencode(asked), headers={"cookie": self.cookie})
        return parse_qs(urlsplit(header(answer, "location")).query)["code"][0]

    def redeem(self, code: str) -> Response:
        return self._token(grant_type="authorization_code", code=code, redirect_uri=BACK, code_verifier=VERIFIER)

    def good(self, answer: Response) -> list[str]:
        """What of an answer is good for anything, some seconds later."""
        self.clock.advance(5)
        if answer.status != 200:
            return []
        body, found = told(answer), []
        issuer = self.desk.issuer
        assert issuer is not None
        if isinstance(issuer.tokens.verify(body["access_token"].encode(), self.clock.wall()), Identity):
            found.append("access")
        if self._token(grant_type="refresh_token", refresh_token=body["refresh_token"]).status == 200:
            found.append("refresh")
        return found

    def _token(self, **form: str) -> Response:
        return self._send("POST", "/oauth/token", headers=FORM, body=urlencode({**form, "client_id": "app"}).encode())

    def _send(self, method: str, path: str, **more: Any) -> Response:
        assert self.desk.issuer is not None
        return handle(self.desk.issuer, self._request(method, path, **more))

    def _request(self, method: str, path: str, **more: Any) -> Request:
        return Request(method, path, now=self.clock.wall(), source="192.0.2.1", **more)

    # -- ways to end it

    def revoke_session(self) -> None:
        self.revocation.session(OfIssuer(self.sid), self.named, Acts())

    def revoke_principal(self) -> None:
        self.revocation.principal(Plain(self.alice.principal), self.named, Acts())

    def another_password(self) -> None:
        assert Accounts(self.state).choose_password(self.alice, b"sealed", "k", self.clock.wall())
        self.means.sessions.revoke_account(self.alice.id, "another password", self.clock.wall())
        self.means.taken_back(self.alice.id, "another password")

    def broken_off(self) -> None:
        """Killed once the password was there."""
        assert Accounts(self.state).choose_password(self.alice, b"sealed", "k", self.clock.wall())


@pytest.fixture
def scene(paths: Paths, page: NodePage, keyring: Keyring, state: State, clock: ManualClock) -> Iterator[Scene]:
    made = Scene(paths, page, keyring, state, clock)
    yield made
    made.desk.close()


WAYS: dict[str, Callable[[Scene], None]] = {
    "revoke session": Scene.revoke_session,
    "revoke principal": Scene.revoke_principal,
    "another password": Scene.another_password,
    "a change of the password that broke off": Scene.broken_off,
}


@pytest.mark.parametrize("way", WAYS)
def test_ended_between_looking_and_writing(scene: Scene, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    code = scene.code()
    clients = scene.desk.issuer.clients  # type: ignore[union-attr]
    add_grant = clients.add_grant

    def meanwhile(grant: Any) -> None:
        WAYS[way](scene)
        add_grant(grant)

    monkeypatch.setattr(clients, "add_grant", meanwhile)
    assert scene.good(scene.redeem(code)) == []
    assert scene.clients.living_grants(scene.clock.wall(), account=scene.alice.id) == []


@pytest.mark.parametrize("step", ["workers", "session", "families"])
def test_written_while_a_session_is_being_revoked(scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whichever of its steps the redemption slips in after."""
    code = scene.code()
    issuer = scene.desk.issuer
    assert issuer is not None
    looked, go = threading.Event(), threading.Event()
    answers: list[Response] = []
    add_grant = issuer.clients.add_grant

    def slow(grant: Any) -> None:
        looked.set()
        assert go.wait(20)
        add_grant(grant)

    monkeypatch.setattr(issuer.clients, "add_grant", slow)
    redeeming = threading.Thread(target=lambda: answers.append(scene.redeem(code)))
    redeeming.start()
    assert looked.wait(20)

    def then(original: Callable[..., Any], *given: Any, **more: Any) -> Any:
        done = original(*given, **more)
        if not go.is_set():
            go.set()
            redeeming.join(20)
        return done

    owner, name = {
        "workers": (scene.publisher, "publish"),
        "session": (scene.revocation._dependants[0], "kill"),
        "families": (scene.revocation._dependants[1], "kill"),
    }[step]
    monkeypatch.setattr(owner, name, partial(then, getattr(owner, name)))
    scene.revoke_session()
    go.set()
    redeeming.join(20)
    assert scene.good(answers[0]) == []


@pytest.mark.parametrize("way", ["another password", "revoke principal", "revoke client"])
def test_what_was_allowed_for_good_goes_as_well(scene: Scene, way: str) -> None:
    """Else the client of a thief would be given codes again, without a page, at the next visit of its owner."""
    scene.clients.allow(scene.alice.id, "app", frozenset({"openid"}), frozenset({URL}), scene.clock.wall())
    if way == "revoke client":
        scene.revocation.client(OfIssuer("app"), scene.named, Acts())
    else:
        WAYS[way](scene)
    assert scene.clients.consent(scene.alice.id, "app") == NOTHING


def test_what_is_taken_back_from_one_client_is_good_no_more(scene: Scene) -> None:
    answer = scene.redeem(scene.code())
    scene.clients.allow(scene.alice.id, "app", frozenset({"openid"}), frozenset({URL}), scene.clock.wall())
    scene.clients.allow(scene.alice.id, "other", frozenset({"openid"}), frozenset({URL}), scene.clock.wall())
    assert [name for name, _ in scene.clients.allowed_by(scene.alice.id, scene.clock.wall())] == ["app", "other"]
    scene.means.taken_back(scene.alice.id, "taken back", "app")
    assert scene.good(answer) == []
    assert [name for name, _ in scene.clients.allowed_by(scene.alice.id, scene.clock.wall())] == ["other"]
