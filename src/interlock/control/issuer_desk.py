"""The authorization server of a running node: put together from the file, the keyring and the state.

It lives in the control process, and is exchanged whole when the file or its keys change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from interlock.clock import Clock
from interlock.control.credentials import OWN_LIFE
from interlock.control.issuer_keys import IssuerKeys
from interlock.control.issuer_notes import CountedNotes
from interlock.control.issuer_outside import OutsideIssuers
from interlock.control.issuer_references import KeptReferences
from interlock.control.issuer_status import IssuerStatus
from interlock.control.known import Current, Known
from interlock.control.paths import Paths
from interlock.control.publish import Publisher
from interlock.errors import StateError
from interlock.identity import RoleTable, TokenVerifier
from interlock.identity.handles import (
    client_handle,
    family_handle,
    session_handle,
    token_handle,
)
from interlock.identity.vouching import Vouching
from interlock.issuer.backchannel import Farewell, farewells
from interlock.issuer.means import Means
from interlock.issuer.needs import Notes, Proofs, Replays
from interlock.issuer.passwords import Hasher, Pool
from interlock.issuer.people import People
from interlock.issuer.service import Issuer
from interlock.issuer.signing import Keys
from interlock.keys import Keyring, factor_key
from interlock.snapshot import IssuerSpec, NodePage, Revoked
from interlock.store import State
from interlock.store.clients import Client, Clients
from interlock.store.model import Revocation
from interlock.store.registrations import Registrations
from interlock.store.revocations import Revocations

if TYPE_CHECKING:
    from interlock.config import OwnIssuer
    from interlock.issuer.signals.api import Transmitter


class StateRevoker:
    """Puts a revocation into the state and before every worker."""

    def __init__(self, state: State, publisher: Publisher, issuer: Callable[[], str], clock: Clock) -> None:
        self._state = state
        self._publisher = publisher
        self._issuer = issuer
        self._clock = clock

    def session(self, sid: str) -> None:
        self._revoke(session_handle(self._issuer(), sid), f"session {sid}", 0)

    def family(self, grant_id: str, until: int) -> None:
        self._revoke(family_handle(self._issuer(), grant_id), f"grant {grant_id}", until)

    def token(self, token_id: str, until: int) -> None:
        self._revoke(token_handle(self._issuer(), token_id), f"token {token_id}", until)

    def client(self, client_id: str, until: int) -> None:
        self._revoke(client_handle(self._issuer(), client_id), f"client {client_id}", until)

    def _revoke(self, handle: bytes, what: str, until: int) -> None:
        now = self._clock.wall()
        try:
            Revocations(self._state).keep(now=now, act="", revocations=[Revocation(handle, what, now, until)])
        finally:
            self._publisher.publish([Revoked(handle)])


class IssuerDesk:
    """Keeps the one `Issuer` of a node, and exchanges what it works with when the file or its keys change."""

    def __init__(
        self,
        paths: Paths,
        page: NodePage,
        keyring: Keyring,
        state: State,
        publisher: Publisher,
        record: Notes,
        proofs: Proofs,
        replays: Replays,
        clock: Clock,
    ) -> None:
        self._paths = paths
        self.notes = CountedNotes(record)
        self._keys = IssuerKeys(keyring, paths, clock, self.notes)
        self._clock = clock
        self._clients = Clients(state)
        self._registrations = Registrations(state)
        self._lookup_key = keyring.lookup_key
        self._known = Known(paths, page, self._lookup_key)
        self._state = state
        self._factor_key = factor_key(keyring)
        self._hasher, self._pool = Hasher(), Pool()
        self._waiting = Pool(at_once=4, name="outside")
        self.ended: Callable[[str, str], None] = lambda _sid, _why: None
        self.signals: Transmitter | None = None
        self._revoker = StateRevoker(state, publisher, lambda: self._url, clock)
        self._proofs = proofs
        self._replays = replays
        self._references = KeptReferences(paths, self._lookup_key)
        self.refresh: Callable[[str], None] = lambda _issuer: None  # asks for newer keys of an outside issuer
        self._outside = OutsideIssuers(Current(self._known), lambda issuer: self.refresh(issuer))
        self._url = ""
        self.path = ""  # that of the issuer's URL
        self._vouching: Vouching | None = None
        self._changing = threading.Lock()  # of what is known of clients
        self.issuer: Issuer | None = None

    def configure(self, settings: OwnIssuer | None, outside: Sequence[IssuerSpec] = ()) -> None:
        """The file was taken up; its keys are in the snapshot already. `outside`: all issuers that it names."""
        if settings is None:
            self._url, self.path, self.issuer = "", "", None
            return
        self._url, self.path = settings.url, settings.path
        keys = self._keys.tend(settings)
        self._outside.configure(settings, outside)
        with self._changing:
            self._put(settings, keys)

    def _put(self, settings: OwnIssuer, keys: Keys) -> None:
        before = self.issuer
        means = Means.make(
            settings,
            self._state,
            self._factor_key,
            self.notes,
            pool=self._pool,
            hasher=self._hasher,
            waiting=self._waiting,
            ended=self._session_ended,
            taken_back=self._taken_back,
        )
        issuer = Issuer(
            settings,
            keys,
            clients=self._clients,
            lookup_key=self._lookup_key,
            record=self.notes,
            replays=self._replays,
            revoker=self._revoker,
            tokens=self._verifier(settings, keys),
            earliest=self._earliest,
            vouched=self._vouched,
            people=People(means),
            proofs=self._proofs,
            clock=self._clock,
        )
        issuer.exchanged, issuer.asserted = self._outside.exchanged, self._outside.asserted
        issuer.references, issuer.registrations = self._references, self._registrations
        issuer.signals = self.signals if settings.signals is not None else None
        if before is not None:
            issuer.codes, issuer.devices = before.codes, before.devices  # whoever is about to sign in goes on
        self.issuer = issuer

    def renew(self, outside: Sequence[IssuerSpec]) -> None:
        """Keys of outside issuers are new."""
        if self.issuer is not None:
            self._outside.configure(self.issuer.settings, outside)

    def tend(self, *, turn: bool = False) -> bool:
        """Now and then: whether the keys have changed, so that workers need a new snapshot. `turn`: they do."""
        issuer = self.issuer
        if issuer is None:
            return False
        now = self._clock.wall()
        self._outside.expire(now)
        issuer.people.tend(now)
        self._clients.forget_grants(now - issuer.settings.session.absolute)
        keys = self._keys.tend(issuer.settings, turn=turn)
        changed = keys.jwks != issuer.keys.jwks
        if changed:
            issuer.tokens = self._verifier(issuer.settings, keys)
        issuer.keys = keys
        return changed

    def _session_ended(self, sid: str, why: str) -> None:
        """What hangs on it ends: grants, unless they were to outlive it, and every access token that names it."""
        now = self._clock.wall()
        for grant in self._clients.living_grants(now, session=sid):
            if not grant.offline:
                self._clients.revoke_grants(now, why, id=grant.id)
        self._revoker.session(sid)
        self.ended(sid, why)

    def _taken_back(self, account: str, why: str, client: str = "", /) -> None:
        """What somebody allowed clients ends, also what was to outlive the session, or was remembered."""
        now = self._clock.wall()
        whose = {"account": account} | ({"client_id": client} if client else {})
        self._clients.forget_consents(**whose)
        for grant in self._clients.revoke_grants(now, why, **whose):
            self._revoker.family(grant.id, now + OWN_LIFE)

    def farewells(self, sid: str) -> list[Farewell]:
        """What the clients of a session that is over are to be told."""
        issuer = self.issuer
        return [] if issuer is None else farewells(issuer, sid, self._clients.of_session(sid), self._clock.wall())

    def close(self) -> None:
        """No password is looked at any more."""
        self._pool.close()
        self._waiting.close()

    def _verifier(self, settings: OwnIssuer, keys: Keys) -> TokenVerifier:
        """Verifies every token of the issuer's, also those for other APIs; for introspection and the like."""
        spec = IssuerSpec(
            issuer=settings.url,
            authority="interlock",
            audience=[*settings.audiences, *settings.resources],
            algorithms=["ES256", "EdDSA"],
            leeway_s=0,
            jwks=msgspec.json.encode(keys.jwks).decode(),
            types=["at+jwt"],
            own=True,
        )
        return TokenVerifier([spec], RoleTable({}), Current(self._known), lambda _issuer: None)

    def _earliest(self, principal: str, client_id: str) -> int:
        return self._known.earliest(self._url, principal, client_id)

    def client_changed(self, client: Client) -> None:
        """One that was disabled stays so, even where the state could not be told; else the state is asked anyway."""
        with self._changing:
            if self.issuer is not None and client.disabled:
                self.issuer.registry.drop(client.client_id)

    def keys_turned(self) -> None:
        """Somebody has changed the keys in the keyring."""
        self._keys.forget()
        self.tend()

    def status(self, problem: str) -> IssuerStatus | None:
        """As it is now; None where the file names no issuer."""
        if not self._url:
            return None
        issuer = self.issuer
        try:
            clients = 0 if issuer is None else len(issuer.registry)
        except StateError as broken:
            clients, problem = 0, problem or str(broken)
        return IssuerStatus(self._url, issuer is not None, problem, clients, self._keys.described)

    def _vouched(self, certificate: bytes, now: int) -> bool:
        """By the bundle that the file names, as the workers have it."""
        name = "" if self.issuer is None else self.issuer.settings.trust
        spec = self._known.trust(name) if name else None
        if spec is None:
            return False
        if self._vouching is None or self._vouching.spec != spec:
            self._vouching = Vouching(spec, Current(self._known))
        return self._vouching.holds(certificate, now)
