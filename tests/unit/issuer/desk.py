"""A whole issuer in memory, over a real state database, for the tests beside this file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from interlock.clock import SECOND
from interlock.config import OwnIssuer
from interlock.identity import RoleTable, TokenVerifier
from interlock.identity.dpop import Shown
from interlock.identity.handles import client_handle, family_handle, session_handle, token_handle
from interlock.issuer.access import Access
from interlock.issuer.app import handle
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer
from interlock.issuer.signing import Keys
from interlock.jose.signing import Signer, make_key
from interlock.keys import lookup_hash
from interlock.model import Event
from interlock.snapshot import IssuerSpec
from interlock.store import State
from interlock.store.clients import Client, Clients, Secret
from tests.unit.identity.fakes import FakeDirectory
from tests.unit.issuer.somebody import FakePeople

URL = "https://id.example.com"
LOOKUP = b"l" * 32
NOW = 1_800_000_000 * SECOND
SECRET = "ils_secret-of-the-client"


class FakeClock:
    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def wall(self) -> int:
        return self.now

    def monotonic(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class FakeRecord:
    """Keeps what was put on the record; `broken` refuses everything, as a full disk does."""

    def __init__(self) -> None:
        self.acts: list[tuple[Event, dict[str, Any]]] = []
        self.at_once: list[Event] = []  # of those, what may not wait to be written
        self.broken: Exception | None = None

    def note(self, event: Event, details: Mapping[str, Any], *, at_once: bool = False) -> str:
        if self.broken is not None:
            raise self.broken
        msgspec.json.encode(details)  # plain values only
        self.acts.append((event, dict(details)))
        if at_once:
            self.at_once.append(event)
        return f"record-{len(self.acts)}"

    act = note

    def of(self, event: Event) -> list[dict[str, Any]]:
        return [details for found, details in self.acts if found is event]


class DirectoryRevoker:
    """Revokes in the directory that tokens are verified against."""

    def __init__(self, directory: FakeDirectory) -> None:
        self._directory = directory

    def session(self, sid: str) -> None:
        self._directory.revoke(session_handle(URL, sid))

    def family(self, grant_id: str, until: int) -> None:
        self._directory.revoke(family_handle(URL, grant_id))

    def token(self, token_id: str, until: int) -> None:
        self._directory.revoke(token_handle(URL, token_id))

    def client(self, client_id: str, until: int) -> None:
        self._directory.revoke(client_handle(URL, client_id))


class OnceInMemory:
    """What was used once."""

    def __init__(self) -> None:
        self._claimed: dict[bytes, int] = {}

    def claim(self, name: bytes, issued: int, expires: int, now: int, *, ahead: int, of: Client) -> bool:
        if self._claimed.get(name, 0) > now:
            return False
        self._claimed[name] = expires
        return True


class NoProofs:
    """No proof of possession is taken."""

    algorithms: tuple[str, ...] = ()

    def verify(self, proof: str, method: str, url: str, now: int, *, nonce_required: bool) -> Shown:
        raise OAuthError("invalid_dpop_proof", "proofs are not taken here")

    def use(self, shown: Shown, now: int, *, of: str) -> None:
        raise AssertionError("nothing was verified")


class Desk:
    """The issuer and the means to speak to it as a client does."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = FakeClock()
        self.record = FakeRecord()
        self.directory = FakeDirectory()
        self.state = State.open(folder / "state.db")
        self.settings = OwnIssuer.model_validate({"url": URL, **settings})
        signer = Signer(make_key(self.settings.signing), self.settings.signing)
        self.keys = Keys(signer, (signer,))
        self.clients = Clients(self.state)
        self.people = FakePeople()
        self.earliest = 0  # second from which tokens may be dated
        self.withdrawn = 0  # second before which nothing counts that somebody gave: they were revoked in the one before
        self.issuer = Issuer(
            self.settings,
            self.keys,
            clients=self.clients,
            lookup_key=LOOKUP,
            record=self.record,
            replays=OnceInMemory(),
            revoker=DirectoryRevoker(self.directory),
            tokens=self.verifier([*self.settings.audiences, *self.settings.resources]),
            earliest=lambda _principal, client: max(self.withdrawn, self.earliest if client else 0),
            vouched=lambda _certificate, _now: False,
            people=self.people,
            proofs=NoProofs(),
            clock=self.clock,
        )

    def verifier(self, audience: list[str]) -> TokenVerifier:
        """As a worker verifies the issuer's tokens."""
        spec = IssuerSpec(
            issuer=URL,
            authority="interlock",
            audience=audience,
            algorithms=["ES256", "EdDSA"],
            leeway_s=0,
            jwks=json.dumps(self.keys.jwks),
            types=["at+jwt"],
            own=True,
        )
        return TokenVerifier([spec], RoleTable({}), self.directory, lambda _issuer: None)

    # -- clients

    def client(self, client_id: str = "billing", **fields: Any) -> Client:
        """Register a client; with the secret `SECRET` unless it authenticates otherwise."""
        values: dict[str, Any] = {
            "client_id": client_id,
            "client_name": client_id,
            "principal": f"service:interlock/{client_id}",
            "created": self.clock.wall(),
            "roles": ("caller",),
            **fields,
        }
        client = Client(**values)
        if client.method.startswith("client_secret") and not client.secrets:
            secret = Secret(lookup_hash(LOOKUP, SECRET.encode()), self.clock.wall())
            client = msgspec.structs.replace(client, secrets=(secret,))
        self.clients.add(client)
        return client

    def mint(self, access: Access) -> str:
        """A token of a client, which need not be there any more."""
        known = self.issuer.registry.get(access.client_id)
        client = known.client if known is not None else _gone(access)
        return mint(self.issuer, client, access, self.clock.wall(), by="test").text

    # -- requests

    def send(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        certificate: bytes = b"",
        source: str = "192.0.2.7",
        body: bytes = b"",
    ) -> Response:
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        if form is not None:
            fields.setdefault("content-type", "application/x-www-form-urlencoded")
            body = urlencode(form).encode()
        if basic is not None:
            fields["authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
        return handle(
            self.issuer,
            Request(
                method,
                path,
                query=urlencode(query or {}),
                headers=fields,
                body=body,
                source=source,
                certificate=certificate,
                now=self.clock.wall(),
                call="0" * 32,
            ),
        )

    def browse(self, path: str, *, signed_in: bool = True, **query: str) -> Response:
        """As Alice's browser does."""
        headers = {"cookie": "session=alice"} if signed_in else {}
        return self.send("GET", path, query=query, headers=headers)

    def answer(self, path: str, *, csrf: str = "cookie", **form: str) -> Response:
        """Alice's browser sends a form."""
        return self.send("POST", path, form={"csrf": csrf, **form}, headers={"cookie": "session=alice"})

    def token(self, client_id: str = "billing", secret: str = SECRET, **form: str) -> Response:
        """Ask for a token with the client's secret."""
        return self.send("POST", "/oauth/token", form=form, basic=(client_id, secret))


def told(response: Response) -> dict[str, Any]:
    """The JSON of an answer."""
    found: dict[str, Any] = json.loads(response.body)
    return found


def header(response: Response, name: str) -> str:
    """One header field; empty if there is none."""
    return next((value for found, value in response.fields if found.lower() == name), "")


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _gone(access: Access) -> Client:
    return Client(client_id=access.client_id, client_name=access.client_id, principal=access.principal, created=0)
